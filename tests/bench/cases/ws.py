"""The stream over WebSocket: thousands of clients of one gateway, alone and beside some that do not read.

Facts are committed one by one at a fixed rate, by the outbox that the workers use; the clock of a fact begins
when its commit has returned, and ends when a client has its bytes. Half of the clients are told everything,
and each of them must have heard every fact once; the others filter or follow a few symbols.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any
from urllib.request import urlopen

import numpy as np
import orjson
from redis.asyncio import Redis

from bench import machine
from bench.figures import Figure
from bench.gateways import Server, gateway
from bench.stage import Stage
from bench.watchers import Outcome, Plan
from rollotape.postgres import outbox
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from rollotape.streams.outbox import Outbox
from rollotape.streams.producer import Producer

TITLE = "WebSocket: 2,000 clients, 100 updates a second; and with 400 more that do not read"

CLIENTS = int(os.environ.get("ROLLO_TEST_WS_CLIENTS", "2000"))
IDLERS = CLIENTS // 10
"""So many that never read, and as many that read slowly."""
RATE = float(os.environ.get("ROLLO_TEST_WS_RATE", "100"))
SECONDS = float(os.environ.get("ROLLO_TEST_WS_S", "30"))
ABUSED_S = SECONDS * 3
"""Longer than the queue of one who does not read lasts."""
SYMBOLS = [f"S{n:03}" for n in range(500)]
READY_S = 120.0
MOST_QUEUED = 5_000
"""Of the gateway, by default."""
_ENDED = 'rollo_ws_ended_total{number="407"}'


@dataclass(frozen=True, slots=True)
class Found:
    outcome: Outcome
    held_mb: float
    peak_mb: float
    rate: float
    cpu: float
    """Of a core."""
    cpu_ms: float
    """Of the gateway's processor time, for one update to all of them."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """Moments of every fact."""

    due: Any
    committed: Any
    said: Any
    """The stream has it."""

    @property
    def late_ms(self) -> float:
        return float(np.percentile(self.committed - self.due, 99)) * 1_000

    @property
    def said_ms(self) -> float:
        return float(np.percentile(self.said - self.committed, 99)) * 1_000


async def run(stage: Stage) -> AsyncIterator[Figure]:
    limits = {"ROLLO_WS_CLIENTS": "10000", "ROLLO_WS_CLIENTS_PER_KEY": "10000"}
    with stage.database() as url:
        async with gateway(stage, 0, url, 0, limits) as server:
            alone = await _measure(stage, server, url, SECONDS, f"{CLIENTS:,} clients")
            async with _idlers(server):
                abused = await _measure(stage, server, url, ABUSED_S, f"and {2 * IDLERS:,} that do not read")
                cut_off = await asyncio.to_thread(_cut_off, server)
    stage.show.say(f"    {cut_off:.0f} that did not read were cut off")
    if ABUSED_S * RATE > MOST_QUEUED and cut_off < 2 * IDLERS:
        raise AssertionError(f"only {cut_off:.0f} of {2 * IDLERS} that did not read were cut off")
    yield Figure("ws.p99_ms", alone.outcome.p99, f"commit to client, {CLIENTS:,} clients, {RATE:g} updates/s")
    yield Figure("ws.p50_ms", alone.outcome.p50, "the same, the middle")
    yield Figure("ws.rss_mb", alone.peak_mb, "the most memory that the gateway held")
    yield Figure("ws.cpu", alone.cpu, "of a core, by the gateway")
    yield Figure("ws.cpu_ms_per_update", alone.cpu_ms, "its processor time for one update to all of them")
    yield Figure("ws.late_p99_ms", alone.outcome.late_p99, "of it, bytes lay unread at those who listen")
    yield Figure("ws.per_second", alone.outcome.heard / SECONDS, "facts told to clients a second")
    yield Figure("ws.abused_p99_ms", abused.outcome.p99, f"with {2 * IDLERS:,} more that do not read")
    yield Figure("ws.abused_rss_mb", abused.peak_mb, "the most memory then")
    yield Figure("ws.abused_more_mb", abused.peak_mb - alone.peak_mb, "by so much more")


async def _measure(stage: Stage, server: Server, url: str, seconds: float, what: str) -> Found:
    async with _watchers(server) as process:
        facts = int(seconds * RATE)
        before_s, began = machine.cpu_s(server.pid), time.monotonic()
        with stage.show.task(what, facts) as done:
            spoken = await _speak(stage, url, facts, done)
        took_s = time.monotonic() - began
        after_s, held = machine.cpu_s(server.pid), machine.held_bytes(server.pid) or 0
        path = stage.folder / "commits.npy"
        np.save(path, spoken.committed)
        assert process.stdin and process.stdout
        process.stdin.write(orjson.dumps({"facts": facts, "commits": str(path)}) + b"\n")
        line = await asyncio.wait_for(process.stdout.readline(), READY_S)
    outcome = Outcome(**orjson.loads(line))
    if outcome.incomplete or outcome.ended:
        raise AssertionError(f"{outcome.incomplete} clients missed facts, {outcome.ended} were cut off")
    used_s = (after_s or 0.0) - (before_s or 0.0)
    peak = machine.peak_bytes(server.pid) or 0
    rate, cpu = facts / took_s, used_s / took_s
    found = Found(outcome, held / 1e6, peak / 1e6, rate, cpu, used_s / facts * 1_000)
    stage.show.say(
        f"    {what}: p50 {outcome.p50:.0f}, p99 {outcome.p99:.0f}, most {outcome.most:.0f} ms;"
        f" {outcome.heard:,} facts in {outcome.messages:,} messages; {found.rate:.0f} updates/s;"
        f" {found.held_mb:.0f} MB, at most {found.peak_mb:.0f}; {cpu:.2f} cores,"
        f" {found.cpu_ms:.2f} ms an update"
    )
    stage.show.say(
        f"    (p99) committed {spoken.late_ms:.0f} ms after it was due, in the stream {spoken.said_ms:.0f} ms"
        f" after that; read {outcome.late_p99:.1f} ms after it came (half of them {outcome.late_p50:.1f}), by"
        f" {outcome.cpu:.2f} cores"
    )
    return found


async def _speak(stage: Stage, url: str, facts: int, done: Any) -> Spoken:
    """Commit and say each fact at its moment, whatever the one before is at."""
    spoken = Spoken(np.zeros(facts), np.zeros(facts), np.zeros(facts))
    settings = Settings(redis_url=stage.redis_url(0), database_url=url)
    async with Redis.from_url(settings.redis_url) as redis:
        pool = await open_pool(settings, service="bench", raw_times=True)
        async with pool:
            speaker = Outbox(pool, Producer(redis))
            began = time.monotonic()

            async def speak(n: int) -> None:
                async with pool.acquire() as connection, connection.transaction():
                    unsaid = await outbox.add(connection, [("updates", _fact(n))])
                spoken.committed[n] = time.monotonic()
                assert unsaid
                await speaker.say(unsaid)
                spoken.said[n] = time.monotonic()

            async with asyncio.TaskGroup() as speaking:
                for n in range(facts):
                    spoken.due[n] = began + n / RATE
                    await asyncio.sleep(max(0.0, spoken.due[n] - time.monotonic()))
                    speaking.create_task(speak(n))
                    done(n + 1)
    return spoken


def _cut_off(server: Server) -> float:
    """How many connections the gateway ended for being too slow."""
    with urlopen(server.metrics["api-gateway"], timeout=10) as answer:
        return sum(
            float(line.rpartition(" ")[2])
            for line in answer.read().decode().splitlines()
            if line.startswith(_ENDED)
        )


def _fact(n: int) -> bytes:
    """As long as a real one."""
    counts = {"no_demand": n % 4, "no_supply": 1, "stopping_volume": 0}
    state = {
        "source": "rollo", "revision": 0, "symbol": SYMBOLS[n % len(SYMBOLS)], "timeframe": "1d",
        "pattern_type": "SPRING", "side": "accumulation", "phase": "C", "confidence": n % 100 / 100,
        "price": 101.25, "change_pct": 0.75, "vol_ratio": 1.5, "rsi": 41.5, "sma_20": 100.5, "sma_50": 99.5,
        "rs_ratio": 1.01, "rs_excess": 2.5, "entry": 101.5, "stop": 97.5, "target_1": 110.0,
        "target_2": 118.0, "planned_r": 2.1, "test_confirmed": True, "rule_set": "wyckoff-1",
        "range_id": "018f0000-0000-8000-8000-000000000000", "detected_at": "2026-01-02T21:00:00Z",
        "confirmed_at": "2026-01-05T21:00:00Z", "id": f"018f0000-0000-8000-8000-{n:012}",
        "status": "active", "expires_at": "2026-02-01T21:00:00Z", "vsa_events": counts,
        "vsa_events_classic": counts, "preliminary_events": {"PS": 1, "SC": 1, "AR": 1, "ST": 2},
        "preliminary_events_in_range": {"PS": 1, "SC": 1, "AR": 1, "ST": 3},
    }  # fmt: skip
    told = {"version": 1, "type": "pattern.detected", "id": state["id"], "fact_version": n}
    return orjson.dumps(told | {"pattern": state})


def _subscriptions() -> Iterator[str]:
    for n in range(CLIENTS):
        said: dict[str, Any] = {"action": "subscribe", "patterns": ["*"], "vsa": ["*"], "wyckoff": ["*"]}
        if n >= CLIENTS * 8 // 10:
            said["patterns"] = [SYMBOLS[(n * 7 + k) % len(SYMBOLS)] for k in range(10)]
        elif n >= CLIENTS // 2:
            said["filters"] = {"confidence_min": n % 10 / 10}
        yield orjson.dumps(said).decode()


@asynccontextmanager
async def _watchers(server: Server) -> AsyncIterator[asyncio.subprocess.Process]:
    plan = Plan("127.0.0.1", server.port, server.key, list(_subscriptions()), CLIENTS // 2)
    async with _process(["bench.watchers"]) as process:
        assert process.stdin
        process.stdin.write(orjson.dumps(asdict(plan)) + b"\n")
        await _ready(process)
        yield process


@asynccontextmanager
async def _idlers(server: Server) -> AsyncIterator[None]:
    told = ["127.0.0.1", str(server.port), server.key, str(IDLERS), str(IDLERS)]
    async with _process(["bench.idlers", *told]) as process:
        await _ready(process)
        yield


@asynccontextmanager
async def _process(arguments: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout
    line = await asyncio.wait_for(process.stdout.readline(), READY_S)
    if line != b"ready\n":
        raise AssertionError("clients could not connect")
