"""Answers about closed trades on a real PostgreSQL: every plan agrees with a reference, digit by digit."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rollotape.domain.wyckoff.rules import CURRENT
from rollotape.postgres import analytics
from rollotape.postgres.analytics import Filters, Page, Window
from rollotape.postgres.pool import open_pool
from rollotape.postgres.questions import Plan, plan
from rollotape.postgres.sql import queries
from rollotape.settings import Settings
from support import performance_reference as reference
from support.performance_reference import Traded
from support.portfolios import SEEDS, filters, portfolio, roll_up, store, window

STOCKS: Sequence[dict[str, Any]] = (
    {"symbol": "AAA", "sector": "Energy", "etf": "XLE", "rs_score": 1.1, "is_sector_leader": True},
    {"symbol": "BBB", "sector": "Utilities", "etf": "XLU", "rs_score": None, "is_sector_leader": False},
    {"symbol": "CCC", "sector": None, "etf": None, "rs_score": -2.25, "is_sector_leader": False},
    {"symbol": "EEE", "sector": "Energy", "etf": "XLE", "rs_score": 0.1, "is_sector_leader": False},
    {
        "symbol": "FFF",
        "sector": "Energy",
        "etf": "XLE",
        "rs_score": 7.3333333333333339,
        "is_sector_leader": True,
    },
    {"symbol": "GGG", "sector": "Energy", "etf": "XLE", "rs_score": None, "is_sector_leader": False},
    {"symbol": "HHH", "sector": "Energy", "etf": "XLE", "rs_score": -3.0, "is_sector_leader": False},
    {"symbol": "III", "sector": "Materials", "etf": "XLB", "rs_score": 1e-07, "is_sector_leader": False},
)
MANY = examples(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator[Any]:
    async with (
        await open_pool(settings, service="test", size=1) as pool,
        pool.acquire() as connection,
    ):
        await connection.execute("DELETE FROM sectors WHERE kind = 'stock'")
        for stock in STOCKS:
            await connection.execute(
                "INSERT INTO sector_mapping (symbol, sector, etf, rs_score, is_sector_leader)"
                " VALUES ($1, $2, $3, $4, $5)",
                *stock.values(),
            )
        await connection.execute(queries("rollups")["standings"])
        yield connection


@asynccontextmanager
async def stored(connection: Any, trades: Sequence[Traded]) -> AsyncIterator[None]:
    """Trades and what is rolled up of them, gone afterwards."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await store(connection, trades)
        await roll_up(connection, trades)
        yield
    finally:
        await transaction.rollback()


def plans(grouping: Literal["type", "sector"], asked: Filters) -> list[Plan]:
    """Those that can answer a question at all: each can do what the ones before it can."""
    ladder: list[Plan] = ["headlines", "days", "trades"]
    return ladder[ladder.index(plan(grouping, asked)) :]


@MANY
@given(seed=SEEDS)
@example(seed=1)
async def test_every_plan_agrees_with_the_reference_about_types(connection: Any, seed: int) -> None:
    trades = portfolio(seed)
    async with stored(connection, trades):
        for asked, within in questions(seed, trades):
            expected = reference.pattern_performance(trades, within, asked)
            unordered = reference.pattern_performance(trades, within, asked, drawn_down=False)
            for by in plans("type", asked):
                assert await analytics.pattern_performance(connection, within, asked, by=by) == expected, by
                if by != "headlines":
                    found = await analytics.pattern_performance(
                        connection, within, asked, by=by, most_trades=-1
                    )
                    assert found == unordered, by


@MANY
@given(seed=SEEDS)
async def test_every_plan_agrees_with_the_reference_about_sectors(connection: Any, seed: int) -> None:
    trades = portfolio(seed)
    async with stored(connection, trades):
        for asked, within in questions(seed, trades):
            expected = reference.sector_breakdown(trades, STOCKS, within, asked)
            unordered = reference.sector_breakdown(trades, STOCKS, within, asked, drawn_down=False)
            for by in plans("sector", asked):
                assert await analytics.sector_breakdown(connection, within, asked, by=by) == expected, by
                if by != "headlines":
                    found = await analytics.sector_breakdown(connection, within, asked, by=by, most_trades=-1)
                    assert found == unordered, by


@MANY
@given(seed=SEEDS)
async def test_every_plan_agrees_with_the_reference_about_trends(connection: Any, seed: int) -> None:
    trades = [replace(t, pattern_type="SPRING") if n % 3 else t for n, t in enumerate(portfolio(seed))]
    async with stored(connection, trades):
        for asked, within in questions(seed, trades, pattern_types=()):
            for name in ("SPRING", "SOS"):
                expected = reference.trend(trades, name, within, asked)
                without = reference.trend(trades, name, within, asked, rolling=False)
                for by in plans("type", asked):
                    assert await analytics.trend(connection, name, within, asked, by=by) == expected, by
                    if by != "headlines":
                        found = await analytics.trend(connection, name, within, asked, by=by, most_trades=-1)
                        assert found == without, by


@MANY
@given(
    seed=SEEDS,
    status=st.sampled_from(("closed", "closed", "open", "pending", "cancelled", "all")),
    sort=st.sampled_from(("asc", "desc")),
)
async def test_pages_have_every_trade_once_and_in_order(
    connection: Any, seed: int, status: Any, sort: Any
) -> None:
    trades = portfolio(seed)
    size = 1 + len(trades) // (2 + seed % 5)
    async with stored(connection, trades):
        for asked, within in questions(seed, trades):
            expected = listed(trades, within, asked, status, sort)
            how: dict[str, Any] = {"status": status, "sort": sort}
            assert await one_after_the_other(connection, within, asked, size, **how) == expected
            for by in plans("type", asked):
                pages = [
                    await analytics.trades(
                        connection, within, asked, **how, page=Page(size, number), by=chosen(by)
                    )
                    for number in range(1, len(expected) // size + 3)
                ]
                assert {page.total for page in pages} == {len(expected)}
                assert [row["id"] for page in pages for row in page.rows] == expected


def chosen(by: Plan) -> Plan | None:
    """The first plan is the one that is chosen anyway, from whichever heading."""
    return None if by == "headlines" else by


async def one_after_the_other(
    connection: Any, within: Window, asked: Filters, size: int, **how: Any
) -> list[Any]:
    ids: list[Any] = []
    page = Page(size)
    while True:
        found = await analytics.trades(connection, within, asked, **how, page=page)
        assert found.total is None
        assert 0 < len(found.rows) <= size or not ids
        ids += [row["id"] for row in found.rows]
        if found.next is None:
            return ids
        page = Page(size, after=found.next)


def questions(seed: int, trades: Sequence[Traded], **fixed: Any) -> list[tuple[Filters, Window]]:
    return [(filters(seed + n, **fixed), window(seed + n, trades)) for n in range(3)]


def listed(trades: Sequence[Traded], window: Window, asked: Filters, status: str, sort: str) -> list[Any]:
    """Ids of the trades asked for; one that goes on is where it came."""
    dated = [t if t.exit else replace(t, exit=t.generated_at) for t in trades]
    found = reference.asked(dated, window, asked)
    ids = [t.id for t in found if status in ("all", t.status.lower())]
    return ids if sort == "asc" else ids[::-1]


WINTER = Window(30, 1_770_000_000_000_000)


async def test_of_nothing_every_answer_is_empty_and_nothing_is_0_that_is_not_known(connection: Any) -> None:
    await connection.execute("DELETE FROM sector_mapping")
    await connection.execute(queries("rollups")["standings"])
    types = await analytics.pattern_performance(connection, WINTER)
    assert (types.rows, types.phases, types.as_of) == ([], {}, None)
    assert types.total == reference.split([])
    assert (types.total.performance.win_rate, types.total.test_confirmed) == (None, None)
    sectors = await analytics.sector_breakdown(connection, WINTER)
    assert (sectors.rows, sectors.total, sectors.leader_count) == ([], reference.split([]), 0)
    assert (await analytics.trend(connection, "SOS", WINTER)).rows == []
    for status in ("closed", "all"):
        found = await analytics.trades(connection, WINTER, status=status, page=Page(30, 1))
        assert (list(found.rows), found.total, found.next) == ([], 0, None)
    assert await analytics.vsa(connection, WINTER) == analytics.Vsa([], [])
    assert await analytics.trade(connection, UUID(int=1)) is None
    assert await analytics.preliminary_events(connection, UUID(int=1)) is None


async def test_a_sector_without_trades_has_its_leaders_and_no_figures(connection: Any) -> None:
    found = await analytics.sector_breakdown(connection, WINTER)
    assert [row.sector for row in found.rows] == ["Energy", "Materials", "Utilities", None]
    energy, materials, utilities, unnamed = found.rows
    assert (energy.leader_count, energy.etf, energy.median_rs) == (2, "XLE", Decimal("0.6"))
    assert (materials.median_rs, unnamed.median_rs) == (Decimal(0), Decimal("-2.25"))
    assert (utilities.leader_count, utilities.median_rs) == (0, None)
    assert energy.split == reference.split([])


async def test_a_trade_is_told_with_its_pattern_its_sector_and_its_r(connection: Any) -> None:
    trades = max(map(portfolio, range(20)), key=len)
    assert {True, False, None} == {t.test for t in trades if t.exit}
    async with stored(connection, trades):
        for t in trades:
            row = await analytics.trade(connection, t.id)
            assert row is not None
            assert row["realized_r"] == (t.r if t.exit else None)
            assert (row["sector"], row["phase"], row["status"]) == (t.sector, t.phase, t.status)
            assert row["test_confirmed"] == (t.test if t.exit else t.tested)
            assert (row["exit_date"], row["sessions_held"], row["entry_price"]) == (
                t.exit, t.sessions, t.entry if t.exit else None,
            )  # fmt: skip


@pytest.mark.parametrize("sort", ["asc", "desc"])
async def test_a_page_is_right_though_the_days_of_its_month_are_not_counted_yet(
    connection: Any, sort: Any
) -> None:
    trades = [t for t in max(map(portfolio, range(20)), key=len) if t.exit]
    within = Window(None, 1_900_000_000_000_000)
    expected = listed(trades, within, Filters(), "closed", sort)
    async with stored(connection, trades):
        await connection.execute("DELETE FROM performance_headlines WHERE grain = 'day'")
        for number in (1, 3, 5):
            found = await analytics.trades(connection, within, sort=sort, page=Page(10, number))
            assert [row["id"] for row in found.rows] == expected[10 * number - 10 : 10 * number]


async def test_volume_spread_events_are_counted_by_kind_and_on_patterns_by_type(connection: Any) -> None:
    known = datetime(2026, 1, 20, tzinfo=UTC)
    events = [
        ("AAA", "seed-1", "no_demand", 0),
        ("AAA", "seed-1", "no_demand", 1),
        ("BBB", "classic-1", "test", 0),
    ]
    await connection.execute("INSERT INTO sectors (symbol, kind, sector) VALUES ('AAA', 'stock', 'Energy')")
    for symbol, rules, kind, day in [*events, ("AAA", "seed-1", "no_supply", 40)]:
        await connection.execute(
            "INSERT INTO vsa_events VALUES ($1, '1d', $2, $3, $4, $4, $4, 'bearish')",
            symbol, rules, kind, known - timedelta(day),
        )  # fmt: skip
    for counts in ('{"no_demand": 2, "no_supply": 0, "stopping_volume": 1}', None):
        await connection.execute(
            "INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, phase, status, revision,"
            " hash, confidence, detected_at, expires_at, vsa_events)"
            " VALUES (gen_random_uuid(), 'rollo', 'AAA', '1d', 'SOS', 'D', 'active', 0, 0, 1, $1, $1, $2)",
            known, counts,
        )  # fmt: skip
    found = await analytics.vsa(connection, WINTER)
    assert [(e.rule_set, e.kind, e.count) for e in found.events] == [
        ("classic-1", "test", 1), ("seed-1", "no_demand", 2),
    ]  # fmt: skip
    judged, unjudged = found.patterns
    assert judged == analytics.VsaOfType("SOS", "seed-1", 2, 1, 2, 0, 1)
    assert unjudged == analytics.VsaOfType("SOS", "classic-1", 2, 0, None, None, None)
    energy = await analytics.vsa(connection, WINTER, Filters(sectors=("Energy",), origin="paper"))
    assert [e.count for e in energy.events] == [2]
    outside = await analytics.vsa(connection, WINTER, Filters(origin="external", phase="D"))
    assert outside.patterns == []


@pytest.mark.parametrize(("source", "side"), [("rollo", "accumulation"), ("elsewhere", None)])
async def test_what_was_read_before_a_pattern_is_counted_in_the_standing_it_had(
    connection: Any, source: str, side: str | None
) -> None:
    detected, one, own = datetime(2026, 3, 31, tzinfo=UTC), UUID(int=1), UUID(int=2)
    rules = CURRENT.name

    async def event(kind: str, days: int, range_id: UUID | None, side: str = "accumulation") -> datetime:
        at = detected - timedelta(days)
        await connection.execute(
            "INSERT INTO wyckoff_events VALUES ('AAA', '1d', $1, $2, $3, $4, $5, $5, $5, 10, 0.5, '{}')",
            rules, side, range_id, kind, at,
        )  # fmt: skip
        return at

    async def standing(kind: str, at: datetime, range_id: UUID | None, status: str, known: datetime) -> None:
        await connection.execute(
            "INSERT INTO wyckoff_statuses VALUES ('AAA', '1d', $1, 'accumulation', $2, $3, $4, $5, $6, $6)",
            rules, range_id, kind, at, status, known,
        )  # fmt: skip

    await connection.execute(
        "INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, side, status, revision, hash,"
        " confidence, detected_at, expires_at, rule_set, range_id)"
        " VALUES ($1, $2, 'AAA', '1d', 'SOS', $3, 'active', 0, 0, 1, $4, $4, $5, $6)",
        own, source, side, detected, rules if side else "theirs", one if side else None,
    )  # fmt: skip
    early = await event("PS", 40, None)
    await standing("PS", early, one, "confirmed", detected - timedelta(35))
    old = await event("SC", 38, one)
    await standing("SC", old, one, "superseded", detected)
    await event("SC", 37, one)
    await event("AR", 30, one)
    late = await event("ST", 20, one)
    await standing("ST", late, one, "superseded", detected + timedelta(1))
    await event("ST", 0, one)
    await event("BC", 10, None, "distribution")
    found = await analytics.preliminary_events(connection, own)
    assert found is not None
    assert found.counts == {"PS": 0, "SC": 0, "AR": 1, "ST": 1}
    assert found.counts_in_range == ({"PS": 1, "SC": 1, "AR": 1, "ST": 1} if side else None)
    assert [e["kind"] for e in found.events] == (["PS", "SC", "AR", "ST"] if side else ["AR", "ST"])
    longer = await analytics.preliminary_events(connection, own, 40)
    assert longer is not None
    assert longer.counts == {"PS": 1, "SC": 1, "AR": 1, "ST": 1}


async def test_a_pattern_of_a_type_without_a_side_has_no_counts(connection: Any) -> None:
    await connection.execute(
        "INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, status, revision, hash,"
        " confidence, detected_at, expires_at)"
        " VALUES ($1, 'elsewhere', 'AAA', '1d', 'BULL_FLAG', 'active', 0, 0, 1, now(), now())",
        UUID(int=3),
    )
    found = await analytics.preliminary_events(connection, UUID(int=3))
    assert found is not None
    assert (found.counts, found.counts_in_range, list(found.events)) == (None, None, [])


async def test_a_generation_belongs_to_an_installation(connection: Any) -> None:
    found = await analytics.generation(connection)
    assert found is not None
    assert found.epoch == await connection.fetchval("SELECT epoch FROM installation")
