"""Five bugs planted on purpose are each noticed, by runs that the detector as it is comes through."""

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
DRAIN_S = 30.0
KILL_BEFORE_COMMIT = Fault(("kill",), Point.COMMITTING, 1)
KILL_BEFORE_SAYING = Fault(("kill all",), Point.SAYING, 1)
PAUSE_WITH_STALE_VIEW = Fault(("pause",), Point.GATHERED, 1)
CAUGHT = {
    "ack_before_commit": ((KILL_BEFORE_COMMIT,), ("bars: ",)),
    "no_version_check": (
        (PAUSE_WITH_STALE_VIEW,),
        ("verify: ", "one fact and version, two contents: ", "vsa_events: "),
    ),
    "no_revision_guard": ((KILL_BEFORE_COMMIT,), ("bars: ",)),
    "no_outbox": ((KILL_BEFORE_SAYING,) * 2, ("what was said: ",)),
    "group_at_end": ((KILL_BEFORE_COMMIT,), ("bars: ",)),
}
"""By which faults, and what a run may say: any other complaint would be about something else."""
assert CAUGHT.keys() == mutants.BUGS.keys()


def plan(seed: int, faults: tuple[Fault, ...]) -> Plan:
    """Two workers, both of which own everything, on few symbols: as many races as there can be."""
    return Plan(seed, crew=Crew(2), batch_entries=25, faults=faults, everyone_owns=True, symbols=5)


@pytest.mark.parametrize("bug", CAUGHT)
async def test_a_planted_bug_is_noticed(place: Place, bug: str, tally: Hits) -> None:
    faults, symptoms = CAUGHT[bug]
    start = forks("eager_sweep", "everyone_owns", bug)
    for seed in SEEDS:
        try:
            await run(plan(seed, faults), place, start, tally, drain_s=DRAIN_S)
        except Broken as broken:
            assert any(symptom in str(broken) for symptom in symptoms), broken
            return
    pytest.fail(f"{bug} came through {len(SEEDS)} runs")


async def test_without_a_bug_the_same_runs_come_through(place: Place, tally: Hits) -> None:
    """All of their faults in one run."""
    faults = tuple(dict.fromkeys(fault for faults, _ in CAUGHT.values() for fault in faults))
    await run(plan(SEEDS[0], faults), place, forks("eager_sweep", "everyone_owns"), tally)
