"""A detector's handler on real servers, without the delivery around it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
import redis.asyncio

from detector.handlers import ApplyBars
from detector.memory import Memory
from rollotape import calendars
from rollotape.events import FIELD
from rollotape.postgres.pool import open_pool
from rollotape.postgres.tape import Tape
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from rollotape.streams.outbox import Outbox
from rollotape.streams.producer import Producer

ARRIVED_MS = 1_790_000_000_000
"""September 2026: later than every bar of a test, whatever the clock says."""


@dataclass(slots=True)
class Bench:
    """What a test needs to apply payloads and to look at what came of them."""

    pool: "asyncpg.Pool[Any]"
    redis: "redis.asyncio.Redis"
    tape: Tape
    memory: Memory
    outbox: Outbox
    handler: ApplyBars
    sent: int = 0

    async def apply(self, payloads: Sequence[bytes]) -> None:
        """Apply payloads as one batch of stream entries."""
        entries = [
            Entry("bars.0", f"{ARRIVED_MS}-{self.sent + i}", {FIELD: p}) for i, p in enumerate(payloads)
        ]
        self.sent += len(payloads)
        await self.handler.apply(entries)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.pool.fetch(query)]

    async def said(self, stream: str) -> list[dict[str, Any]]:
        """Every message on a stream so far."""
        entries: Any = await self.redis.xrange(stream)
        return [orjson.loads(fields[FIELD]) for _, fields in entries]


@asynccontextmanager
async def open_bench(settings: Settings) -> AsyncIterator[Bench]:
    pool = await open_pool(settings, service="test", raw_times=True)
    client = open_client(settings.redis_url)
    try:
        tape, memory, outbox = Tape(pool), Memory(settings.window_bars), Outbox(pool, Producer(client))
        handler = ApplyBars(tape, memory, outbox, calendars.sessions)
        yield Bench(pool, client, tape, memory, outbox, handler)
    finally:
        await client.aclose()
        await pool.close()
