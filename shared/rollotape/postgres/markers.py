"""What was read in the tape of one symbol, for charts: events, ranges, patterns, volume-spread events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from rollotape.postgres.market import Connection

_SQL = queries("markers")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TYPES = ("event", "pattern", "range", "vsa")
"""In the order in which those of one bar come."""

Position = tuple[datetime, str, str]
"""(t, type, tie) of the last marker of a page."""

Marker = dict[str, Any]
"""`t`, `type` and `tie` by which they are sorted, and what the type has."""


@dataclass(frozen=True, slots=True)
class Markers:
    """A question for what was known of the bars with ts in [first, last] when the last one was over."""

    symbol: str
    timeframe: str
    first: datetime
    last: datetime
    types: Sequence[str] = TYPES
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Markers by their time, all of one moment of the database."""

    markers: list[Marker]
    as_of: datetime | None
    """When the newest bar of the window was known."""
    stale: bool
    """Bars have changed whose markers are being computed."""


async def markers(connection: "Connection", asked: Markers, limit: int | None) -> Found | None:
    """At most `limit` markers of all types together; None for an unknown symbol."""
    window = (asked.symbol, asked.timeframe, asked.first, asked.last)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        about = await connection.fetchrow(_SQL["window"], *window)
        assert about is not None
        if not about["known"]:
            return None
        after = asked.after or (None, None, None)
        found = [
            [_marker(name, row) for row in await connection.fetch(_SQL[name], *window, *after, limit)]
            for name in TYPES
            if name in asked.types
        ]
    ordered = merge(*found, key=lambda m: (m["t"], m["type"], m["tie"]))
    return Found(list(islice(ordered, limit)), about["as_of"], about["stale"])


def instant(us: int) -> datetime:
    """The time that JSON within a row says in microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)


def _marker(name: str, row: Any) -> Marker:
    marker = {"type": name, **row}
    for column in ("terms", "phases"):
        if column in marker:
            marker[column] = orjson.loads(marker[column])
    return marker
