"""An rs-worker's turns on real servers, beside a detector's handler, and ways to break them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import orjson

from rollotape.domain.sectors import Listing
from rollotape.postgres import export, sectors
from rollotape.postgres.pool import open_pool
from rollotape.postgres.strength import Strength
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.outbox import Outbox
from rollotape.streams.producer import Producer
from rs_worker.handlers import Score
from support.applying import Bench, open_bench

EXPORTS = ("rs_scores", "sector_mapping")
DERIVED = "rs_scores, sector_mapping, rs_dates, dirty_dates"
BARS_AT_ONCE = 20_000


class Crash(BaseException):
    """What happens to a process; no handler of ours may catch it."""


class Fragile:
    """A pool whose connections die at the n-th statement, and after that have died for good."""

    def __init__(self, pool: Any, dies_at: int) -> None:
        self._pool = pool
        self.left = dies_at

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    async def fetch(self, *arguments: Any) -> Any:
        self.step()
        return await self._pool.fetch(*arguments)

    async def fetchrow(self, *arguments: Any) -> Any:
        self.step()
        return await self._pool.fetchrow(*arguments)

    async def fetchval(self, *arguments: Any) -> Any:
        self.step()
        return await self._pool.fetchval(*arguments)

    async def execute(self, *arguments: Any) -> Any:
        self.step()
        return await self._pool.execute(*arguments)

    async def copy_records_to_table(self, *arguments: Any, **more: Any) -> Any:
        self.step()
        return await self._pool.copy_records_to_table(*arguments, **more)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["Fragile"]:
        self.step()
        async with self._pool.acquire() as connection:
            fragile = Fragile(connection, 0)
            fragile.step = self.step  # type: ignore[method-assign]
            yield fragile

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        async with self._pool.transaction():
            yield
            self.step()  # before the commit; what follows it is the next statement


class FragileProducer(Producer):
    """Dies with its pool: after a commit, and before anything is said."""

    def __init__(self, redis: Any, pool: Fragile) -> None:
        super().__init__(redis)
        self._pool = pool

    async def send_many(self, messages: Sequence[tuple[str, bytes]]) -> list[str]:
        self._pool.step()
        return await super().send_many(messages)


class Scoring:
    """What a test needs to bring bars and sectors, to have them scored, and to look at what came of it."""

    def __init__(self, bench: Bench, settings: Settings) -> None:
        self.bench = bench
        self.settings = settings
        self.score = self.replica(bench.pool)

    def replica(self, pool: Any) -> Score:
        producer = Producer(self.bench.redis)
        if isinstance(pool, Fragile):
            producer = FragileProducer(self.bench.redis, pool)
        return Score(Strength(pool), Outbox(pool, producer))

    async def bars(self, payloads: Sequence[bytes]) -> None:
        for i in range(0, len(payloads), BARS_AT_ONCE):
            await self.bench.apply(payloads[i : i + BARS_AT_ONCE])

    async def sectors(self, of: Mapping[str, str | None], kind: str | None = None) -> sectors.Stored:
        listings = [Listing(symbol, None, sector, None, kind) for symbol, sector in of.items()]
        return await sectors.store(self.bench.pool, listings)

    async def settle(self) -> int:
        """Turns until nothing is due."""
        turns = 0
        while await self.score.once():
            turns += 1
        return turns

    async def forget(self) -> None:
        """Nothing was ever scored, and everything is due."""
        await self.bench.pool.execute(f"TRUNCATE {DERIVED}, dirty_symbols, outbox")
        await self.bench.pool.execute(
            "INSERT INTO dirty_symbols (symbol, timeframe, first_ts, last_ts) "
            "SELECT symbol, '1d', '-infinity', 'infinity' FROM symbol_state"
        )

    async def clear(self, symbols: Sequence[str]) -> None:
        """Nothing was ever stored of these symbols, which are all; sectors stay."""
        await self.bench.pool.execute(f"TRUNCATE bars, vsa_events, symbol_state, dirty_symbols, {DERIVED}")
        self.bench.memory.forget(symbols)

    async def exports(self) -> dict[str, bytes]:
        found = {}
        async with export.connection(self.settings.database_url) as connection:
            for table in EXPORTS:
                parts: list[bytes] = []
                await export.export(connection, table, parts.append, lambda _: None)
                found[table] = b"".join(parts)
        return found

    async def stored(self) -> dict[tuple[int, str], tuple[Any, ...]]:
        """Rows of scores by day and symbol."""
        return {row[:2]: row for row in await self.bench.rows("SELECT * FROM rs_scores")}

    async def facts(self) -> list[dict[str, Any]]:
        return [fact for fact in await self.bench.said("updates") if fact["type"].startswith("rs.")]


@asynccontextmanager
async def open_scoring(settings: Settings) -> AsyncIterator[Scoring]:
    async with open_bench(settings) as bench:
        yield Scoring(bench, settings)


@asynccontextmanager
async def another(scoring: Scoring) -> AsyncIterator[Score]:
    """A replica with connections of its own."""
    pool = await open_pool(scoring.settings, service="test", raw_times=True)
    client = open_client(scoring.settings.redis_url)
    try:
        yield Score(Strength(pool), Outbox(pool, Producer(client)))
    finally:
        await client.aclose()
        await pool.close()


def bar(symbol: str, day: date, close: float, **more: Any) -> bytes:
    """One daily bar that is nothing but its close."""
    said = {"symbol": symbol, "timeframe": "1d", "ts": f"{day}T00:00:00Z", "volume": 1000.0}
    return orjson.dumps(said | dict.fromkeys(("open", "high", "low", "close"), close) | more)
