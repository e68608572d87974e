"""Starts a worker for relative strength."""

import asyncio
from typing import Any, NoReturn

import structlog
from redis.asyncio import Redis

from rollotape import service
from rollotape.errors import Unavailable, told
from rollotape.postgres.strength import Strength
from rollotape.streams.backoff import Backoff, is_outage
from rollotape.streams.outbox import Outbox
from rs_worker.handlers import SERVICE, Score

POLL_S = 1.0
"""Marks are the queue, and are looked at this often whether or not anybody says that there are any."""
SWEEP_EVERY_S = 2.0
UNSAID_S = 5.0
"""What was committed and is still unsaid after this long was left by a crash."""

log = structlog.get_logger()


class Wake:
    """Listens to the stream `sessions`; hearing nothing, or too late, costs a poll and nothing else."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._after: bytes | str = "$"

    async def wait(self) -> None:
        """Return when bars were committed, after `POLL_S` at the latest."""
        block_ms = int(POLL_S * 1_000)
        try:
            heard: Any = await self._redis.xread({"sessions": self._after}, count=1_000, block=block_ms)
        except Exception as error:
            if not is_outage(error):
                raise
            await asyncio.sleep(POLL_S)
            return
        for _, entries in heard:
            self._after = entries[-1][0]


async def work(score: Score, wake: Wake) -> NoReturn:
    """Work off what is due, again and again."""
    backoff = Backoff()
    while True:
        try:
            if not await score.once():
                await wake.wait()
            backoff.reset()
        except Exception as error:
            away = isinstance(error, Unavailable) or is_outage(error)
            log.warning("strength_failed", reason=told(error), exc_info=not away)
            await asyncio.sleep(backoff.delay_s())


async def start(worker: service.Service) -> None:
    outbox = Outbox(worker.pool, worker.producer)
    score = Score(Strength(worker.pool), outbox)
    wake = Wake(worker.redis)

    async def scoring() -> None:
        await work(score, wake)

    async def sweep() -> None:
        await outbox.sweep(older_than_s=UNSAID_S)

    worker.every(0.0, scoring)
    worker.every(SWEEP_EVERY_S, sweep)


def run() -> None:
    """Entry point of the console script `rs-worker`."""
    service.run(SERVICE, start)
