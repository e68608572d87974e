"""What is refused whoever asks, and what pages of other sites may do."""

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway import at_once, audit, heads, problems
from api_gateway.at_once import Given, Headers
from api_gateway.bounds import DEFAULT, Bounds
from api_gateway.ingest import JSON_LINES
from api_gateway.problems import (
    BODY_TOO_SLOW,
    FOREIGN_ORIGIN,
    HEAD_TOO_LARGE,
    INVALID_REQUEST,
    MISDIRECTED,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    FieldError,
    Interrupted,
    Kind,
    Problem,
    short,
)

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PREFLIGHT_S = 600
_EXPOSED = (
    "ETag, Link, Location, Retry-After, X-Request-Id, RateLimit, RateLimit-Policy, X-RateLimit-Limit,"
    " X-RateLimit-Remaining, X-RateLimit-Reset"
)
_ALLOWED = (
    "Authorization, X-API-Key, Content-Type, Accept, If-Match, If-None-Match, Idempotency-Key,"
    " Last-Event-ID, X-Request-Id, traceparent"
)
_TAKE_LINES = frozenset({"/bars", "/patterns", "/signals"})
_METHODS = "GET, HEAD, POST, PUT, DELETE"


class Gate:
    """Plain ASGI, before anybody looks at keys.

    A page of another site whose name was made to mean this machine (DNS rebinding) sends that name as `Host`:
    where nobody is asked for a key only names of this machine will do.
    """

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str], bounds: Bounds = DEFAULT
    ) -> None:
        self._app, self._bounds = app, bounds
        self._at_once = at_once.of(app)
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origins)
        self._is_ours = lru_cache(256)(self._names_us)
        self._asked: Callable[[heads.Headers], _Asked] = lambda headers: _Asked(headers, bounds.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            asked = heads.read(scope, self._asked)
            if self._hosts and asked.host is not None and not self._is_ours(asked.host):
                reason = f"is none that this gateway goes by: {short(asked.host.decode('latin-1'))}"
                raise _refused(MISDIRECTED, "host", reason)
            if scope["type"] == "http":
                if asked.has_body:
                    receive = _measured(receive, scope, asked, self._bounds)
                if asked.origin is not None or self._origins:
                    if self._is_preflight(scope, asked):
                        await self._allow(scope, asked, send)
                        return
                    scope["state"].setdefault("headers", []).extend(self._said_of_origin(scope, asked))
        except Problem as problem:
            await _answer(problem, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def at_once(self, scope: Scope) -> Given | None:
        asked = heads.read(scope, self._asked)
        if asked.has_body or (self._hosts and asked.host is not None and not self._is_ours(asked.host)):
            return None
        given = self._at_once(scope)
        if given is None or not (self._origins or asked.origin):
            return given
        return given.saying(self._said_of_origin(scope, asked))

    def _names_us(self, host: bytes) -> bool:
        return name_of(host.decode("latin-1")) in self._hosts

    def _is_preflight(self, scope: Scope, asked: "_Asked") -> bool:
        wants = scope["method"] == "OPTIONS" and any(
            name == b"access-control-request-method" for name, _ in scope["headers"]
        )
        return wants and self._welcomes(asked)

    def _welcomes(self, asked: "_Asked") -> bool:
        if asked.origin is None:
            return False
        origin = asked.origin.decode("latin-1").lower()
        return origin in self._origins

    def _said_of_origin(self, scope: Scope, asked: "_Asked") -> Headers:
        """What an answer says to a browser.

        Raises:
            Problem: 403, a page of another site writes.
        """
        headers = [(b"vary", b"Origin")] if self._origins else []
        if self._welcomes(asked):
            assert asked.origin is not None
            headers += _granted(asked.origin), (b"access-control-expose-headers", _EXPOSED.encode())
        elif asked.origin is not None and scope["method"] not in audit.READING and not _is_same(asked):
            origin = short(asked.origin.decode("latin-1"))
            raise _refused(FOREIGN_ORIGIN, "origin", f"{origin} is not among ROLLO_ORIGINS")
        return headers

    async def _allow(self, scope: Scope, asked: "_Asked", send: Send) -> None:
        assert asked.origin is not None
        headers = [
            _granted(asked.origin),
            (b"access-control-allow-methods", _METHODS.encode()),
            (b"access-control-allow-headers", _ALLOWED.encode()),
            (b"access-control-max-age", b"%d" % _PREFLIGHT_S),
            (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


class _Asked:
    """Of the headers, what is judged here.

    Raises:
        Problem: 431, they are too many; 415, the body is compressed; 422, one is there twice.
    """

    __slots__ = ("has_body", "host", "is_lines", "length", "origin")

    def __init__(self, headers: Sequence[tuple[bytes, bytes]], most: int) -> None:
        if len(headers) > most:
            raise Problem(HEAD_TOO_LARGE, f"A request may have {most} headers, got {len(headers):,}.")
        self.host: bytes | None = None
        self.origin: bytes | None = None
        self.length: int | None = None
        self.has_body = self.is_lines = False
        for name, value in headers:
            if name == b"host":
                if self.host is not None:
                    raise _refused(INVALID_REQUEST, "host", "is there twice")
                self.host = value
            elif name == b"origin":
                if self.origin is not None:
                    raise _refused(INVALID_REQUEST, "origin", "is there twice")
                self.origin = value
            elif name == b"content-length":
                self.length, self.has_body = int(value), True
            elif name == b"transfer-encoding":
                self.has_body = True
            elif name == b"content-type":
                self.is_lines = value.lower().startswith(JSON_LINES.encode())
            elif name == b"content-encoding" and value.strip().lower() not in (b"identity", b""):
                taken = {"Accept-Encoding": "identity"}
                reason = "must be identity: compressed bodies are not taken"
                raise _refused(UNSUPPORTED_MEDIA_TYPE, "content-encoding", reason, taken)


class Measured:
    """A body as it comes, as long as it is neither too large nor too slow; a chunked one says neither."""

    __slots__ = ("_bytes", "_ends_at", "_most", "_over", "_receive", "_within_s")

    def __init__(self, receive: Receive, most: int, within_s: float | None) -> None:
        self._receive, self._most, self._within_s = receive, most, within_s
        self._bytes = 0
        self._ends_at: float | None = None
        self._over = False

    async def __call__(self) -> Message:
        if self._over or self._within_s is None:  # who waits for a client to leave may wait for long
            message = await self._receive()
        else:
            if self._ends_at is None:
                self._ends_at = asyncio.get_running_loop().time() + self._within_s
            try:
                async with asyncio.timeout_at(self._ends_at):
                    message = await self._receive()
            except TimeoutError:
                detail = f"The body has to arrive within {self._within_s:g} seconds."
                raise Interrupted(Problem(BODY_TOO_SLOW, detail)) from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most:
            raise Interrupted(too_large(self._most))
        self._over = not message.get("more_body", False)
        return message


def _measured(receive: Receive, scope: Scope, asked: _Asked, bounds: Bounds) -> Measured:
    """The body with its limits; lines are sent on as they come, and have others (`ingest`).

    Raises:
        Problem: 413, it says itself that it is too large.
    """
    lines = asked.is_lines and scope["path"].removeprefix("/api/v1").removeprefix("/api") in _TAKE_LINES
    most = bounds.lines_bytes if lines else bounds.body_bytes
    if asked.length is not None and asked.length > most:
        raise too_large(most)
    return Measured(receive, most, None if lines else bounds.body_s)


def too_large(most: int) -> Problem:
    return Problem(TOO_LARGE, f"The body may have {most:,} bytes.")


def names(said: str) -> list[str]:
    """Names or origins of a setting."""
    return [name.strip().lower().rstrip("/") for name in said.split(",") if name.strip()]


def hosts(said: str, *, auth: str) -> list[str]:
    """Names that clients may call the gateway by; empty: any."""
    given = [name_of(name) for name in names(said)]
    return [*LOOPBACK, *given] if given or auth == "off" else []


def name_of(host: str) -> str:
    """The name in a `Host`, without the port; empty where it is none.

    >>> name_of("LOCALHOST:8080"), name_of("[::1]:80"), name_of("a.example."), name_of("a@b")
    ('localhost', '::1', 'a.example', '')
    """
    text = host.strip().lower()
    if text.startswith("["):
        name, closed, rest = text[1:].partition("]")
        good = closed and (not rest or (rest[0] == ":" and rest[1:].isdecimal()))
        return name if good else ""
    if text.count(":") > 1:
        return text  # an address as a setting may have it
    name, colon, port = text.partition(":")
    if (colon and not port.isdecimal()) or any(c in name for c in "@/\\?# \t,"):
        return ""
    return name.rstrip(".")


def _is_same(asked: _Asked) -> bool:
    """Whether the page came from this gateway itself (`/docs`)."""
    if asked.origin is None or asked.host is None:
        return False
    return urlsplit(asked.origin.decode("latin-1").lower()).netloc == asked.host.decode("latin-1").lower()


def _granted(origin: bytes) -> tuple[bytes, bytes]:
    return b"access-control-allow-origin", origin


def _refused(kind: Kind, field: str, reason: str, headers: dict[str, str] | None = None) -> Problem:
    errors = [FieldError("header", field, reason)]
    return Problem(kind, f"{field}: {reason}", errors=errors, headers=headers)


async def _answer(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": problem.kind.title})
        return
    await problems.answer(Request(scope), problem)(scope, receive, send)
