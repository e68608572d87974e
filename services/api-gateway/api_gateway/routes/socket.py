"""The stream over WebSocket: who connects, what they say, and what they are answered."""

import asyncio
import ipaddress
import time
from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import orjson
import structlog
from fastapi import FastAPI
from starlette.routing import WebSocketRoute
from starlette.types import Message, Receive, Scope, Send

from api_gateway import auth, gate, problems, subscriptions
from api_gateway.backends import Backends
from api_gateway.callers import LOCAL, Caller
from api_gateway.hub import HEARTBEAT_S, Client, Hub, error
from api_gateway.newest import Newest
from api_gateway.problems import FORBIDDEN, UNAUTHORIZED, FieldError, Problem
from api_gateway.routes import patterns
from api_gateway.subscriptions import Command, Kept
from api_gateway.tail import place
from api_gateway.wire import EXTENSION, Wire, frame
from rollotape.errors import Unavailable
from rollotape.settings import Settings

PATH = "/stream"
AUTH_S = 10.0
RECHECK_S = 30.0
"""A key that is over ends its connections within this time."""
MOST_FAULTS = 10
"""In a row; then whoever it is does not mean to talk to us."""
_STAND_S = 5.0
_EPOCH_FRESH_S = 1.0
_WILL_NOT_DO = (UNAUTHORIZED.status, FORBIDDEN.status)

log = structlog.get_logger()


class Sockets:
    """Every connection of this gateway, and what they share."""

    def __init__(self, servers: Backends, settings: Settings) -> None:
        self.servers, self.settings = servers, settings
        newest = Newest(servers.postgres, servers.streams.redis)
        self.hub = Hub(servers.tail, newest, settings.ws_queue_facts)
        self.newest = newest
        self.origins = frozenset(gate.names(settings.origins))
        self._asking: asyncio.Task[UUID] | None = None
        self._asked_at = 0.0
        self.count = 0

    @property
    def asks_for_keys(self) -> bool:
        return self.settings.auth == "on"

    async def epoch(self) -> UUID:
        """Of the installation, asked at most once a second: after a restart everybody comes back at once.

        Raises:
            Problem: 503, nobody can tell now.
        """
        now = time.monotonic()
        if self._asking is None or now - self._asked_at >= _EPOCH_FRESH_S:
            self._asking, self._asked_at = asyncio.create_task(self.servers.epoch()), now
        return await asyncio.shield(self._asking)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        wire = scope["extensions"].get(EXTENSION)
        assert isinstance(wire, Wire), "the gateway is served by its own protocol"
        if (origin := _header(scope, b"origin")) is not None and not self.welcomes(origin):
            await _refuse(send, origin)
            return
        await send({"type": "websocket.accept"})
        self.count += 1
        try:
            await _Connection(self, scope, receive, wire).talk()
        finally:
            self.count -= 1

    def welcomes(self, origin: str) -> bool:
        """Pages of this machine and of the origins that were set; programs send no origin."""
        return origin.lower() in self.origins or _is_loopback(origin)


def add_to(app: FastAPI, prefix: str, sockets: Sockets) -> None:
    app.router.routes.append(WebSocketRoute(prefix + PATH, _Endpoint(sockets)))


class _Endpoint:
    """Starlette takes a function for a handler of its own; anything else is an ASGI application."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._sockets(scope, receive, send)


class _Gone(Exception):
    """The client, or our wish to talk to it."""


class _Connection:
    """One client, from its welcome to its end."""

    def __init__(self, sockets: Sockets, scope: Scope, receive: Receive, wire: Wire) -> None:
        self._sockets, self._hub = sockets, sockets.hub
        self._scope, self._receive, self._wire = scope, receive, wire
        self._caller: Caller | None = None
        self._token: str | None = None
        self._client: Client | None = None
        self._counted_as: str | None = None
        """The name of which it has taken a place."""
        self._faults = 0

    async def talk(self) -> None:
        try:
            await self._begin()
            while True:
                await self._hear(await self._next(RECHECK_S))
        except _Gone:
            pass
        except Exception:
            log.exception("defect", task="stream")
            self._end(500, "the gateway failed; this is a bug")
        finally:
            if self._counted_as is not None:
                self._sockets.servers.places.leave(self._counted_as)
            if self._client:
                await self._hub.leave(self._client)

    # ---- who it is

    async def _begin(self) -> None:
        if self._sockets.count > self._sockets.settings.ws_clients:
            raise self._end(406, "connection limit of this gateway")
        asked = self._sockets.asks_for_keys
        await self._say({"T": "welcome", "version": 1, "auth": "on" if asked else "off",
                         "auth_within_s": AUTH_S, "heartbeat_s": HEARTBEAT_S})  # fmt: skip
        if not asked:
            await self._enter(LOCAL)
            return
        try:
            async with asyncio.timeout(AUTH_S):
                if _is_presented(self._scope):
                    await self._authenticate(None)
                while self._caller is None:
                    await self._hear(await self._next(None))
        except TimeoutError:
            raise self._end(404, "auth timeout") from None

    async def _authenticate(self, token: str | None) -> None:
        """By the key of a message, or else of a header."""
        try:
            caller = await self._sockets.servers.access.enter(self._scope, token)
            self._token = token or auth.presented(self._scope["headers"])
        except Problem as problem:
            if problem.kind.status in _WILL_NOT_DO:
                raise self._end(402, "auth failed", errors=_named(problem)) from None
            raise self._end(problem.kind.status, problem.detail) from None
        await self._enter(caller)

    async def _enter(self, caller: Caller) -> None:
        places = self._sockets.servers.places
        if caller is not LOCAL:
            if not await places.take(caller.counted_as):
                raise self._end(406, f"connection limit: {places.most} for a key, at all gateways together")
            self._counted_as = caller.counted_as
        self._caller = caller
        self._client = self._hub.join(self._wire)
        await self._say({"T": "authenticated", "owner": caller.owner, "scope": caller.scope})

    async def _recheck(self) -> None:
        """Whoever was let in may have been shut out since; while nobody can tell, things stay as they are."""
        if self._token is None:
            return
        try:
            await self._sockets.servers.access.recognise(self._token)
        except Problem as problem:
            if problem.kind.status in _WILL_NOT_DO:
                raise self._end(402, "auth failed: the key is over", errors=_named(problem)) from None

    # ---- what it says

    async def _next(self, within_s: float | None) -> Message:
        while True:
            try:
                async with asyncio.timeout(within_s):
                    message = await self._receive()
            except TimeoutError:
                await self._recheck()
                continue
            if message["type"] == "websocket.disconnect":
                raise _Gone
            return message

    async def _hear(self, message: Message) -> None:
        text = message.get("text")
        try:
            if text is None:
                raise problems.invalid([FieldError("body", "message", "must be text, not binary")])
            command = subscriptions.read(text)
            if command.action == "auth" and self._caller:
                raise problems.invalid([FieldError("body", "action", "is done already")])
            if command.action != "auth" and not self._caller:
                await self._fault(401, "not authenticated")
                return
            await self._obey(command)
        except Problem as problem:
            if problem.kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise self._end(503, problem.detail) from None
            await self._fault(400, problem.detail, errors=_named(problem))
        except (Unavailable, TimeoutError) as failure:
            log.warning("stream_away", error=str(failure))
            raise self._end(503, "a server that this needs is away") from None
        else:
            self._faults = 0

    async def _fault(self, number: int, message: str, **more: Any) -> None:
        self._faults += 1
        if self._faults >= MOST_FAULTS:
            raise self._end(number, f"{MOST_FAULTS} faults in a row; the last: {message}", **more)
        await self._write(error(number, message, **more))

    async def _obey(self, command: Command) -> None:
        if command.action == "auth":
            await self._authenticate(command.token)
            return
        client = self._client
        assert client
        if command.kept:
            try:
                command = await self._settled(command, command.kept)
            except Problem as problem:
                if problem.kind is problems.UNAVAILABLE:
                    raise
                wrong = [FieldError("body", f"filters.{e.field}", e.reason) for e in problem.errors]
                raise problems.invalid(wrong) from None
        assert self._caller
        wanted = command.applied_to(client.subscription).by(self._caller.owner)
        epoch = await self._sockets.epoch()
        await self._hub.open(epoch.hex.encode())
        with self._hub.holding(wanted):
            if wanted.needs_standing:
                await self._sockets.newest.stand(_STAND_S)
            if not await self._wire.ready():
                raise _Gone
            # From here to the start nothing is awaited: nothing comes before the acknowledgement, and between
            # the place that it tells and the first facts none gets lost.
            self._hub.subscribe(client, wanted)
            at = command.since or self._hub.place(client)
            self._wire.write(frame(wanted.acknowledgement(at)))
            if command.since is None:
                self._hub.start(client)
        if command.since is not None:
            await self._hub.resume(client, place(command.since, epoch))

    async def _settled(self, command: Command, kept: Kept) -> Command:
        """With what the watchlist, the saved scan and the universe are now."""
        assert self._caller and command.filters
        servers, owner, (asked, given) = self._sockets.servers, self._caller.owner, kept
        if asked.scan_id is not None:
            saved = await servers.lists.filters(owner, asked.scan_id)
            asked, given = patterns.beside(saved, given), (*saved, *given)
        filters = subscriptions.filters_of(asked, given)
        if asked.watchlist_id is not None:
            filters = subscriptions.within(filters, await servers.lists.symbols(owner, asked.watchlist_id))
        if asked.universe is not None:
            filters = subscriptions.within(filters, (await servers.universes.members(asked.universe)).symbols)
        return replace(command, filters=(filters, command.filters[1]))

    # ---- what it is told

    async def _say(self, told: dict[str, Any]) -> None:
        await self._write(orjson.dumps([told]))

    async def _write(self, text: bytes) -> None:
        if not await self._wire.ready():
            raise _Gone
        self._wire.write(frame(text))

    def _end(self, number: int, message: str, **more: Any) -> _Gone:
        self._hub.end(self._wire, number, message, **more)
        return _Gone()


def _named(problem: Problem) -> list[dict[str, str]]:
    return [{"field": error.field, "reason": error.reason} for error in problem.errors]


def _is_presented(scope: Scope) -> bool:
    return any(name in (b"authorization", b"x-api-key") for name, _ in scope["headers"])


def _header(scope: Scope, wanted: bytes) -> str | None:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return next((value.decode("latin-1") for name, value in headers if name == wanted), None)


def _is_loopback(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _refuse(send: Send, origin: str) -> None:
    """A page of somebody else, in whose name a browser would connect."""
    request_id = uuid4().hex
    reason = f"Pages of {problems.short(origin)} may not connect; ROLLO_ORIGINS names those that may."
    errors = [FieldError("header", "origin", "is neither loopback nor among ROLLO_ORIGINS")]
    body = problems.document(Problem(FORBIDDEN, reason, errors=errors), instance=PATH, request_id=request_id)
    headers = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode()),
    ]
    await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
