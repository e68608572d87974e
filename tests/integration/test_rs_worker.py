"""Strength on real servers: whatever comes in whatever order, the same scores, and nothing left undone."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from rollotape.events import RsUpdate
from rollotape.postgres.strength import NEWEST, Block
from rollotape.settings import Settings
from rollotape.verify import verify
from rs_worker import handlers
from support import markets
from support.applying import Bench
from support.markets import Days, number
from support.scoring import Crash, Fragile, Scoring, another, bar, open_scoring
from support.waiting import eventually

FIRST = date(2016, 1, 4)
NAMES = ("AA", "BB", "CC", "DD", "EE", "FF", "GG", "HH")
OF: dict[str, str | None] = {
    **dict.fromkeys(NAMES[:6], "Industrials"), "GG": "Energy", "HH": "Telecommunication Services",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "QUIET_S", 0.0)


@pytest.fixture
async def scoring(settings: Settings) -> AsyncIterator[Scoring]:
    async with open_scoring(settings) as scoring:
        yield scoring


def walk(days: int = 300, *, seed: int = 1, holes: float = 0.02) -> dict[str, Days]:
    """Eight stocks, SPY and two funds over so many weekdays, each with holes of its own."""
    rng = random.Random(seed)
    dates = [markets.day(d) for d in markets.weekdays(days, number(FIRST))]
    found = {}
    for symbol in (*NAMES, "SPY", "XLI", "XLE"):
        close, series = rng.uniform(20, 200), []
        for day in dates:
            close = round(max(1.0, close * rng.uniform(0.97, 1.031)), 2)
            if rng.random() >= holes:
                series.append((day, close))
        found[symbol] = series
    return found


def payloads(series: dict[str, Days]) -> list[bytes]:
    return [bar(symbol, day, close) for symbol, days in series.items() for day, close in days]


async def assert_verified(bench: Bench) -> None:
    report = await verify(bench.pool)
    assert report.differences == []
    assert report.dates_pending == 0


async def test_a_new_database_owes_its_mapping_before_the_first_bar(scoring: Scoring) -> None:
    assert (await verify(scoring.bench.pool)).differences == []
    await scoring.settle()
    await assert_verified(scoring.bench)
    assert await scoring.bench.pool.fetchval("SELECT count(*) FROM sector_mapping") > 100


async def test_bars_become_scores_a_mapping_and_one_fact_per_date(scoring: Scoring) -> None:
    made = walk()
    await scoring.sectors(OF)
    await scoring.bars(payloads(made))
    await scoring.settle()

    dates = {day for symbol in NAMES for day, _ in made[symbol]}
    stored = await scoring.stored()
    assert len(stored) == sum(len(made[symbol]) for symbol in NAMES)
    query = "SELECT symbol, etf, as_of FROM sector_mapping WHERE symbol = ANY('{AA,GG,HH}')"
    mapped = await scoring.bench.rows(query)
    newest = number(max(dates))
    assert sorted(mapped) == [("AA", "XLI", newest), ("GG", "XLE", newest), ("HH", None, newest)]
    facts = await scoring.facts()
    scored = [f for f in facts if f["type"] == "rs.scored"]
    assert {f["as_of"] for f in scored} == {day.isoformat() for day in dates}
    assert len({f["id"] for f in scored}) == len(scored) == len(dates)
    assert sum(f["changed"] for f in scored) == len(stored)
    assert [f["as_of"] for f in facts if f["type"] == "rs.mapped"] == [max(dates).isoformat()]
    assert [RsUpdate.model_validate_json(orjson.dumps(f)).fact_version for f in facts] == [1] * len(facts)
    await assert_verified(scoring.bench)


async def test_a_turn_with_nothing_to_do_does_nothing(scoring: Scoring) -> None:
    await scoring.bars(payloads(walk(60)))
    await scoring.settle()
    before = await scoring.exports(), await scoring.facts()
    assert not await scoring.score.once()
    assert (await scoring.exports(), await scoring.facts()) == before
    for table in ("dirty_symbols", "dirty_dates", "outbox"):
        assert await scoring.bench.rows(f"SELECT count(*) FROM {table}") == [(0,)]


async def test_marks_of_other_timeframes_are_taken_away(scoring: Scoring) -> None:
    await scoring.settle()  # the mapping of a new database
    said = orjson.loads(bar("AA", date(2024, 1, 2), 10.0))
    await scoring.bars([orjson.dumps(said | {"timeframe": "1h", "ts": "2024-01-02T15:30:00Z"})])
    assert not await scoring.score.once()
    assert await scoring.bench.rows("SELECT count(*) FROM dirty_symbols") == [(0,)]
    assert await scoring.bench.rows("SELECT count(*) FROM rs_dates WHERE as_of < 'infinity'") == [(0,)]


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_and_any_turns_between_give_the_same_scores(scoring: Scoring, seed: int) -> None:
    made = payloads(walk(290))
    await scoring.sectors(OF)
    await scoring.bars(made)
    await scoring.settle()
    expected = await scoring.exports()
    await scoring.clear([*NAMES, "SPY", "XLI", "XLE"])
    await scoring.sectors(dict.fromkeys(OF, "Utilities"))

    rng = random.Random(seed)
    mixed = [*made, *rng.choices(made, k=200)]
    rng.shuffle(mixed)
    moment = rng.randrange(len(mixed))
    for i in range(0, len(mixed), 700):
        if i <= moment < i + 700:
            await scoring.sectors(OF)
        await scoring.bars(mixed[i : i + 700])
        for _ in range(rng.randrange(3)):
            await scoring.score.once()
    await scoring.settle()
    assert await scoring.exports() == expected
    await assert_verified(scoring.bench)


async def test_both_files_in_either_order_give_the_same_and_the_tie_of_2014(
    scoring: Scoring, shared_data: Path
) -> None:
    everything = markets.read(shared_data / "bars_daily_sp500.csv.gz")
    of = markets.sectors_of(shared_data / "sectors.csv")
    names = {*markets.forty(everything), *(s for s, sector in of.items() if sector == "Industrials")}
    until, since = date(2014, 5, 30), date(2013, 3, 1)
    stocks = {s: [d for d in everything[s] if d[0] <= until] for s in names if s in everything}
    funds = markets.read(shared_data / "bars_daily_etf.csv.gz")
    funds = {s: [d for d in days if since <= d[0] <= until] for s, days in funds.items()}
    first, second = payloads(stocks), payloads(funds)
    await scoring.sectors(of)

    found = []
    for one, other in ((first, second), (second, first)):
        await scoring.bars(one)
        await scoring.settle()
        await scoring.bars(other)
        await scoring.settle()
        found.append(await scoring.exports())
        ranks = await scoring.bench.rows(
            "SELECT symbol, sector_rank, is_sector_leader FROM rs_scores "
            "WHERE as_of = '2014-05-16' AND symbol IN ('CHRW', 'LUV') ORDER BY symbol"
        )
        assert ranks == [("CHRW", 12, True), ("LUV", 12, True)]
        if len(found) == 1:
            await assert_verified(scoring.bench)
            await scoring.clear([*stocks, *funds])
    assert found[0] == found[1]


@pytest.mark.parametrize("symbol", ["SPY", "XLI", "AA"])
async def test_a_restated_bar_changes_every_score_it_should_and_touches_nothing_else(
    scoring: Scoring, symbol: str
) -> None:
    made = walk(620, holes=0.01)
    await scoring.sectors(OF)
    await scoring.bars(payloads(made))
    await scoring.settle()
    before, places = await scoring.stored(), await physical(scoring)
    said = len(await scoring.facts())
    day, close = made[symbol][200]

    await scoring.bars([bar(symbol, day, round(close * 1.07, 2), revision=1)])
    await scoring.settle()

    after = await scoring.stored()
    changed = {key for key, row in after.items() if before[key] != row}
    assert after.keys() == before.keys()
    assert min(d for d, _ in changed) == number(day)
    assert number(day) + 340 <= max(d for d, _ in changed) <= number(day) + 380
    assert {key for key, at in (await physical(scoring)).items() if places[key] != at} == changed
    told = {f["as_of"]: f["changed"] for f in (await scoring.facts())[said:] if f["type"] == "rs.scored"}
    assert {number(date.fromisoformat(d)) for d in told} == {d for d, _ in changed}
    assert sum(told.values()) == len(changed)
    if symbol == "XLI":
        assert {s for _, s in changed} == set(NAMES[:6])
    await assert_verified(scoring.bench)


async def physical(scoring: Scoring) -> dict[tuple[int, str], Any]:
    """Which version of every row is stored: it moves when the row is written, whatever it says."""
    rows = await scoring.bench.rows("SELECT as_of, symbol, xmin::text FROM rs_scores")
    return {row[:2]: row[2] for row in rows}


async def test_a_bar_restated_as_synthetic_takes_its_row_with_it(scoring: Scoring) -> None:
    made = walk(120, holes=0)
    await scoring.bars(payloads(made))
    await scoring.settle()
    for symbol in ("AA", "SPY"):
        day, close = made[symbol][-1]
        await scoring.bars([bar(symbol, day, close, synthetic=True, revision=1)])
        await scoring.settle()
        await assert_verified(scoring.bench)
    day = made["AA"][-1][0]
    assert (number(day), "AA") not in await scoring.stored()
    assert (number(day), "BB") in await scoring.stored()


async def test_a_moved_stock_is_ranked_in_its_new_sector_on_every_day_and_nothing_else_is_computed(
    scoring: Scoring,
) -> None:
    made = walk(150)
    await scoring.sectors(OF)
    await scoring.bars(payloads(made))
    await scoring.settle()
    assert await scoring.sectors(OF) == (0, 0)
    assert await scoring.settle() == 0
    assert await scoring.sectors({"AA": "Energy"}) == (1, 1)
    await scoring.settle()
    rows = await scoring.bench.rows("SELECT DISTINCT sector_status FROM rs_scores WHERE symbol = 'HH'")
    assert rows == [("nnnnn",)]
    [row] = await scoring.bench.rows("SELECT sector, etf, rank FROM sector_mapping WHERE symbol = 'AA'")
    assert row[:2] == ("Energy", "XLE")
    await assert_verified(scoring.bench)


async def test_what_turns_out_to_be_a_fund_loses_its_scores_and_gets_them_back(scoring: Scoring) -> None:
    await scoring.sectors(OF)
    await scoring.bars(payloads(walk(80)))
    await scoring.settle()
    before = await scoring.exports()
    await scoring.sectors({"AA": "Industrials"}, kind="etf")
    await scoring.settle()
    assert not [s for _, s in await scoring.stored() if s == "AA"]
    assert await scoring.bench.rows("SELECT count(*) FROM sector_mapping WHERE symbol = 'AA'") == [(0,)]
    await assert_verified(scoring.bench)
    await scoring.sectors({"AA": "Industrials"}, kind="stock")
    await scoring.settle()
    assert await scoring.exports() == before


async def test_funds_and_benchmarks_are_never_scored_even_if_nobody_lists_them(scoring: Scoring) -> None:
    await scoring.bench.pool.execute("DELETE FROM sectors")
    await scoring.bars(payloads(walk(40)))
    await scoring.settle()
    assert {s for _, s in await scoring.stored()} == set(NAMES)
    assert await scoring.bench.rows("SELECT DISTINCT sector FROM sector_mapping") == [(None,)]
    await assert_verified(scoring.bench)


async def test_a_crash_at_any_statement_is_harmless(scoring: Scoring) -> None:
    await scoring.sectors(OF)
    made = walk(100)
    await scoring.bars(payloads(made))
    await scoring.settle()
    expected = await scoring.exports()
    crashes = 0
    for n in range(1_000):
        await scoring.forget()
        replica = scoring.replica(Fragile(scoring.bench.pool, n))
        try:
            while await replica.once():
                pass
        except Crash:
            crashes += 1
        else:
            break
        await scoring.settle()
        assert await scoring.exports() == expected, f"after a crash at statement {n}"
        await scoring.bench.outbox.sweep(older_than_s=0)
    assert crashes > 20
    assert await scoring.bench.rows("SELECT count(*) FROM outbox") == [(0,)]
    await assert_verified(scoring.bench)
    newest = {f["id"]: f["fact_version"] for f in await scoring.facts()}
    versions = await scoring.bench.rows("SELECT count(*) FROM rs_dates WHERE version > 0")
    assert versions == [(len(newest),)], "a date that changed was not told of"


async def test_replicas_share_the_days_while_bars_keep_coming(
    scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "ROWS_AT_ONCE", 200)
    made = payloads(walk(200))
    random.Random(7).shuffle(made)
    await scoring.sectors(OF)
    async with another(scoring) as one, another(scoring) as two:
        coming = True

        async def work(replica: handlers.Score) -> None:
            while await replica.once() or coming:
                pass

        async def bring() -> None:
            nonlocal coming
            for i in range(0, len(made), 300):
                await scoring.bars(made[i : i + 300])
            coming = False

        await asyncio.gather(bring(), work(one), work(two))
    await scoring.settle()
    found = await scoring.exports()
    await assert_verified(scoring.bench)
    await scoring.forget()
    await scoring.settle()
    assert await scoring.exports() == found


async def test_a_day_that_is_locked_is_left_to_who_has_it(scoring: Scoring) -> None:
    await scoring.bars(payloads(walk(30)))
    await scoring.score._strength.expand()
    async with scoring.score._strength.due(1) as first:
        assert first
        async with another(scoring) as other, other._strength.due(10_000) as second:
            assert second
            assert not set(first.days) & set(second.days)
            assert min(second.days) > max(first.days)


async def test_a_bar_that_comes_while_its_day_is_scored_makes_the_day_due_again(
    scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = walk(60, holes=0)
    day, close = made["AA"][-1]
    await scoring.bars(payloads(made))
    write = Block.write
    brought = False

    async def late(block: Block, changes: Any) -> dict[int, int]:
        nonlocal brought
        if number(day) in block.days and not brought:
            brought = True
            await scoring.bars([bar("AA", day, close * 2, revision=1)])
        return await write(block, changes)

    monkeypatch.setattr(Block, "write", late)
    await scoring.settle()
    assert brought
    await assert_verified(scoring.bench)


async def test_a_day_that_cannot_be_scored_does_not_keep_the_others_waiting(
    scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = walk(60, holes=0)
    await scoring.bars(payloads(made))
    bad, healthy = number(made["AA"][30][0]), Block.market

    async def market(block: Block, days: Sequence[int] | None = None) -> Any:
        if bad in block.days:
            raise ValueError("a bug")
        return await healthy(block, days)

    monkeypatch.setattr(Block, "market", market)
    await scoring.settle()
    due = {d for [d] in await scoring.bench.rows("SELECT DISTINCT as_of FROM dirty_dates")}
    assert due == {bad}
    assert len({d for d, _ in await scoring.stored()}) == 59
    monkeypatch.undo()
    monkeypatch.setattr(handlers, "QUIET_S", 0.0)
    await scoring.bars([bar("AA", made["AA"][-1][0] + timedelta(days=1), 5.0)])
    await scoring.settle()
    assert await scoring.bench.rows("SELECT count(*) FROM dirty_dates") == [(0,)]
    await assert_verified(scoring.bench)


async def test_what_was_stored_before_there_were_scores_is_scored(scoring: Scoring) -> None:
    await scoring.sectors(OF)
    await scoring.bars(payloads(walk(70)))
    await scoring.settle()
    expected = await scoring.exports()
    await scoring.forget()
    await scoring.settle()
    assert await scoring.exports() == expected


async def test_verify_finds_every_kind_of_wrong_row(scoring: Scoring) -> None:
    await scoring.sectors(OF)
    await scoring.bars(payloads(walk(70, holes=0)))
    await scoring.settle()
    newest = max(d for d, _ in await scoring.stored())
    pool = scoring.bench.pool
    for spoil, symbol in (
        ("UPDATE rs_scores SET rs_score = rs_score + 1e-12", "AA"),
        ("UPDATE rs_scores SET sector_rank = 7", "BB"),
        ("DELETE FROM rs_scores", "CC"),
        ("UPDATE rs_scores SET as_of = as_of + 1000", "DD"),
        ("UPDATE rs_scores SET symbol = 'XLE'", "EE"),
    ):
        await pool.execute(f"{spoil} WHERE symbol = $1 AND as_of = $2", symbol, newest)
    await pool.execute("UPDATE sector_mapping SET rs_score = 0 WHERE symbol = 'FF'")
    report = await verify(pool)
    found = {(d.table, d.key.split()[0]) for d in report.differences}
    wrong = {("rs_scores", s) for s in ("AA", "BB", "CC", "DD", "EE", "XLE")}
    assert found == wrong | {("sector_mapping", "FF")}

    await pool.execute("INSERT INTO dirty_dates (as_of) SELECT DISTINCT as_of FROM rs_scores")
    await pool.execute("INSERT INTO dirty_dates (as_of) VALUES ($1)", NEWEST)
    pending = await verify(pool)
    assert {d.key.split()[0] for d in pending.differences} == {"XLE"}, "what is due was compared"
    assert pending.dates_pending > 60


async def test_the_queue_and_a_stocks_history_are_read_by_their_indexes(scoring: Scoring) -> None:
    await scoring.bars(payloads(walk(100)))
    await scoring.settle()
    queries = {
        "idx_rs_scores_symbol_as_of": "SELECT * FROM rs_scores WHERE symbol = 'AA' ORDER BY as_of",
        "idx_dirty_dates_as_of": "DELETE FROM dirty_dates WHERE as_of = ANY('{2016-02-01}'::date[])",
    }
    async with scoring.bench.pool.acquire() as connection:
        await connection.execute("SET enable_seqscan = off")
        for index, query in queries.items():
            plan = "\n".join(r[0] for r in await connection.fetch(f"EXPLAIN {query}"))
            assert index in plan


def process(settings: Settings) -> subprocess.Popen[bytes]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ROLLO_")}
    urls = {"ROLLO_REDIS_URL": settings.redis_url, "ROLLO_DATABASE_URL": settings.database_url}
    command = [sys.executable, "-m", "rs_worker"]
    return subprocess.Popen(command, env=inherited | urls, stderr=subprocess.DEVNULL)


async def test_the_worker_as_a_process_scores_what_comes_and_stops_when_told(
    scoring: Scoring, settings: Settings
) -> None:
    worker = process(settings)
    try:
        made = walk(60)
        await scoring.bars(payloads(made))

        async def scored() -> bool:
            rows = await scoring.bench.rows(
                "SELECT (SELECT count(*) FROM rs_scores), (SELECT count(*) FROM dirty_dates), "
                "(SELECT count(*) FROM dirty_symbols)"
            )
            return rows == [(sum(len(made[s]) for s in NAMES), 0, 0)]

        await eventually(scored, within_s=60, what="scores of everything")
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 30) == 0
    finally:
        worker.kill()
        worker.wait()
    await assert_verified(scoring.bench)
