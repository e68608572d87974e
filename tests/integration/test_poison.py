"""Inputs that can never be applied: each becomes one dead letter, and costs nobody else anything."""

import re
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from rollotape.embedded import Children, Urls
from support import databases, feeds
from support.feeds import Bar, expected, singles
from support.folders import open_folder
from support.stack import Crew, Stack
from support.workers import Starter, forks, programs

SYMBOL = "GOOD"
PARTITION = zlib.crc32(SYMBOL.encode()) % feeds.PARTITIONS
STREAM = f"bars.{PARTITION}"
"""Poison and its neighbours share one stream, and so their batches."""

SOUND: dict[str, Any] = {
    "version": 1,
    "symbol": SYMBOL,
    "timeframe": "1d",
    "ts": "2019-05-06T00:00:00Z",
    "open": 10.0,
    "high": 11.0,
    "low": 9.0,
    "close": 10.5,
    "volume": 1000.0,
}


def but(**changes: Any) -> bytes:
    return orjson.dumps(SOUND | changes)


def raw(name: str, value: bytes) -> bytes:
    """The sound bar with a value that no JSON library would write."""
    return but(**{name: "HERE"}).replace(b'"HERE"', value)


POISON: dict[str, tuple[bytes | None, str, str]] = {
    "not JSON": (b"bar,1d,2019", "json", "not JSON"),
    "truncated": (but()[:-20], "json", "not JSON"),
    "null": (b"null", "json", "must be one object"),
    "list": (b"[" + but() + b"]", "json", "must be one object, got a list"),
    "invalid UTF-8": (but().replace(b"GOOD", b"GO\xff\xfe"), "json", "not JSON"),
    "NUL": (but().replace(b"GOOD", b"GO\0D"), "json", "not JSON"),
    "NaN": (raw("open", b"NaN"), "open", "number"),
    "1e99": (raw("high", b"1e99"), "high", "below 1e\\+08"),
    "huge integer": (raw("volume", b"9" * 5_000), "volume", ""),
    "deep nesting": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "json", "not JSON"),
    "missing field": (orjson.dumps({k: v for k, v in SOUND.items() if k != "close"}), "close", "missing"),
    "wrong type": (but(open="10.0"), "open", "number"),
    "unknown version": (but(version=2), "version", "1"),
    "negative price": (but(low=-9.0), "low", "above 0"),
    "high < low": (but(high=8.0), "high", "must not be below low"),
    "far future": (but(ts="2199-05-06T00:00:00Z"), "ts", "must have ended"),
    "off-grid time": (but(ts="2019-05-06T00:01:00Z"), "ts", "grid"),
    "5 kB symbol": (but(symbol="A" * 5_000), "symbol", "1 to 20 characters"),
    "1 MB payload": (but(symbol="A" * 1_000_000), "json", "at most"),
    "no field": (None, "json", "no field named json"),
}
assert len(POISON) == 20


@pytest.fixture
async def stack(servers: Urls, redis_url: str, template: str) -> AsyncIterator[Stack]:
    with open_folder() as folder, databases.copy_of(template, servers.database_url) as url:
        yield Stack(lambda: servers, url.rpartition("/")[2], folder)


@pytest.fixture
def program(data_dir: Path) -> Iterator[Starter]:
    with Children(data_dir / "children.json") as children:
        yield programs(children)


@pytest.fixture(scope="module")
def neighbours() -> list[Bar]:
    return [bar._replace(symbol=SYMBOL) for bar in feeds.made_up(4, symbols=1, days=220)]


async def test_each_kind_of_poison_becomes_one_dead_letter_and_its_neighbours_are_applied(
    stack: Stack, program: Starter, neighbours: list[Bar]
) -> None:
    good = singles(neighbours)
    before, between, after = good[:60], good[60:160], good[160:]
    places: dict[str, str] = {}
    stack.listener.start()
    async with stack.running(program, Crew(1), batch_entries=40):
        await stack.send(before)
        for n, (kind, (payload, _, _)) in enumerate(POISON.items()):
            await stack.send(between[n * 5 : n * 5 + 5])
            places[kind] = await stack.plant(STREAM, payload)
        await stack.drain(60)
        [worker] = stack.workers
        assert worker.ended() is None
        await stack.send(after)
        await stack.drain(60)
        await stack.stop()
        await stack.judge(expected(neighbours))

    letters = await _letters(stack)
    assert sorted(letters) == sorted(places.values())
    for kind, (payload, field, reason) in POISON.items():
        letter = letters[places[kind]]
        assert letter["stream"] == STREAM
        assert bytes(letter["payload"]) == (payload or b""), kind
        told: dict[str, str] = {}
        for name, why in zip(letter["fields"], letter["reasons"], strict=True):
            told[name] = f"{told.get(name, '')}; {why}"  # one field may break several rules
        assert re.search(reason, told.get(field, "-")), (kind, told)


async def test_a_bar_that_meets_a_bug_is_buried_as_a_defect_and_its_neighbours_are_applied(
    stack: Stack, neighbours: list[Bar]
) -> None:
    good = singles(neighbours)
    bar = singles([neighbours[0]._replace(symbol="THIRTEEN")])[0][1]
    stack.listener.start()
    async with stack.running(forks("fails_on_thirteen"), Crew(1), batch_entries=40):
        await stack.send(good[:100])
        place = await stack.plant(STREAM, bar)
        await stack.send(good[100:])
        await stack.drain(60)
        await stack.stop()

    assert (await stack.exports("bars"))["bars"] == expected(neighbours).bars
    [(entry_id, letter)] = (await _letters(stack)).items()
    assert (entry_id, bytes(letter["payload"])) == (place, bar)
    assert (letter["fields"], letter["reasons"]) == (["defect"], ["ZeroDivisionError: thirteen"])


async def _letters(stack: Stack) -> "dict[str, asyncpg.Record]":
    connection = await asyncpg.connect(stack.database_url)
    try:
        rows = await connection.fetch("SELECT * FROM dead_letters")
    finally:
        await connection.close()
    assert len({r["entry_id"] for r in rows}) == len(rows), "two dead letters of one entry"
    return {r["entry_id"]: r for r in rows}
