"""Looks at everything that a stack is made of, and says of each part how it stands or why it is away."""

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import asyncpg
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rollotape.cache import scripts
from rollotape.cache.patterns import PatternModel
from rollotape.cache.patterns import Standing as Model
from rollotape.postgres import standing as postgres
from rollotape.postgres.active import ActivePatterns
from rollotape.redis import topology
from rollotape.redis.clients import mode, open_client, servers
from rollotape.redis.topology import Topology
from rollotape.settings import Settings
from rollotape.streams import standing as streams
from rollotape.streams.standing import Stream

ANSWER_S = 3.0
PATIENCE_S = 12.0
"""For one part, whatever it does: the others are shown meanwhile and not kept waiting for it."""
BARS = "rollo_bars_input_total"

T = TypeVar("T")
_OPEN = build_opener(ProxyHandler({}))  # a stack of this machine is never behind a proxy


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """What was seen of one part, or why it could not be seen."""

    seen: T | None = None
    away: str = ""
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A Redis or Valkey."""

    info: Mapping[str, Any]
    """Of its INFO."""
    now_s: float
    asked_s: float
    """Its clock, and ours halfway between question and answer."""
    answer_s: float
    place: str = ""
    """Host and port, where there are several."""
    others: "tuple[Server, ...]" = ()
    """The other primaries of a cluster."""
    topology: Topology = field(default_factory=Topology)

    @property
    def title(self) -> str:
        if "valkey_version" in self.info:
            return f"Valkey {self.info['valkey_version']}"
        return f"Redis {self.info.get('redis_version', '?')}"

    def number(self, name: str) -> int:
        return int(self.info.get(name, 0) or 0)

    def total(self, name: str) -> int:
        """Of all primaries."""
        return sum(server.number(name) for server in (self, *self.others))


@dataclass(frozen=True, slots=True)
class Streams:
    """What the Redis of the streams holds."""

    streams: list[Stream]
    model: Model
    model_is_tended: bool
    """A builder has been at work within the last seconds."""


@dataclass(frozen=True, slots=True)
class Database:
    standing: postgres.Standing
    asked_s: float
    """Our clock when it was asked for its own."""
    answer_s: float


@dataclass(frozen=True, slots=True)
class Service:
    """One replica that this machine's stack has started; `checks` are those of /readyz that fail."""

    ready: bool
    checks: dict[str, str] = field(default_factory=dict)
    bars: float | None = None
    """Ever received, in its present life; None where it counts none."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything at one moment."""

    at_s: float
    redis: Part[Server]
    streams: Part[Streams]
    cache: Part[Server] | None
    """None where no Redis is named for answers."""
    database: Part[Database]
    services: dict[str, Part[Service]] = field(default_factory=dict)


async def observe(settings: Settings, services: Mapping[str, str] | None = None) -> Observation:
    """Look once; `services` are ops URLs by name. An outage is an answer, never an error."""
    at_s, asked = time.time(), services or {}
    replicas = asyncio.gather(*(_part(asyncio.to_thread(_service, url)) for url in asked.values()))
    database, redis, cache = await asyncio.gather(
        _part(_database(settings)),
        _part(_server(settings.redis_url)),
        _part(_server(settings.cache_url or settings.redis_url)),
    )
    installed = database.seen.standing.installation if database.seen else None
    partitions = installed.partitions if installed else settings.partitions
    return Observation(
        at_s,
        redis,
        await _part(_streams(settings, partitions)) if redis.seen else Part(away=redis.away),
        cache if settings.cache_url else None,
        database,
        dict(zip(asked, await replicas, strict=True)),
    )


async def _part(work: Awaitable[T]) -> Part[T]:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return Part(await work)
    except (RedisError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        return Part(away=_words(error), error=error)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0]


def client(url: str) -> Redis:
    """One that does not wait."""
    return open_client(url, answer_s=ANSWER_S, connect_s=ANSWER_S, tries_once=True)


async def _server(url: str) -> Server:
    async with client(url) as redis:
        first, *others = await asyncio.gather(*map(_asked, await servers(redis)))
        return replace(first, others=tuple(others), topology=await topology.look(redis))


async def _asked(redis: Redis) -> Server:
    info = await redis.info()  # the connection is made now, and not timed
    began, asked = time.perf_counter(), time.time()
    seconds, micros = (int(asked), 0) if mode(info) == "sentinel" else await redis.time()
    answer_s = time.perf_counter() - began
    options = redis.connection_pool.connection_kwargs
    place = f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return Server(info, seconds + micros / 1e6, asked + answer_s / 2, answer_s, place)


async def _streams(settings: Settings, partitions: int) -> Streams:
    async with client(settings.redis_url) as redis:
        found = await streams.look(redis, partitions)
        nobody = cast("asyncpg.Pool[Any]", None)  # how the model stands is asked of Redis alone
        model = await PatternModel(ActivePatterns(nobody), redis).standing()
        return Streams(found, model, bool(await redis.exists(scripts.ALIVE)))


async def _database(settings: Settings) -> Database:
    async with postgres.connection(settings.database_url) as connection:
        began = time.perf_counter()
        await connection.fetchval("SELECT 1")
        answer_s, asked = time.perf_counter() - began, time.time()
        found = await postgres.look(connection)
    return Database(found, asked, answer_s)


def _service(url: str) -> Service:
    """/readyz and /metrics of one replica."""
    return Service(*_ready(url), bars=_bars(url))


def _ready(url: str) -> tuple[bool, dict[str, str]]:
    try:
        with _OPEN.open(f"{url}/readyz", timeout=ANSWER_S) as answer:
            json.load(answer)
            return True, {}
    except HTTPError as error:
        with error:
            checks = json.load(error).get("checks") or {}
        return False, {name: said for name, said in checks.items() if said != "ok"}


def _bars(url: str) -> float | None:
    try:
        with _OPEN.open(f"{url}/metrics", timeout=ANSWER_S) as answer:
            text = answer.read().decode()
    except URLError:
        return None
    lines = "\n".join(line for line in text.splitlines() if line.startswith(BARS))
    values = [s.value for family in text_string_to_metric_families(lines) for s in family.samples]
    return sum(values)  # a counter that nothing has counted is not there yet
