"""Tables as CSV, in the order of their natural keys and from one snapshot: equal content, equal bytes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from rollotape.postgres.pool import unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:
    from rollotape.postgres.dead_letters import Connection

TABLES = (
    "bars", "vsa_events", "wyckoff_events", "patterns", "signals", "rs_scores", "sector_mapping",
    "dead_letters",
)  # fmt: skip


@asynccontextmanager
async def connection(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A connection without a statement timeout, because a long table takes as long as it takes."""
    settings = {"application_name": "rollo-export", "timezone": "UTC", "datestyle": "ISO"}
    with unavailable("postgres"):
        opened = await asyncpg.connect(
            database_url, server_settings={**settings, "statement_timeout": "0"}, timeout=10
        )
    try:
        yield opened
    finally:
        await opened.close(timeout=10)


async def estimate(connection: "Connection", table: str) -> int | None:
    """About how many rows a table has; None when PostgreSQL has no idea."""
    rows = await connection.fetchval(queries("export")["estimate"], table)
    return rows if rows is not None and rows > 0 else None


async def export(
    connection: "Connection", table: str, write: Callable[[bytes], Any], progress: Callable[[int], None]
) -> int:
    """Write the whole table with a header; how many rows it had. `progress` hears the lines so far.

    Raises:
        Unavailable: PostgreSQL went away; a part may have been written.
        OSError: `write` raised it; the connection is closed then, for the rest need not come.
    """
    lines = -1  # the header
    unwritable: list[OSError] = []

    async def receive(part: bytes) -> None:
        nonlocal lines
        try:
            write(part)
        except OSError as error:
            unwritable.append(error)
            connection.terminate()  # asyncpg's own way to stop hangs when this was the last part
            raise
        lines += part.count(b"\n")
        progress(max(lines, 0))

    try:
        with unavailable("postgres"):
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                done = await connection.copy_from_query(
                    queries("export")[table], output=receive, format="csv", header=True
                )
    except Exception:
        if unwritable:  # a full disk or a closed pipe is no outage of PostgreSQL
            raise unwritable[0] from None
        raise
    return int(done.rpartition(" ")[2])
