"""Patterns as server-sent events: resumed through kills without a loss, and gaps that are said."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from api_gateway import tail
from rollotape.embedded.server import free_port
from rollotape.events import FIELD
from rollotape.settings import Settings
from support.databases import execute, fetch
from support.gateway import serve
from support.waiting import eventually_sync

EVENTS = 3_000
KILLS = 4


def _fact(n: int) -> dict[bytes, bytes]:
    said = {"version": 1, "type": "pattern.updated", "id": f"p{n % 50}", "fact_version": n, "pattern": {}}
    return {FIELD: orjson.dumps(said)}


async def _say(redis: Redis, numbers: range) -> None:
    pipeline: Any = redis.pipeline(transaction=False)
    for n in numbers:
        pipeline.xadd("updates", _fact(n))
        pipeline.xadd("updates", {FIELD: b'{"type":"vsa.detected"}'})
    await pipeline.execute()


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


async def test_a_client_sees_each_fact_once_though_the_gateway_is_killed_again_and_again(
    settings: Settings, redis_client: Redis
) -> None:
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}")
    client.last_id = None
    told = 0

    async def speak() -> None:
        nonlocal told
        while told < EVENTS:
            await _say(redis_client, range(told, told + 20))
            told += 20
            await asyncio.sleep(0.02)

    speaking: asyncio.Task[None] | None = None
    for turn in range(KILLS + 1):
        with _gateway(settings, port) as process:
            await asyncio.to_thread(eventually_sync, lambda: _ready(port), within_s=60, what="a gateway")
            following = asyncio.create_task(client.follow(until=EVENTS - 1))
            if speaking is None:
                await _eventually(lambda: client.last_id is not None)
                speaking = asyncio.create_task(speak())
            if turn == KILLS:
                await asyncio.wait_for(following, 60)
                break
            seen = len(client.seen)
            await _eventually(lambda seen=seen: len(client.seen) > seen)
            process.kill()
            await asyncio.gather(following, return_exceptions=True)
    assert speaking is not None
    await speaking

    assert client.seen == list(range(EVENTS))
    assert client.gaps == 0


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    except httpx.TransportError:
        return False


async def _eventually(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens on the other side of a socket
            await asyncio.sleep(0.01)


async def _resumed(settings: Settings, last_id: str) -> list[str]:
    """Kinds of the first events after an id."""
    with serve(settings) as url:
        client = Client(url)
        client.last_id = last_id
        kinds: list[str] = []
        async with asyncio.timeout(30):
            async for kind, _ in client.events():
                kinds += [kind] if kind else []
                if kinds and (kind == "gap" or len(kinds) == 3):
                    break
        return kinds


async def test_an_id_that_is_not_there_any_more_is_answered_by_a_gap(
    settings: Settings, redis_client: Redis
) -> None:
    await _say(redis_client, range(10))
    [[epoch]] = fetch(settings.database_url, "SELECT epoch FROM installation")
    entries: Any = await redis_client.xrange("updates")
    ids = [entry_id.decode() for entry_id, _ in entries]

    assert await _resumed(settings, f"{epoch.hex}-{ids[3]}") == ["pattern.updated"] * 3
    assert await _resumed(settings, f"{'0' * 32}-{ids[3]}") == ["gap"]
    assert await _resumed(settings, f"{epoch.hex}-{2**62}-0") == ["gap"]
    assert await _resumed(settings, "nonsense") == ["gap"]
    await redis_client.xtrim("updates", minid=ids[10], approximate=False)
    assert await _resumed(settings, f"{epoch.hex}-{ids[3]}") == ["gap"]
    assert await _resumed(settings, f"{epoch.hex}-{ids[10]}") == ["pattern.updated"] * 3
    execute(settings.database_url, "UPDATE installation SET epoch = gen_random_uuid()")
    assert await _resumed(settings, f"{epoch.hex}-{ids[10]}") == ["gap"]


async def test_a_redis_that_lost_its_stream_is_a_gap_to_those_who_listen(
    settings: Settings, redis_client: Redis
) -> None:
    with serve(settings) as url:
        client = Client(url)
        following = asyncio.create_task(client.follow(until=29))
        await _eventually(lambda: client.last_id is not None)
        await _say(redis_client, range(10))
        await _eventually(lambda: len(client.seen) == 10)
        await redis_client.delete("updates")
        await _say(redis_client, range(10, 20))
        await _eventually(lambda: client.gaps == 1)
        await _say(redis_client, range(20, 30))
        await asyncio.wait_for(following, 30)

    assert client.seen == [*range(10), *range(20, 30)]


async def test_a_client_that_does_not_read_is_cut_off(
    settings: Settings, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MOST_QUEUED", 50)
    with serve(settings) as url:
        client = Client(url)
        following = asyncio.create_task(client.follow())
        await _eventually(lambda: client.last_id is not None)
        await _say(redis_client, range(200))  # at once: more than may wait

        await asyncio.wait({following}, timeout=30)

        assert following.done()
        assert len(client.seen) < 200


def test_the_stream_is_503_without_redis_and_has_a_head(settings: Settings) -> None:
    with serve(settings) as url:
        head = httpx.head(f"{url}/api/patterns/stream")
        assert (head.status_code, head.headers["cache-control"], head.content) == (200, "no-store", b"")
    with serve(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})) as url:
        assert httpx.get(f"{url}/api/patterns/stream").status_code == 503
