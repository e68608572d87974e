"""What readers ask about the market: pages of bars and of volume-spread events. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[Record]

_SQL = queries("market")
_INSTANT = timedelta(microseconds=1)

BarPosition = tuple[str, datetime]
"""(symbol, ts) of the last bar of a page."""

EventPosition = tuple[datetime, datetime, str, str]
"""(confirmed_ts, event_ts, rule_set, kind) of the last event of a page."""


@dataclass(frozen=True, slots=True)
class Bars:
    """A question for bars of `symbols` with ts in [first, last], by symbol and then by time."""

    symbols: Sequence[str]
    timeframe: str
    first: datetime
    last: datetime
    newest_first: bool
    after: BarPosition | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """A question for events of one symbol confirmed by a bar with ts in [first, last]."""

    symbol: str
    timeframe: str
    first: datetime
    last: datetime
    rule_sets: Sequence[str]
    kinds: Sequence[str]
    directions: Sequence[str]
    newest_first: bool
    after: EventPosition | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Bars of a window by whether they could be judged; `as_of` is when the newest one was known."""

    count: int
    evaluable: int
    not_evaluable: int
    not_analysed: int
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Detections:
    """Events with what is needed to read them, all of one moment of the database."""

    events: "list[Record]"
    counts: dict[tuple[str, str], int]
    judged: Judged


async def bars(connection: "Connection", asked: Bars, limit: int) -> "list[Record]":
    """At most `limit` bars as symbol, t, o, h, l, c, v, revision, synthetic, hours, end_ts."""
    symbols, first, last = _bounds(asked)
    query = _SQL["bars_newest_first" if asked.newest_first else "bars_oldest_first"]
    return list(await connection.fetch(query, symbols, first, last, asked.timeframe, limit))


def _bounds(asked: Bars) -> tuple[list[str], list[datetime], list[datetime]]:
    """Symbols still to be read in their order, with the bounds of each. Times are whole microseconds here."""
    after_symbol, after_ts = asked.after or ("", asked.first)
    symbols = sorted(s for s in asked.symbols if s >= after_symbol)
    first, last = [asked.first] * len(symbols), [asked.last] * len(symbols)
    if symbols and symbols[0] == after_symbol:
        if asked.newest_first:
            last[0] = min(asked.last, after_ts - _INSTANT)
        else:
            first[0] = max(asked.first, after_ts + _INSTANT)
    return symbols, first, last


async def detections(connection: "Connection", asked: Events, limit: int) -> Detections | None:
    """At most `limit` events, with counts and judged bars of the whole window; None for an unknown symbol."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        window = (asked.symbol, asked.timeframe, asked.first, asked.last)
        judged = Judged(**dict(await _row(connection, _SQL["judged"], *window)))
        if not judged.count and not await connection.fetchval(_SQL["knows"], asked.symbol):
            return None
        wanted = (*window, asked.rule_sets, asked.kinds, asked.directions)
        counts = await connection.fetch(_SQL["vsa_counts"], *wanted)
        query = _SQL["vsa_newest_first" if asked.newest_first else "vsa_oldest_first"]
        events = await connection.fetch(query, *wanted, *(asked.after or (None,) * 4), limit)
    return Detections(list(events), {(c["rule_set"], c["kind"]): c["count"] for c in counts}, judged)


async def _row(connection: "Connection", query: str, *arguments: Any) -> "Record":
    row = await connection.fetchrow(query, *arguments)
    assert row is not None, "an aggregate without GROUP BY has one row"
    return row


async def epoch(connection: "Connection") -> UUID | None:
    """Of this installation: a database that was restored has another one."""
    found: UUID | None = await connection.fetchval(_SQL["epoch"])
    return found


async def partitions(connection: "Connection") -> int | None:
    """P of this installation; None before it was installed."""
    found: int | None = await connection.fetchval(_SQL["partitions"])
    return found
