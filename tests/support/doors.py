"""A door before a server, that can be shut: to whoever comes in, the server is gone, or says nothing more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

State = Literal["open", "shut", "silent"]


class Door:
    """Passes everything on while it is open."""

    def __init__(self, server_url: str) -> None:
        self._parts = urlsplit(server_url)
        self._state: State = "open"
        self._open = asyncio.Event()
        self._open.set()
        self._passages: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The server's address with our port in it."""
        assert self._listening
        port = self._listening.sockets[0].getsockname()[1]
        login = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()

    def become(self, state: State) -> None:
        """Shut, connections break and none is made; silent, they stay and nothing comes of them."""
        self._state = state
        if state == "silent":
            self._open.clear()
            return
        self._open.set()
        if state == "shut":
            for passage in self._passages:
                passage.cancel()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = asyncio.current_task()
        assert passage
        self._passages.add(passage)
        try:
            with suppress(OSError, asyncio.CancelledError):
                if self._state != "shut":
                    await self._pass(reader, writer)
        finally:
            self._passages.discard(passage)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        ways = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._open.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def door(server_url: str) -> AsyncIterator[Door]:
    """An open one."""
    opened = Door(server_url)
    opened._listening = await asyncio.start_server(opened._enter, "127.0.0.1", 0)
    try:
        yield opened
    finally:
        opened._listening.close()
        opened.become("shut")
        await asyncio.gather(*opened._passages, return_exceptions=True)
