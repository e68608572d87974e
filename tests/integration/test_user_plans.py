"""What users keep is found by its indexes, however many they are."""

from typing import Any

import asyncpg

from rollotape.postgres.sql import queries

_KEPT = """
INSERT INTO watchlists (id, owner, name, symbols)
SELECT gen_random_uuid(), 'o' || n % 200, 'w' || n, '{A}' FROM generate_series(1, 20000) n;
INSERT INTO saved_scans (id, owner, name, filters, watchlist_id)
SELECT gen_random_uuid(), owner, name, '{}', id FROM watchlists;
INSERT INTO idempotency_keys (owner, key, request, location, etag, body, created_at)
SELECT 'o' || n % 200, 'k' || n, sha256('x'), '/', '"1"', '{}', now() - n * interval '4 seconds'
FROM generate_series(1, 40000) n;
ANALYZE watchlists; ANALYZE saved_scans; ANALYZE idempotency_keys;
"""
_NEEDED = "SELECT 1 FROM ONLY saved_scans x WHERE $1 OPERATOR(pg_catalog.=) watchlist_id FOR KEY SHARE OF x"
"""What PostgreSQL itself asks before a watchlist is removed."""


async def _plan(database_url: str, query: str, *arguments: Any) -> str:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_KEPT)
        if not arguments:
            arguments = (await connection.fetchval("SELECT id FROM watchlists LIMIT 1"),)
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}", *arguments))
    finally:
        await connection.close()


async def test_answers_that_are_over_are_found_in_the_order_of_time(database_url: str) -> None:
    plan = await _plan(database_url, queries("idempotency")["cut"], 100)

    assert "idempotency_keys_created_at" in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_scans_that_need_a_watchlist_are_found_before_it_is_removed(database_url: str) -> None:
    plan = await _plan(database_url, _NEEDED)

    assert "saved_scans_watchlist" in plan, plan
    assert "Seq Scan" not in plan, plan
