"""What trades have earned, added up while everybody is killed, stopped or cut off."""

import asyncio
from random import Random

import pytest

from rollotape.postgres.pool import open_pool
from rollotape.postgres.rollups import Rollups
from rollotape.settings import Settings
from rollotape.verify import verify
from support import databases, feeds, pattern_feeds, signal_feeds
from support.folders import open_folder
from support.runs import Hits, Place, database
from support.stack import Crew, Stack
from support.waiting import eventually
from support.workers import Worker, forks

pytestmark = pytest.mark.chaos

PARTS = 16
DRAIN_S = 120.0
CUT_OFF = """
SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND application_name = 'rollo-cache-builder') ended
"""
ROWS = """
SELECT to_jsonb(d)::text FROM performance_days d
UNION ALL
SELECT to_jsonb(h)::text FROM performance_headlines h
ORDER BY 1
"""


async def test_rollups_follow_trades_through_kills_pauses_and_broken_sessions(
    place: Place, tally: Hits
) -> None:
    rng = Random("rollups")
    sent = feeds.storm(feeds.some(place.history, rng, symbols=6, always=feeds.BENCHMARKS), rng)
    traded = pattern_feeds.storm(signal_feeds.told(sent, rng, lives=150), rng)
    messages = pattern_feeds.woven(feeds.mixed(sent, rng), traded, rng)
    size = len(messages) // PARTS + 1

    with database(place) as name, open_folder() as folder:
        stack = Stack(lambda: place.servers.urls, name, folder)
        async with stack.running(forks(), Crew(2, 0, 2)):
            rollers = [worker for worker in stack.workers if worker.service == "cache-builder"]
            for first in range(0, len(messages), size):
                await stack.send(messages[first : first + size])
                await _hurt(stack, rng.choice([*rollers, *stack.workers]), rng)
            await stack.drain(DRAIN_S)
            await eventually(lambda: _nothing_due(stack), within_s=DRAIN_S, what="nothing due")
            await stack.stop()
            killed = sum(worker.killed for worker in stack.workers)
        rows = await _check(stack)
    tally(f"rollups: {rows} rows after {killed} kills")


async def _hurt(stack: Stack, worker: Worker, rng: Random) -> None:
    """While it rolls as a rule: there is always something due by then."""
    await eventually(lambda: _something_due(stack), what="something due")
    await asyncio.sleep(rng.random())
    what = rng.random()
    if what < 0.5:
        worker.kill()
        worker.start()
    elif what < 0.75:
        worker.pause()
        await asyncio.sleep(rng.random())
        worker.resume()
    else:
        databases.fetch(stack.database_url, CUT_OFF)


async def _something_due(stack: Stack) -> bool:
    return bool(databases.fetch(stack.database_url, "SELECT EXISTS (SELECT FROM unrolled_days)")[0][0])


async def _nothing_due(stack: Stack) -> bool:
    return not await _something_due(stack)


async def _check(stack: Stack) -> int:
    """Everything is as if added up one by one, and as if rolled from nothing; how many rows that is."""
    settings = Settings(redis_url=stack.redis_url, database_url=stack.database_url)
    async with await open_pool(settings, service="verify", raw_times=True) as pool:
        report = await verify(pool)
        assert (report.differences, report.days_pending) == ([], 0)
        rows = await pool.fetch(ROWS)
        origins = await pool.fetch("SELECT DISTINCT origin FROM performance_days")
        assert {origin for [origin] in origins} == {"external", "paper"}
        await pool.execute("TRUNCATE performance_days, performance_headlines")
        rollups = Rollups(pool)
        await rollups.mark_everything()
        while await rollups.run():
            pass
        assert await pool.fetch(ROWS) == rows
    return len(rows)
