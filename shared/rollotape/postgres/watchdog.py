"""Ends transactions of our own workers that hold locks for too long."""

from typing import TYPE_CHECKING, Any

import structlog

from rollotape import metrics
from rollotape.postgres.pool import unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:
    import asyncpg

SQL = queries("watchdog")
WORKERS = ("rollo-detector", "rollo-rs-worker", "rollo-cache-builder")

log = structlog.get_logger()


async def end_stale_transactions(pool: "asyncpg.Pool[Any]", older_than_s: float) -> int:
    """How many transactions were ended."""
    with unavailable("watchdog"):
        ended = await pool.fetch(SQL["end_stale"], list(WORKERS), older_than_s)
    for row in ended:
        log.warning("transaction_ended", application=row["application_name"], age_s=round(row["age_s"], 1))
    metrics.WATCHDOG_ENDED.inc(len(ended))
    return len(ended)
