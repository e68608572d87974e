"""Which data an answer would be made of now: the generation, and what else changes answers. Reads only."""

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from rollotape.errors import Unavailable
from rollotape.postgres.questions import Filters
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from rollotape.postgres.market import Connection

_SQL = queries("generations")

TRADES, TAPE = "analytics", "tape"
"""Datasets: what trades have earned; volume-spread events, and their counts on patterns."""
LOCK = 0x636F756E74
"""Advisory lock of the one who counts: "count" in ASCII."""


class Moment(NamedTuple):
    """Two moments of one `name` have the same answers. Times in microseconds since 1970."""

    epoch: str
    """Of the installation; a database that was restored has another one."""
    generation: int
    """Counted up with every change of what answers are made of."""
    changed_us: int
    """When that was."""
    now_us: int
    """By the clock of the database."""
    day: str
    """In New York, by which windows are counted."""
    next_exit_us: int | None
    """When the next trade will be over that says so already; None as a rule."""
    waiting_us: int
    """How long the oldest change has been waiting to be rolled up; 0 without one."""

    @property
    def name(self) -> str:
        """Part of keys and of ETags."""
        return f"{self.epoch}:{self.generation}:{self.day}:{self.next_exit_us or ''}"


async def moment(connection: "Connection", dataset: str = TRADES) -> Moment:
    """Of the answers of one dataset.

    Raises:
        Unavailable: the database is not installed.
    """
    try:
        if dataset == TRADES:
            row = await connection.fetchrow(_SQL["moment"])
        else:
            row = await connection.fetchrow(_SQL["moment_of"], dataset)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
        row = None
    if row is None:
        raise Unavailable("postgres: not migrated, run `rollo migrate`")
    return Moment(*row)


async def count_up(connection: "Connection") -> list[str]:
    """Take the marks of datasets; those that have a new generation. Of trades the roller counts."""
    return [row["dataset"] for row in await connection.fetch(_SQL["count_up"], LOCK)]


async def has_patterns(connection: "Connection", first: datetime, last: datetime, filters: Filters) -> bool:
    """Whether a pattern that these filters let through was detected between these instants."""
    own = None if filters.origin is None else filters.origin == "paper"
    lists = (list(names) or None for names in (filters.pattern_types, filters.symbols, filters.sectors))
    asked = (first, last, own, filters.phase, filters.timeframe, *lists)
    return bool(await connection.fetchval(_SQL["has_patterns"], *asked))
