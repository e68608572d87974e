"""Below which id each stream may have been trimmed, and who may trim."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rollotape.postgres.pool import unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:
    import asyncpg

SQL = queries("floors")


class Floors:
    """Table `stream_floors`, written by the janitor alone."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def raise_to(self, stream: str, floor: str) -> None:
        """Record a floor; one that is higher already stays."""
        with unavailable("floors"):
            await self._pool.execute(SQL["raise_floor"], stream, floor)

    async def of(self, stream: str) -> str | None:
        """The recorded floor; None when the stream was never trimmed."""
        with unavailable("floors"):
            floor: str | None = await self._pool.fetchval(SQL["floor"], stream)
        return floor

    @asynccontextmanager
    async def only_janitor(self) -> AsyncIterator[bool]:
        """Whether nobody else trims meanwhile."""
        with unavailable("janitor"):
            async with self._pool.acquire() as connection:
                mine: bool = await connection.fetchval(SQL["try_lock"])
                try:
                    yield mine
                finally:
                    if mine and not connection.is_closed():
                        await connection.execute(SQL["unlock"])
