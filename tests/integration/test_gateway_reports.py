"""Summaries, health, performance and the dashboard over HTTP: measured values only, unknown is null."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from api_gateway.app import create_app
from rollotape.settings import Settings
from support.gateway import Setup, build_model, insert_patterns


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async for opened in _client(settings):
        yield opened


async def _client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


async def _get(client: httpx.AsyncClient, path: str, status: int = 200) -> Any:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def _refused(client: httpx.AsyncClient, path: str) -> list[str]:
    said = await _get(client, path, 422)
    return [error["field"] for error in said["errors"]]


async def _stored(settings: Settings, *setups: Setup) -> None:
    await insert_patterns(settings.database_url, setups)
    await build_model(settings)


# ---- patterns/summary


def _recent() -> tuple[Setup, ...]:
    now = datetime.now(UTC)
    return (
        Setup(1, confidence=0.8, detected_at=now - timedelta(hours=1)),
        Setup(2, symbol="XOM", confidence=0.3, detected_at=now - timedelta(days=3)),
        Setup(3, symbol="XOM", pattern_type="UTAD", side="distribution", phase=None, timeframe="1h"),
        Setup(4, symbol="ZZZ", side=None, expires_at=now + timedelta(days=1)),
        Setup(5, symbol="ZZZ", expires_at=now - timedelta(days=1)),
    )


async def test_a_summary_is_of_all_that_is_active_whatever_its_confidence(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, *_recent())

    said = await _get(client, "/api/patterns/summary")

    assert (said["total"], said["symbols"], said["stale"]) == (4, 3, False)
    assert said["by"] == {
        "pattern_type": [{"name": "SPRING", "count": 3}, {"name": "UTAD", "count": 1}],
        "phase": [{"name": "C", "count": 3}, {"name": None, "count": 1}],
        "sector": [
            {"name": "Energy", "count": 2},
            {"name": "Information Technology", "count": 1},
            {"name": None, "count": 1},
        ],
        "side": [
            {"name": "accumulation", "count": 2},
            {"name": "distribution", "count": 1},
            {"name": None, "count": 1},
        ],
        "timeframe": [{"name": "1d", "count": 3}, {"name": "1h", "count": 1}],
    }
    assert said["top_symbols"][0] == {"name": "XOM", "count": 2}
    assert said["high_confidence"] == {"at_least": 0.8, "count": 4 - 1}
    assert (said["new"]["window"], said["new"]["count"]) == ("24h", 1)
    scan = await _get(client, "/api/patterns/scan?confidence_min=0")
    assert scan["pagination"]["total"] == said["total"]


NEW = {"30m": 0, "2h": 1, "1d": 1, "7d": 2, "3650d": 4}


async def test_the_window_of_a_summary_says_what_is_new(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, *_recent())
    found = {
        window: (await _get(client, f"/api/v1/patterns/summary?window={window}"))["new"]["count"]
        for window in NEW
    }
    assert found == NEW


async def test_a_summary_as_csv_has_every_count(client: httpx.AsyncClient, settings: Settings) -> None:
    await _stored(settings, *_recent())
    answer = await client.get("/api/patterns/summary?top=1", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {"group": "phase", "name": "", "count": "1"} in rows
    assert [r["count"] for r in rows if r["group"] in ("total", "new", "high_confidence")] == ["4", "3", "1"]
    assert [r["name"] for r in rows if r["group"] == "top_symbols"] == ["XOM"]


async def test_a_summary_that_has_not_changed_is_304(client: httpx.AsyncClient, settings: Settings) -> None:
    await _stored(settings, Setup(1))
    first = await client.get("/api/patterns/summary?window=3650d")
    assert first.headers["cache-control"] == "private, max-age=30"
    for _ in range(3):  # a minute may end in between, once
        again = await client.get(
            "/api/patterns/summary?window=3650d", headers={"If-None-Match": first.headers["etag"]}
        )
        if again.status_code == 304:
            break
        first = again
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("query", "field"),
    [("window=1w", "window"), ("window=0h", "window"), ("top=0", "top"), ("top=101", "top"), ("x=1", "x")],
)
async def test_a_summary_refuses_by_name(client: httpx.AsyncClient, query: str, field: str) -> None:
    assert await _refused(client, f"/api/patterns/summary?{query}") == [field]


async def test_without_a_read_model_a_summary_is_503(client: httpx.AsyncClient, redis_client: Redis) -> None:
    answer = await client.get("/api/patterns/summary")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    await redis_client.flushall()
