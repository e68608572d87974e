"""Redis before and while a producer works: it must keep streams, and while it does not answer we say so."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from rollotape.errors import Unavailable
from rollotape.redis.addresses import address
from rollotape.redis.clients import open_client
from rollotape.streams.backoff import Backoff, is_outage
from rollotape.streams.broker import guard

SAY_AFTER_S = 3.0
LOOK_EVERY_S = 0.5
ANSWER_S = 2.0


async def keeps_streams(url: str, *, give_up_s: float = 30.0) -> None:
    """Return when this Redis answers and may be produced into.

    Raises:
        Refused: it may evict what is sent.
        Unavailable: it did not answer for `give_up_s`.
    """
    patience_over, backoff = time.monotonic() + give_up_s, Backoff()
    async with _probe(url) as redis:
        while True:
            try:
                return await guard(redis)
            except AuthenticationError:
                raise  # an outage by its class, and yet it does not pass
            except Exception as error:
                if not is_outage(error):
                    raise
                if time.monotonic() >= patience_over:
                    raise Unavailable(f"redis: {error}") from error
            await asyncio.sleep(backoff.delay_s())


@asynccontextmanager
async def watched(url: str, note: Callable[[str], object]) -> AsyncIterator[None]:
    """Say once per outage that Redis is being waited for, whoever it is that waits."""
    task = asyncio.create_task(_watch(url, note))
    try:
        yield
    finally:
        while not task.done():  # redis-py loses a cancellation now and then
            task.cancel()
            await asyncio.wait({task}, timeout=0.2)


async def _watch(url: str, note: Callable[[str], object]) -> None:
    is_said, answered = False, time.monotonic()
    async with _probe(url) as redis:
        while True:
            try:
                await redis.ping()
                is_said, answered = False, time.monotonic()
            except Exception as error:
                if not is_outage(error):
                    return  # those who work with it meet the same error, and raise it
            if not is_said and time.monotonic() - answered >= SAY_AFTER_S:
                is_said = True
                note(f"waiting for Redis at {address(url).where} ...")
            await asyncio.sleep(LOOK_EVERY_S)


def _probe(url: str) -> Redis:
    """A client that does not wait by itself."""
    return open_client(url, answer_s=ANSWER_S, connect_s=ANSWER_S, tries_once=True)
