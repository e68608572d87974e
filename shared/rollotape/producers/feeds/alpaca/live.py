"""Alpaca's stream of minutes: one connection from its welcome until it is cut off."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from rollotape.errors import Refused, Unavailable
from rollotape.producers.feeds.alpaca import protocol
from rollotape.producers.feeds.alpaca.history import Account
from rollotape.producers.feeds.alpaca.protocol import (
    Authenticated,
    Strange,
    Subscribed,
    Then,
    Trouble,
    Welcome,
    Word,
)
from rollotape.producers.feeds.said import Said

GREETING_S = 15.0
LARGEST = 4 * 1024 * 1024

log = structlog.get_logger()
_WIRE = logging.getLogger(f"{__name__}.wire")
_WIRE.setLevel(logging.INFO)  # below that it has every frame, and one of them has the secret

Heard = TypeVar("Heard", Welcome, Authenticated, Subscribed)


class Minutes:
    """Bars of one connection, as they come. They wait here while the past is caught up with."""

    def __init__(
        self, socket: ClientConnection, source: str, symbols: int, now_us: Callable[[], int]
    ) -> None:
        self._socket = socket
        self._source = source
        self._symbols = symbols
        self._now_us = now_us
        self._waiting: list[Said] = []
        self._came = asyncio.Event()

    async def listen(self) -> None:
        """Take what comes, for ever: who reads slowly is cut off.

        Raises:
            Unavailable: the connection is over. Refused: another one would end the same way.
        """
        while True:
            self.take(await _words(self._socket, self._now_us))

    async def next(self) -> list[Said]:
        """Everything that came since the last time, at least one bar."""
        await self._came.wait()
        self._came.clear()
        bars, self._waiting = self._waiting, []
        return bars

    def take(self, words: Sequence[Word]) -> None:
        for word in words:
            if isinstance(word, Said):
                self._waiting.append(word)
            elif isinstance(word, Trouble):
                self._heed(word)
            elif isinstance(word, Strange):
                log.warning("alpaca_strange", said=word.text)
        if self._waiting:
            self._came.set()

    def _heed(self, trouble: Trouble) -> None:
        said = protocol.in_words(trouble, source=self._source, count=self._symbols)
        if trouble.then is Then.STOP:
            raise Refused(said)
        if trouble.then is Then.AGAIN:
            raise Unavailable(said)
        log.warning("alpaca_trouble", said=said)


@asynccontextmanager
async def connected(
    account: Account,
    url: str,
    symbols: Sequence[str],
    *,
    now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    greeting_s: float = GREETING_S,
) -> AsyncIterator[Minutes]:
    """A connection that has everything subscribed; `url` is that of the stream without its source.

    Raises:
        Unavailable: it does not answer, or not now. Refused: it never will like this.
    """
    place = f"{url.rstrip('/')}/v2/{account.source}"
    try:
        async with (
            asyncio.timeout(None) as greeting,
            connect(place, max_size=LARGEST, open_timeout=greeting_s, logger=_WIRE) as socket,
        ):
            greeting.reschedule(asyncio.get_running_loop().time() + greeting_s)
            minutes = Minutes(socket, account.source, len(symbols), now_us)
            await _greet(socket, account, symbols, minutes, now_us)
            greeting.reschedule(None)
            yield minutes
    except InvalidStatus as error:
        status = error.response.status_code
        kind = Refused if status in (401, 403, 404) else Unavailable
        raise kind(f"Alpaca's stream at {place} answers {status}: see to --source") from None
    except (InvalidHandshake, WebSocketException, OSError, TimeoutError) as error:
        raise Unavailable(f"Alpaca's stream: {type(error).__name__}: {error}") from None


async def _greet(
    socket: ClientConnection,
    account: Account,
    symbols: Sequence[str],
    minutes: Minutes,
    now_us: Callable[[], int],
) -> None:
    await _hear(socket, Welcome, minutes, now_us)
    await _say(socket, protocol.authenticate(account.key, account.secret))
    await _hear(socket, Authenticated, minutes, now_us)
    wanted: frozenset[str] = frozenset()
    for message in protocol.subscribe(symbols):
        await _say(socket, message)
        wanted = (await _hear(socket, Subscribed, minutes, now_us)).bars
    if missing := sorted(set(symbols) - wanted):
        shown = ", ".join(missing[:5])
        raise Unavailable(f"Alpaca has not taken all symbols: {len(missing)} are missing, like {shown}")


async def _say(socket: ClientConnection, text: str) -> None:
    """Where the other side has closed, what it said before is still to be heard, and says why."""
    with suppress(ConnectionClosed):
        await socket.send(text)


async def _hear(
    socket: ClientConnection, kind: type[Heard], minutes: Minutes, now_us: Callable[[], int]
) -> Heard:
    """The next word of a kind; what else comes before it is taken as it comes later."""
    while True:
        words = await _words(socket, now_us)
        minutes.take([word for word in words if not isinstance(word, kind)])
        for word in words:
            if isinstance(word, kind):
                return word


async def _words(socket: ClientConnection, now_us: Callable[[], int]) -> list[Word]:
    try:
        text = await socket.recv()
    except WebSocketException as error:
        raise Unavailable(f"Alpaca's stream: {error}") from None
    return protocol.read(text, now_us())
