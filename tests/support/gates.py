"""Doors between one worker and its servers, at which something happens at the moments that matter.

A gate passes bytes on and reads along. A trap set in it springs when the worker is about to do, or has
just done, a certain thing: the bytes wait until the trap's act is over.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum, auto
from hashlib import sha1
from urllib.parse import urlsplit

from rollotape.cache import scripts

CHUNK = 1 << 16

_BEGINS = {
    "detector": re.compile(rb"(__asyncpg_stmt_\w+__)\0[^\0]*symbol_state[^\0]*FOR UPDATE"),
    "rs-worker": re.compile(rb"(__asyncpg_stmt_\w+__)\0[^\0]*FROM rs_scores WHERE as_of = ANY"),
}
"""The statement before which all is gathered: the lock on symbols, or the last look at what is stored."""
_TURN = b"rollo-read-model-patterns"
"""What the lock of a cache-builder is named after."""
_CHANGES_MODEL = tuple(sha1(text.encode()).hexdigest().encode() for text in (scripts.APPLY, scripts.SWAP))
"""By these names Redis knows the scripts that change the read model."""


class Point(StrEnum):
    """A moment in the life of a batch."""

    READ = auto()
    """The entries were given out; the worker has not seen them."""
    GATHERED = auto()
    """A detector has decided and locked nothing, so what it gathered may become stale. An rs-worker has taken
    its dates away and read the closes; a cache-builder is about to take its turn."""
    COPYING = auto()
    """Locked, and PostgreSQL waits for the rows of a statement that has begun."""
    COMMITTING = auto()
    """Written and locked, not committed."""
    COMMITTED = auto()
    """The worker does not know it."""
    SAYING = auto()
    """Committed; nothing was said."""
    SAID = auto()
    """The worker does not know it, and has not forgotten what it said."""
    ACKNOWLEDGING = auto()
    """Committed and said; the entries will come again."""
    ACKNOWLEDGED = auto()
    """The worker does not know it."""
    CHANGING = auto()
    """The rows are read, and the read model is about to be made of them."""
    CHANGED = auto()
    """The worker does not know it, and still has its turn."""


POINTS = {
    "detector": frozenset(Point) - {Point.CHANGING, Point.CHANGED},
    "rs-worker": frozenset(
        {Point.GATHERED, Point.COPYING, Point.COMMITTING, Point.COMMITTED, Point.SAYING, Point.SAID}
    ),
    "cache-builder": frozenset(
        {Point.READ, Point.GATHERED, Point.CHANGING, Point.CHANGED, Point.ACKNOWLEDGING, Point.ACKNOWLEDGED}
    ),
}
"""Those that a worker of each service comes to."""

DONE = frozenset({Point.COPYING, Point.COMMITTED, Point.SAID, Point.ACKNOWLEDGED, Point.CHANGED})
"""Points at which the server has done what it was asked, and the worker still waits for the answer."""


class Trap:
    """Springs once, at the first of its gates that comes to the point for the (skip + 1)th time.

    With `drop`, the connection ends there: the bytes that waited go nowhere.
    """

    def __init__(
        self, point: Point, act: "Callable[[Gate], Awaitable[None]]", *, skip: int = 0, drop: bool = False
    ) -> None:
        self.point = point
        self.drop = drop
        self._act = act
        self._skip = skip
        self._taken = False
        self._acting: asyncio.Task[None] | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def sprung(self) -> bool:
        return self._taken

    def takes(self, points: set[Point]) -> bool:
        if self._taken or self.point not in points:
            return False
        self._taken, self._skip = self._skip == 0, self._skip - 1
        return self._taken

    async def spring(self, gate: "Gate") -> None:
        """Act, and return when that is over; the act goes on if our connection ends because of it."""
        self._acting = asyncio.create_task(self._run(gate))
        await asyncio.shield(self._acting)

    async def _run(self, gate: "Gate") -> None:
        try:
            await self._act(gate)
        except Exception as error:
            self.over.set_exception(error)
        else:
            self.over.set_result(None)


class Gate:
    """Listens on a port of its own for one worker, and leads to one server wherever that is now."""

    def __init__(self, service: str, worker: str, kind: str, server_url: Callable[[], str]) -> None:
        self.service = service
        self.worker = worker
        self.kind = kind
        self.trap: Trap | None = None
        self._server_url = server_url
        self._passages: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None

    async def open(self) -> None:
        self._listening = await asyncio.start_server(self._enter, "127.0.0.1", 0)

    async def close(self) -> None:
        if self._listening:
            self._listening.close()
        self.cut()
        await asyncio.gather(*self._passages, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection, as a network does."""
        for passage in self._passages:
            passage.cancel()

    @property
    def url(self) -> str:
        """The server's address with our port in it."""
        assert self._listening
        parts = urlsplit(self._server_url())
        port = self._listening.sockets[0].getsockname()[1]
        return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = asyncio.current_task()
        assert passage
        self._passages.add(passage)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._pass(reader, writer)
        finally:
            self._passages.discard(passage)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self._server_url())
        assert parts.hostname and parts.port
        server_reader, server_writer = await asyncio.open_connection(parts.hostname, parts.port)
        passage = _Passage(self, reader, writer, server_reader, server_writer)
        ways = [asyncio.create_task(passage.there()), asyncio.create_task(passage.back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            server_writer.transport.abort()


class _Passage:
    """One connection of a worker."""

    def __init__(
        self,
        gate: Gate,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._gate = gate
        self._reader, self._writer = reader, writer
        self._server_reader, self._server_writer = server_reader, server_writer
        self._begins = _BEGINS.get(gate.service)
        self._beginning: bytes | None = None
        self._locked = False
        self._awaited: Trap | None = None

    async def there(self) -> None:
        while data := await self._reader.read(CHUNK):
            trap = self._trap(self._points(data))
            if trap and trap.point in DONE:
                self._awaited = trap
            elif trap:
                await trap.spring(self._gate)
                if trap.drop:
                    return
            self._server_writer.write(data)
            await self._server_writer.drain()

    async def back(self) -> None:
        while data := await self._server_reader.read(CHUNK):
            if trap := self._awaited or self._trap(self._answered(data)):
                self._awaited = None
                await trap.spring(self._gate)
                if trap.drop:
                    return
            self._writer.write(data)
            await self._writer.drain()

    def _trap(self, points: set[Point]) -> Trap | None:
        trap = self._gate.trap
        return trap if trap and points and trap.takes(points) else None

    def _points(self, data: bytes) -> set[Point]:
        return self._of_redis(data) if self._gate.kind == "redis" else self._of_postgres(data)

    def _answered(self, data: bytes) -> set[Point]:
        return {Point.READ} if self._gate.kind == "redis" and b"$4\r\njson\r\n" in data else set()

    def _of_redis(self, data: bytes) -> set[Point]:
        points = set()
        if b"XADD\r\n$7\r\nupdates\r\n" in data:
            points |= {Point.SAYING, Point.SAID}
        if b"$4\r\nXACK\r\n" in data:
            points |= {Point.ACKNOWLEDGING, Point.ACKNOWLEDGED}
        if b"EVALSHA\r\n" in data and any(name in data for name in _CHANGES_MODEL):
            points |= {Point.CHANGING, Point.CHANGED}
        return points

    def _of_postgres(self, data: bytes) -> set[Point]:
        """A statement is prepared under a name, and from then on executed by it."""
        if _TURN in data:
            return {Point.GATHERED}
        if self._begins and (prepared := self._begins.search(data)):
            self._beginning = prepared[1] + b"\0"
        elif self._beginning and self._beginning in data:
            self._locked = True
            return {Point.GATHERED}
        if self._locked and data.startswith(b"Q") and b"COPY " in data:
            return {Point.COPYING}
        ends = self._locked and (b"COMMIT;" in data or b"ROLLBACK;" in data)
        if ends:
            self._locked = False
        return {Point.COMMITTING, Point.COMMITTED} if ends and b"COMMIT;" in data else set()
