"""Table `idempotency_keys`: answers to requests that may be sent again. Written and cut by the gateway."""

from typing import Any, NamedTuple

from rollotape.postgres.sql import queries

MOST_CUT = 100
MOST_KEYS = 1_000
"""Of one owner within 24 hours."""

_SQL = queries("idempotency")


class Given(NamedTuple):
    """What was answered, and to what."""

    request: bytes
    """SHA-256."""
    location: str
    etag: str
    body: bytes


async def find(connection: Any, owner: str, key: str) -> Given | None:
    """The answer under a key of this owner, of the last 24 hours."""
    row = await connection.fetchrow(_SQL["find"], owner, key)
    return None if row is None else Given(*row)


async def is_full(connection: Any, owner: str) -> bool:
    """Whether an owner has used as many keys as there may be."""
    return bool(await connection.fetchval(_SQL["count"], owner) >= MOST_KEYS)


async def store(connection: Any, owner: str, key: str, given: Given) -> None:
    """In the transaction of what was made: both are there, or neither. Cuts what is over."""
    await connection.execute(_SQL["store"], owner, key, *given)
    await connection.execute(_SQL["cut"], MOST_CUT)
