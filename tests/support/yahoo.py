"""Yahoo's charts over HTTP on this machine, and a session of requests that goes there and nowhere else."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import requests

PATH = "/v8/finance/chart/"
Row = tuple[datetime, float | None]
"""Start and close of a bar; None: nothing traded."""


def chart(symbol: str, rows: Iterable[Row], zone: str = "America/New_York") -> dict[str, Any]:
    """A chart as Yahoo writes it."""
    rows = list(rows)
    quote = {
        "open": [None if close is None else 100.0 for _, close in rows],
        "high": [None if close is None else max(101.0, close) for _, close in rows],
        "low": [None if close is None else min(99.0, close) for _, close in rows],
        "close": [close for _, close in rows],
        "volume": [None if close is None else 1_000 for _, close in rows],
    }
    result = {
        "meta": {"symbol": symbol, "currency": "USD", "exchangeTimezoneName": zone, "gmtoffset": -18_000},
        "timestamp": [int(when.timestamp()) for when, _ in rows],
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": [close for _, close in rows]}]},
    }
    return {"chart": {"result": [result], "error": None}}


NOT_FOUND = {
    "chart": {
        "result": None,
        "error": {"code": "Not Found", "description": "No data found, symbol may be delisted"},
    }
}


@dataclass(slots=True)
class FakeYahoo:
    """Rows by interval and symbol; everything that was asked is remembered."""

    rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    questions: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    refusals: list[tuple[int, bytes]] = field(default_factory=list)
    """Answers of charts that come first."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, body = self._answer(head.split(" ", 2)[1])
            kind = b"HTTP/1.1 %d So\r\nContent-Type: application/json\r\nConnection: close\r\n" % status
            writer.write(kind + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, target: str) -> tuple[int, bytes]:
        parts = urlsplit(target)
        if parts.path.endswith("/getcrumb"):
            return 200, b"cr/mb"
        if not parts.path.startswith(PATH):
            return 404, b"<html>"
        symbol = unquote(parts.path.removeprefix(PATH))
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.questions.append((symbol, asked))
        if self.refusals:
            return self.refusals.pop(0)
        rows = self.rows.get((asked["interval"], symbol))
        if rows is None:
            return 404, orjson.dumps(NOT_FOUND)
        first, last = int(asked["period1"]), int(asked["period2"])
        chosen = [row for row in rows if first <= row[0].timestamp() < last]
        return 200, orjson.dumps(chart(symbol, chosen))


@asynccontextmanager
async def fake_yahoo() -> AsyncIterator[FakeYahoo]:
    fake = FakeYahoo()
    server = await asyncio.start_server(fake._serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()


class Inside(requests.Session):
    """Whatever it is asked for, it asks this machine."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.trust_env = False
        self._url = url
        self.hosts: list[str] = []

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        parts = urlsplit(str(url))
        self.hosts.append(parts.hostname or "")
        inside = urlsplit(self._url)
        moved = parts._replace(scheme=inside.scheme, netloc=inside.netloc).geturl()
        return super().request(method, moved, *args, **kwargs)
