"""The end of the stream `updates`, read once for everybody who listens.

An id that a client holds is good as long as its entry is still there: then everything after it is, too. What
was trimmed, what was lost with a Redis, what another installation gave out: all of that is not there, and a
client is told of a gap instead of being left to believe that nothing happened.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rollotape.errors import Unavailable
from rollotape.events import FIELD
from rollotape.postgres.pool import unavailable
from rollotape.streams.position import order

STREAM = "updates"
EVERY_S = 0.1
AT_ONCE = 1_000
HEARTBEAT_S = 10.0
MOST_QUEUED = 5_000
"""A client that lets more than this wait is too slow to be told everything."""
_PATTERN = "pattern."
_START = "0-0"

log = structlog.get_logger()


class Fact(NamedTuple):
    """One entry about a pattern; `type` None: a place without news, "gap": some were lost before it."""

    id: str
    type: str | None = None
    payload: bytes = b""


class Read(NamedTuple):
    """What stands after a position: whether the position itself is there, and where the stream ends."""

    found: bool
    facts: list[Fact]
    last: str
    more: bool
    added: int
    read: int


@dataclass(eq=False)
class Listener:
    """One client's queue."""

    queue: deque[Fact] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Too slow, or the gateway stops."""

    def hear(self, facts: list[Fact]) -> None:
        if len(self.queue) + len(facts) > MOST_QUEUED:
            self.over.set()
            return
        self.queue.extend(facts)
        self.news.set()


class Tail:
    """Follows the stream while anybody listens."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._placed = asyncio.Event()

    async def listen(self, listener: Listener, after: str | None) -> AsyncIterator[list[Fact]]:
        """Facts after a position, then new ones as they come; an empty list when there are none for a while.

        Without a position, or where it is good no more (a gap), from now on.

        Raises:
            Unavailable: Redis is away when it begins; later outages are waited out.
        """
        await self._read(_START, count=0)  # an outage is said at once
        await self._join(listener)  # before the past is read, so that nothing lies between
        read = await self._read(after or _START, count=AT_ONCE if after else 0)
        position = after or read.last
        while after is not None:
            if not read.found and position != read.last:
                position = read.last
                yield [Fact(position, "gap")]
                break
            position = read.facts[-1].id if read.facts else position
            yield read.facts
            if not read.more:
                break
            read = await self._read(position, count=AT_ONCE)
        else:
            yield [Fact(position)]
        while not listener.over.is_set():
            heard = [f for f in listener.queue if f.type == "gap" or order(f.id) > order(position)]
            listener.queue.clear()
            listener.news.clear()
            if heard:
                position = heard[-1].id
            yield heard
            await _either(listener.news, listener.over)

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def stop(self) -> None:
        """Let every client go; they come back with their last id."""
        for listener in self._listeners:
            listener.over.set()

    async def close(self) -> None:
        self.stop()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _join(self, listener: Listener) -> None:
        """From when this returns, the listener hears of everything new."""
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._placed.clear()
            self._task = asyncio.create_task(self._follow())
        await _either(self._placed, listener.over)
        if not self._placed.is_set():
            raise Unavailable("updates: Redis did not answer in time")

    async def _follow(self) -> None:
        """Nothing is lost between two looks as long as the stream counts as many entries as were read."""
        position, added = None, 0
        while self._listeners:
            try:
                read = await self._read(position or _START, count=AT_ONCE if position else 0)
            except Unavailable as error:
                log.warning("tail_away", error=str(error))
                await asyncio.sleep(1)  # between two attempts at a Redis that is away
                continue
            if position is None:
                position, added = read.last, read.added
                self._placed.set()
            elif not read.more and added + read.read != read.added:
                position, added = read.last, read.added
                self._tell([Fact(position, "gap")])
            else:
                position = read.facts[-1].id if read.facts else position
                added += read.read
                self._tell([fact for fact in read.facts if fact.type])
            if not read.more:
                await asyncio.sleep(EVERY_S)

    def _tell(self, facts: list[Fact]) -> None:
        for listener in list(self._listeners) if facts else ():
            listener.hear(facts)

    async def _read(self, after: str, count: int) -> Read:
        """One look, all of one moment."""
        with unavailable("updates"):
            pipeline: Any = self._redis.pipeline(transaction=True)
            pipeline.xrange(STREAM, min=after, max=after, count=1)
            pipeline.xrange(STREAM, min=f"({after}", count=max(count, 1))
            pipeline.xinfo_stream(STREAM)
            own, entries, info = await pipeline.execute(raise_on_error=False)
        if isinstance(info, ResponseError) and "no such key" in str(info):
            return Read(False, [], _START, False, 0, 0)
        for answer in (own, entries, info):
            if isinstance(answer, Exception):
                raise answer
        facts = [_fact(entry_id, fields) for entry_id, fields in entries] if count else []
        last, added = info["last-generated-id"].decode(), info["entries-added"]
        return Read(bool(own), facts, last, len(facts) >= count > 0, added, len(facts))


def _fact(entry_id: bytes, fields: dict[bytes, bytes]) -> Fact:
    payload = fields.get(FIELD, b"")
    try:
        kind = orjson.loads(payload)["type"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        kind = ""
    is_pattern = isinstance(kind, str) and kind.startswith(_PATTERN)
    return Fact(entry_id.decode(), kind, payload) if is_pattern else Fact(entry_id.decode())


async def _either(*events: asyncio.Event) -> None:
    """Return when one is set, or after a while."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
