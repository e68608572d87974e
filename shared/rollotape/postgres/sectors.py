"""Which sector a symbol belongs to: an input, kept as it was last told."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from rollotape.domain.sectors import Listing
from rollotape.postgres.sql import queries


class Stored(NamedTuple):
    """How many rows were new or differed, and how many of them change strength."""

    changed: int
    moved: int


async def store(pool: "asyncpg.Pool[Any]", listings: Sequence[Listing]) -> Stored:
    """Keep these rows, a symbol once at most, and mark everything that they can change."""
    if not listings:
        return Stored(0, 0)
    sql = queries("sectors")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(sql["alone"])
        row = await connection.fetchrow(sql["store"], *zip(*listings, strict=True))
    assert row
    return Stored(*row)
