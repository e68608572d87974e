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
        for start in range(0, len(messages), PIPELINE):
            ids += await self._send(messages[start : start + PIPELINE])
        return ids

    async def _send(self, messages: Sequence[tuple[str, bytes]]) -> list[str]:
        ids: dict[int, str] = {}
        left = list(range(len(messages)))
        backoff, patience_over = Backoff(), time.monotonic() + self._give_up_s
        while left:
            found, error = await self._pipeline([messages[i] for i in left])
            sent = {left[place]: entry_id for place, entry_id in found.items()}
            ids |= sent
            left = [i for i in left if i not in sent]
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
        return [ids[i] for i in range(len(messages))]

    async def _pipeline(
        self, messages: Sequence[tuple[str, bytes]]
    ) -> tuple[dict[int, str], Exception | None]:
        """Ids by place, of each stream up to its first failure, and a failure if there was one.

        What follows in a stream is sent again, so its order is kept. Streams of a cluster fail one by one.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for stream, payload in messages:
            pipeline.execute_command("XADD", stream, "*", FIELD, payload)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except Exception as error:
            return {}, error
        ids: dict[int, str] = {}
        failures: dict[str, Exception] = {}
        for i, (answer, (stream, _)) in enumerate(zip(answers, messages, strict=True)):
            if isinstance(answer, Exception):
                failures.setdefault(stream, answer)
            elif stream not in failures:
                ids[i] = answer.decode() if isinstance(answer, bytes) else answer
        bugs = [error for error in failures.values() if not is_outage(error)]
        return ids, next(iter([*bugs, *failures.values()]), None)
