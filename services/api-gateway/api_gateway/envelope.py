"""The outermost layer: every request gets an id, a measure and a log line, and every bug an answer."""

import re
import time
from collections.abc import Iterable
from functools import cache
from os import urandom
from typing import Any

import structlog
from fastapi import Request
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway import problems
from api_gateway.often import Often
from api_gateway.timings import Name, Timings
from rollotape.metrics import HTTP_REQUESTS, HTTP_SECONDS

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
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

    def __init__(self, app: ASGIApp, timings: Timings | None = None) -> None:
        self._app = app
        self._timings = timings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        try:
            await self._app(exchange.scope, receive, exchange.send)
        except Exception:
            log.exception("defect", request_id=exchange.request_id, path=scope["path"])
            if exchange.status:
                raise  # half an answer is out; only a broken connection can still say that it is wrong
            detail = "Please report it with the request id; the log of the gateway has the rest."
            answer = problems.answer(Request(exchange.scope), problems.Problem(problems.DEFECT, detail))
            await answer(exchange.scope, receive, exchange.send)
        finally:
            _record(exchange, self._timings)


class _Exchange:
    """One request and what became of it. A HEAD is answered as its GET, without the body."""

    __slots__ = ("_send", "headers", "method", "request_id", "scope", "started", "status")

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started = time.perf_counter()
        self.method: str = scope["method"]
        self.request_id = _request_id(scope["headers"])
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
        """Template of the path, so that metrics have as many rows as there are routes."""
        if before_routing := self.scope.get(ANSWERED_AS):
            return str(before_routing)
        return str(getattr(self.scope.get("route"), "path", "unmatched"))

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *self.headers]}
        elif message["type"] == "http.response.body" and self.method == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's own id where it is short and plain (it goes into logs and headers), else a new one."""
    for name, value in headers:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            return given if _SANE_ID.fullmatch(given) else urandom(16).hex()
    return urandom(16).hex()


def _record(exchange: _Exchange, timings: Timings | None) -> None:
    """Labels come from closed sets, whatever is asked for."""
    route, seconds = exchange.route, time.perf_counter() - exchange.started
    method = exchange.method if exchange.method in _METHODS else "other"
    counted, timed = _measures(route, method, f"{exchange.status // 100}xx")
    counted.inc()
    timed.observe(seconds)
    if timings is not None:
        ready = exchange.scope.get(FOUND_READY)
        timings.note(Name(route, ready), seconds, failed=not 100 <= exchange.status < 500)
    requests.say(
        request_id=exchange.request_id,
        method=method,
        route=route,
        status=exchange.status,
        duration_ms=round(seconds * 1_000, 3),
    )


@cache
def _measures(*labels: str) -> tuple[Counter, Histogram]:
    """Looking up a metric by its labels costs more than counting."""
    return HTTP_REQUESTS.labels(*labels), HTTP_SECONDS.labels(*labels)
