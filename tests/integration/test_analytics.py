"""Answers about closed trades on a real PostgreSQL: every plan agrees with a reference, digit by digit."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rollotape.postgres import analytics
from rollotape.postgres.analytics import Filters, Page, Window
from rollotape.postgres.pool import open_pool
from rollotape.postgres.questions import Plan, plan
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
