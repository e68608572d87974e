"""The end of the stream `updates`, read once for everybody who listens.

An id that a client holds is good as long as its entry is still there: then everything after it is, too. What
was trimmed, what was lost with a Redis, what another installation gave out: all of that is not there, and a
client is told of a gap instead of being left to believe that nothing happened.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rollotape import telemetry, tracing
from rollotape.errors import Unavailable
from rollotape.events import FIELD
from rollotape.metrics import SSE_DROPPED
from rollotape.often import Often
from rollotape.postgres.pool import unavailable
from rollotape.streams.position import order
from rollotape.telemetry import Span, Taker

STREAM = "updates"
EVERY_S = 0.1
AT_ONCE = 1_000
HEARTBEAT_S = 10.0
MOST_QUEUED = 5_000
"""A client that lets more than this wait is too slow to be told everything."""
START = "0-0"
GAP = "gap"
NOWHERE = "0-1"
"""Ids are made of the time: nothing was ever said a moment after 1970 began."""
_ID = re.compile(r"([0-9a-f]{32})-([0-9]{1,20}-[0-9]{1,20})")

MOST_SPANS = 100
"""Of one look; the line has all traces."""

log = structlog.get_logger()
told = Often("told", __name__)


class Fact(NamedTuple):
    """One entry; `type` None: a place without news, "gap": some were lost before it."""

    id: str
    type: str | None = None
    payload: bytes = b""
    symbol: str = ""
    """Of news of a saved scan, the id of the scan; of health, the part of the system."""
    timeframe: str = ""
    owner: str | None = None
    """To whom alone it may be told; None: to everybody."""
    trace_id: str | None = None


class Read(NamedTuple):
    """What stands after a position: whether the position itself is there, and where the stream ends."""

    found: bool
    facts: list[Fact]
    last: str
    more: bool
    added: int
    read: int


class Hearer(Protocol):
    """Somebody who is told everything that is new."""

    over: asyncio.Event
    """Nobody reads any more, or the gateway stops."""

    def begin(self, position: str) -> None:
        """From here on everything is told."""

    def hear(self, facts: list[Fact]) -> None: ...


@dataclass(eq=False)
class Listener:
    """One client's queue of facts whose type begins in one of these ways."""

    kinds: tuple[str, ...]
    owner: str | None = None
    """Facts that belong to somebody are for this one."""
    queue: deque[Fact] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Too slow, or the gateway stops."""

    def begin(self, position: str) -> None:
        """It filters by the place itself."""

    def hear(self, facts: list[Fact]) -> None:
        found = [fact for fact in facts if self.wants(fact)]
        if len(self.queue) + len(found) > MOST_QUEUED:
            SSE_DROPPED.inc(not self.over.is_set())
            self.over.set()
        elif found:
            self.queue.extend(found)
            self.news.set()

    def wants(self, fact: Fact) -> bool:
        if fact.type is None or fact.owner not in (None, self.owner):
            return False
        return fact.type == GAP or fact.type.startswith(self.kinds)


class Tail:
    """Follows the stream while anybody listens."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._listeners: set[Hearer] = set()
        self._task: asyncio.Task[None] | None = None
        self._placed = asyncio.Event()
        self._position: str | None = None

    async def listen(self, listener: Listener, after: str | None) -> AsyncIterator[list[Fact]]:
        """Facts after a position, then new ones as they come; an empty list when there are none for a while.

        Without a position, or where it is good no more (a gap), from now on.

        Raises:
            Unavailable: Redis is away when it begins; later outages are waited out.
        """
        await self.read(START, count=0)  # an outage is said at once
        await self.join(listener)  # before the past is read, so that nothing lies between
        read = await self.read(after or START, count=AT_ONCE if after else 0)
        position = after or read.last
        while after is not None:
            if not read.found and position != read.last:
                position = read.last
                yield [Fact(position, GAP)]
                break
            position = read.facts[-1].id if read.facts else position
            yield [fact if listener.wants(fact) else Fact(fact.id) for fact in read.facts]
            if not read.more:
                break
            read = await self.read(position, count=AT_ONCE)
        else:
            yield [Fact(position)]
        while not listener.over.is_set():
            heard = [f for f in listener.queue if f.type == GAP or order(f.id) > order(position)]
            listener.queue.clear()
            listener.news.clear()
            if heard:
                position = heard[-1].id
            yield heard
            await _either(listener.news, listener.over)

    def leave(self, listener: Hearer) -> None:
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

    async def join(self, listener: Hearer) -> None:
        """From when this returns, the listener hears of everything new.

        Raises:
            Unavailable: Redis did not answer.
        """
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._placed.clear()
            self._position = None
            self._task = asyncio.create_task(self._follow())
        elif self._position is not None:
            listener.begin(self._position)
        await _either(self._placed, listener.over)
        if not self._placed.is_set():
            raise Unavailable("updates: Redis did not answer in time")

    async def _follow(self) -> None:
        """Nothing is lost between two looks as long as the stream counts as many entries as were read."""
        added = 0
        while self._listeners:
            position = self._position
            try:
                read = await self.read(position or START, count=AT_ONCE if position else 0)
            except Unavailable as error:
                log.warning("tail_away", error=str(error))
                await asyncio.sleep(1)  # between two attempts at a Redis that is away
                continue
            except Exception:  # those who listen would wait for ever
                log.exception("defect", task="tail")
                await asyncio.sleep(1)  # a bug that lasts must not fill the log
                continue
            if position is None:
                self._position, added = read.last, read.added
                for listener in self._listeners:
                    listener.begin(read.last)
                self._placed.set()
            elif not read.more and added + read.read != read.added:
                self._position, added = read.last, read.added
                self._tell([Fact(read.last, GAP)])
            elif read.facts:
                self._position = read.facts[-1].id
                added += read.read
                self._tell(read.facts)
            if not read.more:
                await asyncio.sleep(EVERY_S)

    def _tell(self, facts: list[Fact]) -> None:
        began_ns = time.time_ns()
        for listener in list(self._listeners):
            listener.hear(facts)
        traces = sorted({fact.trace_id for fact in facts if fact.trace_id})
        count = len(self._listeners)
        told.say(facts=len(facts), first=facts[0].id, last=facts[-1].id, listeners=count, traces=traces)
        if (taker := telemetry.taker()) is not None:
            _trace(taker, traces, began_ns, count)

    async def read(self, after: str, count: int) -> Read:
        """One look, all of one moment.

        Raises:
            Unavailable: Redis is away.
        """
        with unavailable("updates"):
            pipeline: Any = self._redis.pipeline(transaction=True)
            pipeline.xrange(STREAM, min=after, max=after, count=1)
            pipeline.xrange(STREAM, min=f"({after}", count=max(count, 1))
            pipeline.xinfo_stream(STREAM)
            own, entries, info = await pipeline.execute(raise_on_error=False)
        if isinstance(info, ResponseError) and "no such key" in str(info):
            return Read(False, [], START, False, 0, 0)
        for answer in (own, entries, info):
            if isinstance(answer, Exception):
                raise answer
        facts = [_fact(entry_id, fields) for entry_id, fields in entries] if count else []
        last, added = info["last-generated-id"].decode(), info["entries-added"]
        found = bool(own) or (after == START and added == info["length"])  # the start, as nothing is gone
        return Read(found, facts, last, len(facts) >= count > 0, added, len(facts))


def _trace(taker: Taker, traces: list[str], began_ns: int, listeners: int) -> None:
    """In each of the traces that facts brought, a span for their way out."""
    end_ns, about = time.time_ns(), {"rollo.listeners": listeners}
    for trace_id in traces[:MOST_SPANS]:
        begun = tracing.span_of(trace_id)
        taker.take(
            Span("told", trace_id, tracing.new_span(), began_ns, end_ns, about, begun, kind="producer")
        )


def place(said: str, epoch: UUID) -> str:
    """Where to go on from an id that a client holds; one that leads nowhere is one that no stream has."""
    found = _ID.fullmatch(said.strip())
    if found is None or found[1] != epoch.hex or max(order(found[2])) >= 2**63:
        return NOWHERE
    return found[2]


def _fact(entry_id: bytes, fields: dict[bytes, bytes]) -> Fact:
    payload, place = fields.get(FIELD, b""), entry_id.decode()
    try:
        said: Any = orjson.loads(payload)
        kind = said["type"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        kind = None
    if not isinstance(kind, str) or kind == GAP:
        return Fact(place)
    trace_id = tracing.told(said)
    if kind.startswith("scan."):
        return _of_scan(place, kind, payload, said)
    if kind.startswith("system."):
        return Fact(place, kind, payload, str(said.get("component") or said.get("service") or ""))
    about = said.get("pattern") or said.get("event") or said.get("signal")
    symbol, timeframe = (about.get("symbol"), about.get("timeframe")) if isinstance(about, dict) else ("", "")
    return Fact(place, kind, payload, symbol or "", timeframe or "", trace_id=trace_id)


def _of_scan(place: str, kind: str, payload: bytes, said: Any) -> Fact:
    """One that does not say whose it is, is nobody's."""
    scan, owner = said.get("scan"), said.get("owner")
    scan_id = scan.get("id") if isinstance(scan, dict) else None
    if not isinstance(scan_id, str) or not isinstance(owner, str):
        return Fact(place)
    return Fact(place, kind, payload, scan_id, owner=owner, trace_id=tracing.told(said))


async def _either(*events: asyncio.Event) -> None:
    """Return when one is set, or after a while."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
