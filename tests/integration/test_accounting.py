"""Acknowledged rows are all somewhere: while detectors are killed, and not when the database forgot some."""

import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from rollotape import calendars
from rollotape.accounting import FOUND, Accounts
from rollotape.errors import Unavailable
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from rollotape.streams.partitions import partition_of, stream_name
from rollotape.streams.producer import Producer
from support.commands import environment_of, started
from support.waiting import eventually

DETECTOR = [sys.executable, "-m", "detector"]
FIRST = datetime(2020, 1, 6, tzinfo=UTC)
KINDS = ("bars", "patterns", "signals")
STREAMS = [f"{kind}.{n}" for kind in KINDS for n in range(16)]
Message = tuple[str, bytes]


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator["asyncpg.Pool[Any]"]:
    async with await open_pool(settings, service="test", raw_times=True) as opened:
        yield opened


@pytest.fixture
def detectors(settings: Settings, tmp_path: Path) -> Iterator["Detectors"]:
    with ExitStack() as running:
        yield Detectors(settings, tmp_path, running)


class Detectors:
    """Processes that end with the test."""

    def __init__(self, settings: Settings, where: Path, running: ExitStack) -> None:
        quick = {"ROLLO_LEASE_S": "1", "ROLLO_CLAIM_MS": "500", "ROLLO_BATCH_ENTRIES": "50"}
        self._environment = dict(environment_of(settings)) | quick
        self._where, self._running = where, running

    def start(self) -> Any:
        return self._running.enter_context(started(self._environment, *DETECTOR, where=self._where))


def bar(symbol: str, day: int, **more: Any) -> Message:
    ts = (FIRST + timedelta(days=day)).isoformat()
    said = {
        "symbol": symbol,
        "timeframe": "1d",
        "ts": ts,
        "open": 10,
        "high": 12,
        "low": 9,
        "close": 11,
        "volume": 5,
    }
    return _message("bars", symbol, said | more)


def frame(symbol: str, days: Sequence[int]) -> Message:
    column = {name: [value] * len(days) for name, value in
              {"open": 10, "high": 12, "low": 9, "close": 11.5, "volume": 7}.items()}  # fmt: skip
    ts = [(FIRST + timedelta(days=day)).isoformat() for day in days]
    said = {"timeframe": "1d", "frame": {"symbol": [symbol] * len(days), "ts": ts, **column}}
    return _message("bars", symbol, said)


def pattern(number: int, revision: int = 0) -> Message:
    said = {"event": "detected", "source": "test", "revision": revision, "symbol": "AAPL", "timeframe": "1d",
            "pattern_type": f"P{number}", "confidence": 0.5, "detected_at": FIRST.isoformat()}  # fmt: skip
    return _message("patterns", "AAPL", said)


def signal_of(number: int) -> Message:
    said = {"event": "opened", "source": "test", "symbol": "AAPL", "timeframe": "1d", "direction": "long",
            "generated_at": (FIRST + timedelta(minutes=number)).isoformat(), "stop": 9.0}  # fmt: skip
    return _message("signals", "AAPL", said)


def _message(kind: str, symbol: str, said: dict[str, Any]) -> Message:
    return stream_name(kind, partition_of(symbol, 16)), orjson.dumps(said)


async def drained(redis: Redis) -> bool:
    """Whether everything that is there was acknowledged."""
    for stream in STREAMS:
        if not await redis.exists(stream):
            continue
        groups: Any = await redis.xinfo_groups(stream)
        if not groups or groups[0]["pending"] or groups[0]["lag"] != 0:
            return False
    return True


async def everything(accounts: Accounts) -> Counter[str]:
    """Turn until nothing is new."""
    total: Counter[str] = Counter()
    for _ in range(30):
        total += await accounts.turn()
    return total


def accounts_of(pool: "asyncpg.Pool[Any]", redis: Redis) -> Accounts:
    return Accounts(pool, redis, 16, calendars.sessions, chance=random.Random(8))


def counted(kind: str) -> dict[str, float]:
    return {
        found: REGISTRY.get_sample_value("rollo_accounting_rows_total", {"kind": kind, "found": found}) or 0
        for found in FOUND
    }


async def test_the_input_is_accounted_for_at_every_moment_while_detectors_are_killed(
    pool: "asyncpg.Pool[Any]", redis_client: Redis, detectors: Detectors
) -> None:
    chance, producer, accounts = random.Random(7), Producer(redis_client), accounts_of(pool, redis_client)
    names = [f"S{n}" for n in range(40)]
    running = [detectors.start(), detectors.start()]
    looked_at: Counter[str] = Counter()
    sent = 0
    for turn in range(4):
        messages = [
            bar(chance.choice(names), day) for day in range(turn * 30, turn * 30 + 60) for _ in range(5)
        ]
        await producer.send_many(messages)
        sent += len(messages)

        async def some_are_applied(before: int = looked_at["applied"]) -> bool:
            looked_at.update(found := await accounts.turn())
            assert not found["missing"]
            return looked_at["applied"] > before

        await eventually(some_are_applied, within_s=60, what="bars that were applied")
        running.pop(0).send_signal(signal.SIGKILL)
        running.append(detectors.start())
    await eventually(lambda: drained(redis_client), within_s=90, what="everything acknowledged")
    looked_at += await everything(accounts)
    assert looked_at["missing"] == 0
    assert looked_at.total() == looked_at["applied"] > sent / 2, "a sample, or all of it"


async def test_every_row_is_found_where_it_must_be_and_one_that_is_nowhere_is_missed(
    pool: "asyncpg.Pool[Any]", redis_client: Redis, detectors: Detectors
) -> None:
    accounts = accounts_of(pool, redis_client)
    before = {kind: counted(kind) for kind in KINDS}
    await Producer(redis_client).send_many(
        [
            bar("AAPL", 0), bar("AAPL", 0),
            bar("AAPL", 1, revision=2), bar("AAPL", 1, revision=1),
            bar("AAPL", 2, final=False),
            bar("AAPL", 3, close=-1), (stream_name("bars", 3), b"nothing"),
            frame("MSFT", [0, 1, 2, 3]),
            pattern(1), pattern(1, revision=3), pattern(2), (stream_name("patterns", 5), b"{}"),
            signal_of(1), (stream_name("signals", 5), b"[]"),
        ]
    )  # fmt: skip
    detectors.start()
    await eventually(lambda: drained(redis_client), within_s=60, what="everything acknowledged")
    await accounts.turn()
    assert {kind: _since(before[kind], counted(kind)) for kind in KINDS} == {
        "bars": {"applied": 7, "superseded": 1, "running": 1, "dead": 2},
        "patterns": {"applied": 2, "superseded": 1, "dead": 1},
        "signals": {"applied": 1, "dead": 1},
    }

    # As a database that was restored from an older backup, and one entry that is kept because of a bug.
    await pool.execute("DELETE FROM bars WHERE symbol = 'MSFT' AND ts > $1", _us(FIRST + timedelta(days=1)))
    await pool.execute("UPDATE bars SET revision = 1 WHERE symbol = 'AAPL' AND revision = 2")
    await pool.execute("DELETE FROM patterns WHERE pattern_type = 'P2'")
    again = accounts_of(pool, redis_client)
    before = {kind: counted(kind) for kind in KINDS}
    found = await again.turn()
    assert found["missing"] == 4
    assert _since(before["bars"], counted("bars"))["missing"] == 3
    assert _since(before["patterns"], counted("patterns"))["missing"] == 1

    stream, payload = bar("AAPL", 1, revision=2)
    entries: Any = await redis_client.xrange(stream)
    [entry] = [i for i, fields in entries if fields[b"json"] == payload]
    await pool.execute(
        "INSERT INTO dead_letters (stream, entry_id, row, sha256, service, fields, reasons, payload,"
        " arrived_at) VALUES ($1, $2, 0, sha256($3), 'detector', '{defect}', '{bug}', $3, now())",
        stream, entry.decode(), payload,
    )  # fmt: skip
    assert (await accounts_of(pool, redis_client).turn())["missing"] == 3


async def test_what_is_not_acknowledged_is_not_looked_for(
    pool: "asyncpg.Pool[Any]", redis_client: Redis
) -> None:
    accounts = accounts_of(pool, redis_client)
    [stream, _] = bar("AAPL", 0)
    assert not await accounts.turn(), "there are no streams"
    await Producer(redis_client).send_many([bar("AAPL", day) for day in range(4)])
    assert not await accounts.turn(), "nobody has ever read"
    await redis_client.xgroup_create(stream, "detector", id="0")
    assert not await accounts.turn(), "nothing was read"
    read: Any = await redis_client.xreadgroup("detector", "one", {stream: ">"}, count=3)
    [[_, entries]] = read
    assert not await accounts.turn(), "nothing was finished"
    await redis_client.xack(stream, "detector", entries[1][0])
    assert not await accounts.turn(), "the first is pending"
    await redis_client.xack(stream, "detector", entries[0][0])
    assert (await accounts.turn())["missing"] == 2, "acknowledged by somebody who applied nothing"


async def test_an_outage_is_one_and_no_row_is_missing(pool: "asyncpg.Pool[Any]", redis_client: Redis) -> None:
    async with Redis.from_url("redis://127.0.0.1:1", retry=None) as nobody:
        with pytest.raises(Unavailable):
            await accounts_of(pool, nobody).turn()


def _since(before: dict[str, float], now: dict[str, float]) -> dict[str, int]:
    return {found: int(now[found] - before[found]) for found in FOUND if now[found] != before[found]}


def _us(when: datetime) -> int:
    return int(when.timestamp()) * 1_000_000
