"""What bars, symbols and patterns weigh in PostgreSQL, Redis and processes, and what a bar costs.

Bytes and processor time: neither depends much on who else uses the machine. First a whole stack is sent the
demo's market, as quickly as it reads, until ROLLO_TEST_SIZING_BARS bars are sent; then a detector and an
rs-worker get days of made-up symbols in two portions, so that what a symbol costs is not mixed up with what a
process costs; ROLLO_TEST_SIZING_SYMBOLS is how many. In the end what follows for larger markets is printed.
"""

import asyncio
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
from redis.asyncio import Redis

from bench import machine, sizes, soaking, weights
from bench.cases.soak import SETTLED
from bench.figures import Figure
from bench.market import SEED
from bench.readers import scraped
from bench.stage import END_S, PARTITIONS, STREAMS, Stage, until
from rollotape import calendars
from rollotape.cache import scripts
from rollotape.domain.sectors import BENCHMARKS
from rollotape.postgres import sectors
from rollotape.postgres.pool import open_pool
from rollotape.producers.companies import listings
from rollotape.producers.feed import Feed
from rollotape.producers.frames import Bars, Framer
from rollotape.producers.simulator import Market
from rollotape.settings import Settings
from rollotape.streams.producer import Producer
from rollotape.supervisor import Supervisor

TITLE = "Sizing: what bars, symbols and patterns weigh, and what a bar costs"

LIVE, PORTIONS, STILL = 0, 1, 2
"""Numbers of the Redis databases: read by a whole stack, by two services, by nobody."""
BARS = 250_000
SYMBOLS = 1_200
FEW = 4
"""The first portion has so many times fewer symbols than there are together."""
DAYS = 260
"""Enough for the strength of some dates."""
ENTRIES = 20_000
FRAME = 1_000
MB = 1e6
COUNTED = """
SELECT count(*),
       (SELECT count(*) FROM vsa_events WHERE timeframe = '1m'),
       (SELECT count(*) FROM wyckoff_events WHERE timeframe = '1m'),
       (SELECT count(*) FROM patterns WHERE timeframe = '1m'),
       (SELECT count(*) FROM signals WHERE timeframe = '1m')
FROM bars WHERE timeframe = '1m'
"""


FIRST, EPOCH = datetime(2022, 1, 3, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)


class Over(Exception):
    """Enough was sent."""


@dataclass(frozen=True, slots=True)
class Used:
    """Processor seconds so far, by who used them, and bytes of WAL."""

    cpu_s: Mapping[str, float]
    wal: int

    def since(self, other: "Used") -> "Used":
        return Used({name: s - other.cpu_s[name] for name, s in self.cpu_s.items()}, self.wal - other.wal)


async def run(stage: Stage) -> AsyncIterator[Figure]:
    found = [figure async for figure in _measured(stage)]
    for figure in found:
        yield figure
    known = {figure.name.removeprefix("sizing."): figure.value for figure in found}
    stage.show.console.print(sizes.table(sizes.lines(sizes.size(n, known) for n in sizes.ASKED)))


async def _measured(stage: Stage) -> AsyncIterator[Figure]:
    async for figure in _still(stage):
        yield figure
    async for figure in _market(stage):
        yield figure
    async for figure in _portions(stage):
        yield figure


def _asked(what: str, otherwise: int) -> int:
    return int(os.environ.get(f"ROLLO_TEST_SIZING_{what}") or otherwise)


async def _still(stage: Stage) -> AsyncIterator[Figure]:
    """Entries that nobody reads."""
    async with stage.redis(STILL) as redis:
        for bars, name, meaning in (
            (1, "redis_bytes_per_bar", "in Redis, of an entry that is one bar"),
            (FRAME, "redis_bytes_per_framed_bar", f"in Redis, of a bar in a frame of {FRAME:,}"),
        ):
            await redis.flushdb()
            producer, framer = Producer(redis), Framer(PARTITIONS, bars)
            for part in _days(range(ENTRIES // DAYS), DAYS):
                await producer.send_many(framer.add(part))
            await producer.send_many(framer.flush())
            _, held = await weights.stream_bytes(redis, STREAMS)
            yield Figure(f"sizing.{name}", held / (ENTRIES // DAYS * DAYS), meaning)
        await redis.flushdb()


async def _market(stage: Stage) -> AsyncIterator[Figure]:
    """The demo's market through every service; what it costs is that of its minutes."""
    total = _asked("BARS", BARS)
    with stage.database() as url:
        async with soaking.stack(stage, LIVE, url) as (supervisor, _), stage.redis(LIVE) as redis:
            connection = await asyncpg.connect(url)
            try:
                before = None

                async def past() -> None:
                    """It was mostly days; what comes from here on is minutes, and is what counts."""
                    nonlocal before
                    await _settled(redis, connection)
                    await connection.execute("CHECKPOINT")
                    before = await _used(supervisor, connection, redis)

                with stage.show.task("the demo's market, stored and read", total) as done:
                    symbols, bars = await _send_market(stage, url, redis, total, past, done)
                    await _settled(redis, connection)
                assert before
                used = (await _used(supervisor, connection, redis)).since(before)
                active = await redis.hlen(scripts.ITEMS)
                model = await weights.key_bytes(redis, [scripts.PREFIX + name for name in scripts.DATA])
                told, held = await weights.stream_bytes(redis, ["updates"])
                minutes = await connection.fetchrow(COUNTED)
            finally:
                await connection.close()
            bases = {r.service: machine.held_bytes(r.pid) or 0 for r in supervisor.replicas}
        await weights.vacuum(url)
        found = await weights.weigh(url)
    stage.show.say(f"    {bars:,} bars of {symbols} symbols after the past; {_counts(found)}")
    for figure in _of_rows(found, minutes):
        yield figure
    yield Figure("sizing.wal_bytes_per_bar", used.wal / bars, "WAL, with all that follows from a bar")
    for name, seconds in used.cpu_s.items():
        per_bar = seconds / bars * 1e6
        yield Figure(f"sizing.{name}_cpu_us_per_bar", per_bar, f"processor time of {name.replace('_', '-')}")
    both = used.cpu_s["detector"] + used.cpu_s["postgres"]
    meaning = "of one core that detector and PostgreSQL share, by their processor time"
    yield Figure("sizing.bars_per_core_second", bars / both, meaning)
    if told:
        yield Figure("sizing.redis_bytes_per_update", held / told, "in Redis, of an entry of updates")
    if active:
        meaning = "read model of scans, of an active pattern"
        yield Figure("sizing.redis_bytes_per_active_pattern", model / active, meaning)
    meaning = "active patterns of a symbol, at the end; the demo's market is full of them"
    yield Figure("sizing.patterns_active_per_symbol", active / symbols, meaning)
    for service in ("cache-builder", "api-gateway"):
        name = service.replace("-", "_")
        yield Figure(f"sizing.{name}_mb", bases[service] / MB, f"memory of {service} at the end")


async def _send_market(
    stage: Stage,
    url: str,
    redis: "Redis",
    total: int,
    past: Callable[[], Awaitable[None]],
    done: Callable[[int], None],
) -> tuple[int, int]:
    """The past, and after it so many bars; how many symbols there are, and how many bars it were."""
    settings = Settings(redis_url=stage.redis_url(LIVE), database_url=url)
    async with await open_pool(settings, service="bench", raw_times=True, size=1) as pool:
        await sectors.store(pool, listings())
    market = Market(await asyncio.to_thread(calendars.sessions))

    first = 0

    async def pause(_: float) -> None:
        nonlocal first
        if not first:
            await past()
            first = feed.progress.bars
        done(feed.progress.bars - first)
        if feed.progress.bars - first >= total:
            raise Over

    feed = Feed(market, Producer(redis).send_many, partitions=PARTITIONS, sleep=pause)
    with suppress(Over):
        await feed.run(math.ceil(total / (sizes.MINUTES * len(market.symbols))))
    return len(market.symbols), feed.progress.bars - first


async def _settled(redis: "Redis", connection: "asyncpg.Connection[Any]") -> None:
    async def at_rest() -> bool:
        return await soaking.waiting(redis) == 0 and bool(await connection.fetchval(SETTLED))

    await until(at_rest, "a stack at rest", END_S)


async def _scored(connection: "asyncpg.Connection[Any]", bars: int) -> None:
    async def scored() -> bool:
        stored = await connection.fetchval("SELECT count(*) FROM bars")
        return stored == bars and bool(await connection.fetchval(SETTLED))

    await until(scored, "everything that follows", END_S)


async def _used(supervisor: Supervisor, connection: "asyncpg.Connection[Any]", redis: "Redis") -> Used:
    seconds = {r.service.replace("-", "_"): machine.cpu_s(r.pid) or 0.0 for r in supervisor.replicas}
    parent = await weights.postmaster(connection)
    seconds["postgres"] = weights.family_cpu_s(parent) if parent else 0.0
    seconds["redis"] = await weights.redis_cpu_s(redis)
    return Used(seconds, await weights.written(connection))


def _counts(found: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{rows:,} of {name.replace('_', ' ')}" for name, (rows, _) in found.items())


def _of_rows(found: Mapping[str, tuple[int, int]], minutes: Any) -> Iterator[Figure]:
    per_row = {name: held / rows for name, (rows, held) in found.items() if rows}
    for name, held in per_row.items():
        if name == "series":  # of few symbols: mostly empty pages
            continue
        what = name.replace("_", " ")
        yield Figure(f"sizing.pg_bytes_per_{name}", held, f"in PostgreSQL of a {what}, with indexes")
    kinds = ("bar", "vsa_event", "wyckoff_event", "pattern", "signal")
    weight = sum(count * per_row.get(kind, 0.0) for kind, count in zip(kinds, minutes, strict=True))
    yield Figure("sizing.pg_bytes_per_minute", weight / minutes[0], "of a bar of a minute with what follows")


async def _portions(stage: Stage) -> AsyncIterator[Figure]:
    """Memory by symbol: what the second portion adds to the first."""
    total = _asked("SYMBOLS", SYMBOLS)
    with stage.database() as url:
        async with _two(stage, url) as supervisor, stage.redis(PORTIONS) as redis:
            connection = await asyncpg.connect(url)
            try:
                looks, sent = [], 0
                for symbols in (range(total // FEW), range(total // FEW, total)):
                    sent += len(symbols) * DAYS
                    name = f"{DAYS} days of {len(symbols):,} symbols, stored, read and scored"
                    with stage.show.task(name, len(symbols) * DAYS) as done:
                        await _send_days(redis, symbols, done)
                        await _scored(connection, sent)
                    looks.append(_held(supervisor))
            finally:
                await connection.close()
        await weights.vacuum(url)
        series, held = (await weights.weigh(url))["series"]
    yield Figure(
        "sizing.pg_bytes_per_series", held / series, "in PostgreSQL of a symbol's timeframe, no bars"
    )
    few, all_of_them = looks
    more = total - total // FEW
    windows = all_of_them.window_bars - few.window_bars
    per_bar = (all_of_them.detector - few.detector) / windows
    meaning = "memory of a detector, of a bar that it keeps"
    yield Figure("sizing.detector_bytes_per_window_bar", per_bar, meaning)
    base = few.detector - few.window_bars * per_bar
    yield Figure("sizing.detector_base_mb", base / MB, "memory of a detector, without them")
    per_symbol = max(0.0, (all_of_them.rs_worker - few.rs_worker) / more)
    meaning = "memory of an rs-worker, of a symbol, at most"
    yield Figure("sizing.rs_worker_bytes_per_symbol", per_symbol, meaning)
    base = few.rs_worker - total // FEW * per_symbol
    yield Figure("sizing.rs_worker_base_mb", base / MB, "memory of an rs-worker, without them")


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes of a detector now and of an rs-worker at most, and bars that the detector keeps."""

    detector: int
    rs_worker: int
    window_bars: float


def _held(supervisor: Supervisor) -> Held:
    of = {replica.service: replica for replica in supervisor.replicas}
    kept = scraped(f"{of['detector'].ops_url}/metrics")["rollo_window_bars"]
    held = machine.held_bytes(of["detector"].pid) or 0
    return Held(held, machine.peak_bytes(of["rs-worker"].pid) or 0, kept)


@asynccontextmanager
async def _two(stage: Stage, url: str) -> AsyncIterator[Supervisor]:
    services, logs = {"detector": 1, "rs-worker": 1}, stage.folder / "logs"
    environment = stage.environment(PORTIONS, url)
    supervisor = Supervisor(stage.servers.children, logs, environment, services, stage.show.say)
    supervisor.start()
    try:
        await supervisor.ready()
        yield supervisor
    finally:
        await asyncio.to_thread(supervisor.stop)


async def _send_days(redis: "Redis", symbols: Iterable[int], done: Callable[[int], None]) -> None:
    producer, framer, sent = Producer(redis), Framer(PARTITIONS, FRAME), 0
    for bars in _days(symbols, DAYS):
        await producer.send_many(framer.add(bars))
        done(sent := sent + len(bars))
    await producer.send_many(framer.flush())


def _days(symbols: Iterable[int], count: int) -> Iterator[Bars]:
    """Random walks, symbol by symbol; the first one is the benchmark of all."""
    stamps = _sessions(count)
    for number in symbols:
        numbers = np.random.default_rng((SEED, number))
        close = 50 * np.exp(np.cumsum(numbers.normal(0, 0.015, count))) + 1
        open_ = close * np.exp(numbers.normal(0, 0.006, count))
        width = np.abs(numbers.normal(0, 0.008, (2, count)))
        high, low = np.maximum(open_, close) * (1 + width[0]), np.minimum(open_, close) * (1 - width[1])
        yield Bars(
            "1d",
            symbol=[f"S{number:05d}" if number else BENCHMARKS[0]] * count,
            ts=stamps,
            open=np.round(open_, 2).tolist(),
            high=np.round(high, 2).tolist(),
            low=np.round(low, 2).tolist(),
            close=np.round(close, 2).tolist(),
            volume=np.round(np.exp(numbers.normal(14, 0.5, count))).tolist(),
            revision=[0] * count,
        )


def _sessions(count: int) -> list[str]:
    """Days of the exchange, as bars of a day are labelled."""
    opens = calendars.sessions().opens.tolist()
    first = next(n for n, us in enumerate(opens) if us >= FIRST.timestamp() * 1e6)
    return [f"{(EPOCH + timedelta(microseconds=us)).date()}T00:00:00Z" for us in opens[first : first + count]]
