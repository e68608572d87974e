"""The partitions one replica delivers: a running subscriber for each, started and stopped as leases move."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from faststream.redis import RedisBroker
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rollotape import metrics
from rollotape.events import STREAMS
from rollotape.settings import Settings
from rollotape.streams.entries import Entry, Handler, Weigh
from rollotape.streams.partitions import stream_name
from rollotape.streams.position import order
from rollotape.streams.subscriber import PartitionSubscriber, Plan, register, unregister

__all__ = ["Delivery", "Entry", "Handler", "Standing", "Weigh", "export"]

GRACE_S = 6.0
"""A batch that runs when its partition is given up has this long to finish."""
ALIVE_S = 120.0
"""Longer than any single attempt may take: its statements and transactions have far shorter limits."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a group stands in a stream. `lag` is an upper bound when not `lag_known`."""

    stream: str
    length: int
    lag: int
    lag_known: bool
    pending: int
    group_exists: bool = True
    oldest_pending_s: float = 0.0


class Delivery:
    """Delivers some partitions of one kind of stream to one handler, as one consumer group."""

    def __init__(
        self,
        broker: RedisBroker,
        kind: str,
        group: str,
        handler: Handler,
        settings: Settings,
        *,
        weigh: Weigh | None = None,
        grace_s: float = GRACE_S,
        alive_s: float = ALIVE_S,
    ) -> None:
        self._broker = broker
        self._plan = Plan(
            kind=kind,
            group=group,
            handler=handler,
            slots=asyncio.Semaphore(settings.batches_in_flight),
            weigh=weigh,
            batch_entries=settings.batch_entries,
            batch_bars=settings.batch_bars,
            claim_ms=settings.claim_ms,
            grace_s=grace_s,
            alive_s=alive_s,
        )
        self._partitioned = STREAMS[kind].partitioned
        self._running: dict[int, PartitionSubscriber] = {}
        self._changing = asyncio.Lock()

    @property
    def group(self) -> str:
        return self._plan.group

    @property
    def held(self) -> frozenset[int]:
        """The partitions that are being delivered."""
        return frozenset(self._running)

    async def hold(self, partitions: Collection[int]) -> None:
        """Deliver exactly these partitions. Returns when those given up have let go of their batches.

        A stream that is not partitioned is delivered by whoever holds partition 0.
        """
        async with self._changing:
            wanted = set(partitions) if self._partitioned else {0}.intersection(partitions)
            leaving, joining = self._running.keys() - wanted, wanted - self._running.keys()
            if leaving or joining:
                moves = {"joining": sorted(joining), "leaving": sorted(leaving)}
                log.info("partitions_changed", kind=self._plan.kind, **moves)
            async with asyncio.TaskGroup() as changes:
                for partition in sorted(leaving):
                    changes.create_task(self._leave(partition))
                for partition in sorted(joining):
                    changes.create_task(self._join(partition))

    async def _join(self, partition: int) -> None:
        subscriber = register(self._broker, self._stream(partition), self._plan)
        self._running[partition] = subscriber
        try:
            await subscriber.start()
        except BaseException:
            await self._leave(partition)  # else it would count as held while nobody delivers it
            raise

    async def _leave(self, partition: int) -> None:
        subscriber = self._running[partition]
        try:
            await subscriber.stop()
        finally:
            del self._running[partition]
            unregister(self._broker, subscriber)

    def alive(self) -> bool:
        """Whether every loop turns. One that waits for an outage to end is alive; one that hangs is not."""
        return all(subscriber.alive() for subscriber in self._running.values())

    def behind(self) -> bool:
        """Whether entries pour in: some partition was last handed as much as it could be."""
        return any(subscriber.behind for subscriber in self._running.values())

    def failures(self) -> dict[str, str]:
        """Streams whose last turn failed, and why."""
        return {
            self._stream(partition): subscriber.failure
            for partition, subscriber in sorted(self._running.items())
            if subscriber.failure is not None
        }

    async def standings(self) -> list[Standing]:
        """Where the group stands in every stream that is held."""
        redis = await self._broker.connect()
        streams = [self._stream(partition) for partition in sorted(self._running)]
        return [await standing(redis, stream, self._plan.group) for stream in streams]

    def _stream(self, partition: int) -> str:
        return stream_name(self._plan.kind, partition if self._partitioned else None)


async def standing(redis: Redis, stream: str, group: str) -> Standing:
    """Where a group stands in a stream.

    The server cannot tell the lag after an XDEL, or when a group began in mid-stream; then it is known
    only at the end of the stream, where it is 0.
    """
    pipeline = redis.pipeline(transaction=True)
    pipeline.xinfo_stream(stream)
    pipeline.xinfo_groups(stream)
    try:
        about, groups = await pipeline.execute()
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return Standing(stream, 0, 0, lag_known=True, pending=0, group_exists=False)
    length = int(about["length"])
    for info in groups:
        if info["name"] == group.encode():
            lag, at_end = info.get("lag"), info["last-delivered-id"] == about["last-generated-id"]
            known = lag is not None or at_end
            entries = 0 if at_end else length if lag is None else int(lag)
            oldest_s = await _oldest_pending_s(redis, stream, group) if info["pending"] else 0.0
            return Standing(
                stream, length, entries, known, int(info["pending"]), oldest_pending_s=oldest_s
            )
    return Standing(stream, length, length, lag_known=True, pending=0, group_exists=False)


async def _oldest_pending_s(redis: Redis, stream: str, group: str) -> float:
    """By the clock that made the ids; 0 when all was acknowledged meanwhile."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.time()
    pipeline.xpending(stream, group)
    (seconds, micros), found = await pipeline.execute(raise_on_error=False)
    if isinstance(found, ResponseError) or not found["min"]:  # or the group is gone meanwhile
        return 0.0
    arrived_ms, _ = order(found["min"].decode())
    return max(0.0, float(seconds) + int(micros) / 1e6 - arrived_ms / 1e3)


_OF_GROUPS = (metrics.STREAM_LAG, metrics.STREAM_LAG_KNOWN, metrics.STREAM_PENDING, metrics.STREAM_OLDEST)
_exported: dict[str, set[str]] = {}
"""By group, the streams whose gauges were set."""


def export(standings: Sequence[Standing], group: str) -> None:
    """Set the gauges of these streams; one that was given up is somebody else's to report."""
    held = {p.stream for p in standings}
    for stream in _exported.get(group, set()) - held:
        for gauge in _OF_GROUPS:
            with suppress(KeyError):
                gauge.remove(stream, group)
        with suppress(KeyError):
            metrics.STREAM_LENGTH.remove(stream)
    _exported[group] = held
    for p in standings:
        metrics.STREAM_LAG.labels(p.stream, group).set(p.lag)
        metrics.STREAM_LAG_KNOWN.labels(p.stream, group).set(p.lag_known)
        metrics.STREAM_PENDING.labels(p.stream, group).set(p.pending)
        metrics.STREAM_OLDEST.labels(p.stream, group).set(p.oldest_pending_s)
        metrics.STREAM_LENGTH.labels(p.stream).set(p.length)
