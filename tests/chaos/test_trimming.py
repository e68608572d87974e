"""Trimming races slow groups, and takes no entry that one of them still needs."""

from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any

import pytest

from rollotape.postgres.floors import Floors
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from rollotape.streams import janitor
from rollotape.streams.janitor import Janitor
from support.runs import Hits
from support.trimming import ENTRIES, Lost, Race

pytestmark = pytest.mark.chaos

SAMPLE, RUNS = 3, 100
CHANCES = 10
"""Races by which a planted bug must have been noticed: one of them is enough."""


@pytest.fixture
async def floors(settings: Settings) -> AsyncIterator[Floors]:
    async with await open_pool(settings, service="test") as pool:
        yield Floors(pool)


def seeds(config: pytest.Config, runs: int) -> range:
    first = config.getoption("chaos_seed", default=None) or 1
    return range(first, first + runs)


async def race(seed: int, redis_url: str, floors: Floors, make: Any = Janitor) -> Race:
    found = Race(redis_url, floors, Random(seed), make)
    try:
        await found.run()
    except* Lost as lost:
        raise Lost(f"seed {seed}: {lost.exceptions[0]}") from None
    return found


async def test_a_slow_group_loses_nothing_to_trimming(
    pytestconfig: pytest.Config, redis_url: str, floors: Floors, tally: Hits
) -> None:
    await _lose_nothing(seeds(pytestconfig, SAMPLE), redis_url, floors, tally)


@pytest.mark.long
async def test_a_slow_group_loses_nothing_to_trimming_a_hundred_times(
    pytestconfig: pytest.Config, redis_url: str, floors: Floors, tally: Hits
) -> None:
    await _lose_nothing(seeds(pytestconfig, RUNS), redis_url, floors, tally)


async def _lose_nothing(runs: range, redis_url: str, floors: Floors, tally: Hits) -> None:
    races = [await race(seed, redis_url, floors) for seed in runs]
    trimmed = sum(r.trimmed_early for r in races)
    deaths = sum(r.deaths.total() for r in races)
    tally(
        f"trimming: {len(races)} races from seed {runs.start}, {len(races) * ENTRIES} entries,"
        f" {deaths} deaths, {trimmed} trimmed while others read, 0 lost"
    )
    assert all(r.trimmed_early for r in races), "nothing was trimmed in time: that was no race"
    assert deaths >= len(races)


class Forgetful(Janitor):
    """Takes what was delivered for what is done."""

    async def _needed(self, stream: str, group: str, info: Mapping[str, Any]) -> str:
        return janitor.after(info["last-delivered-id"].decode())


class Impatient(Janitor):
    """Does not wait for a group that is not there yet."""

    async def _groups(self, stream: str) -> dict[str, Any]:
        found = await super()._groups(stream)
        late: dict[str, Any] = {"last-delivered-id": b"9999999999999-0", "pending": 0}
        return {name: late for contract in self._contracts.values() for name in contract.groups} | found


@pytest.mark.parametrize("planted", [Forgetful, Impatient])
async def test_a_janitor_with_a_bug_is_noticed(redis_url: str, floors: Floors, planted: Any) -> None:
    for seed in range(CHANCES):
        try:
            await race(seed, redis_url, floors, planted)
        except Lost:
            return
    pytest.fail(f"{planted.__name__} came through {CHANCES} races")
