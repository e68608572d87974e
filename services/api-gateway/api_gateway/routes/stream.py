"""Server-sent events: facts about patterns as they come, and those a client missed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import Depends, FastAPI, Request
from pydantic import Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api_gateway import callers, openapi, problems, queries
from api_gateway.dependencies import Servers
from api_gateway.places import Places
from api_gateway.tail import Fact, Listener, Tail, place
from rollotape.errors import Unavailable
from rollotape.metrics import SSE_CLIENTS

MEDIA_TYPE = "text/event-stream"
RETRY_MS = 1_000

log = structlog.get_logger()

_DECLARED = openapi.failing(422, 429, 503) | {
    200: {
        "description": "Events `pattern.detected`, `pattern.updated`, `pattern.expired`, "
        "`pattern.retracted`, `scan.new_entrants`, `system.health` and `gap`, for ever",
        "headers": openapi.headers(),
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}
_KINDS = {"patterns": "pattern.", "scans": "scan.", "system": "system."}


class StreamQuery(queries.Query):
    LISTS = frozenset({"channels"})

    channels: queries.choices(*_KINDS) = Field(  # type: ignore[valid-type]  # made of data
        ["patterns"],
        description="`patterns`: what becomes of patterns. `scans`: who comes into your saved scans."
        " `system`: parts of the system that come up, are degraded or go down.",
    )


_LAST_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The last `id:` that was received: what came after it comes first.",
    "schema": {"type": "string"},
}


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    app.add_api_route(
        f"{prefix}/patterns/stream",
        get_stream,
        methods=["GET"],
        tags=[tag],
        summary="Patterns as they change",
        response_class=Response,
        responses=_DECLARED,
        openapi_extra={"parameters": [*queries.parameters(StreamQuery), _LAST_ID]},
    )


async def get_stream(
    request: Request, asked: Annotated[StreamQuery, Depends(queries.read(StreamQuery))], servers: Servers
) -> Response:
    """Server-sent events. `data` is a `PatternUpdate`, `ScanUpdate` or `SystemHealth`, as on `updates`.

    A fact may come twice: drop what has an `id` with the same or a smaller `fact_version`. `gap`: facts may
    be missing before this point, because the id was trimmed, is of another installation or of a Redis that
    lost it; read the scan again. Who reads too slowly is cut off, and resumes by its last id.
    """
    epoch = await servers.epoch()
    last = request.headers.get("last-event-id")
    after = None if last is None else place(last, epoch)
    kinds = tuple(_KINDS[channel] for channel in asked.channels)
    caller = callers.of(request.scope)
    stream = _Events(servers.tail, Listener(kinds, caller.owner), epoch, after)
    if caller is not callers.LOCAL:
        await stream.take_place(servers.places, caller.counted_as)
    await stream.begin()
    return stream


class _Events(Response):
    """Sends what a listener hears, and lets go of a client that does not read it."""

    media_type = MEDIA_TYPE

    def __init__(self, tail: Tail, listener: Listener, epoch: UUID, after: str | None) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._tail, self._epoch = tail, epoch.hex
        self._listener = listener
        self._heard: AsyncIterator[list[Fact]] = tail.listen(self._listener, after)
        self._first: list[Fact] = []
        self._leave: Callable[[], None] = lambda: None

    async def take_place(self, places: Places, name: str) -> None:
        """One of those that a key may have; given back at the end.

        Raises:
            Problem: 429, all of them are taken.
        """
        if not await places.take(name):
            detail = f"A key may have {places.most} streams open, at all gateways together."
            raise problems.Problem(problems.TOO_MANY_REQUESTS, detail, headers={"Retry-After": "1"})
        self._leave = lambda: places.leave(name)

    async def begin(self) -> None:
        """The first page, as long as there can still be a problem instead of an answer."""
        try:
            self._first = await anext(self._heard)
        except BaseException as error:
            self._tail.leave(self._listener)
            self._leave()
            if not isinstance(error, Unavailable):
                raise
            log.warning("updates_away", error=str(error))
            raise problems.unavailable("Redis") from error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(scope, send))
        over = asyncio.create_task(self._listener.over.wait())
        tasks: set[asyncio.Task[Any]] = {sending, over, asyncio.create_task(_gone(receive))}
        SSE_CLIENTS.inc()
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._listener.over.is_set():
                await asyncio.wait({sending}, timeout=0.2)  # the last words, to one who listens
        finally:
            SSE_CLIENTS.dec()
            self._tail.leave(self._listener)
            self._leave()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope.get("state", {}).get("head"):
            await send({"type": "http.response.body", "body": b""})
            return
        await self._say(send, f"retry: {RETRY_MS}\n\n".encode() + self._frames(self._first))
        try:
            async for facts in self._heard:
                await self._say(send, self._frames(facts) or b": here\n\n")
        except Unavailable as error:
            log.warning("updates_away", error=str(error))
        await send({"type": "http.response.body", "body": b""})

    async def _say(self, send: Send, words: bytes) -> None:
        await send({"type": "http.response.body", "body": words, "more_body": True})

    def _frames(self, facts: list[Fact]) -> bytes:
        """Facts as events. What is no news moves the id along, so that a quiet client is not left behind."""
        frames = [self._frame(fact) for fact in facts if fact.type]
        if facts and not facts[-1].type:
            frames.append(f"id: {self._epoch}-{facts[-1].id}\n\n".encode())
        return b"".join(frames)

    def _frame(self, fact: Fact) -> bytes:
        data = fact.payload or b'{"type":"gap"}'
        return f"event: {fact.type}\nid: {self._epoch}-{fact.id}\ndata: ".encode() + data + b"\n\n"


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
