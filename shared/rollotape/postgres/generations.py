"""Which data an answer would be made of now: the generation, and what else changes answers. Reads only."""

from typing import TYPE_CHECKING, NamedTuple

from rollotape.errors import Unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from rollotape.postgres.market import Connection

_SQL = queries("generations")


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


async def moment(connection: "Connection") -> Moment:
    """
    Raises:
        Unavailable: the database is not installed.
    """
    row = await connection.fetchrow(_SQL["moment"])
    if row is None:
        raise Unavailable("postgres: not migrated, run `rollo migrate`")
    return Moment(*row)
