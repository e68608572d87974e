"""cache-builder as a process beside the streams, and `rollo cache`: what operators and readers meet."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from detector.patterns import ApplyPatterns
from rollotape.cache import scripts
from rollotape.cache.reader import PatternReader, Snapshot
from rollotape.errors import Unavailable
from rollotape.events import FIELD
from rollotape.postgres.patterns import Patterns
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from support.applying import ARRIVED_MS, Bench, open_bench
from support.commands import environment_of, rollo, started
from support.waiting import eventually

BUILDER = [sys.executable, "-m", "cache_builder"]


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with open_bench(settings) as bench:
        yield bench


@pytest.fixture
def builders(settings: Settings, tmp_path: Path) -> Iterator["Builders"]:
    with ExitStack() as running:
        yield Builders(settings, tmp_path, running)


class Builders:
    """Starts processes that end with the test."""

    def __init__(self, settings: Settings, where: Path, running: ExitStack) -> None:
        self._environment = dict(environment_of(settings)) | {"ROLLO_LEASE_S": "1", "ROLLO_CLAIM_MS": "500"}
        self._where = where
        self._running = running

    def start(self) -> "subprocess.Popen[str]":
        command = started(self._environment, *BUILDER, where=self._where)
        return self._running.enter_context(command)


async def detect(bench: Bench, numbers: range, **more: Any) -> None:
    told = [
        {
            "event": "detected",
            "source": "test",
            "symbol": "AAPL",
            "timeframe": "1d",
            "pattern_type": f"P{n}",
            "confidence": 0.5,
            "detected_at": datetime(2020, 2, 1, tzinfo=UTC),
            "expires_at": datetime(2100, 1, 1, tzinfo=UTC),
        }
        | more
        for n in numbers
    ]
    entries = [
        Entry("patterns.0", f"{ARRIVED_MS}-{bench.sent + i}", {FIELD: orjson.dumps(t)})
        for i, t in enumerate(told)
    ]
    bench.sent += len(entries)
    await ApplyPatterns(Patterns(bench.pool), bench.outbox).apply(entries)


async def seen(reader: PatternReader) -> int | None:
    """How many patterns a reader has; None while it is refused."""
    try:
        return len(await reader.snapshot())
    except Unavailable:
        return None


async def test_builders_follow_survive_kills_and_build_anew_after_a_flush(
    bench: Bench, builders: Builders
) -> None:
    reader = PatternReader(bench.redis, fresh_s=0.0)

    async def shows(count: int) -> bool:
        return await seen(reader) == count

    async def fresh() -> bool:
        return not (await reader.snapshot()).stale

    await detect(bench, range(5))  # before any builder ever ran
    first = builders.start()
    await eventually(lambda: shows(5), what="five patterns", within_s=90)
    await detect(bench, range(5, 8))
    await eventually(lambda: shows(8), what="eight patterns")
    await eventually(fresh, what="a builder that says it is at work")

    builders.start()
    first.send_signal(signal.SIGKILL)
    await detect(bench, range(8, 10))
    await eventually(lambda: shows(10), what="ten patterns by the other builder", within_s=90)

    await bench.redis.flushall()
    lengths = set()
    deadline = asyncio.get_running_loop().time() + 20
    while (length := await seen(reader)) is None:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    lengths.add(length)
    assert lengths == {10}
    await detect(bench, range(10, 11))
    await eventually(lambda: shows(11), what="a pattern after the flush")

    await detect(bench, range(11, 12), expires_at=datetime.now(UTC) + timedelta(seconds=3))
    await eventually(lambda: shows(12), what="a pattern that lives for seconds")
    await eventually(lambda: shows(11), what="its expiry")
    pending: Any = await bench.redis.xpending("updates", "cache-builder")
    assert pending["pending"] == 0


async def test_the_command_builds_the_model_anew_without_any_builder(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    await detect(bench, range(3))
    done = await asyncio.to_thread(rollo, environment_of(settings), "cache", "rebuild", where=tmp_path)
    assert done.stdout.startswith("3 active patterns, version ")
    snapshot: Snapshot = await PatternReader(bench.redis).snapshot()
    assert len(snapshot) == 3
    assert await bench.redis.exists(*scripts.staged(snapshot.version)) == 0


def test_the_command_says_when_postgres_is_away(settings: Settings, tmp_path: Path) -> None:
    nowhere = dict(environment_of(settings)) | {"ROLLO_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = rollo(nowhere, "cache", "rebuild", where=tmp_path, code=1)
    assert done.stderr.startswith("rollo: ")
