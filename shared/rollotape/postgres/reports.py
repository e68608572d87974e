"""What the health of the whole is judged by, and what a dashboard shows of the database. Reads only."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from rollotape.domain.bars import TIMEFRAMES
from rollotape.errors import Unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from rollotape.postgres.market import Connection

_SQL = queries("reports")


@dataclass(frozen=True, slots=True)
class Vitals:
    """How PostgreSQL is, who works with it, and how new its bars are."""

    answer_s: float
    version: str
    most_connections: int
    connections: int
    schema: str
    partitions: int
    epoch: str
    oldest_unsaid_s: float | None
    """How long the oldest fact that was committed has been waiting to be said; None without one."""
    workers: dict[str, int]
    """Connections by service."""
    held: dict[str, int]
    """Partitions that somebody works on, by service."""
    newest: dict[str, datetime]
    """By timeframe when the newest bar was complete."""


class Kind(NamedTuple):
    """Symbols of one sector on one exchange; None is unknown."""

    sector: str | None
    exchange: str | None
    symbols: int
    active: int


@dataclass(frozen=True, slots=True)
class Stock:
    """What a dashboard shows of what is stored."""

    kinds: list[Kind]
    bytes: int
    """Of the whole database on disk."""


async def vitals(connection: "Connection") -> Vitals:
    """
    Raises:
        Unavailable: the database is not installed.
    """
    began = time.perf_counter()
    await connection.fetchval("SELECT 1")
    answer_s = time.perf_counter() - began
    found = await connection.fetchrow(_SQL["vitals"])
    if found is None:
        raise Unavailable("postgres: not migrated, run `rollo migrate`")
    return Vitals(
        answer_s=answer_s,
        **found,
        workers=await _by_name(connection, "workers"),
        held=await _by_name(connection, "held"),
        newest=await _by_name(connection, "newest"),
    )


async def _by_name(connection: "Connection", query: str) -> dict[str, Any]:
    found: Any = await connection.fetch(_SQL[query])
    return dict(found)


async def stock(connection: "Connection") -> Stock:
    since = await connection.fetchval(queries("symbols")["active_since"])
    rows = await connection.fetch(_SQL["symbols"], list(TIMEFRAMES), since)
    return Stock([Kind(*row) for row in rows], await connection.fetchval(_SQL["bytes"]))
