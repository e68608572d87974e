"""Table `api_keys`: written by `rollo key`, read by the gateway."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from rollotape.errors import RolloError
from rollotape.keys import NewKey, Scope
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

_SQL = queries("keys")


class NotReplaced(RolloError):
    """A key that cannot be replaced, with the reason."""


class Rotated(NamedTuple):
    """The row of the new key, and when the old one ends."""

    new: "Record"
    old_until: datetime


async def store(
    connection: Any,
    key: NewKey,
    name: str,
    scope: Scope,
    expires_at: datetime | None,
    owner: str | None = None,
    rate: int | None = None,
) -> None:
    """Keep the hash of a new key. Without an owner it is its own."""
    await connection.execute(_SQL["store"], key.id, name, scope, key.hash, expires_at, owner, rate)


async def listed(connection: Any) -> "list[Record]":
    """Every key that ever was, without its hash."""
    return list(await connection.fetch(_SQL["listed"]))


async def revoke(connection: Any, key_id: str) -> str | None:
    """The name of the key; None when there is none with this id. Revoking twice changes nothing."""
    name: str | None = await connection.fetchval(_SQL["revoke"], key_id)
    return name


async def rotate(
    connection: Any, key_id: str, key: NewKey, grace: timedelta, expires_at: datetime | None
) -> Rotated:
    """Put a new key beside an old one, which ends after `grace`.

    Raises:
        NotReplaced: there is no such key, it has ended, or it was replaced before.
    """
    async with connection.transaction():
        if await connection.fetchval(_SQL["lock_valid"], key_id) is None:
            raise NotReplaced(f"there is no valid key {key_id}")
        if successor := await connection.fetchval(_SQL["successor"], key_id):
            raise NotReplaced(f"{key_id} was replaced by {successor} before")
        new = await connection.fetchrow(_SQL["replace"], key_id, key.id, key.hash, expires_at)
        return Rotated(new, await connection.fetchval(_SQL["end_at"], key_id, grace))


async def find(connection: Any, key_id: str) -> "Record | None":
    """A key that is neither revoked nor expired."""
    found: Record | None = await connection.fetchrow(_SQL["find"], key_id)
    return found
