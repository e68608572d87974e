"""Tables `watchlists`, `saved_scans` and `webhooks`: what users keep. Written by the gateway."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rollotape.errors import RolloError
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

MOST_OWNED = 100
"""Of each kind; so many an owner may have."""


class NameTaken(RolloError):
    """The owner has another one of this name."""


class TooMany(RolloError):
    """The owner has as many as there may be."""


class InUse(RolloError):
    """Something else of the owner needs it."""


class Changed(RolloError):
    """It is of another version than the one that was to be changed."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """One of the tables: rows with a name and one content, which belong to somebody."""

    name: str
    words: str
    """What its rows are called."""

    async def listed(self, connection: Any, owner: str, after: str | None, limit: int) -> "list[Record]":
        """By name; of a page those after this name."""
        return list(await connection.fetch(self._sql["listed"], owner, after, limit))

    async def find(self, connection: Any, owner: str, id_: UUID) -> "Record | None":
        found: Record | None = await connection.fetchrow(self._sql["find"], owner, id_)
        return found

    async def look(self, connection: Any, owner: str, id_: UUID, version: int | None) -> "Record | None":
        """`version` and `content`; the content is null where the version is the one that is known."""
        found: Record | None = await connection.fetchrow(self._sql["look"], owner, id_, version)
        return found

    async def add(self, connection: Any, owner: str, id_: UUID, name: str, content: Any) -> "Record":
        """Within `changing`.

        Raises:
            NameTaken: the owner has one of this name.
            TooMany: the owner has as many as there may be.
        """
        if await connection.fetchval(self._sql["count"], owner) >= MOST_OWNED:
            raise TooMany(f"there may be {MOST_OWNED} {self.words} of one owner")
        row: Record | None = await connection.fetchrow(self._sql["add"], owner, id_, name, content)
        if row is None:
            raise NameTaken(self._taken(name))
        return row

    async def replace(
        self, connection: Any, owner: str, id_: UUID, name: str, content: Any, versions: Sequence[int] | None
    ) -> "Record | None":
        """Within `changing`; None: there is no such one. `versions` are those that may be replaced.

        Raises:
            NameTaken: the owner has another one of this name.
            Changed: it is of another version.
        """
        if not await self._is_there(connection, owner, id_, versions):
            return None
        if await connection.fetchval(self._sql["is_named"], owner, id_, name):
            raise NameTaken(self._taken(name))
        row: Record = await connection.fetchrow(self._sql["replace"], owner, id_, name, content)
        return row

    async def remove(self, connection: Any, owner: str, id_: UUID, versions: Sequence[int] | None) -> bool:
        """Within `changing`; false: there is no such one.

        Raises:
            InUse: something needs it.
            Changed: it is of another version.
        """
        if not await self._is_there(connection, owner, id_, versions):
            return False
        if "users" in self._sql and (users := await connection.fetch(self._sql["users"], id_)):
            names = ", ".join(repr(row["name"]) for row in users[:3])
            raise InUse(f"is needed by the saved scan {names}{' and others' if len(users) > 3 else ''}")
        await connection.execute(self._sql["remove"], owner, id_)
        return True

    async def _is_there(self, connection: Any, owner: str, id_: UUID, versions: Sequence[int] | None) -> bool:
        found = await self.find(connection, owner, id_)
        if found is not None and versions is not None and found["version"] not in versions:
            raise Changed(f"is of version {found['version']} now")
        return found is not None

    def _taken(self, name: str) -> str:
        return f"is the name of another one of your {self.words}: {name!r}"

    @property
    def _sql(self) -> dict[str, str]:
        return queries(self.name)


WATCHLISTS = Shelf("watchlists", "watchlists")
SAVED_SCANS = Shelf("saved_scans", "saved scans")
WEBHOOKS = Shelf("webhooks", "webhooks")


@asynccontextmanager
async def changing(connection: Any, owner: str) -> AsyncIterator[None]:
    """A transaction in which nobody else changes what this owner has."""
    async with connection.transaction():
        await connection.execute(queries("owned")["lock"], owner)
        yield


async def unknown(connection: Any, symbols: Sequence[str]) -> list[str]:
    """Those without a bar, of which nobody has said what they are either."""
    return [row["symbol"] for row in await connection.fetch(queries("watchlists")["unknown"], symbols)]
