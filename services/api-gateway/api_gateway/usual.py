"""A GET as nearly everybody sends it, read and answered in a few steps; all else is left to h11.

h11 looks at every header of a request and of its answer by itself, which costs more than to find an answer
that is ready. Here one pattern says that a head is whole, well formed and without a body: what it does not
match is not refused, but read by those who know all of HTTP.
"""

import re
from functools import cache
from http import HTTPStatus
from typing import Any, NamedTuple

from uvicorn._types import ASGISendEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.h11_impl import RequestResponseCycle

from api_gateway.at_once import Given, Headers

_HEAD = re.compile(
    rb"GET ([!-~]++) HTTP/1\.1\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)++)\r\n"
)
_UNUSUAL = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
"""A body may follow, or something else than HTTP."""
_BODILESS = (204, 304)


class Head(NamedTuple):
    target: bytes
    block: bytes
    """Header lines as they came."""


def head_of(data: bytes) -> Head | None:
    """The head of the one request that this is; None where h11 is to look at it."""
    found = _HEAD.fullmatch(data)
    return Head(found[1], found[2]) if found else None


def headers_of(block: bytes, most: int) -> Headers | None:
    """Names in lower case and values, if they are those of a request that is usual."""
    headers: Headers = []
    hosts = 0
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name in _UNUSUAL or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        hosts += name == b"host"
        headers.append((name, value))
    return headers if hosts == 1 and len(headers) <= most else None


class Cycle(RequestResponseCycle):
    """uvicorn's, for an answer to such a request: its head goes out with the beginning of its body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.more_body = False
        self.message_event.set()  # the body is here: there is none
        self._head = b""
        """What is still to be sent of it."""
        self._left: int | None = 0
        """Bytes of the body that are still to come; None where nobody knows."""

    async def send(self, message: ASGISendEvent) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and not self.response_started:
            self.response_started = True
            self._begin(message)
        elif message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            more = message.get("more_body", False)
            self._go_on(message.get("body", b""), more=more)
            if not more:
                self._end()
        else:
            raise RuntimeError(f"{message['type']} has no place here")

    def _begin(self, message: HTTPResponseStartEvent) -> None:
        status = message["status"]
        headers = [*self.default_headers, *message.get("headers", ())]
        self._left = 0 if status in _BODILESS else None
        for name, value in headers:
            if name == b"content-length":
                self._left = int(value)
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
        if self._left is None:
            headers.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive and (b"connection", b"close") not in headers:
            headers.append((b"connection", b"close"))
        self._head = _head(status, headers)
        if self._left is None:  # it may be long until there is more to say
            self.transport.write(self._head)
            self._head = b""

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if self._left is None:
            said = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self.transport.write(said if more else said + b"0\r\n\r\n")
            return
        self._left -= len(body)
        if self._left < 0 or (self._left and not more):
            raise RuntimeError("a body is not as long as its content-length says")
        self.transport.write(self._head + body)
        self._head = b""

    def _end(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def whole(given: Given, default_headers: Headers) -> bytes:
    """An answer with its head."""
    return _head(given.status, [*default_headers, *given.headers]) + given.body


def _head(status: int, headers: Headers) -> bytes:
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if not len(headers) == lines.count(b"\r") == lines.count(b"\n") or b"\0" in lines:
        raise RuntimeError("a header that is sent has an end of line in it")
    return b"%b%b\r\n" % (_status_line(status), lines)


@cache
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
