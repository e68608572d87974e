"""Clients of the stream over WebSocket, and facts for them to hear."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from rollotape.events import FIELD

WITHIN_S = 60.0
CONTROL = frozenset({"welcome", "authenticated", "subscription", "error", "here"})
EVERYTHING: dict[str, list[str]] = {"patterns": ["*"], "vsa": ["*"], "wyckoff": ["*"]}


class Talker:
    """One connection: what it says, and every item that came, in order."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.items: list[dict[str, Any]] = []
        self._taken = 0

    async def say(self, **message: Any) -> None:
        await self.connection.send(orjson.dumps(message).decode())

    async def subscribe(self, **message: Any) -> dict[str, Any]:
        """The acknowledgement."""
        await self.say(action="subscribe", **message)
        return await self.hears("subscription")

    async def next(self) -> dict[str, Any]:
        """The item that was not looked at yet."""
        while self._taken == len(self.items):
            text = await asyncio.wait_for(self.connection.recv(), WITHIN_S)
            assert isinstance(text, str)
            told = orjson.loads(text)
            assert isinstance(told, list) and told
            self.items += told
        self._taken += 1
        return self.items[self._taken - 1]

    async def hears(self, *kinds: str) -> dict[str, Any]:
        """The next item of one of these kinds; others before it are passed over."""
        while (item := await self.next())["T"] not in kinds:
            pass
        return item

    async def facts(self, count: int) -> list[dict[str, Any]]:
        """So many facts and values, leaving out what is about the connection."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            item = await self.next()
            if item["T"] not in CONTROL:
                found.append(item)
        return found

    async def close_code(self) -> int | None:
        """What the connection is closed with, after everything that came before."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


@asynccontextmanager
async def connected(url: str, path: str = "/api/stream", **more: Any) -> AsyncIterator[Talker]:
    """A client that has said and heard nothing."""
    target = url.replace("http://", "ws://") + path
    async with connect(target, compression=None, proxy=None, **more) as connection:
        yield Talker(connection)


@asynccontextmanager
async def talking(url: str, path: str = "/api/stream", **more: Any) -> AsyncIterator[Talker]:
    """A client that was welcomed."""
    async with connected(url, path, **more) as talker:
        await talker.hears("welcome")
        yield talker


def pattern_fact(n: int, symbol: str = "AAPL", kind: str = "updated", **state: Any) -> dict[str, Any]:
    """A fact about a pattern; `n` is its version."""
    pattern = {"symbol": symbol, "timeframe": "1d", "pattern_type": "SPRING", "confidence": 0.8} | state
    told = {"version": 1, "type": f"pattern.{kind}", "id": f"p{n % 50}", "fact_version": n}
    return told | {"pattern": pattern}


def event_fact(kind: str, n: int, symbol: str = "AAPL", timeframe: str = "1d") -> dict[str, Any]:
    """A fact about an event of volume and spread, or of a schematic."""
    event = {"symbol": symbol, "timeframe": timeframe}
    return {"version": 1, "type": kind, "id": f"e{n}", "fact_version": n, "event": event}


async def tell(redis: Redis, facts: Sequence[dict[str, Any]]) -> list[str]:
    """Say facts on `updates`; ids of their entries."""
    pipeline: Any = redis.pipeline(transaction=False)
    for fact in facts:
        pipeline.xadd("updates", {FIELD: orjson.dumps(fact)})
    return [entry_id.decode() for entry_id in await pipeline.execute()]


def versions(items: Sequence[dict[str, Any]]) -> list[int]:
    return [item["data"]["fact_version"] for item in items]
