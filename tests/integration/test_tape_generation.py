"""Counts of volume-spread events: what changes them is a new generation of their answers, nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from cache_builder.counting import count
from rollotape.postgres import generations
from rollotape.postgres.generations import TAPE, Moment
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from support.closed_trades import Trade, insert_trades
from support.databases import execute
from support.gateway import Setup, insert_patterns
from support.waiting import eventually

_EVENT = (
    "INSERT INTO vsa_events (symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at,"
    " direction) VALUES ('AAPL', '1d', 'seed-1', 'no_demand', '2026-11-02', '2026-11-02', {}, 'bearish')"
)
_OF_PATTERN = "UPDATE patterns SET {}"


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator["asyncpg.Pool[Any]"]:
    async with await open_pool(settings, service="test") as opened:
        yield opened


async def _moment(pool: "asyncpg.Pool[Any]") -> Moment:
    async with pool.acquire() as connection:
        return await generations.moment(connection, TAPE)


async def _counted(pool: "asyncpg.Pool[Any]") -> int:
    await count(pool)
    return (await _moment(pool)).generation


@pytest.fixture
async def standing(pool: "asyncpg.Pool[Any]", settings: Settings) -> int:
    """The generation when an event and a pattern are there."""
    await insert_patterns(
        settings.database_url, [Setup(1, detected_at=datetime.now(UTC) - timedelta(days=2))]
    )
    execute(settings.database_url, _EVENT.format("now() - interval '1 hour'"))
    return await _counted(pool)


@pytest.mark.parametrize(
    "change",
    [
        _EVENT.replace("2026-11-02", "2026-11-03").format("now()"),
        "UPDATE vsa_events SET knowable_at = now()",
        "DELETE FROM vsa_events",
        "TRUNCATE vsa_events",
        _OF_PATTERN.format('vsa_events = \'{"no_demand": 9, "no_supply": 0, "stopping_volume": 0}\''),
        _OF_PATTERN.format("phase = 'E'"),
        "DELETE FROM patterns",
        "UPDATE sectors SET sector = 'Energy' WHERE symbol = 'AAPL'",
    ],
)
async def test_a_change_of_what_is_counted_is_a_new_generation(
    pool: "asyncpg.Pool[Any]", settings: Settings, standing: int, change: str
) -> None:
    execute(settings.database_url, change)
    assert (await _moment(pool)).waiting_us > 0

    assert await _counted(pool) == standing + 1
    assert (await _moment(pool)).waiting_us == 0
    assert await _counted(pool) == standing + 1


async def test_trades_and_what_patterns_say_otherwise_are_not_counted_here(
    pool: "asyncpg.Pool[Any]", settings: Settings, standing: int
) -> None:
    await insert_trades(settings.database_url, [Trade(1, 1.0)])
    execute(settings.database_url, _OF_PATTERN.format("expires_at = expires_at + interval '1 day'"))
    execute(settings.database_url, "DELETE FROM vsa_events WHERE symbol = 'nobody'")

    assert await _counted(pool) == standing


async def test_an_event_that_becomes_known_later_is_counted_then(
    pool: "asyncpg.Pool[Any]", settings: Settings, standing: int
) -> None:
    execute(
        settings.database_url,
        _EVENT.replace("2026-11-02", "2026-11-03").format("now() + interval '1500 milliseconds'"),
    )
    assert await _counted(pool) == standing

    async def seen() -> bool:
        return await _counted(pool) == standing + 1

    await eventually(seen, within_s=60)


async def test_changes_by_many_are_counted_once_and_none_is_lost(
    pool: "asyncpg.Pool[Any]", settings: Settings, standing: int
) -> None:
    """A mark that is not yet committed when others are counted is counted by the next one."""
    late = await asyncpg.connect(settings.database_url)
    try:
        async with late.transaction():
            await late.execute("DELETE FROM vsa_events")
            execute(settings.database_url, "UPDATE sectors SET sector = 'Energy' WHERE symbol = 'AAPL'")
            execute(settings.database_url, "UPDATE sectors SET sector = 'Energy' WHERE symbol = 'MSFT'")
            await asyncio.gather(*(count(pool) for _ in range(4)))
            assert await _counted(pool) == standing + 1
    finally:
        await late.close()

    assert await _counted(pool) == standing + 2
