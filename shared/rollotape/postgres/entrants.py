"""Table `entrants`: which symbols are in which saved scans. What has a mark is looked at again."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from rollotape import facts, tracing
from rollotape.domain.entrants import Book, Criteria, Found, Memberships, criteria, fill
from rollotape.domain.scan import Row
from rollotape.postgres import outbox, universes
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.sql import queries

LOCK = 0x656E7472616E74
"""Advisory lock of the one who looks: "entrant" in ASCII."""
HISTORICAL_S = 86_400.0
"""A change that could be known longer than this before it was made is history: nobody is told."""
PAIRS_AT_ONCE = 200_000
"""Symbols times saved scans that one turn looks at, about."""
SYMBOLS_AT_ONCE = 1_000
SCANS_AT_ONCE = 200
"""So many are looked at as a whole in one turn."""
MESSAGES_AT_ONCE = 1_000
"""In one row of the outbox."""
ENTRANTS_AT_ONCE = 500
"""In one message."""

Pair = tuple[UUID, str]
"""(scan, symbol)"""


class Waiting(NamedTuple):
    symbols: int
    scans: int
    oldest_s: float


class Turn(NamedTuple):
    """What one turn did."""

    entered: int
    left: int
    told: int
    """Of those who entered."""
    unsaid: Sequence[Unsaid]
    trace_id: str


@dataclass(slots=True)
class Memory:
    """The saved scans as the last turn saw them, good until somebody else has a turn."""

    standing: tuple[str, int] = ("", -1)
    scans: Mapping[UUID, Criteria] = field(default_factory=dict)
    book: Book = field(default_factory=lambda: Book({}))


class Entrants:
    """Needs a pool opened with `raw_times`."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._sql = queries("entrants")
        self._memory = Memory()

    async def waiting(self) -> Waiting:
        """Symbols and scans with marks."""
        return Waiting._make(await self._pool.fetchrow(self._sql["waiting"]) or ())

    async def turn(self) -> Turn | None:
        """Look at what is due, a bounded part of it; None when nothing is, or somebody else is at it.

        All or nothing: whatever happens before the commit leaves the marks, and the rows as they were, and
        nobody is told anything.

        Raises:
            asyncpg.SerializationError: somebody else was quicker by a moment; everything is still due.
        """
        if not await self._pool.fetchval(self._sql["due"]):
            return None
        # One snapshot: marks that are seen and taken speak of changes that are seen as well.
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            if not await connection.fetchval(self._sql["lock"], LOCK):
                return None
            looking = _Looking(connection, self._sql, self._memory)
            turn = await looking.work()
        self._memory = looking.memory
        return turn


class _Looking:
    """One turn, inside its transaction."""

    def __init__(self, connection: Any, sql: Mapping[str, str], memory: Memory) -> None:
        self._connection = connection
        self._sql = sql
        self.memory = memory
        self._turn = 0
        self._epoch = ""
        self._trace_id = tracing.new()

    async def work(self) -> Turn:
        self._turn = await self._connection.fetchval(self._sql["turn"])
        self._epoch = await self._connection.fetchval(self._sql["epoch"])
        await self._connection.execute(self._sql["spread"])
        await self._connection.execute(self._sql["sweep"])
        marked = [i for [i] in await self._connection.fetch(self._sql["marked_scans"])]
        await self._remember(marked)
        of_symbols = await self._look_at_symbols(marked)
        of_scans = await self._look_at_scans(marked[:SCANS_AT_ONCE])
        unsaid = await self._tell(of_symbols.told)
        entered, left = of_symbols.entered + of_scans.entered, of_symbols.left + of_scans.left
        return Turn(entered, left, len(of_symbols.told), unsaid, self._trace_id)

    async def _remember(self, marked: Sequence[UUID]) -> None:
        """Every change of a scan leaves a mark: what has none is as it was."""
        memory = self.memory
        if memory.standing != (self._epoch, self._turn - 1):
            scans = await self._criteria(None)
        elif marked:
            scans = dict(memory.scans)
            for i in marked:
                scans.pop(i, None)
            scans |= await self._criteria(marked)
        else:
            self.memory = Memory((self._epoch, self._turn), memory.scans, memory.book)
            return
        self.memory = Memory((self._epoch, self._turn), scans, await asyncio.to_thread(Book, scans))

    async def _criteria(self, ids: Sequence[UUID] | None) -> dict[UUID, Criteria]:
        rows = await self._connection.fetch(self._sql["scans"], ids)
        return {i: criteria(orjson.loads(filters), watchlist) for i, filters, watchlist in rows}

    async def _look_at_symbols(self, without: Sequence[UUID]) -> "_Change":
        """Symbols with marks, for every scan but those that are to be looked at as a whole."""
        book = self.memory.book
        most = max(1, min(SYMBOLS_AT_ONCE, PAIRS_AT_ONCE // max(1, len(book.ids))))
        news = dict(await self._connection.fetch(self._sql["take_symbols"], most, HISTORICAL_S))
        if not news or not book.ids:
            return _Change()
        rows = [Row(*r) for r in await self._connection.fetch(self._sql["rows"], list(news))]
        memberships = await self._memberships(book.names_universes)
        skipped = frozenset(without)
        found = await asyncio.to_thread(book.find, rows, memberships, without=skipped)
        stored = {tuple(r) for r in await self._connection.fetch(self._sql["of_symbols"], list(news))}
        change = await self._write({pair for pair in stored if pair[0] not in skipped}, found)
        return change._replace(told={pair: row for pair, row in change.told.items() if news[pair[1]]})

    async def _look_at_scans(self, marked: Sequence[UUID]) -> "_Change":
        """Scans with marks, for every symbol."""
        if not marked:
            return _Change()
        await self._connection.execute(self._sql["take_scans"], marked)
        scans = {i: self.memory.scans[i] for i in marked if i in self.memory.scans}
        if not scans:
            return _Change()
        rows = [Row(*r) for r in await self._connection.fetch(self._sql["all_rows"])]
        memberships = await self._memberships(any(c.universe for c in scans.values()))
        found = await asyncio.to_thread(fill, scans, rows, memberships)
        stored = {tuple(r) for r in await self._connection.fetch(self._sql["of_scans"], list(scans))}
        return await self._write(stored, found)

    async def _memberships(self, needed: bool) -> Memberships:
        found: dict[str, list[str]] = {}
        for universe in await universes.load(self._connection) if needed else ():
            for symbol in universe.symbols:
                found.setdefault(symbol, []).append(universe.key)
        return found

    async def _write(self, stored: Collection[Any], found: Found) -> "_Change":
        entered, left = sorted(found.keys() - stored), sorted(set(stored) - found.keys())
        if touched := sorted({scan_id for scan_id, _ in (*entered, *left)}):
            await self._connection.execute(self._sql["hold_scans"], touched)
        for query, pairs in (("leave", left), ("enter", entered)):
            if pairs:
                await self._connection.execute(self._sql[query], *map(list, zip(*pairs, strict=True)))
        return _Change(len(entered), len(left), {pair: found[pair] for pair in entered})

    async def _tell(self, told: Mapping[Pair, Row]) -> list[Unsaid]:
        by_scan: dict[UUID, list[Row]] = {}
        for (scan_id, _), row in told.items():
            by_scan.setdefault(scan_id, []).append(row)
        names = await self._connection.fetch(self._sql["names"], list(by_scan)) if by_scan else ()
        messages = [
            facts.new_entrants((self._epoch, self._turn, n), scan_id, owner, name, part, self._trace_id)
            for scan_id, owner, name in names
            for n, part in enumerate(_parts(by_scan[scan_id]))
        ]
        some = [messages[i : i + MESSAGES_AT_ONCE] for i in range(0, len(messages), MESSAGES_AT_ONCE)]
        return [unsaid for part in some if (unsaid := await outbox.add(self._connection, part))]


class _Change(NamedTuple):
    """What a look changed; `told` are those who entered, and the pattern by which they did."""

    entered: int = 0
    left: int = 0
    told: Mapping[Pair, Row] = {}


def _parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[i : i + ENTRANTS_AT_ONCE] for i in range(0, len(rows), ENTRANTS_AT_ONCE)]
