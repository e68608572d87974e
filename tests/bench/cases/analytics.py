"""Which patterns work, asked of up to ten million closed trades: in SQL, from memory, and over HTTP.

For every number of trades a database is filled by COPY and rolled up by the real roller. Then each kind of
question is asked of PostgreSQL in a fixed mix of windows and filters, while answers are kept nowhere; and
asked again of the answers that a gateway keeps. With a million trades a whole gateway is asked while trades
close.

ROLLO_BENCH_TRADES names other numbers of trades, with commas between. Figures without a number in their names
are of ten million, and of a million over HTTP.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

import asyncpg
import numpy as np
from asyncpg.connection import LoggedQuery

from bench import dashboards, market
from bench.figures import Figure
from bench.loading import load
from bench.questions import mix
from bench.stage import Stage
from rollotape.analytics import DATASET, Question, answer
from rollotape.cache.answers import Answers, open_redis
from rollotape.cache.generations import Generations
from rollotape.postgres import generations
from rollotape.postgres.generations import Moment
from rollotape.postgres.pool import open_pool
from rollotape.postgres.rollups import Rollups
from rollotape.settings import Settings

TITLE = "Analytics: four questions about closed trades, in SQL, from memory and over HTTP"

SMALL, MIDDLE, LARGE = 100_000, 1_000_000, 10_000_000
ROUNDS = 3
"""In each everything is asked once, in another order; the first finds nothing in memory."""
REMEMBERED = 20
ROLLUPS = ("performance_days", "performance_headlines", "sector_standings")
MB = 1e6


@dataclass(slots=True)
class Times:
    """Milliseconds by kind of question."""

    sql: dict[str, list[float]] = field(default_factory=dict)
    """That PostgreSQL took, its rows as they came over the wire included."""
    whole: dict[str, list[float]] = field(default_factory=dict)
    """With everything that is worked out from the rows, to the bytes of the answer."""
    memory: dict[str, list[float]] = field(default_factory=dict)

    def worst(self, part: str, share: float) -> float:
        """Of all kinds."""
        return max(percentile(taken, share) for taken in getattr(self, part).values())


@dataclass(slots=True)
class Built:
    """What it took to have rollups of so many trades."""

    trades: int
    load_s: float
    trades_mb: float
    roll_s: float
    rows: int
    rollups_mb: float


async def run(stage: Stage) -> AsyncIterator[Figure]:
    named = os.environ.get("ROLLO_BENCH_TRADES")
    counts = [int(part) for part in named.split(",")] if named else [SMALL, MIDDLE, LARGE]
    measured: dict[int, Times] = {}
    for number, count in enumerate(counts):
        with stage.database() as url:
            built = await _build(stage, url, count)
            measured[count] = await _measure(stage, url, count)
            for figure in _figures(built, measured[count]):
                yield figure
            if count == MIDDLE:
                for figure in await dashboards.run(stage, number, url):
                    yield figure
    _say_sizes(stage, measured)
    if SMALL in measured and LARGE in measured:
        yield _growth(measured[SMALL], measured[LARGE])


async def _build(stage: Stage, url: str, count: int) -> Built:
    began = time.perf_counter()
    with stage.show.task(f"storing {count:,} trades", count) as done:
        await load(url, count, datetime.now(UTC), done)
    loaded = time.perf_counter()
    settings = Settings(redis_url=stage.redis_url(0), database_url=url)
    async with await open_pool(settings, service="bench", raw_times=True) as pool:
        await _roll_up(stage, pool)
    rolled = time.perf_counter()
    with stage.show.task("tidying up", 1):
        rows, sizes, trades = await _tidied(url)
    parts = loaded - began, trades / MB, rolled - loaded, sum(rows), sum(sizes) / MB
    stage.show.say(
        f"    trades {parts[1]:,.0f} MB with their indexes; rollups {parts[4]:,.0f} MB, {parts[3]:,} rows"
        f" ({rows[0]:,} of days, {rows[1]:,} under headings)"
    )
    return Built(count, *parts)


async def _tidied(url: str) -> tuple[list[int], list[int], int]:
    """Rows and bytes of rollups, and bytes of trades; nothing is left to be done while questions are asked.

    A connection without time limits: a table takes as long as it takes.
    """
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
        rows = [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in ROLLUPS]
        size = "SELECT pg_total_relation_size($1::regclass)"
        sizes = [await connection.fetchval(size, table) for table in ROLLUPS]
        return rows, sizes, await connection.fetchval(size, "signals")
    finally:
        await connection.close()


async def _roll_up(stage: Stage, pool: "asyncpg.Pool[Any]") -> None:
    """As cache-builder does it, run after run."""
    rollups = Rollups(pool)
    due = (await rollups.waiting()).days
    with stage.show.task(f"rolling up {due:,} days", due) as done:
        while run := await rollups.run():
            done(due - run.left)


async def _measure(stage: Stage, url: str, count: int) -> Times:
    times, questions = Times(), mix()
    settings = Settings(redis_url=stage.redis_url(0), database_url=url)
    async with await open_pool(settings, service="bench", size=2) as pool:
        async with pool.acquire() as connection:
            moment = await generations.moment(connection)
            with stage.show.task(f"asking PostgreSQL about {count:,} trades", ROUNDS) as done:
                await _ask_sql(connection, moment, questions, times, done)
        with stage.show.task(f"asking answers about {count:,} trades that are kept", 1):
            await _ask_memory(stage, pool, questions, times)
    for kind in questions:
        said = "; ".join(
            f"{part} p50 {percentile(taken, 50):.2f}, p95 {percentile(taken, 95):.2f},"
            f" most {max(taken):.2f} ms"
            for part, taken in (
                ("SQL", times.sql[kind]),
                ("to the bytes", times.whole[kind]),
                ("memory", times.memory[kind]),
            )
        )
        stage.show.say(f"    {kind}: {said}")
    return times


async def _ask_sql(
    connection: Any,
    moment: Moment,
    questions: dict[str, list[Question]],
    times: Times,
    done: Callable[[int], None],
) -> None:
    rng = random.Random(market.SEED)
    every = [(kind, question) for kind, asked in questions.items() for question in asked]
    for turn in range(ROUNDS):
        rng.shuffle(every)
        for kind, question in every:
            heard: list[LoggedQuery] = []
            with connection.query_logger(heard.append):
                began = time.perf_counter()
                await answer(connection, question, moment)
                whole = time.perf_counter() - began
                await asyncio.sleep(0)  # what a query took is told by the loop after its answer
            times.whole.setdefault(kind, []).append(whole * 1_000)
            times.sql.setdefault(kind, []).append(sum(query.elapsed for query in heard) * 1_000)
        done(turn + 1)


async def _ask_memory(
    stage: Stage, pool: "asyncpg.Pool[Any]", questions: dict[str, list[Question]], times: Times
) -> None:
    """Of the cache that a gateway has, when everything has been asked once."""

    async def look() -> Moment:
        async with pool.acquire() as connection:
            return await generations.moment(connection)

    async def ask(question: Question) -> str:
        async def compute(moment: Moment) -> bytes:
            async with pool.acquire() as connection:
                return await answer(connection, question, moment)

        return (await answers.get(question.words, compute)).source

    known = Generations(look)
    answers = Answers(DATASET, known, open_redis(stage.servers.urls.cache_url))
    try:
        for kind, asked in questions.items():
            for question in asked:
                await ask(question)
            taken = times.memory.setdefault(kind, [])
            for question in asked * REMEMBERED:
                began = time.perf_counter()
                source = await ask(question)
                taken.append((time.perf_counter() - began) * 1_000)
                assert source == "memory", f"{question.words} came from {source}"
    finally:
        await answers.close()
        await known.close()


def _figures(built: Built, times: Times) -> Iterator[Figure]:
    prefix = "analytics." if built.trades == LARGE else f"analytics.of_{built.trades}_"
    of = f"{built.trades:,} trades"
    yield Figure(f"{prefix}load_s", built.load_s, f"{of} by COPY, with all indexes")
    yield Figure(f"{prefix}trades_mb", built.trades_mb, "the trades and their indexes")
    yield Figure(f"{prefix}rollup_s", built.roll_s, f"all rollups of {of}")
    yield Figure(f"{prefix}rollup_rows", built.rows, "rows of rollups")
    yield Figure(f"{prefix}rollup_mb", built.rollups_mb, "rollups and their indexes")
    for kind, taken in times.sql.items():
        yield Figure(f"{prefix}{kind}_sql_p50_ms", percentile(taken, 50), f"in SQL, of {of}")
        yield Figure(f"{prefix}{kind}_sql_p95_ms", percentile(taken, 95), f"in SQL, of {of}")
    yield Figure(f"{prefix}sql_p50_ms", times.worst("sql", 50), f"worst question in SQL, of {of}")
    yield Figure(f"{prefix}sql_p95_ms", times.worst("sql", 95), f"worst question in SQL, of {of}")
    yield Figure(f"{prefix}answer_p50_ms", times.worst("whole", 50), "worst question, to the bytes")
    yield Figure(f"{prefix}answer_p95_ms", times.worst("whole", 95), "worst question, to the bytes")
    yield Figure(f"{prefix}memory_p95_ms", times.worst("memory", 95), "worst question from memory")


def _say_sizes(stage: Stage, measured: dict[int, Times]) -> None:
    """Of each question what it took in SQL, size by size, and how that grew."""
    fewest, most = min(measured), max(measured)
    for kind in measured[most].sql:
        said = "; ".join(
            f"of {count:,} {percentile(times.sql[kind], 50):.2f} and {percentile(times.sql[kind], 95):.2f}"
            for count, times in sorted(measured.items())
        )
        ratio = median(measured[most].sql[kind]) / median(measured[fewest].sql[kind])
        stage.show.say(f"  {kind} in SQL, p50 and p95 in ms: {said}; p50 grew by a factor of {ratio:.2f}")


def _growth(small: Times, large: Times) -> Figure:
    """Of the kind of question that grows most."""
    ratios = [median(large.sql[kind]) / median(taken) for kind, taken in small.sql.items()]
    meaning = f"p50 in SQL of {LARGE:,} trades over that of {SMALL:,}, worst question"
    return Figure("analytics.growth", max(ratios), meaning, min(ratios), max(ratios))


def percentile(taken: list[float], share: float) -> float:
    return float(np.percentile(taken, share))
