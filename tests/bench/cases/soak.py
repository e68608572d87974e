"""A whole stack with the demo's feed at 1,000 bars a second, while others keep its Redis busy.

Everything is as `rollo demo` has it: each service once, the same market, a screen that asks the gateway
once a second. In the end nothing may wait, nothing may be missing and nothing may differ. For how
long is ROLLO_SOAK_S, in seconds.
"""

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
from redis.asyncio import Redis

from bench import soaking
from bench.figures import Figure
from bench.operations import Outcome, Plan
from bench.soaking import Watch, growth, operate, waiting
from bench.stage import END_S, PARTITIONS, Stage, until
from rollotape import calendars
from rollotape import verify as engine
from rollotape.postgres import sectors
from rollotape.postgres.pool import open_pool
from rollotape.producers.companies import listings
from rollotape.producers.feed import Feed
from rollotape.producers.simulator import Market
from rollotape.settings import Settings
from rollotape.streams.producer import Producer

TITLE = "Soak: the demo's feed at 1,000 bars a second beside 10,000 Redis operations a second"

NUMBER = 0
SECONDS = 120.0
BARS = 1_000
"""Minutes of symbols a second; quarter hours and days come on top."""
OPERATIONS, CONNECTIONS = 10_000, 8
SESSIONS = 10
"""As many as the demo runs through, or as many as are needed."""
SESSION_MINUTES = 390
MB = 1e6
SETTLED = (
    "SELECT NOT EXISTS (SELECT FROM unread_bars) AND NOT EXISTS (SELECT FROM outbox) "
    "AND NOT EXISTS (SELECT FROM dirty_dates) "
    "AND NOT EXISTS (SELECT FROM dirty_symbols WHERE timeframe = '1d')"
)
"""Everything that follows from the bars is stored and said."""


class Over(Exception):
    """The feed is to end here, between two minutes."""


@dataclass(slots=True)
class Gate:
    """The feed's clock: it waits before the first minute until it is let through, and loses no time after."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    due: float | None = None

    async def sleep(self, seconds: float) -> None:
        self.reached.set()
        await self.opened.wait()
        if self.over:
            raise Over
        self.due = (self.due or time.monotonic()) + seconds
        await asyncio.sleep(max(0.0, self.due - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Soaked:
    """What was seen from the first minute of the feed to the last."""

    outcome: Outcome
    bars_per_second: float
    drain_s: float
    settled_s: float
    first: int
    last: int
    """Numbers of the looks between which the feed ran."""


async def run(stage: Stage) -> AsyncIterator[Figure]:
    seconds = float(os.environ.get("ROLLO_SOAK_S") or SECONDS)
    with stage.database() as url:
        settings = Settings(redis_url=stage.redis_url(NUMBER), database_url=url)
        async with (
            soaking.stack(stage, NUMBER, url) as (supervisor, gateway_url),
            await open_pool(settings, service="verify", raw_times=True, size=1) as pool,
            stage.redis(NUMBER) as redis,
        ):
            watch = Watch(supervisor, redis, gateway_url)
            soaked = await _soak(stage, watch, pool, seconds)
    for figure in _figures(watch, soaked):
        yield figure


async def _soak(stage: Stage, watch: Watch, pool: asyncpg.Pool, seconds: float) -> Soaked:
    gate, redis = Gate(), watch.redis
    await sectors.store(pool, listings())
    feed, sessions = await _feed(redis, gate, seconds)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch.run())
        feeding = tasks.create_task(_until_over(feed, sessions))
        with stage.show.task("the past, until everything that follows from it is stored", 1):
            await gate.reached.wait()
            await _at_rest(redis, pool)
        past, first, began = feed.progress.bars, len(watch.looks), time.monotonic()
        gate.opened.set()
        plan = Plan(stage.redis_url(NUMBER), CONNECTIONS, OPERATIONS, seconds)
        with stage.show.task(f"feed and operations, {seconds:g} s", 1):
            outcome = await operate(plan)
            gate.over = True
            await feeding
        ended, last, bars = time.monotonic(), len(watch.looks), feed.progress.bars
        with stage.show.task("until nothing waits, and everything that follows is stored", 1):
            await until(lambda: _nothing_waits(redis), "a lag of 0", END_S)
            drained = time.monotonic()
            await _at_rest(redis, pool)
            settled = time.monotonic()
        watching.cancel()
    with stage.show.task("verify", 1):
        stage.show.say(await _verified(pool, bars))
    rate = (bars - past) / (ended - began)
    return Soaked(outcome, rate, drained - ended, settled - ended, first, max(last, first + 1))


async def _feed(redis: "Redis", gate: Gate, seconds: float) -> tuple[Feed, int]:
    """The demo's, and how many sessions before now it begins so that it does not arrive at the present."""
    calendar = await asyncio.to_thread(calendars.sessions)
    market = Market(calendar)
    speed = 60 * BARS / len(market.symbols)
    feed = Feed(
        market,
        Producer(redis).send_many,
        partitions=PARTITIONS,
        speed=speed,
        sleep=gate.sleep,
    )
    # Operations may begin and end late on a busy machine.
    minutes = speed / 60 * (seconds + soaking.GIVE_UP_S)
    return feed, max(SESSIONS, 1 + math.ceil(minutes / SESSION_MINUTES))


async def _until_over(feed: Feed, sessions: int) -> None:
    with suppress(Over):
        await feed.run(sessions)


async def _nothing_waits(redis: "Redis") -> bool:
    return await waiting(redis) == 0


async def _at_rest(redis: "Redis", pool: asyncpg.Pool) -> None:
    async def at_rest() -> bool:
        # Redis before PostgreSQL: what has been acknowledged is marked there.
        return await _nothing_waits(redis) and bool(await pool.fetchval(SETTLED))

    await until(at_rest, "a stack at rest", END_S)


async def _verified(pool: asyncpg.Pool, bars: int) -> str:
    report = await engine.verify(pool)
    dead = await pool.fetchval("SELECT count(*) FROM dead_letters")
    due = report.keys_unread, report.dates_pending, report.pending
    if report.bars_checked != bars or dead:
        raise AssertionError(f"{report.bars_checked:,} bars and {dead:,} dead letters of {bars:,} bars")
    if any(due) or report.differences:
        raise AssertionError(f"{len(report.differences):,} differences, due {due}: {report.differences[:5]}")
    return (
        f"    0 differences: {bars:,} bars, {report.events_checked:,} events, {report.wyckoff_checked:,} of"
        f" Wyckoff, {report.patterns_checked:,} patterns, {report.scores_checked:,} scores"
    )


def _figures(watch: Watch, soaked: Soaked) -> Iterator[Figure]:
    looks, outcome = watch.looks[soaked.first : soaked.last], soaked.outcome
    for service, peak in watch.peaks.items():
        yield Figure(f"soak.{service.replace('-', '_')}_rss_mb", peak / MB, f"most that {service} held")
    if watch.peaks:
        yield Figure("soak.rss_mb", max(watch.peaks.values()) / MB, "the same, of the largest service")
        grown = max(growth(looks).values()) / MB
        meaning = "held in the last quarter of the feed less the second, where it is most"
        yield Figure("soak.rss_growth_mb", grown, meaning)
    lags = [look.waiting for look in looks]
    yield Figure("soak.lag_max", max(lags), f"entries unread or pending, all groups, {len(lags)} looks")
    yield Figure.middle("soak.lag", lags, "the same, median, least and most")
    yield Figure("soak.drain_s", soaked.drain_s, "from the last bar until nothing is unread or pending")
    yield Figure("soak.settled_s", soaked.settled_s, "until all that follows from the bars is stored")
    yield Figure("soak.bars_per_second", soaked.bars_per_second, "sent, with quarter hours and days")
    yield Figure("soak.redis_per_second", outcome.per_second, f"of {OPERATIONS:,} operations asked for")
    for name in ("p50", "p95", "p99"):
        meaning = "a pipeline, from when it was meant to be sent"
        yield Figure(f"soak.redis_{name}_ms", getattr(outcome, name), meaning)
    unanswered = sum(not look.answered for look in looks)
    yield Figure("soak.unanswered", unanswered, f"of {len(looks)} screens, asked of the gateway every second")
