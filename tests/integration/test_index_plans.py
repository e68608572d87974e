"""Every index of trades, patterns and rollups serves a query that is really asked, among a million trades.

What is asked is taken from the connection while a repository works on it, not copied here.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bench.loading import load
from bench.trades import symbol
from rollotape.analytics import Question, answer
from rollotape.domain.rollups import Heading, Kind, Measures
from rollotape.postgres import analytics
from rollotape.postgres.analytics import Filters, Page, Window
from rollotape.postgres.generations import moment
from rollotape.postgres.pool import open_pool
from rollotape.postgres.rollups import Rollups
from rollotape.settings import Settings
from support import databases
from support.plans import Ask, plans_of

TRADES = 1_000_000
NOW = datetime.now(UTC)
NOW_US = int(NOW.timestamp() * 1e6)
WEEK, MONTH, EVER = Window(7, NOW_US), Window(30, NOW_US), Window(None, NOW_US)
ROLLED_DAYS, TIMES = 20, 64
"""So many days are rolled up for real; what came of them then stands for earlier ones as well."""
LARGE = {"signals", "patterns", "vsa_events", "performance_days", "performance_headlines"}
"""What no question reads from end to end."""

_GOING = """
INSERT INTO signals (id, origin, source, symbol, timeframe, pattern_type, direction, status, generated_at,
                     changed_at, entry_date, entry_price, entry_session, stop)
SELECT gen_random_uuid(), 'external', 'outside', symbol, timeframe, pattern_type, direction, 'OPEN',
       exit_date, exit_date, exit_date, entry_price, exit_session, stop
FROM signals ORDER BY exit_date DESC LIMIT 2000
"""
_LATELY = f"DELETE FROM unrolled_days WHERE day < current_date - {ROLLED_DAYS}"
_MEASURED = ", ".join(Measures._fields)
_HEADED = f"{', '.join(Heading._fields)}, {_MEASURED}, last_r, last_wins, last_sum"
_KINDS = f"{', '.join(Kind._fields)}, {_MEASURED}"
_EARLIER = f"""
INSERT INTO performance_headlines (grain, period, {_HEADED})
SELECT grain, period - {ROLLED_DAYS + 8} * n, {_HEADED}
FROM performance_headlines, generate_series(1, {TIMES}) n WHERE grain = 'day';
INSERT INTO performance_headlines (grain, period, {_HEADED})
SELECT grain, period - interval '1 month' * n, {_HEADED}
FROM performance_headlines, generate_series(1, {TIMES}) n
WHERE grain = 'month' AND period = (SELECT max(period) FROM performance_headlines WHERE grain = 'month')
ON CONFLICT DO NOTHING;
INSERT INTO performance_headlines (grain, period, {_HEADED})
SELECT grain, period - interval '1 year' * n, {_HEADED}
FROM performance_headlines, generate_series(1, {TIMES} / 12) n WHERE grain = 'year'
ON CONFLICT DO NOTHING;
INSERT INTO performance_days (day, {_KINDS})
SELECT day - {ROLLED_DAYS + 8} * n, {_KINDS} FROM performance_days, generate_series(1, {TIMES}) n
"""

_HEARD = """
INSERT INTO vsa_events (symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at, direction)
SELECT 'S' || s, '1d', 'seed-1', 'no_demand', t, t, t, 'bearish'
FROM generate_series(1, 100) s, generate_series(now() - interval '5 years', now(), interval '1 day') t
"""
_CHANGED_PATTERNS = """
INSERT INTO unrolled_days (pattern_id)
SELECT pattern_id FROM signals WHERE status = 'CLOSED' ORDER BY exit_date DESC LIMIT 5
"""


@pytest.fixture(scope="module")
async def filled(server_url: str, template: str) -> AsyncIterator[Settings]:
    """A database with five years of trades and as many rollups as they would have."""
    with databases.copy_of(template, server_url) as url:
        await load(url, TRADES, NOW, lambda rows: None)
        databases.execute(url, _LATELY)
        settings = Settings(database_url=url, redis_url="redis://nowhere", statement_timeout_ms=120_000)
        async with await open_pool(settings, service="test", raw_times=True, size=2) as pool:
            rollups = Rollups(pool)
            while await rollups.run():
                pass
        databases.execute(url, f"{_EARLIER}; {_GOING}; {_HEARD}; DELETE FROM unrolled_days")
        databases.execute(url, "VACUUM ANALYZE")
        yield settings


@pytest.fixture
async def connection(filled: Settings) -> AsyncIterator[Any]:
    """As those who ask have it."""
    async with await open_pool(filled, service="test", size=1) as pool, pool.acquire() as connection:
        yield connection


@pytest.fixture
async def worker(filled: Settings) -> AsyncIterator[Any]:
    """As those who roll have it."""
    pool = await open_pool(filled, service="test", raw_times=True, size=1)
    async with pool, pool.acquire() as connection:
        yield connection


class Only:
    """A pool of one connection, which is never given back."""

    def __init__(self, connection: Any) -> None:
        self.fetchval, self.fetchrow = connection.fetchval, connection.fetchrow
        self._connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        yield self._connection


def of_type(connection: Any) -> Any:
    return analytics.trades(connection, MONTH, Filters(pattern_types=("SOS",)))


def newest(connection: Any) -> Any:
    return analytics.trades(connection, EVER)


def numbered(connection: Any) -> Any:
    return analytics.trades(connection, EVER, page=Page(30, 50))


def going(connection: Any) -> Any:
    return analytics.trades(connection, EVER, status="open")


def of_symbol(connection: Any) -> Any:
    return analytics.pattern_performance(connection, EVER, Filters(symbols=(symbol(7),)))


def one(connection: Any) -> Any:
    return analytics.trade(connection, UUID(int=7))


def by_type(connection: Any) -> Any:
    return analytics.pattern_performance(connection, EVER)


def by_sector(connection: Any) -> Any:
    return analytics.sector_breakdown(connection, EVER)


def by_sector_and_phase(connection: Any) -> Any:
    return analytics.sector_breakdown(connection, WEEK, Filters(phase="D"))


def trend(connection: Any) -> Any:
    return analytics.trend(connection, "SPRING", MONTH)


def events(connection: Any) -> Any:
    return analytics.vsa(connection, WEEK)


async def no_trades(connection: Any) -> Any:
    """Our own patterns are never of phase A: whether there were any is looked up in vain."""
    question = Question("pattern_performance", None, Filters(phase="A", origin="paper"))
    return await answer(connection, question, await moment(connection))


HASHED = {"patterns"}
"""May be read whole beside trades of a window, which are counted first and at most 200,000."""
CASES: list[tuple[Ask, set[str]]] = [
    (of_type, {"idx_signals_analytics"}),
    (newest, {"idx_signals_exit_date", "patterns_pkey", "sectors_pkey"}),
    (numbered, {"idx_signals_exit_date", "uq_performance_headlines"}),
    (going, {"idx_signals_going"}),
    (of_symbol, {"idx_signals_symbol_generated_at"}),
    (one, {"signals_pkey"}),
    (by_type, {"uq_performance_headlines"}),
    (by_sector, {"uq_performance_headlines"}),
    (by_sector_and_phase, {"uq_performance_days"}),
    (trend, {"idx_performance_headlines_trend"}),
    (events, {"idx_vsa_events_knowable_at", "idx_patterns_detected_at"}),
    (no_trades, {"idx_patterns_detected_at"}),
]


@pytest.mark.parametrize(("ask", "indexes"), CASES, ids=[ask.__name__ for ask, _ in CASES])
async def test_a_question_is_answered_by_its_indexes(connection: Any, ask: Ask, indexes: set[str]) -> None:
    plans = await plans_of(connection, ask)
    assert indexes <= plans.indexes, f"{sorted(plans.indexes)}\n{plans}"
    whole = LARGE - HASHED if ask is by_sector_and_phase else LARGE
    assert not plans.read_whole & whole, f"{plans}"


async def test_trades_of_changed_patterns_are_rolled_up_by_indexes(worker: Any) -> None:
    async def roll(connection: Any) -> None:
        await connection.execute(_CHANGED_PATTERNS)
        run = await Rollups(Only(connection)).run()  # type: ignore[arg-type]  # as much of a pool as it needs
        assert run and run.days, "nothing was rolled up"

    plans = await plans_of(worker, roll)
    read = {"idx_signals_pattern", "idx_signals_exit_date"}
    written = {"idx_performance_headlines_period", "uq_performance_days"}
    assert read | written <= plans.indexes, f"{sorted(plans.indexes)}\n{plans}"
    assert not plans.read_whole & LARGE, f"{plans}"


async def test_every_index_is_shown_to_serve_a_query(database_url: str) -> None:
    """Those that only keep rows apart (primary keys and the like) are left out."""
    made = databases.fetch(
        database_url,
        "SELECT indexrelid::regclass::text AS name FROM pg_index "
        "WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) "
        "AND NOT indisunique",
    )
    shown = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert not {row["name"] for row in made if row["name"] not in shown}
