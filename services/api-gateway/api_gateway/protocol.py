"""HTTP/1.1 that waits for nobody for ever; its own refusals are problem documents too."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import h11
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from api_gateway import at_once, heads, problems, usual
from api_gateway.at_once import AtOnce, Headers
from api_gateway.bounds import DEFAULT, Bounds
from api_gateway.problems import HEAD_TOO_LARGE, HEAD_TOO_SLOW, MALFORMED, TOO_MANY_CONNECTIONS, Kind

_OVERHANG_BYTES = 256 * 1024
"""So much of a body whose request is answered already is read as HTTP, so that the connection lives on."""
_DISCARDED_BYTES = 16 * 1024 * 1024
"""Then so much is thrown away: who sends without looking would otherwise lose the answer to a reset."""


class StrictH11(H11Protocol):
    """uvicorn's protocol with an end to everything that a client can drag out.

    uvicorn starts its clock after the first answer only: a connection that never asks would stay for good.
    """

    bounds = DEFAULT
    at_once: AtOnce = staticmethod(at_once.never)
    """How the application answers what it has ready."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_over: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._last: asyncio.TimerHandle | None = None
        self._overhang: int | None = None
        """Bytes read since the answer to a request whose body is not over."""
        self._discarded: int | None = None
        """Bytes thrown away since the last words; None while there is something to say."""
        self._block = b""
        """Header lines of the last usual request: whoever keeps a connection sends them again."""
        self._headers: Headers | None = None
        """What they say."""
        self._remembered: dict[Any, Any] = {}
        """What was made of them."""
        self._is_forwarded = False
        """Whether they speak for somebody else, and may."""
        self._later = b""
        """What came before the answer to a usual request was out."""
        self._answered_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it: asyncio's own is wider
        super().connection_made(transport)
        if len(self.connections) > self.bounds.connections:
            self._refuse(TOO_MANY_CONNECTIONS, "Every connection is taken.")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_over, self._stalled, self._last):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._discarded is not None:
            self._discard(data)
            return
        if self._is_answering():
            self._later += data
            self.flow.pause_reading()
            return
        if self._take_usual(data):
            return
        if self._overhang is not None and not self._is_bearable(data):
            return
        conn = self.conn
        if conn.their_state is h11.IDLE and not self._fits(data):
            return
        super().data_received(data)
        if conn.their_state is h11.IDLE:
            self._await_head()
        elif self._head_over is not None:
            self._head_over.cancel()
            self._head_over = None
        if self._overhang is not None and conn.their_state is not h11.SEND_BODY:
            self._overhang = None
            self._stop_last()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._overhang = 0
            self._after(self.bounds.linger_s)

    def timeout_keep_alive_handler(self) -> None:
        """Once armed it is left to run, whatever is asked meanwhile: to cancel it each time costs more."""
        self.timeout_keep_alive_task = None
        if self._is_answering():
            return
        left_s = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._close_in(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _close_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _is_answering(self) -> bool:
        """A usual request: h11 knows nothing of it."""
        return isinstance(self.cycle, usual.Cycle) and not self.cycle.response_complete

    def _take_usual(self, data: bytes) -> bool:
        """Whether this is a usual request, which is on its way to the application now."""
        if len(data) > self.bounds.head_bytes or not self._is_at_rest():
            return False
        head = usual.head_of(data)
        if head is None:
            return False
        if head.block != self._block:
            self._block, self._headers = head.block, usual.headers_of(head.block, self.bounds.headers)
            self._remembered = {}
            self._is_forwarded = b"\nx-forwarded-" in b"\n" + head.block.lower() and self._is_trusted()
        if self._headers is None:
            return False
        if self._head_over is not None:
            self._head_over.cancel()
            self._head_over = None
        self._answer(head.target, self._headers)
        return True

    def _is_trusted(self) -> bool:
        """Whether who has connected is a proxy that may say whom it speaks for."""
        outermost, host = self.config.loaded_app, self.client[0] if self.client else None
        return isinstance(outermost, ProxyHeadersMiddleware) and host in outermost.trusted_hosts

    def _is_at_rest(self) -> bool:
        """Whether nothing was begun that h11 has to end."""
        conn = self.conn
        idle = conn.their_state is h11.IDLE and conn.our_state is h11.IDLE
        return idle and self._overhang is None and not conn.trailing_data[0]

    def _answer(self, target: bytes, headers: Headers) -> None:
        raw_path, _, query_string = target.partition(b"?")
        self.headers = headers.copy()
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": "GET",
            "root_path": self.root_path,
            "path": self.root_path + unquote(raw_path.decode("ascii")),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query_string,
            "headers": self.headers,
            "state": self.app_state.copy(),
            heads.REMEMBERED: self._remembered,
        }
        if (ready := self._ready(scope)) is not None:
            if not self.transport.is_closing():
                self.transport.write(ready)
            self._usual_is_answered()
            return
        self.scope = scope
        self.cycle = usual.Cycle(
            scope=scope,
            conn=self.conn,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            on_response=self._usual_is_answered,
        )
        task = self.loop.create_task(self.cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _ready(self, scope: Any) -> bytes | None:
        """The answer, if the application has it already and the client can take it."""
        if self._is_forwarded or self.flow.write_paused:
            return None
        try:
            given = self.at_once(scope)
            return None if given is None else usual.whole(given, self.server_state.default_headers)
        except Exception:  # the usual way answers, or breaks in the usual way
            self.logger.exception("no answer at once")
            return None

    def _usual_is_answered(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_in(self.timeout_keep_alive)
        self.flow.resume_reading()
        if self._later:
            later, self._later = self._later, b""
            self.data_received(later)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.bounds.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(MALFORMED, msg)

    def _await_head(self) -> None:
        if self._head_over is None and not self.transport.is_closing() and self._is_asked():
            self._head_over = self.loop.call_later(self.bounds.head_s, self._head_is_over)

    def _is_asked(self) -> bool:
        """Whether a head has begun, or none was ever sent: between two requests uvicorn's clock runs."""
        never_asked = self.cycle is None and not self._answered_at
        return never_asked or bool(self.conn.trailing_data[0])

    def _head_is_over(self) -> None:
        self._head_over = None
        if not self.transport.is_closing():
            self._refuse(HEAD_TOO_SLOW, f"The headers have to arrive within {self.bounds.head_s:g} seconds.")

    def _fits(self, data: bytes) -> bool:
        """Whether the head, as far as it is here, is small enough to be read at all."""
        most, before = self.bounds.head_bytes, len(self.conn.trailing_data[0])
        end = data.find(b"\r\n\r\n")
        size = before + (len(data) if end < 0 else end)
        lines = data.count(b"\n", 0, len(data) if end < 0 else end)
        if size <= most and lines <= self.bounds.headers + 1:
            return True
        self._refuse(
            HEAD_TOO_LARGE,
            f"A request may have {self.bounds.headers} headers, and {most:,} bytes before its body.",
        )
        return False

    def _is_bearable(self, data: bytes) -> bool:
        assert self._overhang is not None
        self._overhang += len(data)
        if self._overhang <= _OVERHANG_BYTES:
            return True
        self._end_discarding()
        return False

    def _discard(self, data: bytes) -> None:
        assert self._discarded is not None
        self._discarded += len(data)
        if self._discarded > _DISCARDED_BYTES:
            self.transport.abort()

    def _refuse(self, kind: Kind, detail: str) -> None:
        """The last answer of a connection, whatever state it is in."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # half an answer is out, or about to be: another one would be part of it
            return
        self.transport.write(last_answer(kind, detail))
        self._end_discarding()

    def _end_discarding(self) -> None:
        """Nothing more is said; what still comes is thrown away for a moment, then the connection ends."""
        self._discarded = 0
        self._unset_keepalive_if_required()
        if self._head_over is not None:
            self._head_over.cancel()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.transport.resume_reading()
        self._after(self.bounds.linger_s)

    def _after(self, seconds: float) -> None:
        self._stop_last()
        self._last = self.loop.call_later(seconds, self._end)

    def _stop_last(self) -> None:
        if self._last is not None:
            self._last.cancel()
            self._last = None

    def _end(self) -> None:
        close: Callable[[], None] = self.transport.abort if self.flow.write_paused else self.transport.close
        close()


def within(bounds: Bounds, answers: AtOnce = at_once.never) -> type[StrictH11]:
    """The protocol with other bounds, and for an application that answers at once."""
    return type("StrictH11", (StrictH11,), {"bounds": bounds, "at_once": staticmethod(answers)})


def last_answer(kind: Kind, detail: str) -> bytes:
    """A refusal before any route is known, as bytes."""
    request_id = uuid4().hex
    body = problems.document(problems.Problem(kind, detail), instance="", request_id=request_id)
    retry = f"retry-after: {problems.RETRY_AFTER_S}\r\n" if kind.status == 503 else ""
    head = (
        f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}\r\n"
        f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\ncache-control: no-store\r\n"
        f"x-content-type-options: nosniff\r\n{retry}x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
