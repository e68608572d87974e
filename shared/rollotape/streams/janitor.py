"""Trimming: never what a declared group has not acknowledged, and only then by age, or for want of room."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rollotape import metrics
from rollotape.events import STREAMS, StreamContract
from rollotape.postgres.floors import Floors
from rollotape.streams.partitions import stream_name
from rollotape.streams.position import order

LARGEST_SEQUENCE = 2**64 - 1
ROOM = 0.75
"""A stream that was cut for want of room holds so much of what it may, lest it be cut again at once."""
CUTS = 8
"""Where to cut is reckoned from times of entries, as if these came evenly; a few steps make that good."""

log = structlog.get_logger()


class Janitor:
    """Trims every stream of the contracts. Its declared groups are what protects a stream."""

    def __init__(
        self,
        redis: Redis,
        floors: Floors,
        *,
        partitions: int,
        retention_s: float,
        most_bytes: float = math.inf,
        contracts: Mapping[str, StreamContract] = STREAMS,
    ) -> None:
        """`most_bytes`: of the streams of one kind together; above it, acknowledged entries go early."""
        self._redis = redis
        self._floors = floors
        self._partitions = partitions
        self._retention_ms = int(retention_s * 1_000)
        self._most_bytes = most_bytes
        self._contracts = contracts
        self.pressed = False
        """A stream was found too large by the last run: more of it may be on its way."""

    async def run_once(self) -> dict[str, int] | None:
        """Entries trimmed per stream; None when another replica is at it.

        Raises:
            Unavailable: Redis or PostgreSQL is away.
        """
        self.pressed = False
        async with self._floors.only_janitor() as mine:
            if not mine:
                metrics.JANITOR_RUNS.labels("elsewhere").inc()
                return None
            trimmed = {name: await self._trim(name, contract) for name, contract in self._streams()}
        metrics.JANITOR_RUNS.labels("done").inc()
        if total := sum(trimmed.values()):
            log.info("trimmed", entries=total)
        return trimmed

    def _streams(self) -> Iterable[tuple[str, StreamContract]]:
        for contract in self._contracts.values():
            for partition in range(self._partitions) if contract.partitioned else (None,):
                yield stream_name(contract.name, partition), contract

    async def _trim(self, stream: str, contract: StreamContract) -> int:
        needed = await self._needed_by_all(stream, contract.groups)
        if needed is None:
            return 0
        trimmed = await self._cut(stream, contract, min(needed, await self._oldest_to_keep(), key=order))
        return trimmed + await self._make_room(stream, contract, needed)

    async def _cut(self, stream: str, contract: StreamContract, floor: str) -> int:
        if not await self._redis.xrange(stream, max=f"({floor}", count=1):
            return 0
        await self._floors.raise_to(stream, floor)
        trimmed = int(await self._redis.xtrim(stream, minid=floor, approximate=False))
        metrics.JANITOR_TRIMMED.labels(contract.name).inc(trimmed)
        return trimmed

    async def _make_room(self, stream: str, contract: StreamContract, needed: str) -> int:
        """Cut what is younger than the retention, too, the oldest first, until the stream is small enough."""
        most = self._most_bytes / (self._partitions if contract.partitioned else 1)
        trimmed = 0
        for _ in range(CUTS if most < math.inf else 0):
            size = await self._redis.memory_usage(stream, samples=0) or 0
            if size <= most:
                break
            self.pressed = True
            floor = await self._at(stream, 1 - ROOM * most / size)
            trimmed += await self._cut(stream, contract, min(needed, floor, key=order))
            if order(floor) >= order(needed):
                break  # the rest is unread or pending
        return trimmed

    async def _at(self, stream: str, share: float) -> str:
        """The moment at which so much of the time has passed between the oldest entry and the newest."""
        about = await self._redis.xinfo_stream(stream)
        newest = about["last-generated-id"].decode()
        if about["first-entry"] is None:
            return after(newest)
        first_ms, last_ms = order(about["first-entry"][0].decode())[0], order(newest)[0]
        return f"{first_ms + max(1, int(share * (last_ms - first_ms)))}-0"

    async def _needed_by_all(self, stream: str, groups: tuple[str, ...]) -> str | None:
        """The id below which no group needs anything any more; None when nothing may be trimmed."""
        if not groups:
            return await self._now()
        known = await self._groups(stream)
        if not known.keys() >= set(groups):
            return None  # a group that is missing has read nothing: it will be created at 0
        return min([await self._needed(stream, group, known[group]) for group in groups], key=order)

    async def _oldest_to_keep(self) -> str:
        return await self._now(-self._retention_ms)

    async def _now(self, later_ms: int = 0) -> str:
        seconds, microseconds = await self._redis.time()  # the clock that made the ids
        return f"{max(0, seconds * 1_000 + microseconds // 1_000 + later_ms)}-0"

    async def _groups(self, stream: str) -> dict[str, Any]:
        try:
            groups = await self._redis.xinfo_groups(stream)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return {}
        return {group["name"].decode(): group for group in groups}

    async def _needed(self, stream: str, group: str, info: Mapping[str, Any]) -> str:
        """The lowest id that the group has not acknowledged.

        Both answers stay true while the group goes on: entries up to the last one delivered are pending
        or acknowledged, and what is delivered or acknowledged between the two questions only raises this.
        """
        undelivered: str = after(info["last-delivered-id"].decode())
        pending = await self._redis.xpending(stream, group) if info["pending"] else {"min": None}
        return min(pending["min"].decode(), undelivered, key=order) if pending["min"] else undelivered


def after(entry_id: str) -> str:
    """The next id.

    >>> after("5-18446744073709551615")
    '6-0'
    """
    ms, sequence = order(entry_id)
    return f"{ms}-{sequence + 1}" if sequence < LARGEST_SEQUENCE else f"{ms + 1}-0"
