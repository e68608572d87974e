"""docs/client.md and its example, run as they are against a gateway over a small market."""

import asyncio
import doctest
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
import structlog

from rollotape.events import FIELD
from rollotape.settings import Settings
from support import documents
from support.closed_trades import Trade, insert_trades, roll_up
from support.databases import execute, fetch
from support.gateway import (
    Score,
    Setup,
    build_model,
    day,
    insert_days,
    insert_patterns,
    insert_scores,
    serve,
)

PAGE = documents.ROOT / "docs" / "client.md"
EXAMPLE = documents.ROOT / "docs" / "examples" / "leaders.py"
URL = "http://127.0.0.1:8080"
SECTORS = {"AAPL": "Information Technology", "MSFT": "Information Technology", "XOM": "Energy"}


@pytest.fixture
def market(settings: Settings) -> Iterator[str]:
    """The URL of a gateway; a life of one pattern is on its stream."""
    values = ", ".join(f"('{symbol}', '{sector}', 'stock')" for symbol, sector in SECTORS.items())
    execute(
        settings.database_url,
        f"DELETE FROM sectors; INSERT INTO sectors (symbol, sector, kind) VALUES {values}",
    )
    asyncio.run(_fill(settings))
    _tell(settings.redis_url)
    with serve(settings) as url:
        yield url


async def _fill(settings: Settings) -> None:
    database_url = settings.database_url
    for symbol, days in {"AAPL": 250, "MSFT": 3, "XOM": 3}.items():
        await insert_days(database_url, symbol, days)
    scores = {"XOM": 1.0, "AAPL": 2.0, "MSFT": 3.0}
    await insert_scores(database_url, [Score(symbol, 2, score) for symbol, score in scores.items()])
    await insert_patterns(
        database_url,
        [
            Setup(1, "AAPL", detected_at=day(5)),
            Setup(2, "MSFT", pattern_type="SOS", phase="D", confidence=0.9, detected_at=day(10)),
            Setup(3, "AAPL", pattern_type="LPS", phase="D", confidence=0.7, detected_at=day(15)),
            Setup(4, "XOM", confidence=0.6, detected_at=day(20)),
        ],
    )
    springs = [Trade(n, r, pattern=1) for n, r in enumerate((2.0, 2.0, 2.0, -1.0, -1.0, -1.0), 1)]
    strengths = [Trade(n, r, pattern_type="SOS") for n, r in enumerate((2.0, 2.0, 2.0, -1.0), 11)]
    await insert_trades(database_url, [*springs, *strengths])
    await roll_up(settings)
    await build_model(settings)


def _tell(redis_url: str) -> None:
    """A repeat is among them, as after a crash."""
    with redis.Redis.from_url(redis_url) as client:
        for kind, version in (("detected", 1), ("updated", 2), ("detected", 1), ("expired", 3)):
            client.xadd("updates", {FIELD: orjson.dumps(_fact(kind, version))})


def _fact(kind: str, version: int) -> dict[str, Any]:
    pattern = {
        "id": "00000000-0000-0000-0000-000000000001", "source": "test", "symbol": "AAPL", "timeframe": "1d",
        "pattern_type": "SPRING", "confidence": 0.8, "detected_at": datetime(2024, 1, 6, tzinfo=UTC),
        "expires_at": datetime(2100, 1, 1, tzinfo=UTC), "vsa_events": None, "vsa_events_classic": None,
        "status": "expired" if kind == "expired" else "active",
        "preliminary_events": None, "preliminary_events_in_range": None,
    }  # fmt: skip
    said = {"version": 1, "type": f"pattern.{kind}", "id": pattern["id"], "fact_version": version}
    return said | {"pattern": pattern}


def _start(settings: Settings) -> str:
    """The place before everything that was told."""
    [[epoch]] = fetch(settings.database_url, "SELECT epoch FROM installation")
    return f"{epoch.hex}-0-0"


def test_the_page_prints_what_it_shows(
    market: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("last-id").write_text(_start(settings), "utf-8")
    blocks = [block for block in documents.blocks(PAGE) if block.language == "python"]
    text = "\n".join("\n".join(block.lines) for block in blocks).replace(URL, market)
    page = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    told: list[str] = []

    with structlog.testing.capture_logs():  # the gateway's own words are no output of the page
        result = doctest.DocTestRunner(verbose=False).run(page, out=told.append)

    assert result.failed == 0, "".join(told)
    assert result.attempted > 20
    assert Path("last-id").read_text("utf-8") != _start(settings)


def test_the_example_shows_what_is_there_and_goes_on_where_it_ended(
    market: str, settings: Settings, tmp_path: Path
) -> None:
    kept = tmp_path / "last-id"
    kept.write_text(_start(settings), "utf-8")

    first = _run(market, kept, "--rs", "2", "--most", "2")
    second = _run(market, kept, "--rs", "2", "--most", "1")

    now = ["now MSFT SOS 0.90", "now AAPL SPRING 0.80", "now AAPL LPS 0.70"]
    assert first == [*now, "detected AAPL SPRING 0.80", "updated AAPL SPRING 0.80"]
    assert second == [*now, "detected AAPL SPRING 0.80"]  # a repeat to the first run is news to this one


def _run(url: str, kept: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-P", str(EXAMPLE), "--url", url, "--last-id", str(kept), *arguments]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [" ".join(line.split()) for line in done.stdout.splitlines()]
