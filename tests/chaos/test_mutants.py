"""Bugs planted on purpose are each noticed, by runs that the workers as they are come through."""

from typing import NamedTuple

import pytest

from support import mutants
from support.faults import Fault
from support.gates import Point
from support.runs import Hits, Place, Plan, run
from support.stack import Broken, Crew
from support.workers import forks

pytestmark = pytest.mark.chaos

SEEDS = (201, 202, 203, 204, 205, 206, 207, 208)
"""As many chances as it takes: where a race goes is not ours to say, and one broken run is enough."""
DRAIN_S = 60.0
KILL_BEFORE_COMMIT = Fault(("kill",), Point.COMMITTING, 1)
KILL_BEFORE_SAYING = Fault(("kill all",), Point.SAYING, 1)
PAUSE_WITH_STALE_VIEW = Fault(("pause",), Point.GATHERED, 1)


class Case(NamedTuple):
    """By which faults a bug is seen, and what a run may say: other complaints would be about other things."""

    faults: tuple[Fault, ...]
    symptoms: tuple[str, ...]
    crew: Crew = Crew(2)
    at_the_end: bool = False


CAUGHT = {
    "ack_before_commit": Case((KILL_BEFORE_COMMIT,), ("bars: ",)),
    "no_version_check": Case(
        (PAUSE_WITH_STALE_VIEW,), ("verify: ", "one fact and version, two contents: ", "vsa_events: ")
    ),
    "no_revision_guard": Case((KILL_BEFORE_COMMIT,), ("bars: ",)),
    "last_event_wins": Case((KILL_BEFORE_COMMIT,), ("trades of outside systems: ",)),
    "no_outbox": Case((KILL_BEFORE_SAYING,) * 2, ("what was said: ", "patterns said: ", "trades said: ")),
    "group_at_end": Case((KILL_BEFORE_COMMIT,), ("bars: ",)),
    "dates_gone_first": Case(
        (Fault(("kill",), Point.GATHERED, of="rs-worker"),), ("rs_scores: ", "verify: "), Crew(1, 1), True
    ),
    "ack_before_model": Case(
        (Fault(("kill",), Point.CHANGING, of="cache-builder"),), ("scan: ",), Crew(1, 0, 1), True
    ),
}
assert CAUGHT.keys() == mutants.BUGS.keys()
ALWAYS = ("ack_before_commit",)
"""The bug that every test run looks for; `make chaos` looks for all of them."""
IN_THE_MIDDLE = tuple(
    dict.fromkeys(fault for case in CAUGHT.values() if not case.at_the_end for fault in case.faults)
)
"""All of them in one run."""


def plan(seed: int, case: Case) -> Plan:
    """Workers who believe that everything is theirs, on few symbols: as many races as there can be."""
    return Plan(
        seed,
        case.crew,
        batch_entries=25,
        faults=case.faults,
        everyone_owns=True,
        symbols=5,
        at_the_end=case.at_the_end,
    )


@pytest.mark.parametrize("bug", ALWAYS)
async def test_a_planted_bug_is_noticed(place: Place, bug: str, tally: Hits) -> None:
    await _notice(place, bug, tally)


@pytest.mark.parametrize("bug", [bug for bug in CAUGHT if bug not in ALWAYS])
@pytest.mark.long
async def test_the_other_planted_bugs_are_noticed_too(place: Place, bug: str, tally: Hits) -> None:
    await _notice(place, bug, tally)


@pytest.mark.long
async def test_without_a_bug_the_same_runs_come_through(place: Place, tally: Hits) -> None:
    await _come_through(place, Case(IN_THE_MIDDLE, ()), tally)


@pytest.mark.parametrize("bug", [bug for bug, case in CAUGHT.items() if case.at_the_end])
@pytest.mark.long
async def test_without_a_bug_at_the_end_they_come_through_too(place: Place, bug: str, tally: Hits) -> None:
    await _come_through(place, CAUGHT[bug], tally)


async def _notice(place: Place, bug: str, tally: Hits) -> None:
    case = CAUGHT[bug]
    start = forks("eager_sweep", "small_blocks", "everyone_owns", bug)
    for seed in SEEDS:
        try:
            await run(plan(seed, case), place, start, tally, drain_s=DRAIN_S)
        except Broken as broken:
            assert any(symptom in str(broken) for symptom in case.symptoms), broken
            return
    pytest.fail(f"{bug} came through {len(SEEDS)} runs")


async def _come_through(place: Place, case: Case, tally: Hits) -> None:
    start = forks("eager_sweep", "small_blocks", "everyone_owns")
    await run(plan(SEEDS[0], case), place, start, tally)
