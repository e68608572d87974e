"""What metrics say of the whole, asked of PostgreSQL by those who only watch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rollotape.errors import Unavailable
from rollotape.postgres import gaps
from rollotape.postgres.gaps import Count
from rollotape.postgres.pool import unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:
    import asyncpg


class Owned(NamedTuple):
    """Partitions of a service that somebody works on."""

    service: str
    partitions: int
    owners: int


class Letters(NamedTuple):
    """Dead letters of a service that have this field as their first."""

    service: str
    field: str
    letters: int


@dataclass(frozen=True, slots=True)
class Vitals:
    partitions: int
    connections: int
    most_connections: int
    bytes: int
    unsaid_s: float | None
    marks: int
    oldest_mark: int | None
    dates: int
    oldest_date: int | None
    owned: list[Owned]
    letters: list[Letters]
    newest_us: dict[str, int]
    """By timeframe when its newest bar was complete."""
    gaps: list[Count]


async def look(pool: "asyncpg.Pool[Any]") -> Vitals:
    """
    Raises:
        Unavailable: PostgreSQL is away, or not migrated.
    """
    sql = queries("survey")
    with unavailable("survey"):
        async with pool.acquire() as connection:
            found = await connection.fetchrow(sql["vitals"])
            if found is None:
                raise Unavailable("survey: not migrated, run `rollo migrate`")
            return Vitals(
                **found,
                owned=[Owned(*row) for row in await connection.fetch(sql["owned"])],
                letters=[Letters(*row) for row in await connection.fetch(sql["dead_letters"])],
                newest_us=dict(await connection.fetch(sql["newest"])),
                gaps=await gaps.counted(connection),
            )


async def buried(pool: "asyncpg.Pool[Any]", stream: str, entry_ids: Sequence[str]) -> set[int]:
    """Positions of the entries that are dead letters as a whole."""
    rows = await pool.fetch(queries("survey")["buried"], [stream] * len(entry_ids), list(entry_ids))
    return {row[0] - 1 for row in rows}


async def bars(
    pool: "asyncpg.Pool[Any]", symbols: Sequence[str], timeframes: Sequence[str], ts_us: Sequence[int]
) -> dict[int, tuple[int, bool, int]]:
    """By position of the key, revision, synthetic and hash of the bar that is stored under it."""
    rows = await pool.fetch(queries("survey")["bars"], list(symbols), list(timeframes), list(ts_us))
    return {i - 1: (revision, synthetic, content) for i, revision, synthetic, content in rows}
