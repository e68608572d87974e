"""Warming: after every change the default questions are answered before anybody asks, once for all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from cache_builder import warming as module
from cache_builder.warming import Warming, follow
from rollotape import analytics
from rollotape.analytics import Question
from rollotape.cache.answers import Answers, open_redis
from rollotape.cache.generations import Generations
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from support.closed_trades import Trade, insert_trades
from support.databases import execute

DEFAULTS = len(analytics.defaults())


@dataclass
class Bench:
    """A cache-builder's part of warming, and a gateway's part of looking at it."""

    warming: Warming
    answers: Answers
    generations: Generations
    pool: "asyncpg.Pool[Any]"
    settings: Settings

    async def change(self) -> None:
        """As the roller does."""
        execute(self.settings.database_url, "UPDATE generations SET generation = generation + 1")
        await self.generations.next()


@asynccontextmanager
async def _bench(settings: Settings, cache_url: str | None) -> AsyncIterator[Bench]:
    async with await open_pool(settings, service="test") as pool:
        generations = follow(pool)
        answers = Answers(analytics.DATASET, generations, open_redis(cache_url), grace_s=0.0)
        yield Bench(Warming(answers, generations, pool), answers, generations, pool, settings)
        await generations.close()
        await answers.close()


@pytest.fixture
async def bench(settings: Settings, cache_url: str) -> AsyncIterator[Bench]:
    async with _bench(settings, cache_url) as opened:
        yield opened


async def _never(_: object) -> bytes:
    raise AssertionError("this was to be found in Redis")


def test_there_are_sixteen_different_questions() -> None:
    assert len({question.words for question in analytics.defaults()}) == 16


async def test_what_was_warmed_is_found_by_a_gateway(
    bench: Bench, settings: Settings, cache_url: str
) -> None:
    await insert_trades(settings.database_url, [Trade(1, 2.0)])

    assert await bench.warming.run() == DEFAULTS

    async with _bench(settings, cache_url) as gateway:
        for question in analytics.defaults():
            found = await gateway.answers.get(question.words, _never)
            assert found.source == "redis", question.words


async def test_nothing_is_warmed_twice_for_one_generation(bench: Bench) -> None:
    await bench.warming.run()
    assert await bench.warming.run() == 0
    await bench.change()
    assert await bench.warming.run() == DEFAULTS


async def test_a_builder_looks_when_woken_and_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.warming.turn()  # by itself
    misses = bench.answers.statistics().misses
    await bench.change()
    monkeypatch.setattr(module, "LOOK_EVERY_S", 60.0)
    bench.warming.wake()
    await asyncio.wait_for(bench.warming.turn(), 30)

    assert (misses, bench.answers.statistics().misses) == (DEFAULTS, 2 * DEFAULTS)


async def test_two_builders_compute_each_answer_once(
    bench: Bench, settings: Settings, cache_url: str
) -> None:
    async with _bench(settings, cache_url) as other:
        await asyncio.gather(bench.warming.run(), other.warming.run())

        misses = bench.answers.statistics().misses + other.answers.statistics().misses
        assert misses == DEFAULTS


async def test_what_is_left_of_a_run_is_of_the_newest_generation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change comes in the middle of every run: all questions have their turn all the same."""
    seen: list[tuple[Question, int]] = []
    changes = 5
    answer = analytics.answer

    async def answering(connection: Any, question: Question, moment: Any) -> bytes:
        seen.append((question, moment.generation))
        if len(seen) % 7 == 0 and len(seen) < 7 * changes:
            await bench.change()
        return await answer(connection, question, moment)

    monkeypatch.setattr(analytics, "answer", answering)
    for _ in range(10):
        await bench.warming.run()

    generations = [generation for _, generation in seen]
    assert generations == sorted(generations)
    newest = generations[-1]
    assert newest >= changes - 1
    assert {question for question, of in seen if of == newest} == set(analytics.defaults())
    assert len({question for question, _ in seen[: DEFAULTS + 2]}) == DEFAULTS


async def test_without_redis_nothing_is_warmed(settings: Settings) -> None:
    for url in (None, "redis://127.0.0.1:1/0"):
        async with _bench(settings, url) as lonely:
            assert await lonely.warming.run() == 0
            assert lonely.answers.statistics().misses == 0


async def test_without_a_schema_a_builder_waits(
    settings: Settings, empty_database_url: str, cache_url: str
) -> None:
    async with _bench(settings.model_copy(update={"database_url": empty_database_url}), cache_url) as early:
        assert await early.warming.run() == 0
