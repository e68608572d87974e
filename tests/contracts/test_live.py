"""What is told live, by real workers and by a gateway over them, is what the AsyncAPI document says."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from api_gateway import hub
from detector.patterns import ApplyPatterns
from fuzz.talking import Document
from rollotape import asyncapi
from rollotape.events import FIELD
from rollotape.postgres.patterns import Patterns
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from support import told
from support.applying import ARRIVED_MS, Bench, open_bench
from support.gateway import Score, insert_scores, serve
from support.sockets import Talker, talking, tell

START = datetime(2020, 1, 6, tzinfo=UTC)
EVERYTHING: dict[str, list[str]] = {
    channel: ["*"] for channel in ("patterns", "vsa", "wyckoff", "rs", "bars")
}
WITHIN_S = 60.0


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with open_bench(settings) as opened:
        yield opened


def _bars(seed: int, restated: bool) -> list[bytes]:
    """Lively enough that events come, and go where bars are restated."""
    chance = random.Random(seed)
    found, close = [], 100.0
    for day in range(60):
        opened, swing = close, chance.choice([0.003, 0.01, 0.03])
        close = round(max(1.0, opened * chance.uniform(1 - swing, 1 + swing)), 2)
        bar = {
            "symbol": "AAPL",
            "timeframe": "1d",
            "ts": START + timedelta(days=day + 2 * (day // 5)),
            "open": opened,
            "high": round(max(opened, close) * 1.005, 2),
            "low": round(min(opened, close) * 0.995, 2),
            "close": close,
            "volume": chance.choice([500, 1000, 1600, 4000]) * (1 + 8 * restated * (day % 2)),
            "revision": int(restated),
        }
        found.append(orjson.dumps(bar))
    return found


async def _offer(bench: Bench, event: dict[str, Any]) -> None:
    """A pattern of another system, as a detector takes it in."""
    entry = Entry("patterns.0", f"{ARRIVED_MS}-{bench.sent}", {FIELD: orjson.dumps(event)})
    bench.sent += 1
    await ApplyPatterns(Patterns(bench.pool), bench.outbox).apply([entry])


async def _everything_happens(bench: Bench, settings: Settings, redis: Redis) -> None:
    await bench.apply(_bars(3, restated=False))
    await bench.apply(_bars(3, restated=True))
    pattern: dict[str, Any] = {
        "source": "test", "symbol": "AAPL", "timeframe": "1d", "pattern_type": "SPRING", "confidence": 0.8,
        "detected_at": (START + timedelta(days=40)).isoformat(),
    }  # fmt: skip
    for revision, kind in enumerate(("detected", "updated", "expired")):
        await _offer(bench, pattern | {"event": kind, "revision": revision, "rsi": 40.0 + revision})
    await insert_scores(settings.database_url, [Score("AAPL", 2, 1.5)])
    await tell(redis, [told.wyckoff(1), told.wyckoff(2, kind="status"), told.wyckoff(3, kind="range")])


def _types(talker: Talker) -> set[str]:
    return {item["data"]["type"] for item in talker.items if item["T"] in ("p", "v", "w")}


async def _listens(talker: Talker, kinds: set[str], types: set[str]) -> None:
    """Until items of all these kinds were told, and facts of all these types."""
    while not (kinds <= {item["T"] for item in talker.items} and types <= _types(talker)):
        await talker.next()


async def test_every_message_over_websocket_is_what_the_document_says(
    settings: Settings, bench: Bench, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.5)
    document = Document()
    kinds = {"welcome", "authenticated", "subscription", "p", "v", "w", "b", "r", "gap", "here", "error"}
    types = {
        "pattern.detected", "pattern.updated", "pattern.expired", "vsa.detected", "vsa.retracted",
        "wyckoff.detected", "wyckoff.status", "wyckoff.range",
    }  # fmt: skip
    with serve(settings) as url:
        async with talking(url) as talker:
            await talker.subscribe(**EVERYTHING)
            await _everything_happens(bench, settings, redis_client)
            await asyncio.wait_for(_listens(talker, set(), types), WITHIN_S)
            await talker.say(action="nothing")
            await talker.say(action="subscribe", since="0" * 32 + "-1-0")  # passes over what comes
            await asyncio.wait_for(_listens(talker, kinds, types), WITHIN_S)

    for item in talker.items:
        document.told.validate([item])


async def test_every_event_that_is_sent_is_what_the_document_says(
    settings: Settings, bench: Bench, redis_client: Redis
) -> None:
    document = Document()
    with serve(settings) as url:
        async with (
            httpx.AsyncClient(timeout=WITHIN_S) as client,
            client.stream(
                "GET", f"{url}/api/patterns/stream", headers={"Host": "g", "Last-Event-ID": "nowhere"}
            ) as answer,
        ):
            text = ""
            async for part in answer.aiter_text():
                if not text:
                    await _everything_happens(bench, settings, redis_client)
                text += part
                if "event: pattern.expired" in text and text.endswith("\n\n"):
                    break

    retry, *events = text.strip().split("\n\n")
    assert retry == "retry: 1000"
    heard = [dict(line.partition(": ")[::2] for line in e.splitlines()) for e in events]
    told_of = [said for said in heard if "data" in said]
    assert {said["event"] for said in told_of} >= {"gap", "pattern.detected", "pattern.updated"}
    for said in told_of:
        data = orjson.loads(said["data"])
        document.event.validate(data)
        assert said["event"] == data["type"]


async def test_every_message_on_a_stream_is_what_the_document_says(
    settings: Settings, bench: Bench, redis_client: Redis
) -> None:
    said = orjson.loads(orjson.dumps(asyncapi.document()))
    await _everything_happens(bench, settings, redis_client)

    seen = set()
    for name in ("updates", "sessions"):
        channel = said["channels"][name]
        models = [m.rpartition("/")[2] for m in (v["$ref"] for v in channel["messages"].values())]
        validator = Document().of(*models)
        for message in await bench.said(name):
            validator.validate(message)
            seen.add(message.get("type", name))
    assert {"vsa.detected", "vsa.retracted", "pattern.detected", "pattern.expired", "sessions"} <= seen
