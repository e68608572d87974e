"""Servers as `rollo up` starts them, full streams, empty databases, and a clock for whoever reads them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis

from bench.progress import Show
from rollotape.embedded import Servers
from rollotape.producers.frames import Message
from rollotape.streams.partitions import stream_name
from rollotape.streams.position import Position, positions
from rollotape.streams.producer import Producer
from support import databases, folders

PARTITIONS = databases.PARTITIONS
STREAMS = [stream_name("bars", partition) for partition in range(PARTITIONS)]
LOOK_EVERY_S = 0.02
"""A look costs Redis and us about a millisecond, at either end of a run it misses this much at most."""
BEGIN_S, END_S = 60.0, 240.0
UNREAD = "SELECT EXISTS (SELECT FROM unread_bars)"
"""Bars that are stored and whose reading is due."""


class Stalled(Exception):
    """A reader ended, or did not come forward in time: there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A process that reads streams as a group, and how to know that it still lives."""

    pid: int
    group: str
    alive: Callable[[], bool]
    log: Path


@dataclass(slots=True)
class Stage:
    """Each filling of the streams is in a Redis database of its own, each run in one of PostgreSQL."""

    servers: Servers
    show: Show
    folder: Path
    template: str

    def redis_url(self, number: int) -> str:
        return urlsplit(self.servers.urls.redis_url)._replace(path=f"/{number}").geturl()

    def database(self) -> AbstractContextManager[str]:
        """A migrated, empty database; dropped afterwards."""
        return databases.copy_of(self.template, self.servers.urls.database_url)

    def environment(self, redis_number: int, database_url: str) -> dict[str, str]:
        """Where a reader finds its servers."""
        return self.servers.urls.environment() | {
            "ROLLO_REDIS_URL": self.redis_url(redis_number),
            "ROLLO_DATABASE_URL": database_url,
        }

    @asynccontextmanager
    async def redis(self, number: int) -> AsyncIterator["Redis"]:
        async with Redis.from_url(self.redis_url(number)) as client:
            yield client

    async def fill(self, number: int, what: str, blocks: Iterable[list[Message]], total: int) -> int:
        """Send blocks of messages; how many."""
        sent = 0
        with self.show.task(f"filling the streams: {what}", total) as done:
            async with self.redis(number) as redis:
                producer = Producer(redis)
                for block in blocks:
                    sent += len(await producer.send_many(block))
                    done(sent)
        return sent

    async def settle(self, number: int, group: str, streams: Iterable[str]) -> None:
        """The same beginning for everybody: nothing read yet, and no server still busy with the last run."""
        async with self.redis(number) as redis:
            for stream in streams:
                await redis.xgroup_destroy(stream, group)
            await redis.delete("updates", "sessions")
            await until(lambda: _at_rest(redis), "Redis rewriting its log", END_S)
            await redis.bgrewriteaof()  # now, so that none falls into the run
            await until(lambda: _at_rest(redis), "Redis rewriting its log", END_S)
        databases.execute(self.servers.urls.database_url, "CHECKPOINT")


async def _at_rest(redis: "Redis") -> bool:
    about: Mapping[str, Any] = await redis.info("persistence")
    return not about["aof_rewrite_in_progress"] and not about.get("aof_rewrite_scheduled")


async def until(condition: Callable[[], Awaitable[bool]], what: str, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > deadline:
            raise Stalled(f"{what}: not within {within_s:g} s")
        await asyncio.sleep(LOOK_EVERY_S)


@dataclass(slots=True)
class Clock:
    """Times a reader by what Redis knows of its group, so that every reader is timed alike."""

    redis: "Redis"
    reader: Reader
    streams: list[str]
    told: Callable[[int], None] = lambda left: None
    """Hears at every look how many entries are left."""
    looked: Callable[[], None] = lambda: None

    async def begun(self) -> float:
        """The moment of the group's first delivery."""
        await self._until(lambda found: any(p.pending or p.delivered != "0-0" for p in found), BEGIN_S)
        return self.now()

    async def finished(self) -> float:
        """The moment at which nothing is unread and nothing pending; `told` hears what is left."""

        def nothing_left(found: list[Position]) -> bool:
            left = sum(p.waiting for p in found)
            self.told(left)
            self.looked()
            return len(found) == len(self.streams) and left == 0

        await self._until(nothing_left, END_S)
        return self.now()

    @staticmethod
    def now() -> float:
        return time.perf_counter()

    async def left(self) -> int:
        """Entries that are not acknowledged."""
        return sum(p.waiting for p in await self._positions())

    async def _until(self, condition: Callable[[list[Position]], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not condition(await self._positions()):
            if not self.reader.alive() or time.monotonic() > deadline:
                raise Stalled(f"{self.reader.group} does not come forward:\n{_last_words(self.reader.log)}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _positions(self) -> list[Position]:
        return list((await positions(self.redis, self.reader.group, self.streams)).values())


@dataclass(slots=True)
class UntilRead(Clock):
    """Not over when the bars are stored, but when they are read."""

    url: str = ""

    async def finished(self) -> float:
        await Clock.finished(self)
        connection = await asyncpg.connect(self.url)
        try:
            while await connection.fetchval(UNREAD):
                self.looked()
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            await connection.close()
        return self.now()


def _last_words(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-2_000:] if log.exists() else "(it wrote no log)"


@contextmanager
def open_stage(show: Show) -> Iterator[Stage]:
    """Durable servers of our own, whatever the environment names."""
    with (
        folders.open_folder() as folder,
        Servers(folder, environ={}) as servers,
        databases.template(servers.urls.database_url) as template,
    ):
        yield Stage(servers, show, folder, template)
