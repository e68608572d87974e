"""What is read from bars in whatever way they came, and what is said when they take it back, end to end."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from redis.asyncio import Redis

from rollotape.domain.bars import NUMBERS, Rows
from rollotape.domain.wyckoff.facts import Pattern
from rollotape.domain.wyckoff.rules import CURRENT
from rollotape.embedded import Children, Urls
from rollotape.events import FIELD
from rollotape.settings import Settings
from support import calm, databases, feeds, scans
from support.commands import environment_of, rollo
from support.feeds import Bar
from support.folders import open_folder
from support.stack import Crew, Stack
from support.workers import programs
from support.wyckoff import drawn, fold

DRAIN_S = 60.0
DAYS = 400
SPRING_SEED, UPTHRUST_SEED = 10, 0
"""Simulated symbols with a whole accumulation, and with a whole distribution."""
TABLES = ("wyckoff_events", "patterns", "signals")


@pytest.fixture
async def stack(servers: Urls, redis_url: str, template: str) -> AsyncIterator[Stack]:
    with (
        open_folder() as folder,
        Children(folder / "children.json") as children,
        databases.copy_of(template, servers.database_url) as url,
    ):
        stack = Stack(lambda: servers, url.rpartition("/")[2], folder)
        async with stack.running(programs(children), Crew(2, 0, 1)):
            yield stack


def bars(symbol: str, rows: Rows) -> list[Bar]:
    """Rows as their sender says them."""
    return [Bar(symbol, "1d", int(r["ts"]) // 1_000_000, *map(float, (r[n] for n in NUMBERS))) for r in rows]  # type: ignore[arg-type]


async def said(redis_url: str) -> dict[str, dict[str, Any]]:
    """Of everything on the update stream the newest fact of each id."""
    newest: dict[str, dict[str, Any]] = {}
    async with Redis.from_url(redis_url) as client:
        entries: Any = await client.xrange("updates")
    for _, fields in entries:
        fact = orjson.loads(fields[FIELD])
        if fact["fact_version"] >= newest.get(fact["id"], fact)["fact_version"]:
            newest[fact["id"]] = fact
    return newest


async def _is_shown(stack: Stack, pattern_id: str) -> bool:
    return pattern_id in {item["id"] for item in await scans.shown(stack.redis_url)}


async def test_a_restated_bar_that_removes_a_spring_retracts_its_pattern_and_its_trade_on_the_update_stream(
    stack: Stack,
) -> None:
    """While both are shown as active and open."""
    rows = drawn(SPRING_SEED, DAYS)
    spring = next(f for f in fold(rows, CURRENT) if isinstance(f, Pattern) and f.kind == "SPRING")
    sent = bars("MADE", rows[: int(np.searchsorted(rows["ts"], spring.confirmed_ts)) + 4])
    stack.listener.start()
    await stack.send(feeds.singles(sent))
    await stack.drain(DRAIN_S)

    before = await said(stack.redis_url)
    [pattern] = [f for f in before.values() if f.get("pattern", {}).get("pattern_type") == "SPRING"]
    [trade] = [f for f in before.values() if f.get("signal", {}).get("pattern_id") == pattern["id"]]
    [event] = [f for f in before.values() if f.get("event", {}).get("kind") == "SPRING"]
    assert (pattern["type"], event["type"]) == ("pattern.detected", "wyckoff.detected")
    assert (trade["signal"]["origin"], trade["signal"]["status"]) == ("paper", "OPEN")
    assert await _is_shown(stack, pattern["id"])

    [low] = [bar for bar in sent if bar.ts == spring.event_ts // 1_000_000]
    assert low.open and low.close
    restated = low._replace(low=min(low.open, low.close), revision=1)
    await stack.send(feeds.singles([restated]))
    await stack.drain(DRAIN_S)

    after = await said(stack.redis_url)
    retracted = [after[f["id"]] for f in (pattern, trade, event)]
    assert [f["type"] for f in retracted] == ["pattern.retracted", "signal.retracted", "wyckoff.retracted"]
    assert min(f["fact_version"] for f in retracted) > max(f["fact_version"] for f in (pattern, trade, event))
    assert (retracted[0]["pattern"], retracted[1]["signal"]) == (pattern["pattern"], trade["signal"])
    assert not await _is_shown(stack, pattern["id"])
    await stack.judge(feeds.expected([*sent, restated]))


async def test_one_import_of_everything_and_one_bar_at_a_time_export_the_same_bytes(
    stack: Stack, template: str, servers: Urls, tmp_path: Path
) -> None:
    """Of the import command, through streams and two detectors; of bars that are committed and read alone."""
    history = [*bars("SPRUNG", drawn(SPRING_SEED, DAYS)), *bars("THRUST", drawn(UPTHRUST_SEED, DAYS))]
    settings = Settings(redis_url=stack.redis_url, database_url=stack.database_url)
    file = tmp_path / "bars.csv"
    file.write_text("symbol,date,open,high,low,close,volume\n" + "".join(map(_line, history)), "utf-8")
    rollo(environment_of(settings), "import", file, where=tmp_path)
    await stack.drain(DRAIN_S)
    imported = {t: rollo(environment_of(settings), "export", t, where=tmp_path).stdout for t in TABLES}

    with databases.copy_of(template, servers.database_url) as url:
        await calm.one_at_a_time(url, feeds.singles(sorted(history, key=lambda b: (b.ts, b.symbol))))
        assert await calm.exports(url, TABLES) == imported
    assert _kinds(imported["patterns"]) >= {"SPRING", "SOS", "LPS", "UTAD", "SOW", "LPSY"}
    assert imported["signals"].count("CLOSED") > 2


def _line(bar: Bar) -> str:
    numbers: Sequence[float | None] = bar[3:8]
    day = datetime.fromtimestamp(bar.ts, UTC).date()
    return f"{bar.symbol},{day},{','.join(map(repr, numbers))}\n"


def _kinds(patterns: str) -> set[str]:
    return {line.split(",")[4] for line in patterns.splitlines()[1:]}
