"""The outermost layer: every request gets an id, a measure and a log line, and every bug an answer."""

import re
import time
from typing import Any
from uuid import uuid4

import structlog
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway import problems
from rollotape.metrics import HTTP_REQUESTS, HTTP_SECONDS

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger()


class Envelope:
    """Plain ASGI, because it must also see what goes wrong in every layer below it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
            _record(exchange)


class _Exchange:
    """One request and what became of it. A HEAD is answered as its GET, without the body."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started = time.perf_counter()
        self.method: str = scope["method"]
        self.request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        self.status = 0
        method = "GET" if self.method == "HEAD" else self.method
        said = {"request_id": self.request_id, "head": self.method == "HEAD"}
        state: dict[str, Any] = {**scope.get("state", {}), **said}
        self.scope: Scope = {**scope, "state": state, "method": method}
        self._send = send

    @property
    def route(self) -> str:
        """Template of the path, so that metrics have as many rows as there are routes."""
        return str(getattr(self.scope.get("route"), "path", "unmatched"))

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            headers["X-Content-Type-Options"] = "nosniff"
        elif message["type"] == "http.response.body" and self.method == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)


def _request_id(given: str | None) -> str:
    """The client's own id where it is short and plain (it goes into logs and headers), else a new one."""
    return given if given and _SANE_ID.fullmatch(given) else uuid4().hex


def _record(exchange: _Exchange) -> None:
    """Labels come from closed sets, whatever is asked for."""
    route, seconds = exchange.route, time.perf_counter() - exchange.started
    method = exchange.method if exchange.method in _METHODS else "other"
    labels = (route, method, f"{exchange.status // 100}xx")
    HTTP_REQUESTS.labels(*labels).inc()
    HTTP_SECONDS.labels(*labels).observe(seconds)
    log.info(
        "request",
        request_id=exchange.request_id,
        method=method,
        route=route,
        status=exchange.status,
        duration_ms=round(seconds * 1_000, 3),
    )
