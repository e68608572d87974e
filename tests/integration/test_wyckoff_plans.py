"""Every index of what is read from the tape serves the query that it was made for."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from rollotape.postgres.pool import open_pool
from rollotape.postgres.sql import queries
from rollotape.postgres.wyckoff import Wyckoff
from rollotape.settings import Settings

ROWS = """
INSERT INTO symbol_state SELECT 'S' || s, 1, 1 FROM generate_series(1, 300) s;
INSERT INTO unread_bars (symbol, timeframe, first_ts, last_ts)
    SELECT 'S' || s, '1d', now(), now() FROM generate_series(1, 300) s, generate_series(1, 40);
INSERT INTO newest_bars SELECT '1d', now() - interval '1 minute' * n FROM generate_series(1, 5000) n;
INSERT INTO wyckoff_events
    SELECT 'S' || s, '1d', 'r', 'accumulation', NULL, 'PS', t, t, t, 1, 0.5, '{}'
    FROM generate_series(1, 300) s, generate_series(now() - interval '60 days', now(), interval '1 day') t;
INSERT INTO wyckoff_statuses
    SELECT 'S' || s, '1d', 'r', 'accumulation', NULL, 'PS', t, 'expired', t, t
    FROM generate_series(1, 300) s, generate_series(now() - interval '60 days', now(), interval '1 day') t;
INSERT INTO wyckoff_ranges
    SELECT gen_random_uuid(), t, 'S' || s, '1d', 'r', 'accumulation', t, t, t, 'open', 'A', '[]', 1, 2, 0.1
    FROM generate_series(1, 300) s, generate_series(now() - interval '60 days', now(), interval '1 day') t;
INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, status, revision, hash, confidence,
                      detected_at, expires_at, confirmed_ts)
    SELECT gen_random_uuid(), 'rollo', 'S' || s, '1d', 'SOS',
           CASE WHEN t > now() - interval '2 days' THEN 'active' ELSE 'expired' END, 0, 0, 0.5,
           t, t + interval '28 days', t
    FROM generate_series(1, 300) s, generate_series(now() - interval '60 days', now(), interval '1 day') t;
INSERT INTO signals (id, origin, source, symbol, timeframe, direction, status, generated_at, changed_at, stop)
    SELECT gen_random_uuid(), 'paper', 'rollo', symbol, '1d', 'long', 'PENDING', detected_at, detected_at, 1
    FROM patterns;
ANALYZE
"""


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator[Any]:
    async with await open_pool(settings, service="test", raw_times=True, size=1) as pool:
        await pool.execute(ROWS)
        async with pool.acquire() as connection:
            yield connection


S, T = ["S7", "S8"], ["1d", "1d"]
NOW = 1_795_000_000_000_000
SINCE = [NOW - 5 * 86_400_000_000] * 2
CASES: dict[str, tuple[str, Sequence[Any]]] = {
    "idx_unread_bars_symbol": ("take_marks", (S,)),
    "idx_wyckoff_events_symbol_confirmed": ("events", (S, T, SINCE, [NOW, NOW])),
    "idx_wyckoff_statuses_symbol_confirmed": ("statuses", (S, T, SINCE)),
    "idx_wyckoff_ranges_symbol_confirmed": ("ranges", (S, T, SINCE, [NOW, NOW])),
    "idx_signals_symbol_generated_at": ("trades", (S, T, SINCE)),
    "idx_patterns_symbol_detection": ("patterns", (S, T, SINCE)),
}


@pytest.mark.parametrize(("index", "query", "arguments"), [(i, *c) for i, c in CASES.items()], ids=CASES)
async def test_a_reader_finds_what_it_needs_by_indexes(
    connection: Any, index: str, query: str, arguments: Sequence[Any]
) -> None:
    sql = Wyckoff(connection)._sql[query]
    assert index in await plan(connection, sql, arguments)


@pytest.mark.parametrize(
    ("index", "query", "arguments"),
    [
        ("idx_patterns_own_expiry", "outlived", (["1d"], [NOW - 1], [NOW])),
        ("idx_patterns_own_expiry", "ids", ()),
    ],
)
async def test_what_is_over_is_found_by_indexes(
    connection: Any, index: str, query: str, arguments: Sequence[Any]
) -> None:
    assert index in await plan(connection, queries("active")[query], arguments)


async def plan(connection: Any, sql: str, arguments: Sequence[Any]) -> str:
    return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *arguments))
