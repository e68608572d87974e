"""Saying what was committed, exactly as long as it takes: after the commit, or by a sweep after a crash."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson

from rollotape.facts import Message
from rollotape.postgres.sql import queries
from rollotape.streams.producer import Producer


def pack(messages: Sequence[Message]) -> bytes | None:
    """Messages as one outbox row; None when there is nothing to say."""
    return orjson.dumps([(stream, payload.decode()) for stream, payload in messages]) if messages else None


class Outbox:
    """A message may be sent twice; its id and version make that harmless."""

    def __init__(self, pool: "asyncpg.Pool[Any]", producer: Producer) -> None:
        self._pool = pool
        self._producer = producer
        self._sql = queries("outbox")

    async def say(self, outbox_id: int, messages: Sequence[Message]) -> None:
        """Publish what was just committed and forget it."""
        await self._producer.send_many(messages)
        await self._pool.execute(self._sql["said"], [outbox_id])

    async def sweep(self, *, older_than_s: float) -> int:
        """Publish what a crash left unsaid; returns how many rows. Replicas sweep different rows."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(self._sql["stale"], older_than_s)
            for _, packed in rows:
                await self._producer.send_many([(s, p.encode()) for s, p in orjson.loads(packed)])
            await connection.execute(self._sql["said"], [outbox_id for outbox_id, _ in rows])
        return len(rows)
