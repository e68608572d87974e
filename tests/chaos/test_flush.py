"""A lasting Redis that loses everything in the middle: readers are refused, never told less than is true."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from rollotape.settings import Settings
from support import calm, databases, feeds, pattern_feeds
from support.feeds import Message
from support.folders import open_folder
from support.gateway import serve
from support.runs import Hits, Place, database
from support.stack import Crew, Ledger, Stack
from support.waiting import eventually
from support.workers import forks

pytestmark = pytest.mark.chaos

SEED = 11
PATTERNS, REVISIONS = 300, 4
FLUSHES = 3
CHUNK = 200
DRAIN_S = 60.0
CREWS = (pytest.param(Crew(1, 1, 1), marks=pytest.mark.long), Crew(2, 1, 2))


@dataclass(slots=True)
class Reader:
    """Asks for everything again and again, and holds every answer against what was ever told."""

    http: httpx.AsyncClient
    told: Mapping[str, Sequence[float]]
    """By id the confidence of each revision."""
    answers: Counter[str] = field(default_factory=Counter)
    _reached: dict[str, int] = field(default_factory=dict)

    async def ask(self) -> bool:
        """Whether there was an answer that is up to date."""
        answer = await self.http.get("/api/patterns/scan?confidence_min=0&limit=1000")
        if answer.status_code == 503:
            assert answer.headers["retry-after"]
            self.answers["refused"] += 1
            return False
        assert answer.status_code == 200, answer.text
        said = answer.json()
        self._is_whole(said["patterns"])
        self.answers["stale" if said["stale"] else "whole"] += 1
        return not said["stale"]

    async def ask_always(self) -> None:
        while True:
            await self.ask()
            await asyncio.sleep(0.005)  # leaves the processor to those who build

    def _is_whole(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Every pattern is there, at a revision it was told at, and none went back since the last answer."""
        assert {item["id"] for item in items} == self.told.keys(), f"{len(items)} of {len(self.told)}"
        reached = {item["id"]: self.told[item["id"]].index(item["confidence"]) for item in items}
        behind = [i for i, revision in reached.items() if revision < self._reached.get(i, 0)]
        assert not behind, f"went back: {behind}"
        self._reached = reached


@pytest.mark.parametrize("crew", CREWS, ids=str)
async def test_a_reader_is_never_told_less_than_is_true_though_redis_loses_everything(
    place: Place, crew: Crew, tally: Hits
) -> None:
    rng = Random(SEED)
    sent = feeds.some(place.history, rng, symbols=3, always=feeds.BENCHMARKS)
    stormy = feeds.storm(sent, rng)
    lives = pattern_feeds.steady(sent, rng, lives=PATTERNS, revisions=REVISIONS)
    detected = [pattern_feeds.message(revisions[0]) for revisions in lives]
    updated = [pattern_feeds.message(event) for revisions in lives for event in revisions[1:]]
    rng.shuffle(updated)
    messages = [*detected, *pattern_feeds.woven(feeds.mixed(stormy, rng), updated, rng)]
    with databases.copy_of(place.template, place.servers.urls.database_url) as url:
        undisturbed = await calm.outcome(url, messages)

    with database(place) as name, open_folder() as folder:
        stack = Stack(lambda: place.servers.urls, name, folder)
        told = {str(revisions[0]["id"]): [event["confidence"] for event in revisions] for revisions in lives}
        async with stack.running(forks("eager_sweep", "small_blocks"), crew, claim_ms=1_500, lease_s=2):
            await stack.send(detected)
            await stack.drain(DRAIN_S)
            with serve(_settings(place, stack)) as gateway:
                async with httpx.AsyncClient(base_url=gateway, timeout=30) as http:
                    answers = await _ask_meanwhile(stack, Reader(http, told), messages, len(detected))
            await stack.stop()
            await stack.judge(feeds.expected(stormy), undisturbed, resent=True, heard=False)
    assert answers["refused"]
    tally(f"Redis flushed {FLUSHES} times under {crew} workers: answers {dict(answers)}")


async def _ask_meanwhile(
    stack: Stack, reader: Reader, messages: Sequence[Message], sent: int
) -> Counter[str]:
    """Send what is left, lose it, send all of it again; a reader asks from the beginning to the end."""
    await eventually(reader.ask, within_s=DRAIN_S, what="a first answer")
    asking = asyncio.create_task(reader.ask_always())
    await _send_and_flush(stack, messages[sent:])
    stack.ledger = Ledger()
    await stack.send(messages)
    await stack.drain(DRAIN_S)
    await eventually(reader.ask, within_s=DRAIN_S, what="an answer that is not stale")
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    return reader.answers


def _settings(place: Place, stack: Stack) -> Settings:
    return Settings(
        redis_url=stack.redis_url,
        cache_url=place.servers.urls.cache_url,
        database_url=stack.database_url,
        auth="off",
    )


async def _send_and_flush(stack: Stack, messages: Sequence[Message]) -> None:
    """Everything is lost while it is worked on, what nobody has read yet included."""
    pieces = [messages[i : i + CHUNK] for i in range(0, len(messages), CHUNK)]
    flushes = {(n + 1) * len(pieces) // (FLUSHES + 1) for n in range(FLUSHES)}
    for n, piece in enumerate(pieces):
        await stack.send(piece)
        if n in flushes:
            async with Redis.from_url(stack.redis_url) as client:
                await client.flushall()
        await eventually(lambda: _little_waits(stack), within_s=DRAIN_S, what="progress")


async def _little_waits(stack: Stack) -> bool:
    return (await stack.standing()).unread < CHUNK
