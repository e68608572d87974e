"""Every service with a user of its own, who may do what `rollo contracts acl` says and nothing else."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.exceptions import NoPermissionError

from rollotape.embedded import Children
from rollotape.embedded.server import free_port
from rollotape.redis import rights
from rollotape.redis.clients import open_client
from support import market_files
from support.folders import open_folder
from support.redises import Redises, open_redises, url_as, users
from support.stacks import rollo
from support.waiting import eventually_sync
from support.workers import Worker, programs

SERVICES = ("detector", "rs-worker", "cache-builder", "api-gateway")
EVENT = {
    "event": "detected", "source": "desk", "symbol": "AAPL", "timeframe": "1d", "pattern_type": "SPRING",
    "confidence": 0.9, "detected_at": "2026-11-20T21:00:00Z", "expires_at": "2100-01-01T00:00:00Z",
}  # fmt: skip
FORBIDDEN: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "detector": (("XADD", "bars.0", "*", "json", "{}"), ("XDEL", "bars.0", "0-1"), ("KEYS", "*")),
    "rs-worker": (("XREADGROUP", "GROUP", "detector", "0", "STREAMS", "bars.0", ">"), ("FLUSHALL",)),
    "cache-builder": (("XADD", "patterns.0", "*", "json", "{}"), ("CONFIG", "SET", "appendonly", "no")),
    "api-gateway": (("XTRIM", "bars.0", "MAXLEN", "0"), ("HSET", "rm:{patterns}:items", "a", "b")),
    "producer": (("XRANGE", "bars.0", "-", "+"), ("DEL", "bars.0"), ("XADD", "updates", "*", "json", "{}")),
    "operator": (("DEL", "bars.0"), ("XTRIM", "updates", "MAXLEN", "0"), ("SHUTDOWN",)),
}


_rollo: Any = rollo


class Place:
    """Two Redis that know users, and what each service is told of them."""

    def __init__(self, streams: Redises, cache: Redises, database_url: str) -> None:
        self.streams, self.cache, self._database_url = streams, cache, database_url

    def of(self, name: str) -> dict[str, str]:
        user = rights.PREFIX + name
        cache = url_as(self.cache.url, user) if name in rights.IN_CACHE else ""
        return {
            "ROLLO_REDIS_URL": url_as(self.streams.url, user), "ROLLO_CACHE_URL": cache,
            "ROLLO_DATABASE_URL": self._database_url,
        }  # fmt: skip

    def refused(self) -> list[Any]:
        """What any user was refused, by every server."""
        servers = [*self.streams.servers, *self.cache.servers]
        return [entry for server in servers for entry in server.ask("ACL", "LOG")]


@pytest.fixture(scope="module", params=["server", "cluster"])
def redises(request: pytest.FixtureRequest) -> Iterator[tuple[Redises, Redises]]:
    evicting = {"maxmemory-policy": "allkeys-lru", "maxmemory": "64mb", "appendonly": "no"}
    with (
        open_redises(request.param, users(rights.acl(rights.IN_STREAMS))) as streams,
        open_redises("server", users(rights.acl(rights.IN_CACHE)) | evicting) as cache,
    ):
        yield streams, cache


@pytest.fixture
def place(redises: tuple[Redises, Redises], database_url: str) -> Place:
    return Place(*redises, database_url)


def test_everything_works_with_the_rights_that_are_documented(place: Place, tmp_path: Path) -> None:
    market_files.write_all(tmp_path)
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        start = programs(stack.enter_context(Children(folder / "children.json")))
        port = free_port()
        for service in SERVICES:
            trimming = {"ROLLO_JANITOR_EVERY_S": "0.5", "ROLLO_STREAM_RETENTION_S": "1"}
            given = {**place.of(service), **trimming, "ROLLO_HTTP_PORT": str(port)}
            Worker(service, 1, start, given, folder).start()
        made = _rollo("key", "create", "--scope", "write", "--name", "desk", **place.of("operator"))
        headers = {"authorization": f"Bearer {made.stdout.split()[-1]}"}
        gateway = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False)
        stack.enter_context(gateway)
        eventually_sync(lambda: _status(gateway, "/readyz") == 200, within_s=60, what="a gateway")

        sent = _rollo("import", str(tmp_path / "bars_daily_etf.csv.gz"), "--wait", **place.of("producer"))
        assert sent.returncode == 0, sent.stderr
        rows = tmp_path / "rows.csv"
        rows.write_text("symbol,date,open,high,low,close,volume\nFED,2024-01-02,1,1,1,1,1\n")
        fed = _rollo("feed", "csv", str(rows), **place.of("producer"), ROLLO_DATA=str(tmp_path))
        assert fed.stdout.startswith("1 bars sent"), fed.stderr
        assert gateway.post("/api/patterns", json={"patterns": [EVENT]}).status_code == 202
        eventually_sync(lambda: "AAPL" in gateway.get("/api/patterns/scan").text, what="a scan")
        with gateway.stream("GET", "/api/patterns/stream") as told:
            assert told.status_code == 200
        assert _status(gateway, "/api/analytics/pattern-performance") == 200
        assert _status(gateway, "/api/pattern-discovery/health") in (200, 503)
        assert _rollo("verify", **place.of("operator")).returncode == 0
        assert _rollo("cache", "rebuild", **place.of("operator")).returncode == 0
        diagnosis = _rollo("doctor", **place.of("operator")).stdout
        assert "broken" not in [line.split()[0] for line in diagnosis.splitlines()], diagnosis
        eventually_sync(lambda: _trimmed(place), what="streams that are trimmed")
    assert place.refused() == []


def test_nobody_may_do_what_another_does(place: Place) -> None:
    async def ask(name: str, command: tuple[str, ...]) -> None:
        async with open_client(place.of(name)["ROLLO_REDIS_URL"], tries_once=True) as client:
            for server in [client] if "cluster" not in place.streams.url else await _nodes(client):
                with pytest.raises(NoPermissionError):
                    await server.execute_command(*command)

    for name, commands in FORBIDDEN.items():
        for command in commands:
            asyncio.run(ask(name, command))


async def _nodes(client: Any) -> list[Any]:
    nodes: list[Any] = await client.primaries()
    return nodes


def _status(gateway: httpx.Client, path: str) -> int:
    try:
        return gateway.get(path, timeout=20).status_code
    except httpx.TransportError:
        return 0


def _trimmed(place: Place) -> bool:
    """The janitor has left less than what was added to some stream of bars."""

    async def lengths() -> bool:
        async with open_client(place.streams.url) as client:
            for n in range(16):
                if await client.exists(f"bars.{n}"):
                    about = await client.xinfo_stream(f"bars.{n}")
                    if about["length"] < about["entries-added"]:
                        return True
        return False

    return asyncio.run(lengths())
