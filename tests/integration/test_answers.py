"""Answers that are kept: computed once, never older than their generation, there while servers are away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from rollotape.cache import answers as module
from rollotape.cache.answers import Answers, open_redis
from rollotape.cache.generations import Generations
from rollotape.errors import Unavailable
from rollotape.postgres import generations as stored
from rollotape.postgres.generations import Moment
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from support.databases import execute
from support.waiting import eventually

NOWHERE = "redis://127.0.0.1:1/0"


class Database:
    """What PostgreSQL would say, and how often it was asked for an answer."""

    def __init__(self) -> None:
        self.moment = Moment("epoch", 1, 5, 5, "2026-11-20", None, 0)
        self.away = False
        self.computed: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def move(self, **to: Any) -> None:
        self.moment = self.moment._replace(**to)

    async def ask(self) -> Moment:
        if self.away:
            raise Unavailable("away")
        return self.moment

    def compute(self, word: str = "x") -> Callable[[Moment], Awaitable[bytes]]:
        async def run(moment: Moment) -> bytes:
            self.computed.append(f"{word}{moment.generation}")
            await self.gate.wait()
            if self.away:
                raise Unavailable("away")
            return f"{word} of {moment.generation}".encode()

        return run


@pytest.fixture
def database() -> Database:
    return Database()


@asynccontextmanager
async def _open(
    database: Database, url: str | None, *, grace_s: float = 0.0, warmed: tuple[str, ...] = (), **bounds: int
) -> AsyncIterator[Answers]:
    """As in a process of its own; every question asks for the generation anew."""
    generations = Generations(database.ask, fresh_s=0.0)
    answers = Answers("analytics", generations, open_redis(url), grace_s=grace_s, warmed=warmed, **bounds)
    try:
        yield answers
    finally:
        await generations.close()
        await answers.close()


@pytest.fixture
async def answers(database: Database, cache_url: str) -> AsyncIterator[Answers]:
    async with _open(database, cache_url) as opened:
        yield opened


async def test_an_answer_is_computed_once_and_then_comes_from_memory(
    answers: Answers, database: Database
) -> None:
    first = await answers.get("q", database.compute())
    again = await answers.get("q", database.compute())

    assert (first.content, first.source, first.stale) == (b"x of 1", "postgres", False)
    assert (again.content, again.source) == (b"x of 1", "memory")
    assert database.computed == ["x1"]


async def test_a_hundred_who_ask_at_once_cost_one_computation(answers: Answers, database: Database) -> None:
    database.gate.clear()
    asking = [asyncio.create_task(answers.get("q", database.compute())) for _ in range(100)]
    await eventually(lambda: _is(bool(database.computed)))
    database.gate.set()

    found = await asyncio.gather(*asking)

    assert {answer.content for answer in found} == {b"x of 1"}
    assert database.computed == ["x1"]
    assert sorted({answer.source for answer in found}) == ["postgres", "shared"]


async def test_who_asked_first_may_go_away(answers: Answers, database: Database) -> None:
    database.gate.clear()
    first = asyncio.create_task(answers.get("q", database.compute()))
    await eventually(lambda: _is(bool(database.computed)))
    second = asyncio.create_task(answers.get("q", database.compute()))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    database.gate.set()

    assert (await second).content == b"x of 1"
    assert database.computed == ["x1"]


async def test_several_processes_cost_one_computation(database: Database, cache_url: str) -> None:
    database.gate.clear()
    async with _open(database, cache_url) as one, _open(database, cache_url) as two:
        asking = [asyncio.create_task(a.get("q", database.compute())) for a in (one, two) for _ in range(5)]
        await eventually(lambda: _is(bool(database.computed)))
        database.gate.set()
        found = await asyncio.gather(*asking)

    assert {answer.content for answer in found} == {b"x of 1"}
    assert database.computed == ["x1"]


async def test_another_process_finds_it_in_redis(database: Database, cache_url: str) -> None:
    async with _open(database, cache_url) as one:
        await one.get("q", database.compute())
    async with _open(database, cache_url) as two:
        assert (await two.get("q", database.compute())).source == "redis"


async def test_hundreds_of_questions_at_once_are_no_outage_of_redis(
    database: Database, cache_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 20.0)  # they wait in line, on a slow machine long
    async with _open(database, cache_url) as one:
        await asyncio.gather(*(one.get(f"q{n}", database.compute()) for n in range(300)))
        assert one.statistics().misses == 300
    async with _open(database, cache_url) as two:
        found = await asyncio.gather(*(two.get(f"q{n}", database.compute()) for n in range(300)))
    assert {answer.source for answer in found} == {"redis"}


async def test_who_died_at_a_computation_does_not_hold_up_the_others(
    answers: Answers, database: Database, cache_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_S", 0.1)
    key = answers._shelf.key("q", database.moment)
    await answers._shelf.claim(key, "of one who died")

    assert (await answers.get("q", database.compute())).content == b"x of 1"


async def test_a_long_computation_is_waited_for_by_other_processes(
    database: Database, cache_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_S", 0.2)
    database.gate.clear()
    async with _open(database, cache_url) as one, _open(database, cache_url) as two:
        first = asyncio.create_task(one.get("q", database.compute()))
        await eventually(lambda: _is(bool(database.computed)))
        began = asyncio.get_running_loop().time()
        second = asyncio.create_task(two.get("q", database.compute()))
        await eventually(lambda: _is(asyncio.get_running_loop().time() - began > 1.0))
        database.gate.set()
        found = await asyncio.gather(first, second)

    assert database.computed == ["x1"]
    assert [answer.source for answer in found] == ["postgres", "redis"]


@pytest.mark.parametrize(
    "to", [{"generation": 2}, {"day": "2026-11-21"}, {"epoch": "restored"}, {"next_exit_us": 9}]
)
async def test_whatever_changes_answers_has_them_computed_anew(
    answers: Answers, database: Database, to: dict[str, Any]
) -> None:
    await answers.get("q", database.compute())
    database.move(**to)

    assert (await answers.get("q", database.compute())).source == "postgres"
    assert len(database.computed) == 2


async def test_an_older_generation_that_comes_back_is_not_answered_by_the_newer_one(
    answers: Answers, database: Database
) -> None:
    """A restored database goes back; its epoch is another one, but even without that nothing is mixed up."""
    await answers.get("q", database.compute())
    database.move(generation=2)
    await answers.get("q", database.compute())
    database.move(generation=1)

    assert (await answers.get("q", database.compute())).content == b"x of 1"


async def test_a_slow_computation_does_not_replace_a_newer_answer(
    answers: Answers, database: Database
) -> None:
    database.gate.clear()
    slow = asyncio.create_task(answers.get("q", database.compute("slow")))
    await eventually(lambda: _is(bool(database.computed)))
    database.move(generation=2)
    gate, database.gate = database.gate, asyncio.Event()
    database.gate.set()
    assert (await answers.get("q", database.compute("new"))).content == b"new of 2"
    gate.set()
    assert (await slow).moment.generation == 1

    again = await answers.get("q", database.compute())

    assert (again.content, again.source) == (b"new of 2", "memory")


async def test_while_the_next_answer_is_computed_the_one_before_will_do_for_a_moment(
    database: Database, cache_url: str
) -> None:
    async with _open(database, cache_url, grace_s=60.0) as answers:
        await answers.get("q", database.compute())
        database.gate.clear()
        database.move(generation=2)

        meanwhile = [await answers.get("q", database.compute()) for _ in range(5)]
        await eventually(lambda: _is(database.computed == ["x1", "x2"]))
        database.gate.set()

        async def newer() -> bool:
            return (await answers.get("q", database.compute())).content == b"x of 2"

        await eventually(newer)
        database.move(epoch="restored")
        restored = await answers.get("q", database.compute())

    given = {(answer.content, answer.moment.generation) for answer in meanwhile}
    assert given == {(b"x of 1", 1)}
    assert database.computed == ["x1", "x2", "x2"]
    assert restored.source == "postgres"
    assert answers.statistics().misses == 3


async def test_while_nobody_waits_the_computation_is_left_to_a_builder(
    database: Database, cache_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEFT_TO_OTHERS_S", 20.0)
    looking = _open(database, cache_url, grace_s=60.0, warmed=("q",))
    async with looking as gateway, _open(database, cache_url) as builder:
        for word in ("q", "other"):
            await gateway.get(word, database.compute(word))
        database.move(generation=2)
        for word in ("q", "other"):
            assert (await gateway.get(word, database.compute(word))).moment.generation == 1
        await eventually(lambda: _is("other2" in database.computed))  # which no builder makes ready

        await builder.get("q", database.compute("q"))

        async def newer() -> bool:
            return (await gateway.get("q", database.compute("q"))).content == b"q of 2"

        await eventually(newer)
        assert gateway.statistics().misses == 3
    assert sorted(database.computed) == ["other1", "other2", "q1", "q2"]


async def test_what_is_older_than_the_moment_before_will_not_do(database: Database, cache_url: str) -> None:
    async with _open(database, cache_url, grace_s=60.0) as answers:
        await answers.get("q", database.compute())
        database.move(generation=2)
        await answers.get("other", database.compute())
        database.move(generation=3)

        assert (await answers.get("q", database.compute())).content == b"x of 3"


async def test_without_redis_memory_and_postgres_do(database: Database) -> None:
    for url in (None, NOWHERE):
        async with _open(database, url) as answers:
            assert (await answers.get("q", database.compute())).source == "postgres"
            assert (await answers.get("q", database.compute())).source == "memory"
            assert await answers.shelf_information() is None


async def test_while_postgres_is_away_older_answers_say_that_they_are_stale(
    answers: Answers, database: Database, cache_url: str
) -> None:
    await answers.get("q", database.compute())
    database.move(generation=2)
    database.away = True

    from_memory = await answers.get("q", database.compute())
    async with _open(database, cache_url) as other:
        from_redis = await other.get("q", database.compute())
        with pytest.raises(Unavailable):
            await other.get("never asked", database.compute())

    for found in (from_memory, from_redis):
        assert (found.content, found.stale, found.moment.generation) == (b"x of 1", True, 1)
    assert database.computed == ["x1"]


async def test_an_answer_of_another_installation_is_not_given(
    answers: Answers, database: Database, cache_url: str
) -> None:
    await answers.get("q", database.compute())
    database.move(epoch="restored")
    async with _open(database, cache_url) as other:
        await other.get("another", database.compute())
        database.away = True
        with pytest.raises(Unavailable):
            await other.get("q", database.compute())


async def test_postgres_lost_in_the_middle_of_a_computation_leaves_the_older_answer(
    answers: Answers, database: Database
) -> None:
    await answers.get("q", database.compute())
    database.move(generation=2)

    async def lost(_: Moment) -> bytes:
        raise Unavailable("away")

    found = await answers.get("q", lost)

    assert (found.content, found.stale) == (b"x of 1", True)
    assert (await answers.get("q", database.compute())).content == b"x of 2"


async def test_what_somebody_else_wrote_under_a_key_is_no_answer(
    answers: Answers, database: Database, cache_url: str
) -> None:
    async with redis.asyncio.Redis.from_url(cache_url) as client:
        await client.set(answers._shelf.key("q", database.moment), b"nonsense")
        await client.set("analytics:latest:r", b"nonsense")
        await client.hset(answers._shelf.key("s", database.moment), "a", "b")

    assert (await answers.get("q", database.compute())).content == b"x of 1"
    assert (await answers.get("s", database.compute())).content == b"x of 1"
    database.away = True
    with pytest.raises(Unavailable):
        await answers.get("r", database.compute())


async def test_changes_that_have_waited_for_long_make_an_answer_stale(
    answers: Answers, database: Database
) -> None:
    database.move(waiting_us=1_900_000)
    assert not (await answers.get("q", database.compute())).stale
    database.move(waiting_us=2_100_000)
    assert (await answers.get("q", database.compute())).stale


async def test_a_bug_in_a_computation_is_nobodys_answer_and_nothing_waits_after_it(
    answers: Answers, database: Database
) -> None:
    async def wrong(_: Moment) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answers.get("q", wrong)
    assert (await asyncio.wait_for(answers.get("q", database.compute()), 1)).content == b"x of 1"


async def test_memory_has_bounds(database: Database, cache_url: str) -> None:
    async with _open(database, cache_url, most=3) as few, _open(database, None, most_bytes=30) as small:
        for n in range(5):
            await few.get(f"q{n}", database.compute())
            await small.get(f"q{n}", database.compute("a" * 10))
        assert few.statistics().entries == 3
        assert 0 < small.statistics().bytes <= 30


async def test_hits_are_answers_that_caused_no_sql(answers: Answers, database: Database) -> None:
    assert answers.statistics().ratio is None
    for _ in range(4):
        await answers.get("q", database.compute())

    assert (answers.statistics().hits, answers.statistics().misses) == (3, 1)
    assert answers.statistics().ratio == 0.75
    information = await answers.shelf_information()
    assert information
    assert information["eviction_policy"] == "allkeys-lru"


# ---- the moment, as PostgreSQL says it


async def test_the_moment_of_a_database(settings: Settings) -> None:
    pool = await open_pool(settings, service="test")
    async with pool:

        async def now() -> Moment:
            async with pool.acquire() as connection:
                return await stored.moment(connection)

        first = await now()
        assert (first.generation, first.next_exit_us) == (0, None)
        execute(settings.database_url, "UPDATE generations SET generation = 7")
        execute(
            settings.database_url,
            "INSERT INTO unrolled_days (day, marked_at) VALUES (NULL, now() - interval '3 seconds')",
        )
        later = await now()
    assert (later.generation, later.epoch) == (7, first.epoch)
    assert 3_000_000 <= later.waiting_us < 60_000_000
    assert first.now_us < later.now_us


async def _is(value: bool) -> bool:
    return value
