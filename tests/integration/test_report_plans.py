"""What is asked about the whole, and about the patterns of a symbol, does not grow with what is stored."""

from datetime import datetime
from typing import Any

import asyncpg
import orjson
import pytest

from rollotape.domain.bars import TIMEFRAMES
from rollotape.postgres.sql import queries

_PATTERNS = """
INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, status, revision, hash, confidence,
                      detected_at, expires_at)
SELECT gen_random_uuid(), 'x', 'S' || n % 500, '1d', 'SPRING', 'active', 1, n, 0.5,
       timestamptz '2024-01-01Z' + n * interval '1 hour', timestamptz '2100-01-01Z'
FROM generate_series(1, 40000) n;
ANALYZE patterns;
"""
_BARS = """
INSERT INTO symbol_state SELECT 'S' || n, 1, 1 FROM generate_series(1, 300) n;
INSERT INTO bars (symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, hash, end_ts,
                  session_date, hours, arrived_at, evaluable)
SELECT 'S' || s, '1d', d, 1, 1, 1, 1, 1, 0, false, 1, d, d::date, 'regular', d, true
FROM generate_series(1, 300) s, generate_series(timestamptz '2024-01-01Z', '2024-05-01Z', interval '1 day') d;
ANALYZE bars; ANALYZE symbol_state;
"""


async def _plan(connection: Any, query: str, *arguments: Any) -> dict[str, Any]:
    said = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments)
    plan: dict[str, Any] = orjson.loads(said)[0]["Plan"]
    return plan


def _scans(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """(table or index, kind of scan), wherever in the plan."""
    name = plan.get("Index Name") or plan.get("Relation Name")
    own = [] if name is None else [(str(name), str(plan["Node Type"]))]
    return own + [found for below in plan.get("Plans", ()) for found in _scans(below)]


@pytest.mark.parametrize("since", [None, "2024-02-01T00:00:00+00:00"])
async def test_patterns_of_a_symbol_come_from_their_index(database_url: str, since: str | None) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_PATTERNS)
        query = queries("detections")["detections"]
        first = None if since is None else datetime.fromisoformat(since)
        plan = await _plan(connection, query, "S7", first, None, None, None, None, 101)
    finally:
        await connection.close()
    found = _scans(plan)
    assert "idx_patterns_symbol_detection" in {name for name, _ in found}, found
    assert ("patterns", "Seq Scan") not in found
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 300


async def test_whether_symbols_are_active_is_looked_up_and_not_read(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_BARS)
        since = await connection.fetchval("SELECT timestamptz '2024-04-28Z'")
        plan = await _plan(connection, queries("reports")["symbols"], list(TIMEFRAMES), since)
    finally:
        await connection.close()
    of_bars = [kind for name, kind in _scans(plan) if name.startswith("bars")]
    assert of_bars and "Seq Scan" not in of_bars, _scans(plan)
