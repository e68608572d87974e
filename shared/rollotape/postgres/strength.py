"""Scores, the days on which they are due, and the mapping of sectors: what rs-worker writes."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import numpy as np

from rollotape.domain.sectors import BENCHMARKS, FUNDS, MARKET
from rollotape.domain.sessions import DAY_US
from rollotape.domain.strength import Closes, Market, lacking
from rollotape.domain.strength.pairs import DEEPEST, FRESH_DAYS
from rollotape.domain.strength.rows import COLUMNS, Changes, Row
from rollotape.facts import Message
from rollotape.postgres import outbox
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.sql import queries

_EARLIEST_US = -62_135_596_800_000_000
"""The year 1."""
NEWEST = 2**31 - 1 + 10_957
"""The date infinity, as days since 1970: the mapping, which follows the newest day whichever that is."""
LOOK_BACK_DAYS = 400
"""Calendar days that hold 253 sessions, and some to spare. Where they do not, the whole history is read."""
LONGEST_BLOCK_DAYS = 366
MARKS_AT_ONCE = 2_000
SYMBOLS_AT_ONCE = 2_000

Stocks = Mapping[str, str | None]
"""Symbols and their sectors."""


class Expanded(NamedTuple):
    """How many marks were taken away, and how many days are due because of them."""

    marks: int
    days: int


class Strength:
    """Needs a pool opened with `raw_times`: dates are integer days, times integer microseconds since 1970."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._sql = queries("strength")

    async def newest_mark(self) -> int | None:
        """Of daily bars and of sectors; None when all marks are expanded."""
        newest: int | None = await self._pool.fetchval(self._sql["newest_mark"])
        return newest

    async def drop_other_marks(self) -> None:
        await self._pool.execute(self._sql["drop_other_marks"])

    async def expand(self) -> Expanded:
        """Turn some marks into the days they can reach, in one statement: a crash leaves either."""
        funds = list(FUNDS), list(FUNDS.values())
        row = await self._pool.fetchrow(
            self._sql["expand"], MARKS_AT_ONCE, MARKET, *funds, FRESH_DAYS, DEEPEST
        )
        assert row
        return Expanded(*row)

    async def backlog(self) -> int:
        """Days that are due."""
        return int(await self._pool.fetchval(self._sql["backlog"]))

    @asynccontextmanager
    async def due(self, rows: int, *, without: Collection[int] = ()) -> "AsyncIterator[Block | None]":
        """A transaction on the oldest due days that nobody else works on, marks taken away; None without any.

        So many days that they have about so many `rows`, one at least, and none of those named.
        Only days of the queue are locked: whoever brings bars, marks or questions never waits for that.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            locked = [day for [day] in await connection.fetch(self._sql["lock_dates"], rows, without)]
            # Days far apart would need much history; the mapping's turn comes when no older day is due.
            locked = [day for day in locked if day <= locked[0] + LONGEST_BLOCK_DAYS]
            days = [day for [day] in await connection.fetch(self._sql["take_dates"], locked)]
            yield Block(connection, self._sql, days) if days else None


class Block:
    """Days locked by a transaction that is still open; gather from it, then write to it."""

    def __init__(self, connection: Any, sql: Mapping[str, str], days: Sequence[int]) -> None:
        self._connection = connection
        self._sql = sql
        self.days = days

    @property
    def is_mapping(self) -> bool:
        return self.days == [NEWEST]

    async def market(self, days: Sequence[int] | None = None) -> Market:
        """Every close that bears on these days, or on those of the block."""
        return await market(self._connection, days or self.days)

    async def scores(self) -> list[Row]:
        """What is stored of the days of the block."""
        return list(map(tuple, await self._connection.fetch(self._sql["stored_scores"], self.days)))

    async def write(self, changes: Changes) -> dict[int, int]:
        """Replace what differs; the new version of every day that changed.

        Under the lock nobody else can have stored a row of these days, so rows may be copied.
        """
        if changes.removed:
            await self._connection.execute(self._sql["remove_scores"], *zip(*changes.removed, strict=True))
        if changes.written:
            records = changes.written
            await self._connection.copy_records_to_table("rs_scores", records=records, columns=COLUMNS)
        return await self._move(sorted(changes.by_day))

    async def newest_day(self) -> int | None:
        """The newest day on which any stock has a bar."""
        stocks = await self._stocks("stocks")
        newest: int | None = await self._connection.fetchval(self._sql["newest_bar"], list(stocks))
        return newest

    async def mapped_stocks(self) -> Stocks:
        """Every stock that `sectors` knows or that has a daily bar."""
        return await self._stocks("mapped_stocks")

    async def rewrite_mapping(self, rows: Sequence[Row]) -> tuple[int, int]:
        """Make the mapping these rows; how many changed, and the version it has then."""
        stored = {r[0]: tuple(r) for r in await self._connection.fetch(self._sql["stored_mapping"])}
        gone = sorted(stored.keys() - {row[0] for row in rows})
        changed = [row for row in rows if stored.get(row[0]) != row]
        if gone:
            await self._connection.execute(self._sql["unmap"], gone)
        if changed:
            await self._connection.execute(self._sql["map"], *zip(*changed, strict=True))
        moved = await self._move(self.days if gone or changed else [])
        return len(gone) + len(changed), moved.get(NEWEST, 0)

    async def leave(self, messages: Sequence[Message]) -> Unsaid | None:
        """Leave messages in the outbox, in this transaction."""
        return await outbox.add(self._connection, messages)

    async def _move(self, days: Sequence[int]) -> dict[int, int]:
        if not days:
            return {}
        return dict(await self._connection.fetch(self._sql["move_dates"], days))

    async def _stocks(self, query: str) -> Stocks:
        return dict(await self._connection.fetch(self._sql[query], list(BENCHMARKS)))


async def market(connection: Any, days: Sequence[int]) -> Market:
    """Every close that bears on the scores of these days, ascending; enough for `strength.score`.

    The connection needs raw times. Statements see one state each: outside a snapshot, closes that come
    meanwhile may be in it or not.
    """
    stocks: Stocks = dict(await connection.fetch(queries("strength")["stocks"], list(BENCHMARKS)))
    benchmarks = await _closes(connection, BENCHMARKS, None, days[-1])
    closes = await _closes(connection, stocks, days[0] - LOOK_BACK_DAYS, days[-1])
    found = Market.of(closes, stocks, benchmarks)
    if short := lacking(found, days):
        found = Market.of(closes | await _closes(connection, short, None, days[-1]), stocks, benchmarks)
    return found


async def _closes(
    connection: Any, symbols: Iterable[str], since: int | None, until: int
) -> dict[str, Closes]:
    """Of those symbols that have any from the day `since` on."""
    bounds = _EARLIEST_US if since is None else since * DAY_US, until * DAY_US
    names, found = list(symbols), {}
    for some in (names[i : i + SYMBOLS_AT_ONCE] for i in range(0, len(names), SYMBOLS_AT_ONCE)):
        for symbol, days, closes, cut in await connection.fetch(queries("strength")["closes"], some, *bounds):
            day = np.frombuffer(days, ">i4").astype(np.int64)
            found[symbol] = Closes(day, np.frombuffer(closes, ">f8").astype(np.float64), cut)
    return found
