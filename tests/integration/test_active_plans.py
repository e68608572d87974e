"""How PostgreSQL finds active patterns among many that are over, with everything a scan shows of them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from bench import setups
from rollotape.postgres.sql import queries
from support import databases

ACTIVE, OVER = 3_000, 20
"""How many are active, and how many are over for each of them."""

_SQL = queries("active")
_HISTORY = """
INSERT INTO rs_scores (as_of, symbol, rs_score, rs_ratio, is_sector_leader, market_status, sector_status)
SELECT as_of - n, symbol, rs_score, rs_ratio, false, 'ooooo', 'ooooo'
FROM rs_scores, generate_series(1, 250) n
"""
_PAST = f"""
INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, status, revision, hash, confidence,
                      detected_at, expires_at)
SELECT gen_random_uuid(), source, symbol, timeframe, pattern_type, (ARRAY['active', 'expired'])[1 + n % 2],
       1, 1, 0.5, detected_at - interval '1 month' * n, now() - interval '1 day' * n
FROM patterns, generate_series(1, {OVER}) n
"""


@pytest.fixture(scope="module")
async def connection(server_url: str, template: str) -> AsyncIterator[Any]:
    """To a database that has been at work for a while."""
    with databases.copy_of(template, server_url) as url:
        await setups.store(url, ACTIVE)
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(f"{_HISTORY}; {_PAST}; ANALYZE")
            yield connection
        finally:
            await connection.close()


IDS = [str(UUID(int=n)) for n in range(5)]
CASES: dict[str, tuple[str, Sequence[Any], Sequence[str]]] = {
    "items": (_SQL["items"], (IDS,), ("patterns_pkey", "idx_rs_scores_symbol_as_of")),
    "ids": (_SQL["ids"], (), ("idx_patterns_active_expiry",)),
    "ids of symbols": (_SQL["ids_of_symbols"], (["S001", "S002"],), ("idx_patterns_symbol_detection",)),
    "strength": (_SQL["strength"], (), ("idx_patterns_active_expiry", "idx_rs_scores_symbol_as_of")),
}


@pytest.mark.parametrize(("query", "arguments", "indexes"), CASES.values(), ids=CASES.keys())
async def test_active_patterns_are_found_by_indexes(
    connection: Any, query: str, arguments: Sequence[Any], indexes: Sequence[str]
) -> None:
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}", *arguments))

    for index in indexes:
        assert index in plan, f"{index}:\n{plan}"
    for table in ("patterns", "rs_scores"):
        assert f"Seq Scan on {table}" not in plan, plan
    if "idx_patterns_active_expiry" in indexes:
        assert "Index Cond: (expires_at > statement_timestamp())" in plan, plan
