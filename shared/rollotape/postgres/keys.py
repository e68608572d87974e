"""Table `api_keys`: written by `rollo key`, read by the gateway."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rollotape.keys import NewKey, Scope
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

_SQL = queries("keys")


async def store(connection: Any, key: NewKey, name: str, scope: Scope, expires_at: datetime | None) -> None:
    """Keep the hash of a new key."""
    await connection.execute(_SQL["store"], key.id, name, scope, key.hash, expires_at)


async def listed(connection: Any) -> "list[Record]":
    """Every key that ever was, without its hash."""
    return list(await connection.fetch(_SQL["listed"]))


async def revoke(connection: Any, key_id: str) -> str | None:
    """The name of the key; None when there is none with this id. Revoking twice changes nothing."""
    name: str | None = await connection.fetchval(_SQL["revoke"], key_id)
    return name


async def find(connection: Any, key_id: str) -> "Record | None":
    """A key that is neither revoked nor expired."""
    found: Record | None = await connection.fetchrow(_SQL["find"], key_id)
    return found
