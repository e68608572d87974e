"""What readers ask about the patterns of one symbol. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from rollotape.postgres.questions import Window
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

    from rollotape.postgres.market import Connection

_SQL = queries("detections")

Position = tuple[datetime | None, datetime, UUID]
"""(start of the window, detected_at, id) of the last one of a page: pages of one list have one window."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question for the patterns of a symbol, the newest first."""

    symbol: str
    days: int | None
    """Whole days of New York up to now; None: everything."""
    pattern_types: Sequence[str] | None
    timeframes: Sequence[str] | None
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Detections:
    since: datetime | None
    rows: "list[Record]"


async def detections(connection: "Connection", asked: Asked, limit: int) -> Detections | None:
    """At most `limit` patterns; None for a symbol that nobody knows."""
    since, after = await _since(connection, asked), asked.after or (None, None, None)
    rows = await connection.fetch(
        _SQL["detections"], asked.symbol, since, asked.pattern_types, asked.timeframes, *after[1:], limit
    )
    if not rows and not await connection.fetchval(_SQL["knows"], asked.symbol):
        return None
    return Detections(since, list(rows))


async def _since(connection: "Connection", asked: Asked) -> datetime | None:
    if asked.after is not None:
        return asked.after[0]
    if asked.days is None:
        return None
    return Window(asked.days, await connection.fetchval(_SQL["now"])).first
