"""Patterns and trades of outside systems: their events carry the full state, and the greatest is kept."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from rollotape.domain.patterns import PatternFact, Stored
from rollotape.facts import Message
from rollotape.postgres import dead_letters as graveyard
from rollotape.postgres import outbox, versions
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.sql import queries
from rollotape.postgres.versions import Moved, Version


class States(ABC):
    """Needs a pool opened with `raw_times`: times are integer microseconds."""

    def __init__(self, pool: "asyncpg.Pool[Any]", table: str, columns: Sequence[str], guard: str) -> None:
        """`guard` says when an event, EXCLUDED, wins over the row `s` that is there."""
        self._pool = pool
        self._sql = queries(table)
        self._columns = columns
        places = ", ".join(f"${i + 1}" for i in range(len(columns)))
        self._upsert = (
            f"INSERT INTO {table} AS s ({', '.join(columns)}) VALUES ({places}) "  # noqa: S608 - our own names
            f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = EXCLUDED.{c}' for c in columns[1:])} "
            f"WHERE {guard} AND s.symbol IN (EXCLUDED.symbol, ${len(columns) + 1})"
        )

    @abstractmethod
    async def _told(
        self, connection: Any, ids: Sequence[UUID], known: Collection[UUID], moved: Mapping[str, Version]
    ) -> list[Message]:
        """What follows from these rows is done, and what there is to say about them."""

    async def versions(self, symbols: Collection[str]) -> dict[str, Version]:
        return await versions.current(self._pool, symbols)

    async def stored(self, ids: Collection[UUID]) -> dict[UUID, Stored]:
        """By id what another event has to exceed, and the symbol under which it is kept."""
        return await self._states(self._pool, ids)

    async def commit(
        self,
        winners: Mapping[UUID, PatternFact],
        known: Mapping[UUID, Stored],
        expected: Mapping[str, Version],
        refused: Sequence[DeadLetter],
    ) -> Unsaid | None:
        """Write everything in one short transaction.

        Raises:
            Moved: something is no longer as it was gathered.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            messages: list[Message] = []
            if winners:
                moved = await _lock(connection, winners, known, expected)
                await self._store(connection, winners, known)
                messages = await self._told(connection, list(winners), known, moved)
            if refused:
                await graveyard.store(connection, refused)
            return await outbox.add(connection, messages)

    async def _store(
        self, connection: Any, winners: Mapping[UUID, PatternFact], known: Mapping[UUID, Stored]
    ) -> None:
        """Whose row has got, meanwhile, a symbol that is not locked is left alone, and found out."""
        was = {i: known[i].symbol if i in known else fact.symbol for i, fact in winners.items()}
        rows = [[*(w.state[c] for c in self._columns), was[i]] for i, w in sorted(winners.items())]
        await connection.executemany(self._upsert, rows)
        now = await self._states(connection, winners)
        if any(is_.symbol not in (winners[i].symbol, was[i]) for i, is_ in now.items()):
            raise Moved

    async def _states(self, connection: Any, ids: Collection[UUID]) -> dict[UUID, Stored]:
        found = await connection.fetch(self._sql["states"], list(ids))
        return {i: Stored(tuple(rank), symbol) for i, symbol, *rank in found}


async def _lock(
    connection: Any,
    winners: Mapping[UUID, PatternFact],
    known: Mapping[UUID, Stored],
    expected: Mapping[str, Version],
) -> dict[str, Version]:
    """The symbols of these events, and those under which their things are kept, at their next versions.

    What goes from one symbol to another is told by the version of the other from then on; it must be greater.
    """
    before = {known[i].symbol for i in winners if i in known}
    moved = await versions.lock(connection, before | {w.symbol for w in winners.values()}, expected)
    if any(i in known and known[i].symbol != w.symbol for i, w in winners.items()):
        return await versions.level(connection, moved)
    return moved
