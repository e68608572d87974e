"""`rollotape.client` over the streams of a gateway: what comes, where it goes on, and what ends it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from api_gateway import hub
from rollotape import keys
from rollotape.client import (
    AsyncClient,
    Client,
    Gap,
    NewestBar,
    NewestScores,
    Patience,
    Unreachable,
    Update,
    calls,
    errors,
)
from rollotape.client.clients import AsyncStream
from rollotape.embedded.server import free_port
from rollotape.settings import Settings
from support.databases import execute
from support.following import happened
from support.gateway import Score, day, insert_days, insert_scores, serve
from support.sockets import EVERYTHING, event_fact, pattern_fact, tell

NOT_LONG = Patience(tries=3, first_s=0.01, longest_s=0.05)
WITHIN_S = 60
MANY = 1_500
"""Facts of 20 KB, more than a connection holds."""
ALL: Any = EVERYTHING


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with serve(settings) as opened:
        yield opened


@asynccontextmanager
async def following(url: str, since: str | None = None, **wanted: Any) -> AsyncIterator[AsyncStream[Any]]:
    """A stream that hears of what comes from now on; `stream.taken` has what it heard."""
    async with AsyncClient(url, patience=NOT_LONG) as rollo, rollo.subscribe(since=since, **wanted) as stream:
        yield stream


class Taken:
    """Takes what comes, in a task of its own, so that somebody listens."""

    def __init__(self, stream: AsyncStream[Any]) -> None:
        self.stream = stream
        self.found: list[Any] = []
        self.task = asyncio.create_task(self._take())

    async def _take(self) -> None:
        async for found in self.stream:
            self.found.append(found)

    async def listening(self) -> None:
        await happened(lambda: self.stream.following.connections > 0, "an acknowledgement")

    async def until(self, count: int) -> list[Any]:
        await happened(lambda: len(self.found) >= count or self.task.done(), f"{count} of them")
        if self.task.done():
            await self.task
        return self.found

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_facts_are_typed_each_comes_once_and_the_next_run_goes_on(
    url: str, redis_client: Redis
) -> None:
    async with following(url, **ALL) as stream:
        taken = Taken(stream)
        await taken.listening()
        facts = [
            pattern_fact(1, "MSFT"),
            event_fact("vsa.detected", 2),
            pattern_fact(1, "MSFT"),
            event_fact("wyckoff.range", 4),
        ]
        await tell(redis_client, facts)
        found = await taken.until(3)
        last = stream.last_id
        await taken.end()
    await tell(redis_client, [pattern_fact(n) for n in range(5, 300)])
    async with following(url, since=last, **ALL) as stream:
        rest = Taken(stream)
        later = list(await rest.until(295))
        await rest.end()

    assert [(one.type, one.fact_version) for one in found] == [
        ("pattern.updated", 1), ("vsa.detected", 2), ("wyckoff.range", 4),
    ]  # fmt: skip
    assert found[0].said == facts[0]
    assert last == found[-1].id
    assert [one.fact_version for one in later] == list(range(5, 300))


def test_without_an_event_loop_it_is_the_same(url: str, settings: Settings) -> None:
    async def say(first: int) -> None:
        async with Redis.from_url(settings.redis_url) as redis:
            await tell(redis, [pattern_fact(n, f"S{n % 3}") for n in range(first, first + 30)])

    with Client(url, patience=NOT_LONG) as rollo:
        asyncio.run(say(0))
        with rollo.subscribe(patterns="*", since="nonsense") as stream:
            assert isinstance(next(iter(stream)), Gap)
            asyncio.run(say(30))
            found = [next(iter(stream)) for _ in range(30)]
        with rollo.subscribe(patterns=["S1"], since=found[9].id) as stream:
            some = [next(iter(stream)) for _ in range(6)]

    assert [one.fact_version for one in found if isinstance(one, Update)] == list(range(30, 60))
    assert [one.fact_version for one in some if isinstance(one, Update)] == [40, 43, 46, 49, 52, 55]


async def test_filters_mean_what_they_mean_in_a_scan(url: str, redis_client: Redis) -> None:
    wanted = {"confidence_min": 0.7, "pattern_types": "SPRING", "rsi_range": (0, 50)}
    wanted |= {"detected_since": day(1)}
    async with following(url, patterns="*", filters=wanted) as stream:
        taken = Taken(stream)
        await taken.listening()
        good = {"rsi": 40.0, "detected_at": "2024-06-01T00:00:00Z"}
        states: list[Any] = [
            good | {"confidence": 0.5},
            good | {"rsi": 60.0},
            good | {"pattern_type": "SOS"},
            good,
        ]
        await tell(redis_client, [pattern_fact(n, **state) for n, state in enumerate(states)])
        [found] = await taken.until(1)
        await taken.end()

    assert found.fact_version == 3


async def test_the_newest_bars_and_scores_come_typed(url: str, database_url: str) -> None:
    await insert_days(database_url, "AAPL", 3)
    await insert_scores(database_url, [Score("AAPL", 2, 1.5)])
    async with following(url, bars=["AAPL"], rs="*") as stream:
        taken = Taken(stream)
        found = {type(one): one for one in await taken.until(2)}
        await taken.end()

    bar, scores = found[NewestBar], found[NewestScores]
    assert (bar.symbol, bar.timeframe, bar.bar.t, bar.bar.c) == ("AAPL", "1d", day(2), 11)
    assert (scores.symbol, scores.scores.rs_score) == ("AAPL", 1.5)


async def test_a_subscription_that_is_wrong_names_the_field(url: str) -> None:
    with pytest.raises(errors.Invalid) as raised:
        async with following(url, patterns="*", filters={"confidence_min": 2}) as stream:
            await anext(aiter(stream))

    assert [error.field for error in raised.value.problem.errors] == ["filters.confidence_min"]


async def test_one_who_does_not_read_is_cut_off_and_goes_on_where_it_was_told_to(
    settings: Settings, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "FRAME_BYTES", 4_096)
    long = "X" * 20_000
    with serve(settings.model_copy(update={"ws_queue_facts": 50})) as url:
        async with following(url, patterns="*") as stream:
            async with asyncio.timeout(WITHIN_S):
                first = asyncio.create_task(_one(stream))
                await happened(lambda: stream.following.connections == 1, "an acknowledgement")
                await tell(redis_client, [pattern_fact(0)])
                seen = [(await first).fact_version]
                for n in range(1, MANY, 100):  # its socket is full, and then its queue
                    await tell(redis_client, [pattern_fact(n + k, rule_set=long) for k in range(100)])
            async with asyncio.timeout(WITHIN_S):
                while seen[-1] < MANY:
                    found = await anext(aiter(stream))
                    assert isinstance(found, Update)
                    seen.append(found.fact_version)
            cut_off = stream.following.connections

    assert seen == list(range(MANY + 1))
    assert cut_off > 1


async def _one(stream: AsyncStream[Any]) -> Any:
    return await anext(aiter(stream))


async def test_a_key_lets_in_and_one_that_will_not_do_is_said_at_once(settings: Settings) -> None:
    good, revoked = keys.make(), keys.make()
    rows = (f"('{k.id}', 'test', 'read', '\\x{k.hash.hex()}', 100)" for k in (good,))
    execute(
        settings.database_url,
        f"INSERT INTO api_keys (id, name, scope, hash, rate) VALUES {', '.join(rows)}",
    )
    limited = {"auth": "on", "ws_clients_per_key": 1}
    with serve(settings.model_copy(update=limited)) as url:
        async with AsyncClient(url, key=good.text, patience=NOT_LONG) as rollo:
            stream = rollo.subscribe(patterns="*")
            taken = Taken(stream)
            await taken.listening()
            with pytest.raises(errors.CutOff, match="connection limit"):
                await anext(aiter(rollo.subscribe(patterns="*")))
            await taken.end()
        async with AsyncClient(url, key=revoked.text, patience=NOT_LONG) as rollo:
            with pytest.raises(errors.Unauthorized, match="auth failed"):
                await anext(aiter(rollo.subscribe(patterns="*")))


def test_nobody_there_is_unreachable() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", patience=NOT_LONG) as rollo:
        with pytest.raises(Unreachable, match=r"ws://127\.0\.0\.1"):
            next(iter(rollo.subscribe(patterns="*")))
        with pytest.raises(Unreachable):
            rollo.ask(calls.alive())
