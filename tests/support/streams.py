"""A handler that remembers what it was given, and streams to give it something from."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from faststream.redis import RedisBroker
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from rollotape.settings import Settings
from rollotape.streams.broker import make_broker
from rollotape.streams.entries import Entry

Fault = Callable[[Sequence[Entry]], Exception | None]


class Recorder:
    """Applies by remembering. `fault` may refuse a batch; `gate` may hold one up."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault: Fault | None = fault
        self.bury_fault: Callable[[], Exception | None] = lambda: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.tried: list[list[str]] = []
        self.applied: list[Entry] = []
        self.buried: list[tuple[Entry, Exception]] = []
        self.busy = 0
        self.busiest = 0

    async def apply(self, entries: Sequence[Entry]) -> None:
        self.tried.append([entry.id for entry in entries])
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            if self.fault and (error := self.fault(entries)):
                raise error
            self.applied += entries
        finally:
            self.busy -= 1

    async def bury(self, entry: Entry, error: Exception) -> None:
        if fault := self.bury_fault():
            raise fault
        self.buried.append((entry, error))

    def ids(self, stream: str | None = None) -> list[str]:
        return [entry.id for entry in self.applied if stream in (None, entry.stream)]

    def payloads(self) -> list[bytes | None]:
        return [entry.payload for entry in self.applied]


def stream_settings(redis_url: str, **changes: Any) -> Settings:
    """Settings of a worker that never asks PostgreSQL."""
    return Settings(redis_url=redis_url, database_url="postgresql://nobody@127.0.0.1:1/none", **changes)


@asynccontextmanager
async def connected(redis_url: str) -> AsyncIterator[RedisBroker]:
    """A broker as services have it, with metrics of its own."""
    broker = make_broker(stream_settings(redis_url), service="test", registry=CollectorRegistry())
    await broker.connect()
    try:
        await broker.start()
        yield broker
    finally:
        await broker.stop()


async def pending(redis: Redis, stream: str, group: str = "detector") -> int:
    return int((await redis.xpending(stream, group))["pending"])
