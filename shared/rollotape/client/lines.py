"""Takes the steps of `asking`, with and without an event loop: all that waits is here."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
from websockets.asyncio import client as awaited
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException
from websockets.sync import client as plain

from rollotape.client.asking import Ask, Hear, Open, Reply, Say, Step, Wait
from rollotape.client.errors import Unreachable
from rollotape.client.following import SILENCE_S

_LOST = (httpx.TransportError, WebSocketException, OSError)
_OWN_FAULT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, InvalidURI)
"""Of the program that asks: no other try makes them good."""
_SOCKET: dict[str, Any] = {
    "compression": None,
    "ping_interval": None,  # the gateway says something every ten seconds
    "open_timeout": SILENCE_S,
    "close_timeout": 1.0,
    "max_size": 16 * 1_024 * 1_024,
}


class Line(ExitStack):
    """Takes steps; holds one connection at most."""

    def __init__(self, http: httpx.Client) -> None:
        super().__init__()
        self._http = http
        self._at = ""
        self._hear: Callable[[], Any]
        self._connection: plain.ClientConnection

    def take(self, step: Step) -> Any:
        try:
            return self._taken(step)
        except _LOST as error:
            return _lost(self._at, error)

    def _taken(self, step: Step) -> Any:
        match step:
            case Ask():
                self._at = step.url
                return _reply(self._http.request(**_request(step)))
            case Wait():
                return time.sleep(step.seconds)
            case Open():
                self.close()
                self._at = step.url
                return self._events(step) if step.kind == "events" else self._socket(step)
            case Say():
                return self._connection.send(step.text)
            case Hear():
                return self._hear()

    def _events(self, step: Open) -> Reply:
        answer = self.enter_context(self._http.stream("GET", step.url, **_listening(step)))
        parts = answer.iter_bytes()
        self._hear = lambda: next(parts, b"")
        if not answer.is_success:
            answer.read()
        return _reply(answer)

    def _socket(self, step: Open) -> Reply:
        try:
            opened = plain.connect(step.url, additional_headers=step.headers, **_SOCKET)
            self._connection = self.enter_context(opened)
        except InvalidStatus as error:
            return _refused(error)
        self._hear = lambda: self._connection.recv(SILENCE_S)
        return Reply(101, "", {})


class AsyncLine(AsyncExitStack):
    """As `Line`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        super().__init__()
        self._http = http
        self._at = ""
        self._hear: Callable[[], Awaitable[Any]]
        self._connection: awaited.ClientConnection

    async def take(self, step: Step) -> Any:
        try:
            return await self._taken(step)
        except _LOST as error:
            return _lost(self._at, error)

    async def _taken(self, step: Step) -> Any:
        match step:
            case Ask():
                self._at = step.url
                return _reply(await self._http.request(**_request(step)))
            case Wait():
                return await asyncio.sleep(step.seconds)
            case Open():
                await self.aclose()
                self._at = step.url
                return await (self._events(step) if step.kind == "events" else self._socket(step))
            case Say():
                return await self._connection.send(step.text)
            case Hear():
                return await self._hear()

    async def _events(self, step: Open) -> Reply:
        answer = await self.enter_async_context(self._http.stream("GET", step.url, **_listening(step)))
        parts = answer.aiter_bytes()
        self._hear = lambda: anext(parts, b"")
        if not answer.is_success:
            await answer.aread()
        return _reply(answer)

    async def _socket(self, step: Open) -> Reply:
        try:
            opened = awaited.connect(step.url, additional_headers=step.headers, **_SOCKET)
            self._connection = await self.enter_async_context(opened)
        except InvalidStatus as error:
            return _refused(error)
        self._hear = self._received
        return Reply(101, "", {})

    async def _received(self) -> str | bytes:
        async with asyncio.timeout(SILENCE_S):
            return await self._connection.recv()


def _request(step: Ask) -> dict[str, Any]:
    return {
        "method": step.call.method,
        "url": step.url,
        "params": list(step.call.parameters) or None,
        "content": step.call.content,
        "headers": step.headers,
    }


def _listening(step: Open) -> dict[str, Any]:
    return {"headers": step.headers, "timeout": SILENCE_S}


def _reply(answer: httpx.Response) -> Reply:
    body = answer.content if answer.is_closed else b""  # a stream that is open has none yet
    return Reply(answer.status_code, answer.reason_phrase, answer.headers, body)


def _refused(error: InvalidStatus) -> Reply:
    said = error.response
    return Reply(said.status_code, said.reason_phrase, said.headers, bytes(said.body or b""))


def _lost(url: str, error: Exception) -> Unreachable:
    """What became of a step that came to nothing."""
    if isinstance(error, _OWN_FAULT):
        raise error
    return Unreachable(f"{url}: {type(error).__name__}: {error}")
