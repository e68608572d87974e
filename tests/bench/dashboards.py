"""Dashboards ask a real gateway about a million trades while trades close and patterns change."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np
from redis.asyncio import Redis

from bench import questions
from bench.closing import TYPE, Market, Probe
from bench.figures import Figure
from bench.gateways import Asked, Load, Server, ask, gateway
from bench.readers import scraped
from bench.stage import Stage
from rollotape.analytics import DATASET, Question
from rollotape.postgres.analytics import Filters, Page

LOAD = Load(connections=250, rate=1_000.0, seconds=40.0, warm_s=5.0)
CLOSING_PER_S = 200
QUIET_S = 2.0
KEY = "analytics:v"
"""What every key of an answer begins with."""


@dataclass(slots=True)
class Computed:
    """How often each answer was stored, heard from Redis itself: whoever computes one stores it once."""

    redis_url: str
    times: Counter[str] = field(default_factory=Counter)

    async def listen(self) -> None:
        """Until cancelled. Redis tells the keys alone: with every answer beside them this would cost more
        than to give it.
        """
        async with Redis.from_url(self.redis_url) as redis, redis.pubsub() as heard:
            await redis.config_set("notify-keyspace-events", "E$")
            try:
                await heard.psubscribe("__keyevent@*__:set")
                async for said in heard.listen():
                    key = said["data"]
                    if said["type"] == "pmessage" and key.startswith(KEY.encode()):
                        self.times[key.decode()] += 1
            finally:
                await redis.config_set("notify-keyspace-events", "")


@dataclass(slots=True)
class Watched:
    """What was seen under load."""

    asked: Asked
    closed_per_s: float
    changed: int
    late_s: float
    """How late trades closed at worst."""
    ages_s: list[float]
    computed: Counter[str]
    answers: dict[str, float]
    """Of the gateway, by source."""
    gateway: float
    """Computed by the gateway, whether or not somebody waited for it."""
    builder: float
    """Computed by cache-builder."""


async def run(stage: Stage, number: int, url: str) -> list[Figure]:
    async with gateway(stage, number, url, patterns=0) as server:
        connections = [await asyncpg.connect(url) for _ in range(2)]
        try:
            trades = Market(connections[0], CLOSING_PER_S)
            await trades.prepare(LOAD.seconds + 30)
            await asyncio.sleep(QUIET_S)
            watched = await _watch(stage, server, trades, Probe(connections[1], server, _probed()))
        finally:
            for connection in connections:
                await connection.close()
    _say(stage, watched)
    return list(_figures(watched))


async def _watch(stage: Stage, server: Server, trades: Market, probe: Probe) -> Watched:
    computed = Computed(stage.servers.urls.cache_url)
    before = _counted(server)
    beside = [asyncio.create_task(task) for task in (computed.listen(), trades.run(), probe.run())]
    targets = questions.dashboards(int(LOAD.seconds * (LOAD.rate or 0)))
    with stage.show.task(f"dashboards while {CLOSING_PER_S} trades a second close", 1):
        asked = await ask(server, LOAD, targets)
    answers = {name: value - before.get(name, 0.0) for name, value in _counted(server).items()}
    closed = trades.closed / LOAD.seconds
    for task in beside:
        if task.done():
            await task  # what ended before its time has a reason
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    by = answers.pop("gateway"), answers.pop("builder")
    by_whom = trades.changed, trades.latest_s, probe.ages_s, computed.times
    return Watched(asked, closed, *by_whom, answers, *by)


def _counted(server: Server) -> dict[str, float]:
    """Answers of the gateway by source, and how many it and cache-builder have computed."""
    beginning = f'rollo_answers_total{{dataset="{DATASET}",source="'
    computed = f'rollo_answers_compute_seconds_count{{dataset="{DATASET}"}}'
    found, builder = (scraped(server.metrics[name]) for name in ("api-gateway", "cache-builder"))
    told = {name[len(beginning) : -2]: n for name, n in found.items() if name.startswith(beginning)}
    return told | {"gateway": found.get(computed, 0.0), "builder": builder.get(computed, 0.0)}


def _probed() -> list[tuple[str, Any]]:
    """Each of the four questions, of trades that only the probe writes."""

    def shown(question: Question) -> str:
        return questions.target(questions.of_probe(question, TYPE))

    of_all = Filters(origin="external")
    return [
        (shown(Question("pattern_performance", 7, of_all)), lambda said: said["total"]["trade_count"]),
        (shown(Question("sector_breakdown", 7, of_all)), lambda said: said["total"]["trade_count"]),
        (
            shown(Question("trend", 7, of_all, pattern_type=TYPE)),
            lambda said: sum(day["trades"] for day in said["trend"]),
        ),
        (
            shown(Question("trades", 7, of_all, page=Page(30, 1))),
            lambda said: said["pagination"]["total"],
        ),
    ]


def _say(stage: Stage, watched: Watched) -> None:
    outcome = watched.asked.outcome
    sources = ", ".join(f"{name} {count:,.0f}" for name, count in sorted(watched.answers.items()) if count)
    keys = Counter(watched.computed.values())
    generations = {key.split(":")[1] for key in watched.computed}
    stage.show.say(
        f"    {outcome.per_second:,.0f}/s, p50 {outcome.p50:.2f}, p95 {outcome.p95:.2f},"
        f" p99 {outcome.p99:.2f} ms, {watched.asked.cpu_us or 0:.0f} us of processor each;"
        f" sent {outcome.late_p95:.2f} ms late (p95), {outcome.unanswered} not answered;"
        f" the generator itself {outcome.own_late_p95:.2f} ms late (p95), {outcome.busy:.0%} of a processor\n"
        f"    {watched.closed_per_s:.0f} trades a second closed, at most {watched.late_s:.2f} s late,"
        f" {watched.changed} patterns changed,"
        f" {len(generations)} generations; answers from {sources};"
        f" the gateway computed {watched.gateway:,.0f}, cache-builder {watched.builder:,.0f}\n"
        f"    {sum(watched.computed.values()):,} answers stored,"
        f" keys by how often they were: {dict(sorted(keys.items()))};"
        f" {len(watched.ages_s)} probes, p50 {np.median(watched.ages_s):.2f},"
        f" most {max(watched.ages_s):.2f} s until a trade is shown"
    )


def _figures(watched: Watched) -> Iterator[Figure]:
    counts = watched.answers
    every, ages = sum(counts.values()), watched.ages_s
    yield Figure("analytics.hit_ratio", 1 - watched.gateway / every, "answers that caused no SQL, of all")
    yield Figure("analytics.max_age_s", max(ages), "until a trade is shown", min(ages), max(ages))
    yield Figure("analytics.http_p95_ms", watched.asked.outcome.p95, "1,000 requests/s, 250 connections")
    yield Figure("analytics.http_p50_ms", watched.asked.outcome.p50, "1,000 requests/s, 250 connections")
    most = max(watched.computed.values(), default=0)
    yield Figure("analytics.most_computed", most, "most often that a key of a generation was computed")
    yield Figure("analytics.closed_per_s", watched.closed_per_s, "trades closed meanwhile")
    late = watched.asked.outcome.own_late_p95
    yield Figure("analytics.http_sent_late_ms", late, "p95 of how late the generator itself was")
    cost = watched.asked.cpu_us
    if cost is not None:
        yield Figure("analytics.http_cpu_us", cost, "processor time of the gateway for an answer")
