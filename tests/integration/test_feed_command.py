"""`rollo feed` as a process on real servers: what it sends, how it ends, and that one of a name sends."""

import asyncio
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from rollotape.embedded.server import free_port
from rollotape.events import FIELD
from rollotape.settings import Settings
from support.alpaca import KEY, SECRET, fake_alpaca, minute, minutes_before, past
from support.commands import ROLLO, Environment, environment_of, rollo
from support.live import Row, rows_of
from support.waiting import eventually
from support.yahoo import fake_yahoo

HEADER = "symbol,timestamp,open,high,low,close,volume\n"


def line(number: int) -> str:
    return f"AAPL,2026-03-04T14:{number:02}:00Z,100,102,98,{100 + number / 100},1000\n"


async def sent(redis: Redis) -> list[Row]:
    """Every bar in the streams, in the order of its symbol."""
    payloads: list[bytes] = []
    for partition in range(16):
        entries: Any = await redis.xrange(f"bars.{partition}")
        payloads += [fields[FIELD] for _, fields in entries]
    return rows_of(payloads)


async def closes(redis: Redis) -> list[float]:
    return [row["close"] for row in await sent(redis)]


class Process:
    """A feed that runs beside a test; its log is a file."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self.log = log

    def said(self, event: str) -> list[str]:
        lines = [orjson.loads(text) for text in self.log.read_bytes().splitlines() if text.startswith(b"{")]
        return [line.get("said", "") for line in lines if line["event"] == event]

    async def has_said(self, event: str) -> str:
        async def there() -> list[str]:
            assert self.process.poll() is None, self.log.read_text()
            return self.said(event)

        return (await eventually(there, what=f"{event} in {self.log}"))[-1]

    async def ends(self, number: int) -> int:
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 20)


@contextmanager
def feed(environment: Environment, folder: Path, *arguments: object) -> Iterator[Process]:
    log = folder / f"feed{len(list(folder.glob('feed*.log')))}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*ROLLO, "feed", *map(str, arguments)], env=environment, cwd=folder, stderr=errors
        )
    try:
        yield Process(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def environment(settings: Settings) -> Environment:
    return {**environment_of(settings), "ROLLO_LEASE_S": "1"}


async def test_of_two_processes_one_sends_and_the_other_takes_over(
    environment: Environment, redis_client: Redis, tmp_path: Path
) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + line(30))
    arguments = ("csv", path, "--timeframe", "1m", "--follow")
    elsewhere = {**environment, "ROLLO_DATA": str(tmp_path / "elsewhere")}
    with feed(environment, tmp_path, *arguments) as first:
        await first.has_said("feed_live")
        with feed(elsewhere, tmp_path, *arguments) as second:
            assert "another process of this feed is at work" in await second.has_said("feed_waiting")
            with path.open("a") as file:
                file.write(line(31))
            await eventually(lambda: closes(redis_client), what="a bar")
            await eventually(lambda: _is(redis_client, [100.3, 100.31]))
            assert not second.said("feed_turn")
            first.process.kill()
            await second.has_said("feed_live")
            with path.open("a") as file:
                file.write(line(32) + line(31).replace("100.31", "101.5"))
            await eventually(lambda: _has(redis_client, 101.5))
            assert await second.ends(signal.SIGTERM) == 0
            assert "bars sent" in second.said("feed_stopped")[0]
    rows = await sent(redis_client)
    winners = {row["ts"]: row["close"] for row in sorted(rows, key=lambda row: row["revision"])}
    assert winners == {
        "2026-03-04T14:30:00Z": 100.3, "2026-03-04T14:31:00Z": 101.5, "2026-03-04T14:32:00Z": 100.32,
    }  # fmt: skip


async def _is(redis: Redis, expected: list[float]) -> bool:
    return await closes(redis) == expected


async def _has(redis: Redis, close: float) -> bool:
    return close in await closes(redis)


async def test_without_follow_it_reads_what_is_there_and_ends(
    environment: Environment, redis_client: Redis, tmp_path: Path
) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + line(30) + line(31)[:-3])
    await asyncio.to_thread(rollo, environment, "feed", "csv", path, "--timeframe", "1m", where=tmp_path)
    assert await closes(redis_client) == [100.3]


async def test_minutes_of_alpaca_reach_the_streams_and_the_secret_nobody(
    environment: Environment, redis_client: Redis, tmp_path: Path
) -> None:
    secret, port = tmp_path / "secret", free_port()
    secret.write_text(f"{SECRET}\n")
    last = minutes_before(datetime.now(UTC), 3)
    async with fake_alpaca() as fake:
        told = {
            **environment, "ROLLO_ALPACA_KEY": KEY, "ROLLO_ALPACA_SECRET_FILE": str(secret),
            "ROLLO_ALPACA_STREAM_URL": fake.stream_url, "ROLLO_ALPACA_DATA_URL": fake.data_url,
            "ROLLO_OPS_PORT": str(port), "ROLLO_LOG_LEVEL": "DEBUG",
        }  # fmt: skip
        fake.keeps("1Min", "AAPL", [past(ts, 100 + i) for i, ts in enumerate(last)])
        with feed(told, tmp_path, "alpaca", "--symbols", "AAPL,ZZZZ", "--timeframe", "1m") as running:
            assert "everything that was missing" in await running.has_said("feed_live")
            assert running.said("feed_caught_up") == [
                "1m: 3 bars were missing; of 1 symbols the source has none of that time: ZZZZ"
            ]
            await fake.say(minute("AAPL", last[-1] + timedelta(minutes=1), 103.0))
            await eventually(lambda: _has(redis_client, 103.0))
            await fake.say(minute("AAPL", last[-1] + timedelta(minutes=1), 103.5, kind="u"))
            await eventually(lambda: _has(redis_client, 103.5))
            assert b'"ready":true' in await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/readyz")
            shown = (await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics")).decode()
            assert 'rollo_feed_live{feed="alpaca"} 1.0' in shown
            assert re.search(r'rollo_feed_bars_total\{feed="alpaca",outcome="sent"\} 5\.0', shown)
            assert await running.ends(signal.SIGINT) == 130
    assert [row["close"] for row in await sent(redis_client)] == [100.0, 101.0, 102.0, 103.0, 103.5]
    said = running.log.read_text()
    assert SECRET not in said
    assert "stopped: 5 bars sent" in said


def _read(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


async def test_bars_that_an_auditor_misses_are_asked_for_at_the_source(
    environment: Environment, settings: Settings, redis_client: Redis, tmp_path: Path
) -> None:
    """Of long ago, where no feed looks by itself; of one minute nothing traded."""
    ago = datetime.now(UTC).replace(hour=15, minute=0, second=0, microsecond=0) - timedelta(days=20)
    missing = [ago, ago + timedelta(minutes=5)]
    connection = await asyncpg.connect(settings.database_url)
    for ts in missing:
        await connection.execute(
            "INSERT INTO gaps (symbol, timeframe, first_ts, last_ts, bars, kind, next_ask_at)"
            " VALUES ('AAPL', '1m', $1, $1, 1, 'gap', now())",
            ts,
        )
    async with fake_alpaca() as fake:
        told = {
            **environment, "ROLLO_ALPACA_KEY": KEY, "ROLLO_ALPACA_SECRET": SECRET,
            "ROLLO_ALPACA_STREAM_URL": fake.stream_url, "ROLLO_ALPACA_DATA_URL": fake.data_url,
        }  # fmt: skip
        fake.keeps("1Min", "AAPL", [past(ago, 107.0), past(ago + timedelta(minutes=1), 108.0)])
        with feed(told, tmp_path, "alpaca", "--symbols", "AAPL", "--timeframe", "1m"):
            await eventually(lambda: _has(redis_client, 107.0))

            async def answers() -> bool:
                rows = await connection.fetch("SELECT answer, asked_of FROM gaps ORDER BY first_ts")
                return [tuple(row) for row in rows] == [("sent", "alpaca"), ("nothing", "alpaca")]

            await eventually(answers)
    await connection.close()
    assert await closes(redis_client) == [107.0]


async def test_days_of_yahoo_reach_the_streams_through_its_library(
    environment: Environment, redis_client: Redis, tmp_path: Path
) -> None:
    """Its cookies are asked for far away: of a proxy that is not there. They are not needed."""
    day = datetime(2026, 3, 3, 14, 30, tzinfo=UTC)
    async with fake_yahoo() as fake:
        fake.rows["1d", "BRK-B"] = [(day - timedelta(days=1), 100.1), (day, 100.2)]
        told = {
            **environment, "ROLLO_YAHOO_URL": fake.url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
            "HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1",
            "XDG_CACHE_HOME": str(tmp_path),
        }  # fmt: skip
        with feed(told, tmp_path, "yfinance", "--symbols", "brk-b,NOPE", "--since", "2026-03-01") as running:
            said = await running.has_said("feed_unknown_symbol")
            await running.has_said("feed_live")
            assert await running.ends(signal.SIGTERM) == 0
    assert said.startswith("NOPE: Yahoo says: No data found")
    rows = await sent(redis_client)
    assert [(row["symbol"], row["ts"], row["close"]) for row in rows] == [
        ("BRK-B", "2026-03-02T00:00:00Z", 100.1), ("BRK-B", "2026-03-03T00:00:00Z", 100.2),
    ]  # fmt: skip


async def test_a_key_that_is_rejected_ends_it_with_one_sentence(
    environment: Environment, tmp_path: Path
) -> None:
    async with fake_alpaca() as fake:
        told = {
            **environment, "ROLLO_ALPACA_KEY": KEY, "ROLLO_ALPACA_SECRET": "wrong",
            "ROLLO_ALPACA_STREAM_URL": fake.stream_url, "ROLLO_ALPACA_DATA_URL": fake.data_url,
        }  # fmt: skip
        done = await asyncio.to_thread(
            rollo, told, "feed", "alpaca", "--symbols", "AAPL", where=tmp_path, code=2
        )
    assert "402 auth failed: the key and its secret are rejected: see to ROLLO_ALPACA_KEY" in done.stderr
    assert "wrong" not in done.stderr
