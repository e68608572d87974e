"""Closes trades and changes patterns at a fixed rate, and looks how soon that can be read over HTTP."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from bench import market
from bench.gateways import Server

TYPE = "PROBE"
"""Trades that only the probe writes."""
TURNS_PER_S = 20
PATTERNS_PER_S = 5
GIVE_UP_S = 30.0
LOOK_EVERY_S = 0.02

_OPENED = """
INSERT INTO signals (id, origin, source, symbol, timeframe, pattern_id, pattern_type, direction, status,
                     generated_at, changed_at, entry_date, entry_price, entry_session, stop, target)
SELECT gen_random_uuid(), 'external', 'outside', symbol, timeframe, id, pattern_type,
       CASE side WHEN 'accumulation' THEN 'long' ELSE 'short' END, 'OPEN',
       detected_at, detected_at, detected_at, 100, detected_at::date,
       CASE side WHEN 'accumulation' THEN 99 ELSE 101 END, 100
FROM (SELECT * FROM patterns WHERE detected_at > now() - interval '14 days' LIMIT 5000) p,
     generate_series(1, 1 + $1 / 1000)
LIMIT $1
RETURNING id
"""
_CLOSE = """
UPDATE signals s SET status = 'CLOSED', changed_at = v.now, exit_date = v.now, exit_session = v.now::date,
       exit_price = v.price, realized_r = (v.price - s.entry_price) / (s.entry_price - s.stop),
       sessions_held = 1, exit_reason = 'time', revision = s.revision + 1
FROM (SELECT id, price, clock_timestamp() AS now FROM unnest($1::uuid[], $2::numeric[]) u(id, price)) v
WHERE s.id = v.id
"""
_CHANGE = """
UPDATE patterns SET test_confirmed = NOT test_confirmed, confirmed_at = clock_timestamp(),
       revision = revision + 1
WHERE id = ANY($1::uuid[])
"""
_RECENT = """
SELECT id FROM patterns WHERE test_confirmed IS NOT NULL AND detected_at > now() - interval '4 days'
"""
_PROBE = """
INSERT INTO signals (id, origin, source, symbol, timeframe, pattern_type, direction, status, generated_at,
                     changed_at, entry_date, entry_price, entry_session, stop, exit_date, exit_price,
                     exit_session, exit_reason, realized_r, sessions_held)
SELECT gen_random_uuid(), 'external', 'outside', 'S0000', '1d', $1, 'long', 'CLOSED', n, n, n, 100, n::date,
       99, n, 101, n::date, 'target', 1, 0
FROM (SELECT clock_timestamp() AS n) now
"""

_WRITTEN = "SELECT count(*) FROM signals WHERE pattern_type = $1"


@dataclass(slots=True)
class Market:
    """Trades that are open, and patterns of the last days; what becomes of them from now on."""

    connection: "asyncpg.Connection[Any]"
    rate: int
    """Trades a second."""
    open: list[UUID] = field(default_factory=list)
    recent: list[UUID] = field(default_factory=list)
    closed: int = 0
    changed: int = 0
    latest_s: float = 0.0
    """How late the latest turn began."""

    async def prepare(self, seconds: float) -> None:
        """Open as many trades as will be closed."""
        opened = await self.connection.fetch(_OPENED, int(self.rate * seconds))
        self.open = [row["id"] for row in opened]
        self.recent = [row["id"] for row in await self.connection.fetch(_RECENT)]
        await self.connection.execute("ANALYZE signals")

    async def run(self) -> None:
        """Until cancelled, or until nothing is open."""
        rng, began = random.Random(market.SEED), time.monotonic()
        each = self.rate // TURNS_PER_S
        for turn in count():
            due = began + turn / TURNS_PER_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.latest_s = max(self.latest_s, time.monotonic() - due)
            ids, self.open = self.open[:each], self.open[each:]
            if not ids:
                return
            prices = [round(100 + rng.gauss(0.2, 1.5), 2) for _ in ids]
            await self.connection.execute(_CLOSE, ids, prices)
            self.closed += len(ids)
            if turn % (TURNS_PER_S // PATTERNS_PER_S) == 0 and self.recent:
                await self.connection.execute(_CHANGE, [rng.choice(self.recent)])
                self.changed += 1


class Asker:
    """Asks on one connection, as a dashboard that stays open does."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, target: str) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._server.port)
        reader, writer = self._streams
        key = f"Authorization: Bearer {self._server.key}"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{key}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
        if not head.startswith(b"http/1.1 200 "):
            raise AssertionError(f"{target}: {head.decode()}{body.decode()}")
        return body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


@dataclass(slots=True)
class Probe:
    """Writes one trade after the other, each when the one before it has been seen."""

    connection: "asyncpg.Connection[Any]"
    server: Server
    questions: Iterable[tuple[str, Callable[[Any], int]]]
    """What is asked, and how many trades of the probe an answer shows."""
    ages_s: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Until cancelled."""
        asker = Asker(self.server)
        written = await self.connection.fetchval(_WRITTEN, TYPE)
        try:
            for target, shown in cycle(self.questions):
                await self.connection.execute(_PROBE, TYPE)
                written, committed = written + 1, time.monotonic()
                while shown(orjson.loads(await asker.get(target))) < written:
                    if time.monotonic() > committed + GIVE_UP_S:
                        raise AssertionError(f"{target}: a trade is not shown after {GIVE_UP_S:g} s")
                    await asyncio.sleep(LOOK_EVERY_S)
                self.ages_s.append(time.monotonic() - committed)
        finally:
            asker.close()
