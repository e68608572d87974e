"""Sending: pipelined XADD, retried until Redis is back or patience is over."""

import asyncio
import time
from collections.abc import Iterable, Sequence

from redis.asyncio import Redis

from rollotape.errors import Unavailable
from rollotape.events import FIELD
from rollotape.streams.backoff import Backoff, is_outage

PIPELINE = 500


class Producer:
    """Sends payloads to streams in the order given. A retry may duplicate, which is harmless by design."""

    def __init__(self, redis: Redis, *, give_up_s: float = 30.0) -> None:
        self._redis = redis
        self._give_up_s = give_up_s

    async def send(self, stream: str, payloads: Iterable[bytes]) -> list[str]:
        """Append the payloads to one stream; the entry ids in the same order.

        Raises:
            Unavailable: Redis did not take them for `give_up_s`; a part may have been sent.
        """
        return await self.send_many([(stream, payload) for payload in payloads])

    async def send_many(self, messages: Sequence[tuple[str, bytes]]) -> list[str]:
        """Append (stream, payload) pairs; the same promises as `send`."""
        ids: list[str] = []
        backoff, patience_over = Backoff(), time.monotonic() + self._give_up_s
        while len(ids) < len(messages):
            sent, error = await self._pipeline(messages[len(ids) : len(ids) + PIPELINE])
            ids += sent
            if sent:
                backoff.reset()
                patience_over = time.monotonic() + self._give_up_s
            if error is None:
                continue
            if not is_outage(error):
                raise error
            if time.monotonic() >= patience_over:
                raise Unavailable(f"redis: sending: {type(error).__name__}: {error}") from error
            await asyncio.sleep(backoff.delay_s())
        return ids

    async def _pipeline(self, messages: Sequence[tuple[str, bytes]]) -> tuple[list[str], Exception | None]:
        """Ids up to the first failure, and that failure. What follows it is sent again, so order is kept."""
        pipeline = self._redis.pipeline(transaction=False)
        for stream, payload in messages:
            pipeline.execute_command("XADD", stream, "*", FIELD, payload)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except Exception as error:
            return [], error
        ids: list[str] = []
        for answer in answers:
            if isinstance(answer, Exception):
                return ids, answer
            ids.append(answer.decode() if isinstance(answer, bytes) else answer)
        return ids, None
