"""Who is in saved scans, looked for while everybody who looks is killed, stopped or cut off."""

import asyncio
from random import Random
from typing import Any

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from rollotape.events import FIELD
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from rollotape.verify import verify
from support import databases
from support.folders import open_folder
from support.newcomers import SYMBOLS, Market
from support.runs import Hits, Place, database
from support.stack import Crew, Stack
from support.waiting import eventually
from support.workers import Worker, forks

pytestmark = pytest.mark.chaos

STEPS = 150
WITHIN_S = 120.0
CUT_OFF = """
SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND application_name = 'rollo-cache-builder') ended
"""
_DUE = "SELECT EXISTS (SELECT FROM unscanned) OR EXISTS (SELECT FROM outbox)"


async def test_entrants_follow_the_market_through_kills_and_everybody_who_came_in_was_told(
    place: Place, tally: Hits
) -> None:
    rng = Random("entrants")
    with database(place) as name, open_folder() as folder:
        stack = Stack(lambda: place.servers.urls, name, folder)
        connection = await asyncpg.connect(stack.database_url)
        async with stack.running(forks(), Crew(0, 0, 3)):
            market = Market(connection, rng)
            for n in range(STEPS):
                await market.step()
                if n % 10 == 9:
                    await _hurt(stack, rng.choice(stack.workers), rng)
            last = await market.save("eve", {"confidence_min": 0.0})
            await connection.execute("DELETE FROM patterns")
            await _quiet(stack)
            for symbol in SYMBOLS:
                await market.detect(symbol)
                await _hurt(stack, rng.choice(stack.workers), rng)
            await _quiet(stack)
            await stack.stop()
            killed = sum(worker.killed for worker in stack.workers)
        await connection.close()
        rows = await _check(stack)
        told = await _told(stack)
    assert {symbol for scan, symbol in told if scan == str(last)} == set(SYMBOLS)
    tally(f"entrants: {rows} rows and {len(told)} newcomers told after {killed} kills")


async def _hurt(stack: Stack, worker: Worker, rng: Random) -> None:
    await asyncio.sleep(rng.random() / 2)
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


async def _quiet(stack: Stack) -> None:
    async def nothing_due() -> bool:
        return not databases.fetch(stack.database_url, _DUE)[0][0]

    await eventually(nothing_due, within_s=WITHIN_S, what="nothing due")


async def _check(stack: Stack) -> int:
    """Everything is as if looked at one by one; how many rows that is."""
    settings = Settings(redis_url=stack.redis_url, database_url=stack.database_url)
    async with await open_pool(settings, service="verify", raw_times=True) as pool:
        report = await verify(pool)
        assert [d for d in report.differences if d.table == "entrants"] == []
        assert (report.scans_pending, report.symbols_pending) == (0, 0)
        assert report.entrants_checked > 0
    return report.entrants_checked


async def _told(stack: Stack) -> set[tuple[str, str]]:
    """(scan, symbol); what was said twice has one id and says the same."""
    facts: dict[str, Any] = {}
    async with Redis.from_url(stack.redis_url) as client:
        entries: Any = await client.xrange("updates")
        for _, fields in entries:
            fact = orjson.loads(fields[FIELD])
            assert facts.setdefault(fact["id"], fact) == fact
    return {(f["scan"]["id"], entrant["symbol"]) for f in facts.values() for entrant in f["entrants"]}
