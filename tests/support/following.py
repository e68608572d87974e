"""Somebody who follows patterns, and gateways that are killed under them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal, Self

import httpx
import orjson
from redis.asyncio import Redis

from rollotape.client import AsyncClient, AsyncStream, Gap
from rollotape.embedded.server import free_port
from rollotape.events import FIELD
from rollotape.settings import Settings
from support.waiting import eventually, eventually_sync

AT_ONCE = 20
AGAIN = 7
"""Each so manieth fact is told twice, as after a crash between telling it and noting so."""
WITHIN_S = 60.0


Over = Literal["events", "socket"]


class Follower:
    """Follows the stream by `rollotape.client`, over however many connections."""

    def __init__(self, *urls: str, since: str | None = None, over: Over = "events") -> None:
        self._client = AsyncClient(urls)
        self.stream: AsyncStream[Any] = (
            self._client.stream(since)
            if over == "events"
            else self._client.subscribe(patterns="*", since=since)
        )
        self.seen: list[int] = []
        self.gaps = 0

    @property
    def last_id(self) -> str | None:
        return self.stream.last_id

    @property
    def connections(self) -> int:
        return self.stream.following.connections

    @property
    def repeats(self) -> int:
        return self.stream.following.repeats

    async def follow(self, until: int) -> None:
        """Until that fact was seen."""
        async with self._client, self.stream:
            async for found in self.stream:
                if isinstance(found, Gap):
                    self.gaps += 1
                    continue
                assert found.fact_version is not None
                self.seen.append(found.fact_version)
                if found.fact_version >= until:
                    return

    async def kinds(self, most: int) -> list[str]:
        """Of the first events, up to a gap."""
        found: list[str] = []
        async with self._client, self.stream:
            async for event in self.stream:
                found.append("gap" if isinstance(event, Gap) else event.type)
                if found[-1] == "gap" or len(found) == most:
                    break
        return found


async def say(redis: Redis, numbers: range) -> None:
    """A fact about a pattern for each number, some of them twice, and as many about other things."""
    pipeline: Any = redis.pipeline(transaction=False)
    for n in numbers:
        pipeline.xadd("updates", _fact(n))
        if n % AGAIN == 0:
            pipeline.xadd("updates", _fact(n))
        pipeline.xadd("updates", {FIELD: b'{"type":"vsa.detected"}'})
    await pipeline.execute()


def _fact(n: int) -> dict[bytes, bytes]:
    said = {"version": 1, "type": "pattern.updated", "id": f"p{n % 50}", "fact_version": n, "pattern": {}}
    return {FIELD: orjson.dumps(said)}


async def follow_through_kills(
    settings: Settings, redis: Redis, *, facts: int, kills: int, over: Over, replicas: int = 2
) -> Follower:
    """One who saw the last of so many facts, though of the gateways the one in use was killed so often."""
    with ExitStack() as stack:
        gateways = [stack.enter_context(_Gateway(settings)) for _ in range(replicas)]
        for gateway in gateways:
            await gateway.listening()
        follower = Follower(*(gateway.url for gateway in gateways), over=over)
        speaker = _Speaker(redis, facts)
        following = asyncio.create_task(follower.follow(until=facts - 1))
        await happened(lambda: follower.last_id is not None, "a first event")
        speaking = asyncio.create_task(speaker.speak())
        for turn in range(kills):
            seen = len(follower.seen)
            speaker.limit = facts * (turn + 1) // (kills + 1)
            await happened(lambda seen=seen: len(follower.seen) > seen, "another fact")  # type: ignore[misc]
            gateway = gateways[
                turn % replicas
            ]  # who follows has gone on to this one when the other was killed
            gateway.kill()
            gateway.start()
            await gateway.listening()
        speaker.limit = facts
        await asyncio.wait_for(following, WITHIN_S)
        await speaking
    return follower


class _Speaker:
    """Says facts, up to a limit that somebody raises."""

    def __init__(self, redis: Redis, facts: int) -> None:
        self._redis = redis
        self._facts = facts
        self.limit = 0

    async def speak(self) -> None:
        told = 0
        while told < self._facts:
            if told < self.limit:
                some = range(told, min(told + AT_ONCE, self._facts))
                await say(self._redis, some)
                told = some.stop
            await asyncio.sleep(0.02)  # the pace of a busy market


class _Gateway:
    """One that can be killed, and started again on the same port."""

    def __init__(self, settings: Settings) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = os.environ | {
            "ROLLO_REDIS_URL": settings.redis_url,
            "ROLLO_DATABASE_URL": settings.database_url,
            "ROLLO_AUTH": "off",
            "ROLLO_HTTP_PORT": str(port),
            "ROLLO_LOG_LEVEL": "ERROR",
        }
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "api_gateway"]
        self._process = subprocess.Popen(command, env=self._environment)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    async def listening(self) -> None:
        await asyncio.to_thread(eventually_sync, self._answers, within_s=WITHIN_S, what="a gateway")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/livez").status_code == 200
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


async def happened(condition: Callable[[], bool], what: str) -> None:
    """Wait for what happens on the other side of a socket."""

    async def asked() -> bool:
        return condition()

    await eventually(asked, within_s=WITHIN_S, what=what)
