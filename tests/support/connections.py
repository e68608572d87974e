"""A connection to the gateway's HTTP protocol, without a network."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.server import ServerState

from api_gateway import at_once, main, usual
from api_gateway.at_once import Given
from api_gateway.bounds import Bounds

DATE = (b"date", b"Sun, 22 Nov 2026 01:00:00 GMT")
App = Callable[[Any, Any, Any], Awaitable[None]]


class Wire(asyncio.Transport):
    """What was written to a client."""

    def __init__(self, peer: str) -> None:
        super().__init__({"peername": (peer, 1)})
        self.parts: list[bytes] = []
        self.closed = self.paused = False

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        self.parts.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    @property
    def said(self) -> bytes:
        return b"".join(self.parts)


class Client:
    """A connection to an application; `seen` are the scopes of its requests."""

    def __init__(self, app: App, bounds: Bounds | None = None, peer: str = "127.0.0.1") -> None:
        self.seen: list[dict[str, Any]] = []
        self.at_once = 0
        """So many were answered without the application being called."""
        answer = at_once.of(app)

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            self.seen.append(scope)
            await app(scope, receive, send)

        def watched_at_once(scope: Any) -> Given | None:
            given = answer(scope)
            self.at_once += given is not None
            return given

        watched.at_once = watched_at_once  # type: ignore[attr-defined]  # as `at_once.of` looks for it
        config = main.config(watched, bounds or Bounds())
        config.load()
        self.state = ServerState()
        self.state.default_headers = [DATE]
        made: Any = config.http_protocol_class
        self.protocol = made(config=config, server_state=self.state, app_state={})
        self.wire = Wire(peer)
        self.protocol.connection_made(self.wire)

    async def say(self, *parts: bytes) -> bytes:
        """What is answered when all is done."""
        for part in parts:
            self.protocol.data_received(part)
        while self.state.tasks:
            await asyncio.gather(*self.state.tasks)
        said = self.wire.said
        self.wire.parts.clear()
        return said

    @property
    def was_usual(self) -> bool:
        return isinstance(self.protocol.cycle, usual.Cycle)
