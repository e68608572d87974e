"""One, two and four detectors on one machine, and how soon the partitions of one that dies flow again.

The streams are full, and every replica has its share of the empty ones, before they are put in the place of
these (SWAPDB): nobody starts earlier, and none of what follows is start-up. A run lasts until every bar is
stored and read, with every setting as it is delivered.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from bench import market, takeover
from bench.figures import Figure
from bench.fleet import fleet, join, lay_out, swap
from bench.readers import scraped
from bench.stage import PARTITIONS, STREAMS, Stage, UntilRead
from rollotape.producers.frames import Message
from support import databases

TITLE = "Scaling: one, two and four detectors on five years of daily bars, and the death of one"

FILLED, LAID_OUT, READ = 0, 1, 2
"""Numbers of the Redis databases: what every run is given, a copy of it, and where detectors look."""
REPLICAS = (1, 2, 4)
ROUNDS = 3
DEATHS = 6
"""Of one of two, and again of one of four."""
COUNTED = ("rollo_wyckoff_keys_total", 'rollo_batches_moved_total{service="detector"}')


@dataclass(frozen=True, slots=True)
class Outcome:
    """What so many detectors took for all of the bars."""

    seconds: float
    bars: int
    cpu_s: list[float]

    @property
    def rate(self) -> float:
        return self.bars / self.seconds

    @property
    def cpu_us(self) -> float:
        """Of one bar, of all replicas together."""
        return sum(self.cpu_s) / self.bars * 1e6


async def run(stage: Stage) -> AsyncIterator[Figure]:
    path, real = market.five_years(stage.folder)
    messages = [m for block in market.messages(path, PARTITIONS) for m in block]
    every = _asked("EVERY", 1)
    messages = messages[::every]
    said = f", every {every}th of them" if every > 1 else ""
    stage.show.say(f"  {len(messages):,} rows of {'the real' if real else 'A MADE-UP'} {path.name}{said}")
    await stage.fill(FILLED, "one entry per bar", [messages], len(messages))
    rounds: list[dict[int, Outcome]] = []
    events: set[tuple[int, ...]] = set()
    for number in range(_asked("ROUNDS", ROUNDS)):
        order = reversed(REPLICAS) if number % 2 else REPLICAS
        name = f"round {number + 1}"
        rounds.append({n: await _backfill(stage, n, len(messages), name, events) for n in order})
    if len(events) > 1:
        raise AssertionError(f"the same bars gave different numbers of rows: {sorted(events)}")
    for figure in _figures(rounds) if rounds else ():
        yield figure
    taken = [s for n in REPLICAS[1:] for s in await _deaths(stage, n, messages)]
    if taken:
        meaning = "from the death of one of two, or of four, until all of its partitions flow again"
        yield Figure.middle("scale.takeover_s", taken, meaning)
        yield Figure("scale.takeover_worst_s", max(taken), f"the longest of {len(taken)}")


def _asked(what: str, otherwise: int) -> int:
    return int(os.environ.get(f"ROLLO_TEST_SCALE_{what}") or otherwise)


async def _backfill(
    stage: Stage, count: int, rows: int, name: str, events: set[tuple[int, ...]]
) -> Outcome:
    await lay_out(stage, FILLED, LAID_OUT)
    async with stage.redis(READ) as redis:
        await redis.flushdb()
        await join(redis)
    await stage.settle(READ, "nobody", ())
    name = f"{name}: {count} detector{'s' if count > 1 else ''}"
    with stage.database() as url, stage.show.task(name, rows) as done:
        async with (
            fleet(stage, stage.environment(READ, url), url, count) as detectors,
            stage.redis(READ) as redis,
        ):
            clock = UntilRead(redis, detectors.reader(), STREAMS, lambda left: done(rows - left), url=url)
            used, began = detectors.cpu_s(), await swap(redis, READ, LAID_OUT)
            ended = await clock.finished()
            cpu_s = [now - before for before, now in zip(used, detectors.cpu_s(), strict=True)]
            counted = [await asyncio.to_thread(_counted, replica.ops_url) for replica in detectors.replicas]
        found = Outcome(ended - began, rows, cpu_s)
        events.add(_kept(url, rows, name))
    shares = ", ".join(f"{s:.1f}" for s in cpu_s)
    more = "; ".join(f"{key.partition('_')[2]} {sum(c[key] for c in counted):,.0f}" for key in counted[0])
    stage.show.say(f"    {found.rate:,.0f} bars/s, {found.cpu_us:.1f} us/bar (CPU {shares} s); {more}")
    return found


def _counted(ops_url: str) -> Mapping[str, float]:
    """What tells why a bar cost more, if it did."""
    seen = scraped(f"{ops_url}/metrics")
    batches = seen.get('rollo_delivery_batch_seconds_count{group="detector"}', 0.0)
    return {"rollo_batches": batches} | {key: seen.get(key, 0.0) for key in COUNTED}


def _kept(url: str, rows: int, name: str) -> tuple[int, ...]:
    tables = ("bars", "dead_letters", "vsa_events", "wyckoff_events", "patterns", "signals")
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    [[kept, dead, *derived]] = databases.fetch(url, f"SELECT {counts}")
    if kept + dead != rows:
        raise AssertionError(f"{name}: {kept:,} bars and {dead:,} dead letters of {rows:,} rows")
    return (kept, dead, *derived)


def _figures(rounds: list[dict[int, Outcome]]) -> Iterator[Figure]:
    for n in REPLICAS:
        found = [outcomes[n] for outcomes in rounds]
        who = f"{n} detector{'s' if n > 1 else ''}"
        meaning = f"{who}, until every bar is stored and read"
        yield Figure.middle(f"scale.bars_per_second_{n}", [o.rate for o in found], meaning)
        if median(o.cpu_us for o in found):
            meaning = f"processor time of {who} together"
            yield Figure.middle(f"scale.cpu_us_per_bar_{n}", [o.cpu_us for o in found], meaning)
    for n in REPLICAS[1:]:
        ratios = [o[1].cpu_us / o[n].cpu_us for o in rounds if o[n].cpu_us]
        if ratios:
            meaning = f"processor time of a bar with one detector / with {n}, within a round"
            yield Figure.middle(f"scale.efficiency_{n}", ratios, meaning)


async def _deaths(stage: Stage, count: int, messages: list[Message]) -> list[float]:
    times = _asked("DEATHS", DEATHS)
    async with stage.redis(READ) as redis:
        await redis.flushdb()
        with stage.database() as url:
            async with fleet(stage, stage.environment(READ, url), url, count) as detectors:
                async with asyncio.TaskGroup() as tasks:
                    feeding = tasks.create_task(takeover.Feed(redis, messages).run())
                    taken = await takeover.deaths(stage, detectors, redis, times)
                    feeding.cancel()
                return taken
