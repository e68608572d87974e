"""Five years of daily bars from full streams to committed bars and events, against plain and ceiling.

Every reader is a process of its own on the same durable servers, timed by what Redis knows of its group.
Ratios are formed within a round, because a machine that others use is not the same a minute later. Wyckoff is
off: what it costs is measured by the bench `detector`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from statistics import median
from typing import Any, cast

import orjson
from faststream.redis import RedisBroker

from bench import ceiling, market, plain
from bench.figures import Figure
from bench.readers import Run, contender, detector, measured
from bench.stage import PARTITIONS, STREAMS, Clock, Stage
from rollotape.producers.frames import Message
from support import databases

TITLE = "Backfill: five years of daily bars, from streams to committed bars and events"

SORTED, FRAMES, SHUFFLED, PLAIN = 0, 1, 2, 3
"""Numbers of the Redis databases that hold the fillings."""
ROUNDS = 3
BUDGET_S = 300.0
ROUND_COSTS = 6
"""A round and the shuffled run take less than this many times as long as ours alone."""
FRAME_BARS = 500
"""As `rollo import` makes them."""
PLAIN_S = 5.0
PLAIN_BARS = 20_000
TRIES = [(batch, in_flight) for batch in (2_000, 5_000) for in_flight in (1, 2)]
TRY_STREAMS = 2
STEPS = ("parse", "gather", "decide", "apply", "say")


@dataclass(slots=True)
class Rounds:
    ours: list[Run] = field(default_factory=list)
    frames: list[Run] = field(default_factory=list)
    ceiling: list[Run] = field(default_factory=list)
    plain: list[Run] = field(default_factory=list)
    plain_unflushed: list[Run] = field(default_factory=list)


async def run(stage: Stage) -> AsyncIterator[Figure]:
    began = time.perf_counter()
    messages = await _fill(stage)
    rows = len(messages)
    best = await _best_ceiling(stage, messages)
    rounds = Rounds()
    events: set[int] = set()
    while len(rounds.ours) < ROUNDS and _time_for_another(began, rounds):
        await _round(stage, len(rounds.ours), rows, best, rounds, events)
    await stage.fill(SHUFFLED, "the same, shuffled", _blocks(market.shuffled(messages)), rows)
    del messages
    mixed = await _ours(stage, SHUFFLED, rows, rows, "ours, shuffled", events)
    if len(events) > 1:
        raise AssertionError(f"the same bars gave different numbers of events: {sorted(events)}")
    for figure in (*_rates(rounds, mixed, best), *_inside(rounds)):
        yield figure


def _time_for_another(began: float, rounds: Rounds) -> bool:
    """A busy machine gets fewer rounds: the shuffled run, which may be slow, must find its time, too."""
    if not rounds.ours:
        return True
    spent, slowest = time.perf_counter() - began, max(r.seconds for r in rounds.ours)
    return spent + ROUND_COSTS * slowest + 4 * PLAIN_S < BUDGET_S


async def _fill(stage: Stage) -> list[Message]:
    path, real = market.five_years(stage.folder)
    if not real:
        stage.show.say(f"  NO MARKET DATA (set ROLLO_SHARED_DATA): MADE UP, with seed {market.SEED}")
    messages = [m for block in market.messages(path, PARTITIONS) for m in block]
    rows = len(messages)
    stage.show.say(f"  {rows:,} rows of {'the real' if real else 'A MADE-UP'} {path.name}")
    await stage.fill(SORTED, "one entry per bar", _blocks(messages), rows)
    framed = list(market.messages(path, PARTITIONS, FRAME_BARS))
    await stage.fill(FRAMES, f"frames of {FRAME_BARS}", framed, sum(map(len, framed)))
    await _fill_plain(stage, messages)
    return messages


async def _fill_plain(stage: Stage, messages: list[Message]) -> None:
    """FastStream's own messages: what a plain service is sent."""
    bars = (orjson.loads(payload) for _, payload in messages)
    sound = islice((bar for bar in bars if None not in bar.values()), PLAIN_BARS)
    async with RedisBroker(stage.redis_url(PLAIN), logger=cast("Any", None)) as broker:
        pipeline = (await broker.connect()).pipeline(transaction=False)
        with stage.show.task("filling the stream of the plain service", PLAIN_BARS):
            for bar in sound:
                await broker.publish(bar, stream=plain.STREAM, pipeline=pipeline)
            await pipeline.execute()


def _blocks(messages: list[Message], size: int = 5_000) -> Iterator[list[Message]]:
    for first in range(0, len(messages), size):
        yield messages[first : first + size]


async def _best_ceiling(stage: Stage, messages: list[Message]) -> tuple[int, int]:
    """Batch size and batches in flight with which the ceiling is highest, tried on a few streams."""
    streams = STREAMS[:TRY_STREAMS]
    rows = sum(stream in streams for stream, _ in messages)
    found = {}
    for batch, in_flight in TRIES:
        name = f"trying the ceiling, batches of {batch:,}, {in_flight} in flight"
        tried = await _ceiling(stage, streams, rows, (batch, in_flight), name)
        found[batch, in_flight] = tried.rate
    return max(found, key=lambda chosen: found[chosen])


async def _round(
    stage: Stage, n: int, rows: int, best: tuple[int, int], rounds: Rounds, events: set[int]
) -> None:
    """The order turns round every time, so that nobody always runs first."""

    async def ours() -> None:
        rounds.ours.append(await _ours(stage, SORTED, rows, rows, f"round {n + 1}: ours", events))

    async def frames() -> None:
        async with stage.redis(FRAMES) as redis:
            entries = sum([await redis.xlen(stream) for stream in STREAMS])
        name = f"round {n + 1}: ours, frames"
        rounds.frames.append(await _ours(stage, FRAMES, rows, entries, name, events))

    async def highest() -> None:
        rounds.ceiling.append(await _ceiling(stage, STREAMS, rows, best, f"round {n + 1}: ceiling"))

    async def simple() -> None:
        rounds.plain.append(await _plain(stage, f"round {n + 1}: plain"))
        name = f"round {n + 1}: plain, commits that do not wait for the disk"
        rounds.plain_unflushed.append(await _plain(stage, name, "off"))

    turns = [ours, highest, frames, simple]
    for turn in reversed(turns) if n % 2 else turns:
        await turn()


async def _ours(stage: Stage, number: int, rows: int, entries: int, name: str, events: set[int]) -> Run:
    await stage.settle(number, "detector", STREAMS)
    with stage.database() as url:
        environment = stage.environment(number, url) | {"ROLLO_WYCKOFF": "off"}
        with stage.show.task(name, entries) as done, detector(stage, environment) as (reader, metrics_url):
            async with stage.redis(number) as redis:
                clock = Clock(redis, reader, STREAMS, lambda left: done(entries - left))
                found = await measured(clock, rows, metrics_url)
        [[kept, dead, seen]] = databases.fetch(
            url,
            "SELECT (SELECT count(*) FROM bars), (SELECT count(*) FROM dead_letters),"
            " (SELECT count(*) FROM vsa_events)",
        )
    if kept + dead != rows:
        raise AssertionError(f"{name}: {kept:,} bars and {dead:,} dead letters of {rows:,} rows")
    events.add(seen)
    stage.show.say(f"    {found.rate:,.0f} bars/s: {kept:,} bars, {dead} dead letters, {seen:,} events")
    return found


async def _ceiling(stage: Stage, streams: list[str], rows: int, best: tuple[int, int], name: str) -> Run:
    await stage.settle(SORTED, ceiling.GROUP, streams)
    arguments = [*map(str, best), *streams]
    with stage.database() as url:
        environment = stage.environment(SORTED, url)
        with stage.show.task(name, rows) as done, contender(
            stage, ceiling.GROUP, environment, arguments
        ) as reader:  # fmt: skip
            async with stage.redis(SORTED) as redis:
                clock = Clock(redis, reader, streams, lambda left: done(rows - left))
                found = await measured(clock, rows)
    stage.show.say(f"    {found.rate:,.0f} bars/s")
    return found


async def _plain(stage: Stage, name: str, synchronous_commit: str = "on") -> Run:
    """For a while only: it would need minutes for the whole file."""
    await stage.settle(PLAIN, plain.GROUP, [plain.STREAM])
    async with stage.redis(PLAIN) as redis:
        # FastStream would create it at the end of the stream and never see what is there.
        await redis.xgroup_create(plain.STREAM, plain.GROUP, id="0")
        with stage.database() as url:
            environment = stage.environment(PLAIN, url)
            with stage.show.task(name, PLAIN_BARS), contender(
                stage, plain.GROUP, environment, [synchronous_commit]
            ) as reader:  # fmt: skip
                found = await _for_a_while(Clock(redis, reader, [plain.STREAM]))
            [[kept]] = databases.fetch(url, "SELECT count(*) FROM bars")
    if not 0 < found.bars <= kept:
        raise AssertionError(f"{name}: {found.bars:,} messages acknowledged and {kept:,} bars stored")
    stage.show.say(f"    {found.rate:,.0f} bars/s")
    return found


async def _for_a_while(clock: Clock) -> Run:
    began = await clock.begun()
    with suppress(TimeoutError):
        async with asyncio.timeout(PLAIN_S):
            await clock.finished()
    ended, left = clock.now(), await clock.left()
    return Run(ended - began, PLAIN_BARS - left, None, None)


def _rates(rounds: Rounds, mixed: Run, best: tuple[int, int]) -> list[Figure]:
    def rate(name: str, runs: list[Run], meaning: str) -> Figure:
        return Figure.middle(f"backfill.{name}", [r.rate for r in runs], meaning)

    def ratio(name: str, above: list[Run], below: list[Run], meaning: str) -> Figure:
        pairs = zip(above, below, strict=True)
        return Figure.middle(f"backfill.{name}", [a.rate / b.rate for a, b in pairs], meaning)

    batch, in_flight = best
    typical = median(r.seconds for r in rounds.ours)
    return [
        rate("bars_per_second", rounds.ours, "one detector, one entry per bar"),
        rate("frames_bars_per_second", rounds.frames, f"one detector, frames of {FRAME_BARS} bars"),
        rate("ceiling_bars_per_second", rounds.ceiling,
             f"read raw and upsert only; batches of {batch:,}, {in_flight} in flight (best of {len(TRIES)})"),
        rate("plain_bars_per_second", rounds.plain,
             f"one message, one upsert, one query; the first {PLAIN_S:g} s"),
        ratio("vs_plain", rounds.ours, rounds.plain, "ours / plain, within a round"),
        ratio("vs_plain_unflushed", rounds.ours, rounds.plain_unflushed,
              "ours / plain that is spared waiting for the disk at every commit, as ours is not"),
        ratio("vs_ceiling", rounds.ours, rounds.ceiling, "ours / ceiling, within a round"),
        ratio("frames_vs_ceiling", rounds.frames, rounds.ceiling,
              "ours with frames / ceiling without, within a round"),
        Figure("backfill.shuffled_bars_per_second", mixed.rate, "the same bars in random order, one run"),
        Figure("backfill.shuffled_vs_sorted", mixed.seconds / typical, "time shuffled / time sorted"),
    ]  # fmt: skip


def _inside(rounds: Rounds) -> Iterator[Figure]:
    """What the processes used, and what the detector tells about itself."""
    ours = rounds.ours
    yield from _known("cpu_us_per_bar", ours, _cpu_us, "processor time of the detector alone")
    yield from _known("frames_cpu_us_per_bar", rounds.frames, _cpu_us, "the same with frames")
    yield from _known("ceiling_cpu_us_per_bar", rounds.ceiling, _cpu_us, "processor time of the ceiling")
    yield from _known("peak_rss_bytes", ours, lambda r: r.peak_bytes, "most memory that the detector held")
    yield from _known("bars_per_batch", ours, _bars_per_batch, "bars in one transaction, on the average")
    for step in STEPS:
        meaning = "from begin to end of the step, in which other batches run, too"
        yield from _known(f"{step}_us_per_bar", ours, partial(_step_us, step), meaning)


def _cpu_us(run: Run) -> float | None:
    return None if run.cpu_s is None else run.cpu_s / run.bars * 1e6


def _bars_per_batch(run: Run) -> float:
    return run.bars / run.metrics['rollo_delivery_batch_seconds_count{group="detector"}']


def _step_us(step: str, run: Run) -> float:
    seconds = run.metrics[f'rollo_batch_step_seconds_sum{{service="detector",step="{step}"}}']
    return seconds / run.bars * 1e6


def _known(name: str, runs: list[Run], of: Callable[[Run], float | None], meaning: str) -> Iterator[Figure]:
    """Nothing where the system does not tell."""
    values = [value for run in runs if (value := of(run)) is not None]
    if values:
        yield Figure.middle(f"backfill.{name}", values, meaning)
