"""Five million bars through the streams, and how much memory these take while they go through.

Minutes of 500 symbols, made up, in frames of 1,000, sent as quickly as `rollo import` would: it waits while
200,000 bars are unread. A detector and a cache-builder read, with every setting as it is delivered. How many
bars is ROLLO_TEST_MEMORY_BARS.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import orjson
from redis.asyncio import Redis

from bench.figures import Figure
from bench.market import SEED
from bench.stage import END_S, PARTITIONS, STREAMS, Stage, Stalled, until
from rollotape import calendars
from rollotape.domain.bars import NUMBERS
from rollotape.events import MAX_FRAME_BARS
from rollotape.events import STREAMS as CONTRACTS
from rollotape.producers.frames import Message
from rollotape.producers.importer import Readers
from rollotape.streams.partitions import partition_of, stream_name
from rollotape.streams.position import positions
from rollotape.streams.producer import Producer
from rollotape.supervisor import Supervisor
from support import databases

TITLE = "Memory: five million bars through the streams, and the most that these hold"

NUMBER = 0
BARS = 5_000_000
SYMBOLS = 500
FIRST = datetime(2020, 1, 2, tzinfo=UTC)
SERVICES = {"detector": 1, "cache-builder": 1}
"""Everybody who reads a stream as a group: without one of them nothing of its stream is ever trimmed."""
LOOK_EVERY_S = 0.25
LINES = 20
MB = 1e6


@dataclass(slots=True)
class Sent:
    rows: int = 0
    entry_count: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """One moment: bars sent so far, and bytes."""

    seconds: float
    bars: int
    streams: int
    """All streams together."""
    redis: int
    """Everything that the server holds."""


@dataclass(slots=True)
class Watch:
    """Looks four times a second until it is cancelled; a service that ends has failed."""

    redis: "Redis"
    supervisor: Supervisor
    sent: Sent
    looks: list[Look] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    async def run(self) -> None:
        while True:
            await self.look()
            self.supervisor.tick()
            if ended := [r.name for r in self.supervisor.replicas if r.ended]:
                raise Stalled(f"{', '.join(ended)} ended: nobody else had a hand in it")
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        pipeline = self.redis.pipeline(transaction=False)
        for stream in _streams():
            pipeline.memory_usage(stream, samples=0)
        pipeline.info("memory")
        *sizes, about = await pipeline.execute()
        seconds = time.monotonic() - self.began
        held = sum(size or 0 for size in sizes)
        self.looks.append(Look(seconds, self.sent.rows, held, int(about["used_memory"])))


def _streams() -> list[str]:
    kinds = [(c.name, range(PARTITIONS) if c.partitioned else (None,)) for c in CONTRACTS.values()]
    return [stream_name(kind, partition) for kind, partitions in kinds for partition in partitions]


async def run(stage: Stage) -> AsyncIterator[Figure]:
    total = int(os.environ.get("ROLLO_TEST_MEMORY_BARS") or BARS)
    with stage.database() as url:
        environment = stage.environment(NUMBER, url)
        logs = stage.folder / "logs"
        supervisor = Supervisor(stage.servers.children, logs, environment, SERVICES, stage.show.say)
        supervisor.start()
        try:
            await supervisor.ready()
            async with stage.redis(NUMBER) as redis:
                watch = Watch(redis, supervisor, Sent())
                sending_s, ended_s = await _through(stage, watch, total)
        finally:
            await asyncio.to_thread(supervisor.kill)  # Wyckoff's reading goes on for minutes
        counts = "SELECT (SELECT count(*) FROM bars), (SELECT count(*) FROM dead_letters)"
        [[kept, dead]] = databases.fetch(url, counts)
    if (kept, dead) != (watch.sent.rows, 0):
        raise AssertionError(f"{kept:,} bars and {dead:,} dead letters of {watch.sent.rows:,} bars")
    _say(stage, watch.looks)
    for figure in _figures(watch, sending_s, ended_s):
        yield figure


async def _through(stage: Stage, watch: Watch, total: int) -> tuple[float, float]:
    """Seconds until everything was sent, and until nothing waited any more."""
    readers = Readers(watch.redis, PARTITIONS, quiet=stage.show.say)
    producer, sent = Producer(watch.redis), watch.sent
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch.run())
        with stage.show.task("bars in frames of 1,000", total) as done:
            for frames, bars in _frames(total):
                sent.entry_count += len(await producer.send_many(frames))
                sent.rows += bars
                done(sent.rows)
                await readers.pause(sent)
            sending_s = time.monotonic() - watch.began

            async def nothing_waits() -> bool:
                found = await positions(watch.redis, "detector", STREAMS)
                return not sum(position.waiting for position in found.values())

            await until(nothing_waits, "no bars unread or pending", END_S)
            ended_s = time.monotonic() - watch.began
        watching.cancel()
    return sending_s, ended_s


def _frames(total: int) -> Iterator[tuple[list[Message], int]]:
    """Frames of whole minutes, partition by partition, and how many bars they hold together."""
    numbers = np.random.default_rng(SEED)
    members: dict[int, list[str]] = {}
    for n in range(SYMBOLS):
        symbol = f"M{n:03d}"
        members.setdefault(partition_of(symbol, PARTITIONS), []).append(symbol)
    most = MAX_FRAME_BARS // max(map(len, members.values()))
    closes = {p: np.full(len(symbols), 100.0) for p, symbols in members.items()}
    minutes, left = _minutes(), total
    while left > 0:
        stamps = [next(minutes) for _ in range(most)]
        frames = []
        bars = 0
        for partition, symbols in members.items():
            count = max(0, min(len(symbols) * most, left - bars)) // len(symbols)
            if count:
                payload = _frame(numbers, closes, partition, symbols, stamps[:count])
                frames.append((stream_name("bars", partition), payload))
                bars += count * len(symbols)
        if not frames:
            return
        left -= bars
        yield frames, bars


def _frame(
    numbers: np.random.Generator,
    closes: dict[int, "np.ndarray"],
    partition: int,
    symbols: list[str],
    stamps: list[str],
) -> bytes:
    """Random walks, minute after minute."""
    shape = len(stamps), len(symbols)
    close = closes[partition] * np.exp(np.cumsum(numbers.normal(0, 0.0005, shape), axis=0))
    open_ = np.vstack([closes[partition], close[:-1]])
    closes[partition] = close[-1]
    width = np.abs(numbers.normal(0, 0.0003, (2, *shape)))
    high, low = np.maximum(open_, close) * (1 + width[0]), np.minimum(open_, close) * (1 - width[1])
    volume = np.round(np.exp(numbers.normal(9, 0.6, shape)))
    columns = (open_, np.maximum(high, open_), low, close, volume)
    values = {
        name: np.round(column, 4).ravel().tolist() for name, column in zip(NUMBERS, columns, strict=True)
    }
    frame = {"symbol": symbols * len(stamps), "ts": [ts for ts in stamps for _ in symbols], **values}
    return orjson.dumps({"version": 1, "timeframe": "1m", "frame": frame})


def _minutes() -> Iterator[str]:
    """Of regular sessions, oldest first."""
    sessions = calendars.sessions()
    for opens, closes in zip(sessions.opens.tolist(), sessions.closes.tolist(), strict=True):
        if opens >= FIRST.timestamp() * 1e6:
            for us in range(opens, closes, 60_000_000):
                yield f"{np.datetime64(us // 1_000_000, 's')}Z"


def _say(stage: Stage, looks: list[Look]) -> None:
    """The most between one line and the next."""
    stage.show.say("    seconds       bars   streams MB   Redis MB")
    for chunk in np.array_split(np.arange(len(looks)), min(LINES, len(looks))):
        some = [looks[i] for i in chunk]
        streams, held = max(look.streams for look in some), max(look.redis for look in some)
        last = some[-1]
        stage.show.say(f"    {last.seconds:7.1f} {last.bars:10,} {streams / MB:12.1f} {held / MB:10.1f}")


def _figures(watch: Watch, sending_s: float, ended_s: float) -> Iterator[Figure]:
    looks = [look for look in watch.looks if look.seconds <= sending_s]
    half = [look for look in looks if look.bars <= watch.sent.rows / 2] or looks[:1]
    late = [look for look in looks if look.bars > watch.sent.rows / 2] or looks[-1:]
    first, second = (max(look.streams for look in some) for some in (half, late))
    yield Figure("memory.bars", watch.sent.rows, "bars sent and stored")
    yield Figure("memory.bars_per_second", watch.sent.rows / ended_s, "until no bar waited any more")
    yield Figure("memory.streams_peak_mb", max(first, second) / MB, "most that all streams held together")
    yield Figure("memory.first_half_peak_mb", first / MB, "while the first half of the bars was sent")
    yield Figure("memory.second_half_peak_mb", second / MB, "while the second half of the bars was sent")
    peak = max(look.redis for look in watch.looks)
    yield Figure("memory.redis_peak_mb", peak / MB, "most that Redis held, with everything")
