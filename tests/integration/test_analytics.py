"""Answers about closed trades on a real PostgreSQL: every plan agrees with a plain reference, digit by digit."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rollotape.postgres import analytics
from rollotape.postgres.analytics import Filters, Page, Window
from rollotape.postgres.pool import open_pool
from rollotape.postgres.questions import Plan, plan
from rollotape.settings import Settings
from support import performance_reference as reference
from support.performance_reference import Traded
from support.portfolios import crowds, filters, portfolios, roll_up, store, windows

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
    max_examples=60,
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
                "INSERT INTO sector_mapping (symbol, sector, etf, rs_score, is_sector_leader) VALUES ($1, $2, $3, $4, $5)",
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
@given(trades=portfolios(), window=windows(), asked=filters())
async def test_every_plan_says_what_the_reference_says_of_types(
    connection: Any, trades: list[Traded], window: Window, asked: Filters
) -> None:
    expected = reference.pattern_performance(trades, window, asked)
    unordered = reference.pattern_performance(trades, window, asked, drawn_down=False)
    async with stored(connection, trades):
        for by in plans("type", asked):
            assert await analytics.pattern_performance(connection, window, asked, by=by) == expected, by
            if by != "headlines":
                found = await analytics.pattern_performance(connection, window, asked, by=by, most_trades=-1)
                assert found == unordered, by


@MANY
@given(trades=portfolios(), window=windows(), asked=filters())
async def test_every_plan_says_what_the_reference_says_of_sectors(
    connection: Any, trades: list[Traded], window: Window, asked: Filters
) -> None:
    expected = reference.sector_breakdown(trades, STOCKS, window, asked)
    unordered = reference.sector_breakdown(trades, STOCKS, window, asked, drawn_down=False)
    async with stored(connection, trades):
        for by in plans("sector", asked):
            assert await analytics.sector_breakdown(connection, window, asked, by=by) == expected, by
            if by != "headlines":
                found = await analytics.sector_breakdown(connection, window, asked, by=by, most_trades=-1)
                assert found == unordered, by


@MANY
@given(
    trades=st.one_of(portfolios(), crowds()),
    window=windows(),
    asked=filters(pattern_types=st.just(())),
    name=st.sampled_from(("SPRING", "SOS", "LPS")),
)
async def test_every_plan_says_what_the_reference_says_of_a_trend(
    connection: Any, trades: list[Traded], window: Window, asked: Filters, name: str
) -> None:
    trades = [replace(t, pattern_type="SPRING") if n % 3 else t for n, t in enumerate(trades)]
    expected = reference.trend(trades, name, window, asked)
    async with stored(connection, trades):
        for by in plans("type", asked):
            assert await analytics.trend(connection, name, window, asked, by=by) == expected, by
            if by != "headlines":
                found = await analytics.trend(connection, name, window, asked, by=by, most_trades=-1)
                assert found == reference.trend(trades, name, window, asked, rolling=False), by


@MANY
@given(
    trades=st.one_of(portfolios(), crowds()),
    window=windows(),
    asked=filters(),
    status=st.sampled_from(("closed", "closed", "open", "pending", "cancelled", "all")),
    sort=st.sampled_from(("asc", "desc")),
    size=st.sampled_from((1, 3, 7, 100)),
)
async def test_pages_have_every_trade_once_and_in_order(
    connection: Any, trades: list[Traded], window: Window, asked: Filters, status: Any, sort: Any, size: int
) -> None:
    expected = listed(trades, window, asked, status, sort)
    async with stored(connection, trades):
        after, seen = None, []
        while True:
            page = Page(size, after=after)
            found = await analytics.trades(connection, window, asked, status=status, sort=sort, page=page)
            assert found.total is None
            seen += [row["id"] for row in found.rows]
            after = found.next
            if after is None:
                break
        assert seen == expected
        for by in plans("type", asked):
            numbered = []
            for number in range(1, len(expected) // size + 3):
                page = Page(size, number)
                found = await analytics.trades(
                    connection,
                    window,
                    asked,
                    status=status,
                    sort=sort,
                    page=page,
                    by=None if by == "headlines" else by,
                )
                assert found.total == len(expected)
                numbered += [row["id"] for row in found.rows]
            assert numbered == expected


def listed(trades: Sequence[Traded], window: Window, asked: Filters, status: str, sort: str) -> list[Any]:
    """Ids of the trades asked for; one that goes on is where it came."""
    dated = [t if t.exit else replace(t, exit=t.generated_at) for t in trades]
    found = reference.asked(dated, window, asked)
    ids = [t.id for t in found if status in ("all", t.status.lower())]
    return ids if sort == "asc" else ids[::-1]
