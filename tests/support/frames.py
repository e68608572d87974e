"""A WebSocket client that says anything, frame by frame, also what no library would send."""

import asyncio
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="


def frame(
    opcode: int, payload: bytes, *, last: bool = True, masked: bool = True, reserved: int = 0, size: int = -1
) -> bytes:
    """One frame; `size` says something else than what follows."""
    said = len(payload) if size < 0 else size
    mask = 0x80 if masked else 0
    head = bytes(((0x80 if last else 0) | reserved << 4 | opcode,))
    if said < 126:
        head += bytes((mask | said,))
    elif said < 65_536:
        head += bytes((mask | 126,)) + said.to_bytes(2, "big")
    else:
        head += bytes((mask | 127,)) + said.to_bytes(8, "big")
    if not masked:
        return head + payload
    key = os.urandom(4)
    long = (key * (len(payload) // 4 + 1))[: len(payload)]
    covered = int.from_bytes(payload, "big") ^ int.from_bytes(long, "big")
    return head + key + covered.to_bytes(len(payload), "big")


@dataclass
class Raw:
    """One connection: texts as they come, and the code of its end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    code: int | None = None
    """Of the close; 1006 where none was said."""
    _parts: list[bytes] = field(default_factory=list)

    def say(self, framed: bytes) -> None:
        self.writer.write(framed)

    async def text(self, within_s: float) -> bytes | None:
        """The next message; None when the connection is over."""
        async with asyncio.timeout(within_s):
            while self.code is None:
                try:
                    opcode, payload = await self._frame()
                except (asyncio.IncompleteReadError, ConnectionError):
                    self.code = 1006
                    return None
                if opcode == TEXT:
                    return payload
                if opcode == PING:
                    self.say(frame(PONG, payload))
                elif opcode == CLOSE:
                    self.code = int.from_bytes(payload[:2], "big") if payload else 1005
                else:
                    assert opcode == PONG, f"a server never sends {opcode}"
            return None

    async def _frame(self) -> tuple[int, bytes]:
        first, second = await self.reader.readexactly(2)
        assert first & 0x80 and not first & 0x70 and not second & 0x80, "whole, plain and without a mask"
        size = second
        if second >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if second == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def leave(self) -> None:
        """Hang up without a word."""
        self.writer.transport.abort()


async def connect(url: str, path: str = "/api/stream", **headers: str) -> Raw:
    """After the handshake."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n{lines}\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return Raw(reader, writer)
