"""Fills a migrated database with made-up trades of five years by COPY, as fast as PostgreSQL takes them.

Indexes are built again when the rows are there. Triggers mark the days of the trades, whose rollups are due,
as for any other writer; those of patterns and sectors are off, because before the first trade there is nobody
to whom their changes matter. That sectors have other leaders now is said once.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from io import BytesIO
from typing import Any

import asyncpg
import numpy as np

from bench import market, trades
from bench.packing import Block
from bench.trades import Trades
from rollotape.domain.sectors import FUNDS

_MEMORY = "SET maintenance_work_mem = '1GB'; SET max_parallel_maintenance_workers = 2; SET work_mem = '64MB'"
_INDEXES = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS made,
       c.conname AS bound, pg_get_constraintdef(c.oid) AS by
FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid
WHERE i.indrelid = $1::regclass
"""


async def load(database_url: str, count: int, now: datetime, done: Callable[[int], None]) -> Trades:
    """So many closed trades, none later than now, with their patterns, sectors and scores; says how many."""
    made = Trades.make(count, int(now.timestamp() * 1e6))
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_MEMORY)
        async with untold(connection, "sectors", "sector_mapping"):
            await _listings(connection)
            await connection.execute("INSERT INTO unrolled_days (day) VALUES (NULL)")
        async with without_indexes(connection, "patterns"), untold(connection, "patterns"):
            for block in made.patterns.blocks():
                await _copy(connection, "patterns", block)
        stored = 0
        async with without_indexes(connection, "signals"):
            for block in made.blocks():
                await _copy(connection, "signals", block)
                done(stored := stored + block.rows)
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return made


@asynccontextmanager
async def without_indexes(connection: "asyncpg.Connection[Any]", table: str) -> AsyncIterator[None]:
    """A transaction in which an empty table has none; being new in it, its rows need no log either."""
    async with connection.transaction():
        found = await connection.fetch(_INDEXES, table)
        for index in found:
            await connection.execute(
                f"ALTER TABLE {table} DROP CONSTRAINT {index['bound']}"
                if index["bound"]
                else f"DROP INDEX {index['name']}"
            )
        await connection.execute(f"TRUNCATE {table}")
        yield
        for index in found:
            await connection.execute(
                f"ALTER TABLE {table} ADD CONSTRAINT {index['bound']} {index['by']}"
                if index["bound"]
                else index["made"]
            )


@asynccontextmanager
async def untold(connection: "asyncpg.Connection[Any]", *tables: str) -> AsyncIterator[None]:
    """A transaction in which tables mark nothing."""
    async with connection.transaction():
        for table in tables:
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        for table in tables:
            await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


async def _copy(connection: "asyncpg.Connection[Any]", table: str, block: Block) -> None:
    source = BytesIO(block.data)
    await connection.copy_to_table(table, source=source, columns=block.columns, format="binary")


async def _listings(connection: "asyncpg.Connection[Any]") -> None:
    """What the symbols are, and where they stand today."""
    listed = trades.listings()
    rng = np.random.default_rng((market.SEED, 5))
    scores = np.round(rng.normal(0, 8, len(listed)), 9).tolist()
    today = datetime.now(UTC).date()
    columns = ("symbol", "name", "sector", "kind")
    await connection.copy_records_to_table("sectors", records=listed, columns=columns)
    await connection.copy_records_to_table(
        "sector_mapping",
        records=[_mapped(*row[:3:2], score, today) for row, score in zip(listed, scores, strict=True)],
        columns=("symbol", "sector", "etf", "as_of", "rs_score", "rank", "is_sector_leader"),
    )


def _mapped(symbol: str, sector: str | None, score: float, today: date) -> tuple[Any, ...]:
    fund = FUNDS[sector] if sector else None
    return symbol, sector, fund, today, score, 1 if sector else None, bool(sector) and score > 7
