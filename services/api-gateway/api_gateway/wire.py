"""WebSocket connections that one task can write to by the thousand, and that hold at most one message."""

import socket
from asyncio.transports import BaseTransport
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import OPEN

EXTENSION = "rollo.wire"
"""In the scope's `extensions`: the connection itself."""
LARGEST_MESSAGE = 64 * 1_024
"""Of what a client may send; longer ones close the connection with 1009."""
PING_EVERY_S = 20.0
PONG_WITHIN_S = 40.0
LAST_WORDS_S = 30.0
"""A slow client gets this long to read what it is told last: an error, with the id to resume from."""
_STOP_S = 2.0
_KERNEL_BYTES = 256 * 1_024
"""What the kernel may hold for one client: asked for, because by itself it grows to megabytes."""


class Wire(WebSocketsSansIOProtocol):
    """uvicorn's protocol, to which frames can be written that were made once for everybody.

    Nothing is written before everything before it is with the kernel (`writable` means an empty buffer), so a
    client that does not read costs one message, whatever it was to be told.
    """

    on_drain: Callable[[], None] | None = None
    """Called when the buffer has become empty."""
    on_silence: Callable[[], None] | None = None
    """Called when a ping was not answered."""
    _is_full = False

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(0)
        connection: Any = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:  # the application starts at the next turn of the loop
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = self

    def handle_ping(self) -> None:
        """Who floods us with pings and does not read gets no pong, instead of filling the buffer."""
        pong = self.conn.data_to_send()
        if self.writable.is_set():
            self.transport.write(b"".join(pong))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._is_full = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_full = False
        if self.on_drain:
            self.on_drain()

    @property
    def is_open(self) -> bool:
        ending = self.close_sent or self.disconnected or self.transport.is_closing()
        return self.conn.state is OPEN and not ending

    @property
    def is_ready(self) -> bool:
        """Whether a frame can be written now: asked for everybody at every flush, so it asks little itself.

        A connection whose other end said that it closes is closing here, too, from that moment on.
        """
        gone = self._is_full or self.close_sent or self.disconnected
        return not gone and not self.transport.is_closing()

    def write(self, framed: bytes) -> None:
        """One frame, while `is_ready`."""
        self.transport.write(framed)

    async def ready(self) -> bool:
        """Wait until a frame can be written; false when none ever can."""
        await self.writable.wait()
        return self.is_open

    def end(self, last_words: bytes, code: int, reason: str) -> None:
        """Say this and close; who has not read it within a while is cut off."""
        if not self.is_open:
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(last_words + b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LAST_WORDS_S, self.transport.abort)

    def shutdown(self) -> None:
        """The same when the gateway stops."""
        super().shutdown()
        self.loop.call_later(_STOP_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """No pong: whoever it is does not read. uvicorn's waits until everything was sent, which is never."""
        if self.on_silence and self.is_open:
            self.pong_timer = None
            self.on_silence()
            return
        super().keepalive_timeout()
        self.loop.call_later(_STOP_S, self.transport.abort)


def frame(text: bytes) -> bytes:
    """A whole text message as a server sends it (RFC 6455, 5.2): without a mask, the same for everybody."""
    size = len(text)
    if size < 126:
        return b"\x81" + bytes((size,)) + text
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text
