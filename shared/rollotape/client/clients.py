"""The two clients, for programs with and without an event loop: all that waits is here."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

try:
    import httpx
except ModuleNotFoundError as missing:
    wanted = "rollotape.client needs httpx: install it with `pip install 'rollotape[client]'`"
    raise ModuleNotFoundError(wanted) from missing

from rollotape.client.answers import Shape
from rollotape.client.attempts import Attempts, Patience
from rollotape.client.calls import Call, Listing, Sending, Sent
from rollotape.client.errors import ClientError, Unreachable, refusal
from rollotape.client.following import MEDIA_TYPE, SILENCE_S, Following, Gap, Update

DEFAULT_URL = "http://127.0.0.1:8080"
KEY = "ROLLO_API_KEY"
LINES = "application/x-ndjson"
STREAM = "/api/v1/patterns/stream"
_OWN_FAULT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
"""Of the program that asks: no other try makes them good."""

A = TypeVar("A", bound=Shape)
I = TypeVar("I")  # noqa: E741 - the items of a page


class _Gateways:
    """Where to ask, and as whom. Who does not answer is passed over for the next one."""

    def __init__(self, urls: str | Sequence[str], key: str | None) -> None:
        self._urls = [urls] if isinstance(urls, str) else list(urls)
        if not self._urls:
            raise ValueError("urls: name at least one gateway")
        self._at = 0
        key = os.environ.get(KEY) if key is None else key
        self.headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """What httpx takes."""
        headers = self.headers | ({} if call.content is None else {"Content-Type": LINES})
        return {
            "method": call.method,
            "url": self.url(call.path),
            "params": list(call.parameters) or None,
            "content": call.content,
            "headers": headers,
        }

    def url(self, path: str) -> str:
        return self._urls[self._at].rstrip("/") + path

    def lost(self, error: httpx.TransportError) -> Unreachable:
        """What became of a request that was not answered; the next one goes to the next gateway."""
        if isinstance(error, _OWN_FAULT):
            raise error
        said = Unreachable(f"{self.url('')}: {type(error).__name__}: {error}")
        self._at = (self._at + 1) % len(self._urls)
        return said


def _problem(answer: httpx.Response) -> ClientError | None:
    if answer.is_success:
        return None
    return refusal(
        answer.status_code, answer.reason_phrase, answer.content, answer.headers.get("retry-after")
    )


def _no_stream(answer: httpx.Response) -> ClientError | None:
    kind = answer.headers.get("content-type", "").partition(";")[0]
    return None if kind == MEDIA_TYPE else ClientError(f"{answer.url}: no stream of events, but {kind!r}")


class Client:
    """Asks, and waits for the answer.

    `urls` are one gateway or several that serve the same data. `key` is ROLLO_API_KEY unless given.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = DEFAULT_URL,
        *,
        key: str | None = None,
        patience: Patience | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._gateways = _Gateways(urls, key)
        self._patience = patience or Patience()
        self._http = httpx.Client(timeout=timeout_s, transport=transport)

    def ask(self, call: Call[A]) -> A:
        """One answer.

        Raises:
            Refusal: the gateway said why there is none.
            Unreachable: nobody said anything.
        """
        attempts = Attempts(self._patience)
        while True:
            error: ClientError | None
            try:
                answer = self._http.request(**self._gateways.request(call))
                error = _problem(answer)
            except httpx.TransportError as lost:
                error = self._gateways.lost(lost)
            if error is None:
                return call.read(answer.content)
            time.sleep(attempts.wait_after(error))

    def pages(self, listing: Listing[A, I]) -> Iterator[A]:
        """Every page, each asked for when the one before was read."""
        following: Listing[A, I] | None = listing
        while following is not None:
            page = self.ask(following)
            yield page
            following = following.after(page)

    def each(self, listing: Listing[A, I]) -> Iterator[I]:
        """Every item of every page."""
        for page in self.pages(listing):
            yield from listing.items(page)

    def send(self, sending: Sending) -> Sent:
        """Everything, a thousand at once; what became of it. An error leaves those before it accepted."""
        sent = Sent()
        for first, call in sending.calls():
            sent.add(self.ask(call), first)
        return sent

    def stream(self, since: str | None = None) -> "Stream":
        """Facts about patterns as they come, after the event `since`, or from now on."""
        return Stream(self._http, self._gateways, Following(since, self._patience))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream:
    """Facts, each once, however often the connection breaks."""

    def __init__(self, http: httpx.Client, gateways: _Gateways, following: Following) -> None:
        self._http, self._gateways = http, gateways
        self.following = following
        self._heard = self._hear()

    @property
    def last_id(self) -> str | None:
        """Where to go on, in this program or the next one."""
        return self.following.last_id

    def _hear(self) -> Iterator[Update | Gap]:
        while True:
            try:
                yield from self._connected()
                error: ClientError = Unreachable("the stream has ended")
            except httpx.TransportError as lost:
                error = self._gateways.lost(lost)
            except ClientError as refused:
                error = refused
            time.sleep(self.following.wait_after(error))

    def _connected(self) -> Iterator[Update | Gap]:
        with self._http.stream(**_opening(self._gateways, self.following)) as answer:
            if not answer.is_success:
                answer.read()
            if error := _problem(answer) or _no_stream(answer):
                raise error
            self.following.begin()
            for part in answer.iter_bytes():
                yield from self.following.feed(part)

    def __iter__(self) -> Iterator[Update | Gap]:
        return self._heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._heard.close()  # type: ignore[attr-defined]  # a generator is more than an iterator


class AsyncClient:
    """As `Client`, for programs that do something else meanwhile."""

    def __init__(
        self,
        urls: str | Sequence[str] = DEFAULT_URL,
        *,
        key: str | None = None,
        patience: Patience | None = None,
        timeout_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._gateways = _Gateways(urls, key)
        self._patience = patience or Patience()
        self._http = httpx.AsyncClient(timeout=timeout_s, transport=transport)

    async def ask(self, call: Call[A]) -> A:
        """See `Client.ask`."""
        attempts = Attempts(self._patience)
        while True:
            error: ClientError | None
            try:
                answer = await self._http.request(**self._gateways.request(call))
                error = _problem(answer)
            except httpx.TransportError as lost:
                error = self._gateways.lost(lost)
            if error is None:
                return call.read(answer.content)
            await asyncio.sleep(attempts.wait_after(error))

    async def pages(self, listing: Listing[A, I]) -> AsyncIterator[A]:
        """See `Client.pages`."""
        following: Listing[A, I] | None = listing
        while following is not None:
            page = await self.ask(following)
            yield page
            following = following.after(page)

    async def each(self, listing: Listing[A, I]) -> AsyncIterator[I]:
        """See `Client.each`."""
        async for page in self.pages(listing):
            for item in listing.items(page):
                yield item

    async def send(self, sending: Sending) -> Sent:
        """See `Client.send`."""
        sent = Sent()
        for first, call in sending.calls():
            sent.add(await self.ask(call), first)
        return sent

    def stream(self, since: str | None = None) -> "AsyncStream":
        """See `Client.stream`."""
        return AsyncStream(self._http, self._gateways, Following(since, self._patience))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncStream:
    """As `Stream`."""

    def __init__(self, http: httpx.AsyncClient, gateways: _Gateways, following: Following) -> None:
        self._http, self._gateways = http, gateways
        self.following = following
        self._heard = self._hear()

    @property
    def last_id(self) -> str | None:
        """Where to go on, in this program or the next one."""
        return self.following.last_id

    async def _hear(self) -> AsyncIterator[Update | Gap]:
        while True:
            try:
                async with self._http.stream(**_opening(self._gateways, self.following)) as answer:
                    if not answer.is_success:
                        await answer.aread()
                    if refused := _problem(answer) or _no_stream(answer):
                        raise refused
                    self.following.begin()
                    async for part in answer.aiter_bytes():
                        for event in self.following.feed(part):
                            yield event
                error: ClientError = Unreachable("the stream has ended")
            except httpx.TransportError as lost:
                error = self._gateways.lost(lost)
            except ClientError as refused:
                error = refused
            await asyncio.sleep(self.following.wait_after(error))

    def __aiter__(self) -> AsyncIterator[Update | Gap]:
        return self._heard

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        await self._heard.aclose()  # type: ignore[attr-defined]  # a generator is more than an iterator


def _opening(gateways: _Gateways, following: Following) -> Mapping[str, Any]:
    return {
        "method": "GET",
        "url": gateways.url(STREAM),
        "headers": gateways.headers | following.headers(),
        "timeout": httpx.Timeout(SILENCE_S),
    }
