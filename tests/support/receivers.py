"""Receivers of webhooks on this machine, of every kind that there is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

Answer = Callable[[int], bytes | None]
"""What the nth request is answered; None: nothing, ever."""


class Received(NamedTuple):
    head: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """Remembers what came."""

    answer: Answer
    port: int = 0
    received: list[Received] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.split(": ", 1) for line in lines if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers["content-length"]))
            self.received.append(Received(head, headers, body))
            answer = self.answer(len(self.received))
            if answer is None:
                await reader.read()  # until the other side has had enough
            else:
                writer.write(answer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(answer: Answer) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


def status(number: int, *headers: str) -> bytes:
    """An answer without a body."""
    lines = (f"HTTP/1.1 {number} So", "Content-Length: 0", *headers, "", "")
    return "\r\n".join(lines).encode()


def well(_n: int) -> bytes:
    return status(204)
