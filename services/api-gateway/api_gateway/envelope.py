"""The outermost layer: every request gets an id, a measure and a log line, and every bug an answer."""

import re
import time
from functools import cache
from os import urandom
from random import random
from typing import Any

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway import at_once, heads, problems
from api_gateway.at_once import Given
from api_gateway.timings import Name, Timings
from rollotape import telemetry, tracing
from rollotape.lately import OftenCounted, OftenTimed
from rollotape.metrics import HTTP_REQUESTS, HTTP_SECONDS
from rollotape.often import Often
from rollotape.telemetry import Span, Taker
from rollotape.tracing import Parent

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_AT_ONCE = 256
_drawn: list[str] = []
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""A browser is to make nothing of an answer but data, and to show them to no page of another site."""
ANSWERED_AS = "rollo.answered_as"
"""In the scope: the route whose answer was given before routing."""
FOUND_READY = "rollo.found_ready"
"""In the scope: whether the answer was there already, where a route tells."""

log = structlog.get_logger()
requests = Often("request", __name__)


class Envelope:
    """Plain ASGI, because it must also see what goes wrong in every layer below it."""

    def __init__(self, app: ASGIApp, timings: Timings | None = None, traced: float = 0.0) -> None:
        """`traced` is the share of requests with a span, beside those whose caller wants one."""
        self._app = app
        self._at_once = at_once.of(app)
        self._timings = timings
        self._traced = traced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        try:
            await self._app(exchange.scope, receive, exchange.send)
        except Exception:
            log.exception("defect", **exchange.ids, route=exchange.route, path=scope["path"])
            if exchange.status:
                raise  # half an answer is out; only a broken connection can still say that it is wrong
            detail = "Please report it with the request id; the log of the gateway has the rest."
            answer = problems.answer(Request(exchange.scope), problems.Problem(problems.DEFECT, detail))
            await answer(exchange.scope, receive, exchange.send)
        finally:
            _record(exchange, self._timings, self._traced)

    def at_once(self, scope: Scope) -> Given | None:
        """Where there are traces the usual way is gone: it may have to make a span."""
        started = time.perf_counter()
        wished, parent = heads.read(scope, _names)
        if parent is not None or telemetry.taker() is not None:
            return None
        try:
            given = self._at_once(scope)
        except problems.Problem:  # a refusal: the usual way meets it as well, and says what it is
            return None
        except Exception:
            log.exception("defect", path=scope["path"], at_once=True)
            return None
        if given is None:
            return None
        request_id = wished or _new_id()
        _note({"request_id": request_id}, scope, "GET", given.status, started, self._timings)
        return given.saying([(b"x-request-id", request_id.encode()), *_SECURITY])


class _Exchange:
    """One request and what became of it. A HEAD is answered as its GET, without the body."""

    __slots__ = ("_send", "headers", "ids", "method", "parent", "request_id", "scope", "started", "status")

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started = time.perf_counter()
        self.method: str = scope["method"]
        wished, self.parent = heads.read(scope, _names)
        self.request_id: str = wished or _new_id()
        self.ids = {"request_id": self.request_id}
        """For the log. The trace of the caller is the request's name, unless it was given another."""
        if self.parent is not None and self.parent.trace_id != self.request_id:
            self.ids["trace_id"] = self.parent.trace_id
        self.status = 0
        head = self.method == "HEAD"
        state: dict[str, Any] = {**scope.get("state", {}), "request_id": self.request_id, "head": head}
        self.headers: list[tuple[bytes, bytes]] = [(b"x-request-id", self.request_id.encode()), *_SECURITY]
        """What every layer below may add to, whoever answers in the end."""
        state["headers"] = self.headers
        self.scope: Scope = {**scope, "state": state, "method": "GET" if head else self.method}
        self._send = send

    @property
    def route(self) -> str:
        return _route(self.scope)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *self.headers]}
        elif message["type"] == "http.response.body" and self.method == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)


def _names(headers: heads.Headers) -> tuple[str | None, Parent | None]:
    """What a request is to be called, and what its caller's `traceparent` says.

    The client's own id where it is short and plain (it goes into logs and headers), else its trace; None: a
    new one. The first header of a name counts.
    """
    given = traced = None
    for name, value in headers:
        if name == b"x-request-id":
            given = value if given is None else given
        elif name == b"traceparent":
            traced = value if traced is None else traced
    parent = tracing.parent(traced.decode("latin-1")) if traced else None
    if given is not None and _SANE_ID.fullmatch(wished := given.decode("latin-1")):
        return wished, parent
    return (parent.trace_id if parent else None), parent


def _new_id() -> str:
    """A random one. Many are drawn together: to ask the system costs more than all else of it."""
    try:
        return _drawn.pop()
    except IndexError:
        drawn = urandom(16 * _AT_ONCE).hex()
        _drawn.extend(drawn[n : n + 32] for n in range(32, len(drawn), 32))
        return drawn[:32]


def _record(exchange: _Exchange, timings: Timings | None, traced: float) -> None:
    if (taker := telemetry.taker()) is not None:
        _trace(taker, exchange, traced)
    _note(exchange.ids, exchange.scope, exchange.method, exchange.status, exchange.started, timings)


def _note(
    ids: dict[str, str], scope: Scope, method: str, status: int, started: float, timings: Timings | None
) -> None:
    """Counted, timed and said. Labels come from closed sets, whatever is asked for."""
    route, seconds = _route(scope), time.perf_counter() - started
    method = method if method in _METHODS else "other"
    counted, timed = _measures(route, method, status // 100)
    counted.one()
    timed.note(seconds)
    if timings is not None:
        timings.note(Name(route, scope.get(FOUND_READY)), seconds, failed=not 100 <= status < 500)
    requests.say(**ids, method=method, route=route, status=status, duration_ms=round(seconds * 1_000, 3))


def _route(scope: Scope) -> str:
    """Template of the path, so that metrics have as many rows as there are routes."""
    if before_routing := scope.get(ANSWERED_AS):
        return str(before_routing)
    return str(getattr(scope.get("route"), "path", "unmatched"))


def _trace(taker: Taker, exchange: _Exchange, traced: float) -> None:
    """A span, if the caller wants one; who says nothing about it has one by chance."""
    parent = exchange.parent
    if not (parent.sampled if parent else random() < traced):
        return
    own = parent.trace_id if parent else exchange.request_id
    if parent is None and not tracing.is_id(own):
        own = exchange.ids["trace_id"] = tracing.new()
    method = exchange.method if exchange.method in _METHODS else "other"
    about: dict[str, str | int | float | bool] = {
        "http.request.method": method,
        "http.route": exchange.route,
        "http.response.status_code": exchange.status,
        "rollo.request_id": exchange.request_id,
    }
    end_ns, took_ns = time.time_ns(), int((time.perf_counter() - exchange.started) * 1e9)
    name = f"{method} {exchange.route}"
    span = Span(name, own, tracing.new_span(), end_ns - took_ns, end_ns, about, kind="server")
    failed = "failed" if not 100 <= exchange.status < 500 else None
    taker.take(span._replace(parent_id=parent.span_id if parent else None, error=failed))


@cache
def _measures(route: str, method: str, hundreds: int) -> tuple[OftenCounted, OftenTimed]:
    """Looking up a metric by its labels costs more than counting."""
    labels = route, method, f"{hundreds}xx"
    return HTTP_REQUESTS.labels(*labels), HTTP_SECONDS.labels(*labels)
