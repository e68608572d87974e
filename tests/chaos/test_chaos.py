"""Kills, pauses and restarts of everything in the middle of batches change nothing and lose nothing."""

from dataclasses import replace

import pytest

from support.faults import Fault
from support.gates import Point
from support.runs import Hits, Place, Plan, run
from support.stack import Crew
from support.workers import forks, programs

pytestmark = pytest.mark.chaos

SAMPLE = Plan(104, Crew(2, 1, 2), batch_entries=25, trimmed=True, faults=(
    Fault(("kill",), Point.COMMITTING, 1),
    Fault(("pause",), Point.GATHERED, 1),
    Fault(("redis",), Point.READ, 1),
    Fault(("postmaster",), Point.COMMITTED, 1),
    Fault(("kill",), Point.SAYING, of="rs-worker"),
    Fault(("kill",), Point.CHANGING, of="cache-builder"),
    Fault(("kill all",), Point.COMMITTED, 1),
))  # fmt: skip
"""For every run of the tests."""
KINDS_ONCE = (
    Plan(101, Crew(2, 1, 1), batch_entries=25, faults=(
        Fault(("kill",), Point.SAYING, 1),
        Fault(("kill",)),
        Fault(("cut",), Point.COMMITTED, 1),
        Fault(("redis",), Point.READ, 1),
        Fault(("kill",), Point.COMMITTING, 1),
        Fault(("kill",), Point.GATHERED, 1, "rs-worker"),
        Fault(("kill",), Point.CHANGING, of="cache-builder"),
    )),
    Plan(102, Crew(2, 1, 1), batch_entries=25, faults=(
        Fault(("pause",), Point.GATHERED, 1),
        Fault(("postgres",), Point.COMMITTED, 1),
        Fault(("redis", "kill"), Point.SAYING),
        Fault(("backend",)),
        Fault(("pause",), Point.COMMITTING, of="rs-worker"),
        Fault(("redis",), Point.CHANGED, of="cache-builder"),
    )),
    Plan(103, Crew(3, 2, 2), batch_entries=25, trimmed=True, faults=(
        Fault(("kill all",), Point.COMMITTED, 1),
        Fault(("postmaster",), Point.COMMITTING, 1),
        Fault(("pause",), Point.COMMITTING, 1),
        Fault(("redis", "postgres", "kill all")),
        Fault(("kill",), Point.SAYING, of="rs-worker"),
        Fault(("pause",), Point.CHANGING, of="cache-builder"),
    )),
)  # fmt: skip
"""Every kind of fault at least once, for those who cannot wait for chance."""
FAULTS_PER_RUN = 6


async def test_faults_in_the_middle_of_batches_change_nothing(place: Place, tally: Hits) -> None:
    await run(SAMPLE, place, forks("eager_sweep", "small_blocks"), tally)


@pytest.mark.long
@pytest.mark.parametrize("plan", KINDS_ONCE, ids=lambda plan: f"seed-{plan.seed}")
async def test_every_kind_of_fault_changes_nothing(place: Place, plan: Plan, tally: Hits) -> None:
    await run(plan, place, forks("eager_sweep", "small_blocks"), tally)


async def test_faults_by_chance_change_nothing(place: Place, seed: int, tally: Hits) -> None:
    """Every third run has workers started as a person does, and as they are."""
    plan = Plan.draw(seed, count=FAULTS_PER_RUN)
    if seed % 3:
        start = forks("eager_sweep", "small_blocks", *(["everyone_owns"] if plan.everyone_owns else []))
    else:
        plan = replace(plan, everyone_owns=False)
        start = programs(place.servers.children)
    await run(plan, place, start, tally)
