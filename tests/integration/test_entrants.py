"""Who is in a saved scan, on a real database: whatever happens, it is those whom the scan would find."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from rollotape.events import ScanUpdate
from rollotape.postgres import outbox
from rollotape.postgres.entrants import Entrants
from rollotape.postgres.pool import open_pool
from rollotape.postgres.sql import queries
from rollotape.settings import Settings
from rollotape.verify import verify
from support.newcomers import MONDAY, OWNERS, Market, now

_ENTRANTS = "SELECT scan_id, symbol FROM entrants ORDER BY 1, 2"
WIDE = {"confidence_min": 0.0}


@dataclass(slots=True)
class Desk:
    """A market, and somebody who looks who comes into which scan."""

    market: Market
    pool: "asyncpg.Pool[Any]"
    entrants: Entrants

    @property
    def connection(self) -> "asyncpg.Connection[Any]":
        return self.market.connection

    async def look(self, who: Entrants | None = None) -> list[dict[str, Any]]:
        """Until nothing is due; what was told."""
        while await (who or self.entrants).turn():
            pass
        said = await outbox.stale(self.pool, -1.0)
        await outbox.forget(self.pool, said)
        facts = [orjson.loads(payload) for unsaid in said for _, payload in unsaid.messages]
        for fact in facts:
            ScanUpdate.model_validate_json(orjson.dumps(fact))
        return facts

    async def stored(self) -> set[tuple[UUID, str]]:
        return {(i, symbol) for i, symbol in await self.connection.fetch(_ENTRANTS)}

    async def check(self) -> None:
        """Nothing is due, and everything is as if looked at one by one."""
        report = await verify(self.pool)
        assert (report.scans_pending, report.symbols_pending) == (0, 0)
        assert [d for d in report.differences if d.table == "entrants"] == []


@asynccontextmanager
async def open_desk(settings: Settings, seed: str = "desk") -> AsyncIterator[Desk]:
    async with await open_pool(settings, service="test", raw_times=True) as pool:
        connection = await asyncpg.connect(settings.database_url)
        try:
            yield Desk(Market(connection, Random(seed)), pool, Entrants(pool))
        finally:
            await connection.close()


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with open_desk(settings) as opened:
        await opened.look()
        yield opened


def who(facts: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Owner, id of the scan, symbols."""
    return sorted((f["owner"], f["scan"]["id"], [e["symbol"] for e in f["entrants"]]) for f in facts)


# ---- whatever happens


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_in_whatever_order_the_rows_are_those_that_the_scans_find(
    settings: Settings, seed: int
) -> None:
    async with open_desk(settings, f"steps {seed}") as desk:
        others = [desk.entrants, Entrants(desk.pool), Entrants(desk.pool)]
        r = Random(f"lookers {seed}")
        for _ in range(70):
            for _ in range(r.randint(1, 4)):
                await desk.market.step()
            if r.random() < 0.3:
                await _crash(desk, settings, r)
            if r.random() < 0.7:
                # Others remember what was, and must not believe it.
                await desk.look(r.choice(others))
                await desk.check()
        await desk.look()
        await desk.check()
        rows = await desk.stored()
        assert rows, "nobody was in any scan"
        await desk.connection.execute("TRUNCATE entrants")
        assert await desk.look(Entrants(desk.pool)) == []
        assert await desk.stored() == rows


async def _crash(desk: Desk, settings: Settings, r: Random) -> None:
    """Somebody looks, and is cut off in the middle of it, after so many answers of PostgreSQL."""
    async with await open_pool(settings, service="gone", raw_times=True) as pool:
        looking = asyncio.create_task(Entrants(pool).turn())
        for _ in range(r.randint(0, 14)):
            await desk.connection.execute("SELECT 1")
        await desk.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'rollo-gone' AND datname = current_database()"
        )
        await asyncio.gather(looking, return_exceptions=True)
        pool.terminate()


async def test_two_who_look_at_once_do_not_undo_each_other(settings: Settings) -> None:
    async with open_desk(settings, "at once") as desk:
        lookers = [Entrants(desk.pool) for _ in range(3)]
        for _ in range(25):
            for _ in range(3):
                await desk.market.step()
            looks = [asyncio.create_task(looker.turn()) for looker in lookers]
            await desk.market.step()
            for found in await asyncio.gather(*looks, return_exceptions=True):
                assert not isinstance(found, BaseException) or isinstance(found, asyncpg.SerializationError)
            await desk.look()
            await desk.check()


# ---- who is told


async def test_a_symbol_that_comes_in_is_told_once_to_the_owner_of_the_scan(desk: Desk) -> None:
    mine = await desk.market.save("ada", {"pattern_types": ["SPRING"], **WIDE})
    await desk.market.save("bob", {"pattern_types": ["SOS"], **WIDE})
    assert await desk.look() == []

    pattern = await desk.market.detect("S1", pattern_type="SPRING", timeframe="1d", confidence=0.7)
    await desk.market.detect("S1", pattern_type="SPRING", confidence=0.2)
    [told] = await desk.look()

    assert (told["type"], told["owner"]) == ("scan.new_entrants", "ada")
    assert told["scan"] == {"id": str(mine), "name": mine.hex}
    assert told["entrants"] == [
        {
            "symbol": "S1", "pattern_id": str(pattern), "pattern_type": "SPRING", "timeframe": "1d",
            "confidence": 0.7,
        }
    ]  # fmt: skip
    await desk.market.detect("S1", pattern_type="SPRING", confidence=0.9)
    assert await desk.look() == [], "it is in already"
    await desk.check()


async def test_leaving_and_coming_in_again_is_told_again_under_a_higher_version(desk: Desk) -> None:
    scan = await desk.market.save("ada", WIDE)
    await desk.look()
    first = await desk.market.detect("S1")
    [before] = await desk.look()
    await desk.market.detect("S1", id=first, status="expired")
    assert (await desk.look(), await desk.stored()) == ([], set())
    await desk.market.detect("S1")
    [after] = await desk.look()
    assert who([before]) == who([after]) == [("ada", str(scan), ["S1"])]
    assert after["fact_version"] > before["fact_version"]
    assert after["id"] != before["id"]


async def test_who_is_there_already_is_not_told(desk: Desk) -> None:
    await desk.market.detect("S1", pattern_type="SPRING")
    await desk.market.detect("S2", pattern_type="SOS")
    scan = await desk.market.save("ada", {"pattern_types": ["SPRING"], **WIDE})
    assert await desk.look() == []
    assert await desk.stored() == {(scan, "S1")}

    await desk.market.save("ada", {"pattern_types": ["SOS"], **WIDE}, scan)
    assert await desk.look() == []
    assert await desk.stored() == {(scan, "S2")}

    await desk.connection.execute("DELETE FROM saved_scans")
    assert (await desk.look(), await desk.stored()) == ([], set())
    await desk.check()


async def test_a_change_of_the_watchlist_by_its_owner_is_silent(desk: Desk) -> None:
    for symbol in ("S1", "S2"):
        await desk.market.detect(symbol)
    watched = await desk.market.watch("ada", ["S1", "S3"])
    scan = await desk.market.save("ada", {"watchlist_id": str(watched), **WIDE})
    await desk.look()
    await desk.market.watch("ada", ["S2", "S3"], watched)
    assert await desk.look() == []
    assert await desk.stored() == {(scan, "S2")}

    await desk.market.detect("S3")
    assert who(await desk.look()) == [("ada", str(scan), ["S3"])]


async def test_a_universe_that_changes_is_news_for_the_scans_within_it(desk: Desk) -> None:
    for symbol in ("S1", "S2"):
        await desk.market.detect(symbol)
    keys = ("sp500", "exchange:nyse")
    scans = {key: await desk.market.save("ada", {"universe": key, **WIDE}) for key in keys}
    assert await desk.look() == []
    await desk.connection.execute("UPDATE universes SET symbols = '{S1,S9}' WHERE key = 'sp500'")
    assert who(await desk.look()) == [("ada", str(scans["sp500"]), ["S1"])]
    await desk.connection.execute("INSERT INTO exchanges VALUES ('S2', 'NYSE')")
    assert who(await desk.look()) == [("ada", str(scans["exchange:nyse"]), ["S2"])]
    await desk.connection.execute("UPDATE universes SET symbols = '{}' WHERE key = 'sp500'")
    assert await desk.look() == []
    assert await desk.stored() == {(scans["exchange:nyse"], "S2")}


async def test_strength_brings_in_and_takes_out(desk: Desk) -> None:
    today = now().date()
    await desk.market.detect("S1", rs_ratio=0.5, rs_excess=-9.0, detected_at=now() - timedelta(days=5))
    by_excess = await desk.market.save("ada", {"rs_excess_min": 0.0, **WIDE})
    by_ratio = await desk.market.save("bob", {"rs_min": 1.0, **WIDE})
    await desk.look()
    await desk.market.map("S1", 4.0, as_of=today)
    assert who(await desk.look()) == [("ada", str(by_excess), ["S1"])], "there is no ratio of ours yet"
    await desk.market.score("S1", today, 4.0, 1.3)
    assert who(await desk.look()) == [("bob", str(by_ratio), ["S1"])]
    await desk.market.score("S1", today - timedelta(days=1), 4.0, 0.3)
    assert await desk.look() == [], "an older day says nothing"
    await desk.check()
    await desk.market.map("S1", None, as_of=today)
    assert (await desk.look(), await desk.stored()) == ([], set())


@pytest.mark.parametrize(("hours", "told"), [(23, 1), (25, 0)])
async def test_what_could_be_known_more_than_a_day_before_is_history(
    desk: Desk, hours: int, told: int
) -> None:
    scan = await desk.market.save("ada", WIDE)
    await desk.look()
    await desk.market.detect("S1", detected_at=now() - timedelta(hours=hours))
    assert len(await desk.look()) == told
    assert await desk.stored() == {(scan, "S1")}


async def test_a_test_that_was_passed_today_is_news_of_an_old_pattern(desk: Desk) -> None:
    scan = await desk.market.save("ada", {"test_confirmed": True, **WIDE})
    await desk.look()
    old = {"detected_at": now() - timedelta(days=9)}
    pattern = await desk.market.detect("S1", test_confirmed=False, **old)
    assert await desk.look() == []
    await desk.market.detect("S1", id=pattern, test_confirmed=True, confirmed_at=now(), **old)
    assert who(await desk.look()) == [("ada", str(scan), ["S1"])]


async def test_scores_of_long_ago_are_history(desk: Desk) -> None:
    await desk.market.detect("S1", rs_excess=None, rs_ratio=None)
    await desk.market.save("ada", {"rs_excess_min": 0.0, **WIDE})
    await desk.look()
    await desk.market.map("S1", 4.0, as_of=now().date() - timedelta(days=10))
    assert await desk.look() == []
    assert len(await desk.stored()) == 1


async def test_patterns_that_end_by_the_clock_or_by_the_bars_leave_without_a_mark(desk: Desk) -> None:
    scan = await desk.market.save("ada", WIDE)
    await desk.connection.execute("INSERT INTO newest_bars VALUES ('1d', now() - interval '2 days')")
    await desk.market.detect("S1", expires_at=now() + timedelta(seconds=3))
    await desk.market.detect(
        "S2", source="rollo", confirmed_ts=now(), timeframe="1d", expires_at=now() - timedelta(days=1)
    )
    await desk.look()
    assert await desk.stored() == {(scan, "S1"), (scan, "S2")}
    await desk.connection.execute("INSERT INTO newest_bars VALUES ('1d', now())")
    await desk.look()
    assert await desk.stored() == {(scan, "S1")}
    async with asyncio.timeout(60):
        while await desk.stored():
            await desk.look()
            await asyncio.sleep(0.05)
    await desk.check()


async def test_many_who_come_in_at_once_are_told_in_parts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollotape.postgres.entrants.ENTRANTS_AT_ONCE", 3)
    monkeypatch.setattr("rollotape.postgres.entrants.MESSAGES_AT_ONCE", 2)
    await desk.market.save("ada", WIDE)
    await desk.look()
    for n in range(10):
        await desk.market.detect(f"T{n}")
    facts = await desk.look()
    assert sorted(e["symbol"] for f in facts for e in f["entrants"]) == [f"T{n}" for n in range(10)]
    assert len({f["id"] for f in facts}) == len(facts) == 4


async def test_a_turn_is_bounded_and_the_rest_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollotape.postgres.entrants.PAIRS_AT_ONCE", 6)
    monkeypatch.setattr("rollotape.postgres.entrants.SCANS_AT_ONCE", 2)
    for owner in OWNERS:
        await desk.market.save(owner, WIDE)
        await desk.market.save(owner, {"pattern_types": ["NONE"], **WIDE})
    await desk.entrants.turn()
    assert (await desk.entrants.waiting()).scans == 2
    await desk.look()
    for n in range(5):
        await desk.market.detect(f"T{n}")
    await desk.entrants.turn()
    waiting = await desk.entrants.waiting()
    assert waiting.symbols == 4 and waiting.oldest_s > 0
    assert len(await desk.look()) >= 4
    await desk.check()
    assert MONDAY.weekday() == 0


async def test_rows_are_found_by_their_indexes(desk: Desk) -> None:
    owner = "INSERT INTO saved_scans (id, owner, name, filters) SELECT gen_random_uuid(), 'o' || n, 'n', '{}'"
    await desk.connection.execute(f"{owner} FROM generate_series(1, 2000) n")
    await desk.connection.execute(
        "INSERT INTO entrants SELECT id, 'T' || n FROM saved_scans, generate_series(1, 40) n"
    )
    await desk.connection.execute("ANALYZE entrants")
    for query, argument, index in (
        ("of_symbols", ["T7"], "idx_entrants_symbol"),
        ("of_scans", [UUID(int=7)], "entrants_pkey"),
    ):
        rows = await desk.connection.fetch(f"EXPLAIN {queries('entrants')[query]}", argument)
        plan = "\n".join(row[0] for row in rows)
        assert index in plan and "Seq Scan" not in plan, plan
