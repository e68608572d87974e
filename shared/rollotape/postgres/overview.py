"""How far a stack has come: counts and newest events, for those who watch it. Reads only."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg

from rollotape.postgres.pool import unavailable
from rollotape.postgres.sql import queries

_SQL = queries("overview")


class Range(NamedTuple):
    """One that is open."""

    symbol: str
    timeframe: str
    side: str
    phase: str
    support: float | None
    resistance: float | None
    kind: str | None
    """What was marked in it last."""


@dataclass(frozen=True, slots=True)
class Overview:
    bars: int
    events: int
    ranges: tuple[Range, ...]
    """The one that moved last first."""


class Day(NamedTuple):
    ts: datetime
    close: float


async def newest_days(pool: asyncpg.Pool, symbol: str, count: int) -> list[Day] | None:
    """The newest daily closes of a symbol; None where no symbol has any bar.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
    """
    with unavailable("postgres"):
        rows = await pool.fetch(_SQL["newest_days"], symbol, count)
        if not rows and not await pool.fetchval(_SQL["has_bars"]):
            return None
    return [Day(**row) for row in rows]


async def overview(pool: asyncpg.Pool) -> Overview:
    """Counts of volume-spread events and bars, and every open range.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
    """
    with unavailable("postgres"):
        totals = await pool.fetchrow(_SQL["totals"])
        rows = await pool.fetch(_SQL["open_ranges"])
    assert totals
    return Overview(totals["bars"], totals["events"], tuple(Range(*row) for row in rows))


async def newest_minute(pool: asyncpg.Pool) -> datetime | None:
    """When the newest stored minute was over; None before the first.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
    """
    with unavailable("postgres"):
        over: datetime | None = await pool.fetchval(_SQL["newest_minute"])
    return over
