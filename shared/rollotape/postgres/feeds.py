"""What a live feed asks of the database: how far each symbol is, and how some bars are stored."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rollotape.postgres.pool import unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:
    import asyncpg

AT_ONCE = 10_000

Place = tuple[str, str, int]
"""Symbol, timeframe and start of a bar."""


class Stored:
    """Reads only. Times are integer microseconds, so the pool must be one with raw times.

    Raises:
        Unavailable: from every method, when PostgreSQL is away or slow.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def newest(self, symbols: Sequence[str], timeframe: str) -> dict[str, int]:
        """Start of the newest stored bar of each symbol that has any."""
        with unavailable("postgres"):
            rows = await self._pool.fetch(queries("feeds")["newest"], list(symbols), timeframe)
        return {row["symbol"]: row["ts"] for row in rows if row["ts"] is not None}

    async def known(self, places: Sequence[Place]) -> dict[Place, tuple[int, int]]:
        """(revision, hash) of those bars that are stored."""
        found: dict[Place, tuple[int, int]] = {}
        for start in range(0, len(places), AT_ONCE):
            part = places[start : start + AT_ONCE]
            columns = [list(column) for column in zip(*part, strict=True)]
            with unavailable("postgres"):
                rows = await self._pool.fetch(queries("feeds")["known"], *columns)
            found |= {part[i - 1]: (revision, content) for i, revision, content in rows}
        return found
