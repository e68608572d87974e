"""The roller as cache-builder and the command run it, and how its queries find their rows."""

from collections.abc import AsyncIterator, Collection
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import orjson
import pytest
import structlog
from prometheus_client import REGISTRY

from cache_builder.rolling import Roll
from rollotape.domain.rollups import Heading, Kind
from rollotape.errors import Unavailable
from rollotape.postgres.pool import open_pool
from rollotape.postgres.rollups import Rollups, Run, Waiting
from rollotape.postgres.sql import queries
from rollotape.settings import Settings
from support import trades
from support.commands import environment_of, rollo


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator["asyncpg.Pool[Any]"]:
    async with await open_pool(settings, service="test", raw_times=True) as opened:
        yield opened


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator["asyncpg.Connection[Any]"]:
    opened = await asyncpg.connect(settings.database_url)
    try:
        yield opened
    finally:
        await opened.close()


def metric(name: str) -> float:
    found = REGISTRY.get_sample_value(name)
    assert found is not None
    return found


async def test_what_is_behind_can_be_measured(
    pool: "asyncpg.Pool[Any]", connection: "asyncpg.Connection[Any]"
) -> None:
    await trades.store(connection, [trades.trade(Random(i)) for i in range(20)])
    before = metric("rollo_rollups_days_total")
    roll = Roll(Rollups(pool))
    days = await connection.fetchval("SELECT count(DISTINCT day) FROM unrolled_days")
    await roll.turn()
    while metric("rollo_rollups_backlog_days"):
        assert metric("rollo_rollups_oldest_mark_seconds") > 0
        await roll.turn()
    assert metric("rollo_rollups_oldest_mark_seconds") == 0
    assert metric("rollo_rollups_days_total") - before == days > 5


class Backlog(Rollups):
    """So many days that are left after each run."""

    def __init__(self, left: list[int]) -> None:
        self._left = left

    async def run(self, budget_s: float = 0.0, *, without: Collection[int] = ()) -> Run | None:
        return Run(1, self._left.pop(0), 7) if self._left else None

    async def waiting(self) -> Waiting:
        return Waiting(0, 0.0)


async def test_the_log_says_how_a_long_backlog_shrinks_and_that_it_is_done() -> None:
    roll = Roll(Backlog([3, 0, 900, 880, 21, 3, 0, 0]))
    with structlog.testing.capture_logs() as said:
        for _ in range(9):
            await roll.turn()
    told = [(line["event"], line.get("days_left")) for line in said]
    assert told == [("rollups_behind", 900), ("rollups_caught_up", None)]


class Away(Backlog):
    async def run(self, budget_s: float = 0.0, *, without: Collection[int] = ()) -> Run | None:
        raise OSError("gone")


async def test_an_outage_is_one_and_no_defect() -> None:
    with pytest.raises(Unavailable):
        await Roll(Away([])).turn()


async def test_a_day_that_cannot_be_rolled_keeps_no_other_from_it(
    pool: "asyncpg.Pool[Any]", connection: "asyncpg.Connection[Any]"
) -> None:
    await trades.store(connection, [trades.trade(Random(i)) for i in range(40)])
    day = await connection.fetchval("SELECT max(day) FROM unrolled_days")
    bad = f"ALTER TABLE performance_days ADD CONSTRAINT bad CHECK (day <> '{day}')"
    await connection.execute(bad)
    roll = Roll(Rollups(pool))
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            await roll.turn()
    assert [line["day"] for line in said if line["event"] == "rollups_defective"] == [str(day)]
    due = await connection.fetch("SELECT DISTINCT day FROM unrolled_days")
    assert [d for [d] in due] == [day]
    known = "SELECT generation FROM generations WHERE dataset = 'analytics'"
    generation = await connection.fetchval(known)
    await roll.turn()
    assert await connection.fetchval(known) == generation

    await connection.execute("ALTER TABLE performance_days DROP CONSTRAINT bad")
    await Roll(Rollups(pool)).turn()
    assert await connection.fetch("SELECT FROM unrolled_days") == []


async def test_the_command_adds_everything_up_anew(
    settings: Settings, connection: "asyncpg.Connection[Any]", tmp_path: Path
) -> None:
    await trades.store(connection, [trades.trade(Random(i)) for i in range(20)])
    days = await connection.fetchval("SELECT count(DISTINCT new_york_day(exit_date)) FROM signals")
    for _ in range(2):  # of nothing, and of rows that are wrong
        told = rollo(environment_of(settings), "analytics", "rebuild", "--json", where=tmp_path)
        assert orjson.loads(told.stdout)["days"] >= days
        assert await connection.fetchval("SELECT sum(trades) FROM performance_days") == 20
        await connection.execute("UPDATE performance_days SET trades = trades + 1")
    told = rollo(environment_of(settings), "analytics", "rebuild", where=tmp_path)
    assert "days added up anew in" in told.stdout
    assert await connection.fetchval("SELECT sum(trades) FROM performance_days") == 20


MANY = """
INSERT INTO performance_headlines
SELECT 'day', date '2021-01-01' + d, 'type', 'T' || n, 'all', 'all', 'all', 'all',
       1, 0, 0, 0, 0, 0, 0, 0, 0, 0, now(), NULL, 1
FROM generate_series(0, 999) d, generate_series(1, 100) n;
INSERT INTO performance_days
SELECT date '2021-01-01' + d, 'T' || n, NULL, 'long', NULL, '1d', 'paper', NULL, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
       now(), 1
FROM generate_series(0, 999) d, generate_series(1, 100) n;
ANALYZE performance_headlines, performance_days;
"""
DAY = date(2022, 3, 1)
_SOME_HEADINGS = [["all"]] * len(Heading._fields)
_SOME_KINDS = [*([["T1"]] * (len(Kind._fields) - 1)), [True]]


@pytest.mark.parametrize(
    ("query", "arguments", "index"),
    [
        ("forget_headlines", [DAY, "day"], "idx_performance_headlines_period"),
        ("headlines", [DAY, date(2022, 4, 1), "day", [DAY]], "idx_performance_headlines_period"),
        ("forget_kinds", [DAY], "uq_performance_days"),
        ("forget_some_headlines", [DAY, "day", *_SOME_HEADINGS], "idx_performance_headlines_period"),
        ("forget_some_kinds", [DAY, *_SOME_KINDS], "uq_performance_days"),
    ],
)
async def test_a_day_is_found_by_an_index(
    connection: "asyncpg.Connection[Any]", query: str, arguments: list[Any], index: str
) -> None:
    await connection.execute(MANY)
    plan = await connection.fetch(f"EXPLAIN {queries('rollups')[query]}", *arguments)
    assert any(index in line for [line] in plan), "\n".join(line for [line] in plan)
