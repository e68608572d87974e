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
_DISCARDED_BYTES = 16 * 1_024 * 1_024
"""So much is thrown away of what comes after the end, for `_STOP_S`: to close at once would reset the
connection, and whoever still sends would never read why."""
_LONGEST_REASON = 123
"""Bytes that a close has room for (RFC 6455, 5.5)."""
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
    _discarded: int | None = None
    """Bytes thrown away since nothing more is heard; None before."""
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

    def data_received(self, data: bytes) -> None:
        if self._discarded is None:
            super().data_received(data)
            return
        self._discarded += len(data)
        if self._discarded > _DISCARDED_BYTES:
            self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        """uvicorn's writes a trace into the log for every text that is none."""
        data, self.frames = b"".join(self.frames), []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "bytes":
            self.queue.put_nowait({"type": "websocket.receive", "bytes": data})
        else:
            try:
                self.queue.put_nowait({"type": "websocket.receive", "text": data.decode()})
            except UnicodeDecodeError:
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def handle_parser_exception(self) -> None:
        """What was sent was no WebSocket, or too much of it."""
        said = self.conn.close_sent
        assert said is not None
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": said.code, "reason": said.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent, self._discarded, self.read_paused = True, 0, False
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.transport.resume_reading()
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(_STOP_S, self.transport.abort)

    def handle_ping(self) -> None:
        """Who floods us with pings and does not read gets no pong, instead of filling the buffer."""
        pong = self.conn.data_to_send()
        if self.writable.is_set() and self._discarded is None:
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
        reason = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
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
