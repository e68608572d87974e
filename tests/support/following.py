"""Somebody who follows patterns as server-sent events, and a gateway that is killed under them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
from redis.asyncio import Redis

from rollotape.embedded.server import free_port
from rollotape.events import FIELD
from rollotape.settings import Settings
from support.waiting import eventually, eventually_sync

AT_ONCE = 20
WITHIN_S = 60.0


class Client:
    """Follows the stream, as a browser does: comes back with the last id, drops what it has."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.last_id: str | None = None
        self.seen: list[int] = []
        self.gaps = 0
        self.repeats = 0
        self._versions: dict[str, int] = {}

    async def follow(self, until: int | None = None) -> None:
        """Until that fact was seen, or the connection ends."""
        async for kind, data in self.events():
            if kind == "gap":
                self.gaps += 1
            elif kind:
                self._take(orjson.loads(data))
            if until is not None and self.seen and self.seen[-1] >= until:
                return

    async def events(self) -> AsyncIterator[tuple[str, str]]:
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        http = httpx.AsyncClient(timeout=30)
        target = f"{self._url}/api/patterns/stream"
        async with http, http.stream("GET", target, headers=headers) as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            kind, data = "", ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data = value
                elif not line:
                    yield kind, data
                    kind, data = "", ""

    def _take(self, fact: Any) -> None:
        if fact["fact_version"] <= self._versions.get(fact["id"], -1):
            self.repeats += 1
            return
        self._versions[fact["id"]] = fact["fact_version"]
        self.seen.append(fact["fact_version"])


async def say(redis: Redis, numbers: range) -> None:
    """A fact about a pattern for each number, and as many about other things."""
    pipeline: Any = redis.pipeline(transaction=False)
    for n in numbers:
        pipeline.xadd("updates", _fact(n))
        pipeline.xadd("updates", {FIELD: b'{"type":"vsa.detected"}'})
    await pipeline.execute()


def _fact(n: int) -> dict[bytes, bytes]:
    said = {"version": 1, "type": "pattern.updated", "id": f"p{n % 50}", "fact_version": n, "pattern": {}}
    return {FIELD: orjson.dumps(said)}


async def follow_through_kills(settings: Settings, redis: Redis, *, facts: int, kills: int) -> Client:
    """One who saw the last of so many facts, though the gateway was killed so often, evenly among them."""
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}")
    speaker = _Speaker(redis, facts)
    speaking: asyncio.Task[None] | None = None
    for turn in range(kills + 1):
        with _gateway(settings, port) as process:
            await asyncio.to_thread(
                eventually_sync, lambda: _ready(port), within_s=WITHIN_S, what="a gateway"
            )
            following = asyncio.create_task(client.follow(until=facts - 1))
            await happened(lambda: client.last_id is not None, "a first event")
            speaking = speaking or asyncio.create_task(speaker.speak())
            seen = len(client.seen)
            speaker.limit = facts * (turn + 1) // (kills + 1)
            if turn == kills:
                await asyncio.wait_for(following, WITHIN_S)
                break
            await happened(lambda seen=seen: len(client.seen) > seen, "another fact")  # type: ignore[misc]
            process.kill()  # most of what may be said by now is said while it is away
            await asyncio.gather(following, return_exceptions=True)
    assert speaking is not None
    await speaking
    return client


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


@contextmanager
def _gateway(settings: Settings, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | {
        "ROLLO_REDIS_URL": settings.redis_url,
        "ROLLO_DATABASE_URL": settings.database_url,
        "ROLLO_AUTH": "off",
        "ROLLO_HTTP_PORT": str(port),
        "ROLLO_LOG_LEVEL": "ERROR",
    }
    process = subprocess.Popen([sys.executable, "-P", "-m", "api_gateway"], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    except httpx.TransportError:
        return False


async def happened(condition: Callable[[], bool], what: str) -> None:
    """Wait for what happens on the other side of a socket."""

    async def asked() -> bool:
        return condition()

    await eventually(asked, within_s=WITHIN_S, what=what)
