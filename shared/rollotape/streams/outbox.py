"""Saying what was committed, exactly as long as it takes: after the commit, or by a sweep after a crash."""

from typing import Any

import asyncpg

from rollotape import tracing
from rollotape.postgres import outbox
from rollotape.postgres.outbox import Unsaid
from rollotape.streams.producer import Producer

UPDATES = "updates"


class Outbox:
    """A message may be sent twice; its id and version make that harmless."""

    def __init__(self, pool: "asyncpg.Pool[Any]", producer: Producer) -> None:
        self._pool = pool
        self._producer = producer

    async def say(self, unsaid: Unsaid) -> None:
        """Publish what was just committed and forget it."""
        ids = await self._producer.send_many(unsaid.messages)
        said = [i for i, (stream, _) in zip(ids, unsaid.messages, strict=True) if stream == UPDATES]
        if said:
            tracing.note(facts=len(said), said_first=said[0], said_last=said[-1])
        await outbox.forget(self._pool, [unsaid])

    async def sweep(self, *, older_than_s: float) -> int:
        """Publish what a crash left unsaid; returns how many rows. Replicas sweep different rows."""
        async with self._pool.acquire() as connection, connection.transaction():
            left = await outbox.stale(connection, older_than_s)
            for unsaid in left:
                await self._producer.send_many(unsaid.messages)
            await outbox.forget(connection, left)
        return len(left)
