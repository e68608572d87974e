"""Five bugs planted on purpose are each noticed, by runs that the detector as it is comes through."""

import pytest

from support import mutants
from support.faults import Fault
from support.gates import Point
from support.runs import Hits, Place, Plan, run
from support.stack import Broken
from support.workers import forks

pytestmark = pytest.mark.chaos

SEEDS = (201, 202, 203, 204, 205, 206, 207, 208)
"""As many chances as it takes: where a race goes is not ours to say, and one broken run is enough."""
DRAIN_S = 30.0
SYMPTOMS = {
    "ack_before_commit": ("bars: ",),
    "no_version_check": ("verify: ", "one fact and version, two contents: ", "vsa_events: "),
    "no_revision_guard": ("bars: ",),
    "no_outbox": ("what was said: ",),
    "group_at_end": ("bars: ",),
}
"""What a run may say that meets the bug: any other complaint would be about something else."""
assert SYMPTOMS.keys() == mutants.BUGS.keys()


def plan(seed: int) -> Plan:
    """Kills before a commit and before what it says; a pause while another works on the same symbols."""
    faults = (
        Fault(("kill",), Point.COMMITTING, 1),
        Fault(("kill",), Point.SAYING, 1),
        Fault(("pause",), Point.GATHERED, 1),
    )
    return Plan(seed, workers=2, batch_entries=25, faults=faults, everyone_owns=True, symbols=5)


@pytest.mark.parametrize("bug", SYMPTOMS)
async def test_a_planted_bug_is_noticed(place: Place, bug: str, tally: Hits) -> None:
    for seed in SEEDS:
        try:
            await run(plan(seed), place, forks("eager_sweep", "everyone_owns", bug), tally, drain_s=DRAIN_S)
        except Broken as broken:
            assert any(symptom in str(broken) for symptom in SYMPTOMS[bug]), broken
            return
    pytest.fail(f"{bug} came through {len(SEEDS)} runs")


async def test_without_a_bug_the_same_runs_come_through(place: Place, tally: Hits) -> None:
    for seed in SEEDS[:1]:
        await run(plan(seed), place, forks("eager_sweep", "everyone_owns"), tally)
