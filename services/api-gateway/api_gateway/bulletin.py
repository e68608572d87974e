"""Tells on `updates` when a part of the system came up, is degraded or went down: once, for all gateways.

A part is told of when it has stood so for two looks: what recovers by itself within seconds is no news.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

import structlog
from redis.asyncio import Redis

from api_gateway.components import Component, Status
from rollotape import facts, metrics
from rollotape.errors import Unavailable
from rollotape.postgres.pool import unavailable
from rollotape.streams.producer import Producer

EVERY_S = 5.0
GIVE_UP_S = 5.0
TOLD = "system:health"
"""Hash in the Redis of the streams: what was told last of each part. A part that is not there is up."""
WORDS: dict[Status, str] = {"healthy": "up", "degraded": "degraded", "unhealthy": "down"}
_LEVELS = {"up": 1.0, "degraded": 0.5, "down": 0.0}

Judge = Callable[[], Awaitable[Sequence[Component]]]

log = structlog.get_logger()


class Bulletin:
    """Looks again and again; nobody waits for it."""

    def __init__(self, redis: Redis, judge: Judge, every_s: float = EVERY_S) -> None:
        self._redis, self._judge, self._every_s = redis, judge, every_s
        self._producer = Producer(redis, give_up_s=GIVE_UP_S)
        self._before: dict[str, Status] = {}

    async def keep(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.turn()
            except Unavailable as error:  # what changes meanwhile is told when Redis is back
                log.info("bulletin_away", error=str(error))
            except Exception:
                log.exception("defect", task="bulletin")

    async def turn(self) -> None:
        """
        Raises:
            Unavailable: the Redis of the streams is away.
        """
        judged = await self._judge()
        for part in judged:
            metrics.COMPONENT.labels(part.name).set(_LEVELS[WORDS[part.status]])
        stood = [part for part in judged if self._before.get(part.name) == part.status]
        self._before = {part.name: part.status for part in judged}
        with unavailable("bulletin"):
            await self._tell(stood)

    async def _tell(self, parts: Sequence[Component]) -> None:
        """First the fact, then that it was told: a crash between them has it told twice, never not at all."""
        told: Any = await self._redis.hgetall(TOLD)
        for part in parts:
            word = WORDS[part.status]
            if told.get(part.name.encode(), b"up").decode() == word:
                continue
            seconds, micros = await self._redis.time()
            at_ms = int(seconds) * 1_000 + int(micros) // 1_000
            await self._producer.send_many([facts.system_health(part.name, word, part.reason, at_ms)])
            await self._redis.hset(TOLD, part.name, word)
            log.info("component_told", component=part.name, status=word, reason=part.reason)
