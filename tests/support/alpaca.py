"""Alpaca's market data as its documentation describes it, on this machine: a WebSocket and a history."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY, SECRET = "PKTEST", "s3cr3t-of-tests"
Item = dict[str, Any]
ERRORS = {
    400: "invalid syntax", 401: "not authenticated", 402: "auth failed", 404: "auth timeout",
    405: "symbol limit exceeded", 406: "connection limit exceeded", 407: "slow client",
    409: "insufficient subscription", 500: "internal error",
}  # fmt: skip


def minute(symbol: str, ts: datetime, close: float = 100.0, volume: float = 1_000, kind: str = "b") -> Item:
    """A bar as the stream says it."""
    return {"T": kind, "S": symbol, **past(ts, close, volume)}


def past(ts: datetime, close: float = 100.0, volume: float = 1_000) -> Item:
    """A bar as the history says it."""
    told = f"{ts.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "t": told, "o": 100.0, "h": max(101.0, close), "l": min(99.0, close), "c": close, "v": volume,
        "n": 7, "vw": 100.1,
    }  # fmt: skip


@dataclass(slots=True)
class FakeAlpaca:
    """One account. Everything that was asked is remembered."""

    sources: tuple[str, ...] = ("iex",)
    symbols_limit: int = 1_000
    connections_limit: int = 1
    page_bars: int = 10_000
    history: dict[tuple[str, str], list[Item]] = field(default_factory=dict)
    """Bars by Alpaca's timeframe and symbol."""
    questions: list[dict[str, str]] = field(default_factory=list)
    refusals: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    """Answers of the history that come before it answers well: status, headers, body."""
    greetings: list[Item] = field(default_factory=list)
    """Errors that connections are greeted with, one each."""
    connections: list[ServerConnection] = field(default_factory=list)
    subscribed: dict[ServerConnection, set[str]] = field(default_factory=dict)
    opened: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, the history waits before it answers."""
    port: int = 0

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def data_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def keeps(self, timeframe: str, symbol: str, items: Iterable[Item]) -> None:
        self.history.setdefault((timeframe, symbol), []).extend(items)

    def closes(self) -> dict[tuple[str, str], float]:
        """The last word about each minute, by symbol and time of day."""
        return {
            (symbol, item["t"][11:16]): item["c"]
            for (timeframe, symbol), items in self.history.items()
            if timeframe == "1Min"
            for item in items
        }

    async def say(self, *items: Item) -> None:
        """One message to everybody who has subscribed to its symbols; others hear nothing."""
        for connection, symbols in list(self.subscribed.items()):
            heard = [item for item in items if item.get("S") in symbols or "S" not in item]
            if heard:
                with suppress(ConnectionClosed):  # cut off a moment ago
                    await connection.send(orjson.dumps(heard).decode())

    async def drop(self) -> None:
        """Cut off every connection, as a network does."""
        for connection in list(self.connections):
            connection.transport.abort()

    async def _serve(self, connection: ServerConnection) -> None:
        self.opened += 1
        self.connections.append(connection)
        try:
            await self._converse(connection)
        except ConnectionClosed:
            pass
        finally:
            self.connections.remove(connection)
            self.subscribed.pop(connection, None)

    async def _converse(self, connection: ServerConnection) -> None:
        await _send(connection, {"T": "success", "msg": "connected"})
        if self.greetings:
            await _send(connection, self.greetings.pop(0))
            return
        async for text in connection:
            asked = orjson.loads(text)
            if asked["action"] == "auth":
                if not await self._authenticate(connection, asked):
                    return
            elif asked["action"] == "subscribe":
                await self._subscribe(connection, asked)

    async def _authenticate(self, connection: ServerConnection, asked: Item) -> bool:
        assert connection.request is not None
        source = connection.request.path.rpartition("/")[2]
        if (asked["key"], asked["secret"]) != (KEY, SECRET):
            await _send(connection, _error(402))
        elif source not in self.sources:
            await _send(connection, _error(409))
        elif len(self.subscribed) >= self.connections_limit:
            await _send(connection, _error(406))
        else:
            self.subscribed[connection] = set()
            await _send(connection, {"T": "success", "msg": "authenticated"})
            return True
        return False

    async def _subscribe(self, connection: ServerConnection, asked: Item) -> None:
        symbols = self.subscribed[connection] | set(asked["bars"])
        if len(symbols) > self.symbols_limit:
            await _send(connection, _error(405))
            return
        self.subscribed[connection] = symbols
        await _send(
            connection,
            {"T": "subscription", "trades": [], "quotes": [], "dailyBars": [],
             "bars": sorted(symbols), "updatedBars": sorted(symbols)},
        )  # fmt: skip

    async def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        if parts.path != "/v2/stocks/bars":
            return None
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.questions.append(asked)
        await self.gate.wait()
        if self.refusals:
            status, headers, body = self.refusals.pop(0)
            response = connection.respond(status, body)
            for name, value in headers.items():
                response.headers[name] = value
            return response
        given = request.headers.get("APCA-API-KEY-ID"), request.headers.get("APCA-API-SECRET-KEY")
        if given != (KEY, SECRET):
            return connection.respond(403, '{"message": "forbidden."}')
        if asked["feed"] not in self.sources:
            message = "subscription does not permit querying recent SIP data"
            return connection.respond(403, orjson.dumps({"message": message}).decode())
        return connection.respond(200, orjson.dumps(self._page(asked)).decode())

    def _page(self, asked: dict[str, str]) -> Item:
        first, last = (datetime.fromisoformat(asked[name]) for name in ("start", "end"))
        found = [
            (symbol, item)
            for symbol in sorted(asked["symbols"].split(","))
            for item in self.history.get((asked["timeframe"], symbol), [])
            if first <= datetime.fromisoformat(item["t"]) <= last
        ]
        start, size = int(asked.get("page_token", 0)), min(self.page_bars, int(asked["limit"]))
        bars: dict[str, list[Item]] = {}
        for symbol, item in found[start : start + size]:
            bars.setdefault(symbol, []).append(item)
        following = start + size
        return {"bars": bars, "next_page_token": str(following) if following < len(found) else None}


def _error(code: int) -> Item:
    return {"T": "error", "code": code, "msg": ERRORS[code]}


async def _send(connection: ServerConnection, item: Item) -> None:
    await connection.send(orjson.dumps([item]).decode())


@asynccontextmanager
async def fake_alpaca(**about: Any) -> AsyncIterator[FakeAlpaca]:
    fake = FakeAlpaca(**about)
    fake.gate.set()
    server: Server
    async with serve(fake._serve, "127.0.0.1", 0, process_request=fake._answer, close_timeout=0.2) as server:
        fake.port = next(iter(server.sockets)).getsockname()[1]
        yield fake


def minutes_before(now: datetime, count: int) -> list[datetime]:
    """Starts of the last minutes that are over, oldest first."""
    last = datetime.fromtimestamp(math.floor(now.timestamp() / 60) * 60, UTC) - timedelta(minutes=1)
    return [last - timedelta(minutes=i) for i in reversed(range(count))]
