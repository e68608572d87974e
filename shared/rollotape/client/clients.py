"""The two clients, for programs with and without an event loop."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from typing import Any, Generic, Self, TypeVar, Unpack

import httpx

from rollotape.client.asking import DEFAULT_URL, Asker, Steps, Tell, after
from rollotape.client.attempts import Patience
from rollotape.client.following import (
    Channels,
    Events,
    Following,
    Gap,
    StreamFilters,
    Subscription,
    Told,
    Update,
)
from rollotape.client.lines import AsyncLine, Line
from rollotape.client.questions import A, Call, I, Listing, Sending, Sent, Text

T = TypeVar("T")


class Client:
    """Asks, and waits for the answer.

    `urls` are one gateway or several that serve the same data. `key` is ROLLO_API_KEY unless given.
    `timeout_s` is how long one try may be without a word; `patience` how often and how long it is tried.
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
        self._asker = Asker(urls, key, patience or Patience())
        self._http = httpx.Client(timeout=timeout_s, transport=transport)

    def ask(self, call: Call[A]) -> A:
        """One answer.

        Raises:
            Refusal: the gateway said why there is none.
            Unreachable: nobody said anything.
        """
        [answer] = self._taken(self._asker.ask(call))
        return answer

    def pages(self, listing: Listing[A, I]) -> Iterator[A]:
        """Every page, each asked for when the one before was read."""
        return self._taken(self._asker.pages(listing))

    def each(self, listing: Listing[A, I]) -> Iterator[I]:
        """Every item of every page."""
        return self._taken(self._asker.each(listing))

    def csv(self, call: Call[Any]) -> Iterator[str]:
        """The same rows as CSV, page by page; joined they are one table."""
        return self._taken(self._asker.tables(call))

    def send(self, sending: Sending) -> Sent:
        """Everything, a thousand at once; what became of it. An error leaves those before it accepted."""
        [sent] = self._taken(self._asker.send(sending))
        return sent

    def stream(self, since: str | None = None, channels: Text | None = None) -> "Stream[Update | Gap]":
        """Facts about patterns, or of `channels`, as they come, after the event `since`, or from now on."""
        following = Events(since, self._asker.patience, channels)
        return Stream(following, self._taken(self._asker.stream(following)))

    def subscribe(
        self,
        *,
        since: str | None = None,
        filters: StreamFilters | None = None,
        **channels: Unpack[Channels],
    ) -> "Stream[Told]":
        """Everything of these channels as it comes: facts after the place `since`, or from now on; the newest
        bars and scores at once, then whenever they change."""
        following = Subscription(channels, filters, since, self._asker.patience)
        return Stream(following, self._taken(self._asker.subscribe(following)))

    def _taken(self, steps: Steps[T]) -> Iterator[T]:
        with closing(steps), Line(self._http) as line:
            step = after(steps, None)
            while step is not None:
                if isinstance(step, Tell):
                    yield step.found
                    step = after(steps, None)
                else:
                    step = after(steps, line.take(step))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
        self._asker = Asker(urls, key, patience or Patience())
        self._http = httpx.AsyncClient(timeout=timeout_s, transport=transport)

    async def ask(self, call: Call[A]) -> A:
        """See `Client.ask`."""
        [answer] = [found async for found in self._taken(self._asker.ask(call))]
        return answer

    def pages(self, listing: Listing[A, I]) -> AsyncIterator[A]:
        """See `Client.pages`."""
        return self._taken(self._asker.pages(listing))

    def each(self, listing: Listing[A, I]) -> AsyncIterator[I]:
        """See `Client.each`."""
        return self._taken(self._asker.each(listing))

    def csv(self, call: Call[Any]) -> AsyncIterator[str]:
        """See `Client.csv`."""
        return self._taken(self._asker.tables(call))

    async def send(self, sending: Sending) -> Sent:
        """See `Client.send`."""
        [sent] = [found async for found in self._taken(self._asker.send(sending))]
        return sent

    def stream(self, since: str | None = None, channels: Text | None = None) -> "AsyncStream[Update | Gap]":
        """See `Client.stream`."""
        following = Events(since, self._asker.patience, channels)
        return AsyncStream(following, self._taken(self._asker.stream(following)))

    def subscribe(
        self,
        *,
        since: str | None = None,
        filters: StreamFilters | None = None,
        **channels: Unpack[Channels],
    ) -> "AsyncStream[Told]":
        """See `Client.subscribe`."""
        following = Subscription(channels, filters, since, self._asker.patience)
        return AsyncStream(following, self._taken(self._asker.subscribe(following)))

    async def _taken(self, steps: Steps[T]) -> AsyncIterator[T]:
        with closing(steps):
            async with AsyncLine(self._http) as line:
                step = after(steps, None)
                while step is not None:
                    if isinstance(step, Tell):
                        yield step.found
                        step = after(steps, None)
                    else:
                        step = after(steps, await line.take(step))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Stream(Generic[T]):
    """What comes, each fact once, however often the connection breaks."""

    def __init__(self, following: Following, heard: Iterator[T]) -> None:
        self.following = following
        self._heard = heard

    @property
    def last_id(self) -> str | None:
        """Where to go on, in this program or the next one."""
        return self.following.last_id

    def __iter__(self) -> Iterator[T]:
        return self._heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._heard.close()  # type: ignore[attr-defined]  # a generator is more than an iterator


class AsyncStream(Generic[T]):
    """As `Stream`."""

    def __init__(self, following: Following, heard: AsyncIterator[T]) -> None:
        self.following = following
        self._heard = heard

    @property
    def last_id(self) -> str | None:
        """Where to go on, in this program or the next one."""
        return self.following.last_id

    def __aiter__(self) -> AsyncIterator[T]:
        return self._heard

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        await self._heard.aclose()  # type: ignore[attr-defined]  # a generator is more than an iterator
