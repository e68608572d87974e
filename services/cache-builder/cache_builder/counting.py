"""Marks of what else answers are made of become a new generation; rollups are none of theirs."""

from typing import Any

import asyncpg

from rollotape.postgres import generations
from rollotape.postgres.pool import unavailable

SERVICE = "cache-builder"


async def count(pool: "asyncpg.Pool[Any]") -> None:
    """Take what is due; any number of builders may do so, one at a time.

    Raises:
        Unavailable: PostgreSQL is away. The marks are where they were.
    """
    with unavailable(SERVICE):
        async with pool.acquire() as connection:
            await generations.count_up(connection)
