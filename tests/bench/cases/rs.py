"""Relative strength: five years of scores from stored bars, and one cross-section of 10,000 symbols.

The backfill is what rs-worker does after an import, from marks to committed scores and mapping, in one
process on a durable server. The cross-section is arithmetic alone, on closes in memory.
"""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

from bench import market
from bench.figures import Figure
from bench.stage import Stage
from rollotape.domain.sectors import BENCHMARKS, FUNDS
from rollotape.domain.sessions import DAY_US
from rollotape.domain.strength import Closes, Market, as_of
from rollotape.postgres.pool import open_pool
from rollotape.postgres.strength import Strength
from rollotape.settings import Settings
from rollotape.streams.outbox import Outbox
from rollotape.streams.producer import Producer
from rs_worker.handlers import Score

TITLE = "Strength: five years of scores, and one cross-section of 10,000 symbols"

WIDE, DEEP = 10_000, 276
"""Symbols of the cross-section, and the dates that the worker reads for one."""
REPEAT = 9
FIRST_DAY = 15_744
"""Days since 1970 of 2013-02-08."""
COLUMNS = (
    "symbol", "timeframe", "ts", "open", "high", "low", "close", "volume", "revision", "synthetic", "hash",
    "end_ts", "session_date", "hours", "arrived_at", "evaluable",
)  # fmt: skip


async def run(stage: Stage) -> AsyncIterator[Figure]:
    wide = _wide()
    last = int(wide.day.max())
    as_of(wide, last)
    seconds = [_timed(wide, last) for _ in range(REPEAT)]
    meaning = f"one cross-section of {WIDE:,} symbols, {DEEP} closes each"
    yield Figure.middle("rs.cross_section_ms", [1_000 * s for s in seconds], meaning)
    with stage.database() as url:
        rows, taken = await _backfill(stage, url)
    yield Figure("rs.backfill_s", taken, f"{rows:,} scores of {market.STOCKS} stocks, marks to commit")
    yield Figure("rs.backfill_rows_per_s", rows / taken, "scores a second")


def _timed(wide: Market, day: int) -> float:
    began = time.perf_counter()
    as_of(wide, day)
    return time.perf_counter() - began


def _weekdays(count: int) -> list[int]:
    """The first one is a Friday."""
    return [d for d in range(FIRST_DAY, FIRST_DAY + 2 * count) if (d - FIRST_DAY + 4) % 7 < 5][:count]


def _walks(rng: np.random.Generator, symbols: int, days: int) -> Any:
    return np.round(50 * np.exp(np.cumsum(rng.normal(0, 0.015, (symbols, days)), axis=1)) + 1, 2)


def _wide() -> Market:
    day = np.array(_weekdays(DEEP), np.int64)
    rng = np.random.default_rng(market.SEED)
    stocks = {f"S{n:05d}": Closes(day, prices) for n, prices in enumerate(_walks(rng, WIDE, DEEP))}
    walks = _walks(rng, len(BENCHMARKS), DEEP)
    funds = {name: Closes(day, prices) for name, prices in zip(BENCHMARKS, walks, strict=True)}
    return Market.of(stocks, {s: _sector(n) for n, s in enumerate(stocks)}, funds)


def _sector(n: int) -> str:
    return list(FUNDS)[n % len(FUNDS)]


async def _backfill(stage: Stage, url: str) -> tuple[int, float]:
    """How many scores there are then, and how long it took."""
    settings = Settings(redis_url=stage.redis_url(0), database_url=url)
    async with await open_pool(settings, service="bench", raw_times=True) as pool, stage.redis(0) as redis:
        with stage.show.task("storing bars", market.STOCKS + len(BENCHMARKS)) as done:
            for n, (symbol, records) in enumerate(_records()):
                async with pool.acquire() as connection:
                    await connection.copy_records_to_table("bars", records=records, columns=COLUMNS)
                    await connection.execute("INSERT INTO symbol_state VALUES ($1, 1, 1)", symbol)
                done(n)
        await _tell(pool)
        score = Score(Strength(pool), Outbox(pool, Producer(redis)))
        with stage.show.task("scoring", 1):
            began = time.perf_counter()
            while await score.once():
                pass
            taken = time.perf_counter() - began
        return int(await pool.fetchval("SELECT count(*) FROM rs_scores")), taken


async def _tell(pool: Any) -> None:
    """Sectors of the made-up stocks, and a mark for everything."""
    symbols = [f"S{n:03d}" for n in range(market.STOCKS)]
    of = [_sector(n) for n in range(market.STOCKS)]
    listed = "INSERT INTO sectors (symbol, sector) SELECT * FROM unnest($1::text[], $2::text[])"
    await pool.execute(listed, symbols, of)
    await pool.execute(
        "INSERT INTO dirty_symbols (symbol, timeframe, first_ts, last_ts) "
        "SELECT symbol, timeframe, min(ts), max(ts) FROM bars GROUP BY 1, 2"
    )
    await pool.execute("ANALYZE")


def _records() -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    days = _weekdays(market.DAYS)
    names = [*(f"S{n:03d}" for n in range(market.STOCKS)), *BENCHMARKS]
    walks = _walks(np.random.default_rng(market.SEED), len(names), len(days))
    for symbol, prices in zip(names, walks, strict=True):
        yield symbol, [_record(symbol, d, c) for d, c in zip(days, prices.tolist(), strict=True)]


def _record(symbol: str, day: int, close: float) -> tuple[Any, ...]:
    ts = day * DAY_US
    prices = close, close, close, close
    return (symbol, "1d", ts, *prices, 1e6, 0, False, 0, ts + DAY_US, day, "regular", 0, True)
