"""Watchlists and saved scans in memory, looked at again while they are in use: no scan waits for SQL."""

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import orjson

from api_gateway.bodies import pairs
from api_gateway.problems import NOT_FOUND, FieldError, Problem
from rollotape.postgres.owned import SAVED_SCANS, WATCHLISTS, Shelf

if TYPE_CHECKING:  # it has a `Lists`
    from api_gateway.backends import Postgres

FRESH_S = 1.0
"""A change that another gateway made is heeded after this long."""
AWAY_S = 600.0
"""While PostgreSQL is away, what was known goes on for this long."""
MOST_KEPT = 2_000
_PATIENCE_S = 0.25


class Key(NamedTuple):
    shelf: Shelf
    owner: str
    id: UUID


class Known(NamedTuple):
    version: int
    content: tuple[Any, ...]
    at: float


class Lists:
    """What owners have, by its id; nobody else's is found."""

    def __init__(self, postgres: "Postgres") -> None:
        self._postgres = postgres
        self._known: OrderedDict[Key, Known] = OrderedDict()
        self._looking: dict[Key, asyncio.Task[Known | None]] = {}

    async def symbols(self, owner: str, watchlist_id: UUID) -> tuple[str, ...]:
        """Symbols of a watchlist in alphabetical order.

        Raises:
            Problem: 404, the owner has no such one; 503, nobody can tell now.
        """
        return await self._find(Key(WATCHLISTS, owner, watchlist_id), "watchlist_id")

    async def filters(self, owner: str, scan_id: UUID) -> tuple[tuple[str, str], ...]:
        """Parameters of a saved scan.

        Raises:
            Problem: 404, the owner has no such one; 503, nobody can tell now.
        """
        return await self._find(Key(SAVED_SCANS, owner, scan_id), "scan_id")

    def forget(self, shelf: Shelf, owner: str, id_: UUID) -> None:
        """It was changed: what is being looked at may be of before."""
        key = Key(shelf, owner, id_)
        self._known.pop(key, None)
        self._looking.pop(key, None)

    async def close(self) -> None:
        looking = list(self._looking.values())
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    async def _find(self, key: Key, field: str) -> tuple[Any, ...]:
        found = await self._now(key)
        if found is None:
            reason = f"none of yours has the id {key.id}"
            raise Problem(NOT_FOUND, f"{field}: {reason}", errors=[FieldError("query", field, reason)])
        return found.content

    async def _now(self, key: Key) -> Known | None:
        known = self._known.get(key)
        if known is None:
            return await asyncio.shield(self._look(key))
        self._known.move_to_end(key)
        age = time.monotonic() - known.at
        if age < FRESH_S / 2:
            return known
        looking = self._look(key)
        if age < FRESH_S:
            return known
        await asyncio.wait([looking], timeout=_PATIENCE_S)
        if looking.done() and not isinstance(looking.exception(), Problem):
            return looking.result()
        if age < AWAY_S:
            return known
        return await asyncio.shield(looking)

    def _look(self, key: Key) -> "asyncio.Task[Known | None]":
        """One look at a time, whoever waits for it."""
        looking = self._looking.get(key)
        if looking is None:
            looking = self._looking[key] = asyncio.create_task(self._looked(key))
            looking.add_done_callback(lambda task: self._seen(key, task))
        return looking

    def _seen(self, key: Key, task: "asyncio.Task[Known | None]") -> None:
        """Nothing is kept of a look during which the thing was changed."""
        if self._looking.get(key) is not task:
            _ = task.cancelled() or task.exception()
            return
        del self._looking[key]
        if task.cancelled() or task.exception() is not None:
            return
        found = task.result()
        self._known.pop(key, None)
        if found is not None:
            self._known[key] = found
            if len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)

    async def _looked(self, key: Key) -> Known | None:
        known, at = self._known.get(key), time.monotonic()
        version = known.version if known else None
        row: Any = await self._postgres.run(lambda c: key.shelf.look(c, key.owner, key.id, version))
        if row is None:
            return None
        if row["content"] is None:
            assert known is not None, "only the version that is known comes without its content"
            return known._replace(at=at)
        return Known(row["version"], _content(key.shelf, row["content"]), at)


def _content(shelf: Shelf, stored: Any) -> tuple[Any, ...]:
    return tuple(sorted(stored)) if shelf is WATCHLISTS else tuple(pairs(orjson.loads(stored)))
