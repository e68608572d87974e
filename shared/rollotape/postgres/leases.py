"""Which replica works on which partition, by the clock of the database."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rollotape.postgres.pool import unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:
    import asyncpg

SQL = queries("leases")


class Leases:
    """The rows of one replica in `leases` and `replicas`. Every method is one statement.

    Raises:
        Unavailable: from every method, when PostgreSQL is away or slow.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]", service: str, owner: str, lease_s: float) -> None:
        self._pool = pool
        self._me = (service, owner)
        self._lease_s = lease_s

    async def beat(self) -> list[str]:
        """Say that this replica lives; names of all that do, sorted."""
        return sorted(await self._fetch("beat", self._lease_s))

    async def renew(self) -> set[int]:
        """Extend every lease of this replica; the partitions that are still its own."""
        return set(await self._fetch("renew", self._lease_s))

    async def grab(self, partitions: int, most: int) -> set[int]:
        """Take up to `most` free or expired ones of the partitions 0..partitions-1."""
        return set(await self._fetch("grab", self._lease_s, partitions, most))

    async def release(self, partitions: Iterable[int]) -> None:
        await self._fetch("release", sorted(partitions))

    async def retire(self) -> None:
        """Give up everything, for good."""
        await self._fetch("retire")

    async def _fetch(self, query: str, *args: object) -> list[Any]:
        with unavailable("leases"):
            return [row[0] for row in await self._pool.fetch(SQL[query], *self._me, *args)]
