"""Active patterns with their strength, as the read model is made of them: read under a lock, in order."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from rollotape.postgres.sql import queries

AT_ONCE = 2_000
"""Patterns read with one statement."""

PatternRow = Mapping[str, Any]
StrengthOf = tuple[Any, ...]
"""What the items of a symbol take from elsewhere."""


def strength_of(row: PatternRow) -> StrengthOf:
    """What this item was made of, as `ActivePatterns.strength` says it."""
    return row["sector"], row["is_sector_leader"], row["own_score"], row["own_ratio"]


class ActivePatterns:
    """Needs a pool opened with `raw_times`: times are integer microseconds."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._sql = queries("active")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """A turn at changing the read model: nobody else has one until this is over."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self._sql["lock"])
            row = await connection.fetchrow(self._sql["turn"])
            assert row
            yield Turn(connection, self._sql, *row)

    async def now(self) -> tuple[int, str]:
        """The clock that decides what has expired, and the epoch of the installation."""
        row = await self._pool.fetchrow(self._sql["now"])
        assert row
        return row[0], row[1]

    async def ids(self) -> list[str]:
        """Of every active pattern."""
        return [i for [i] in await self._pool.fetch(self._sql["ids"])]

    async def ids_of(self, symbols: Collection[str]) -> list[str]:
        """Of the active patterns of these symbols."""
        return [i for [i] in await self._pool.fetch(self._sql["ids_of_symbols"], list(symbols))]

    async def ids_detected(self, first: str, last: str) -> list[str]:
        """Of the active patterns whose strength at their detection may be that of one of these dates."""
        return [i for [i] in await self._pool.fetch(self._sql["ids_detected"], first, last)]

    async def newest_bars(self) -> dict[str, int]:
        """By timeframe the end of its newest bar: the clock by which our own patterns expire."""
        return dict(await self._pool.fetch(self._sql["newest_bars"]))

    async def outlived(self, spans: Sequence[tuple[str, int, int]]) -> list[str]:
        """Our own patterns that were over once the newest bar of a timeframe came from here to there."""
        columns = zip(*spans, strict=True)
        return [i for [i] in await self._pool.fetch(self._sql["outlived"], *columns)]

    async def strength(self) -> dict[str, StrengthOf]:
        """Of every symbol that has an active pattern."""
        return {symbol: tuple(rest) for symbol, *rest in await self._pool.fetch(self._sql["strength"])}


class Turn:
    """The right to change the read model, as long as its transaction is open."""

    def __init__(
        self, connection: Any, sql: Mapping[str, str], epoch: str, version: int, now_us: int
    ) -> None:
        self._connection = connection
        self._sql = sql
        self.epoch = epoch
        """Of the installation; a database that was restored has another one."""
        self.version = version
        """Greater than that of every turn before."""
        self.now_us = now_us

    async def items(self, ids: Collection[str]) -> list[PatternRow]:
        """Those of the patterns that are active now."""
        return list(await self._connection.fetch(self._sql["items"], list(ids)))

    async def all_items(self) -> AsyncIterator[list[PatternRow]]:
        """Every active pattern, some at a time; what is over, however much that is, costs nothing."""
        ids = [i for [i] in await self._connection.fetch(self._sql["ids"])]
        for start in range(0, len(ids), AT_ONCE):
            yield await self.items(ids[start : start + AT_ONCE])

    async def exceed(self, version: int) -> None:
        """Have later turns begin above a version that was given out before, by a database now restored."""
        await self._connection.execute(self._sql["exceed"], version)
