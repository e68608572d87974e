"""The bridge between real Redis channels and streams."""

import asyncio
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from rollotape.events import FIELD, BacktestProgress, BacktestResult, SystemHealth
from rollotape.producers.bridge import CHANNELS, PATTERNS, Bridge
from rollotape.streams.partitions import partition_of
from rollotape.streams.producer import Producer
from support.waiting import eventually

PROGRESS, RESULTS, HEALTH = CHANNELS[1:]


async def entries(redis: Redis, stream: str) -> list[bytes]:
    found: Any = await redis.xrange(stream)
    return [fields[FIELD] for _, fields in found]


@pytest.fixture
def bridge(redis_client: Redis) -> Bridge:
    return Bridge(redis_client, Producer(redis_client), partitions=16)


async def test_what_is_published_reaches_the_streams(redis_client: Redis, bridge: Bridge) -> None:
    listening = asyncio.Event()
    running = asyncio.create_task(bridge.run(listening=listening.set))
    await asyncio.wait_for(listening.wait(), 60)
    pattern = orjson.dumps({"data": {"symbol": "aapl", "pattern": "Bull_Flag"}})
    await redis_client.publish(PATTERNS, pattern)
    stream = f"patterns.{partition_of('AAPL', 16)}"
    assert await eventually(lambda: entries(redis_client, stream)) == [pattern]
    while not running.done():  # redis-py loses a cancellation now and then
        running.cancel()
        await asyncio.wait({running}, timeout=0.2)


@pytest.mark.parametrize("payload", [b"", b"no json", b"[]", b"null", b'{"data": 1}', b'{"symbol": 5}'])
async def test_what_is_no_pattern_is_sent_on_to_be_judged(
    redis_client: Redis, bridge: Bridge, payload: bytes
) -> None:
    await bridge.pass_on(PATTERNS, payload)
    streams = [f"patterns.{p}" for p in range(16)]
    assert [e for s in streams for e in await entries(redis_client, s)] == [payload]


async def test_backtests_and_health_become_facts_with_an_id_of_their_own(
    redis_client: Redis, bridge: Bridge
) -> None:
    progress = {"job_id": "j1", "progress": 0.5, "current_symbol": "AAPL", "unknown": 1}
    await bridge.pass_on(PROGRESS, orjson.dumps({"data": progress}))
    await bridge.pass_on(RESULTS, orjson.dumps({"job_id": "j1", "status": "done", "results": {"trades": 3}}))
    await bridge.pass_on(HEALTH, orjson.dumps({"status": "healthy", "component": "scanner"}))
    await bridge.pass_on(HEALTH, orjson.dumps({"status": "healthy", "component": "scanner"}))
    first, second, third, again = await entries(redis_client, "updates")
    assert BacktestProgress.model_validate_json(first).progress == 0.5
    assert BacktestResult.model_validate_json(second).results == {"trades": 3}
    assert SystemHealth.model_validate_json(third).component == "scanner"
    assert third == again


async def test_what_cannot_be_passed_on_is_counted(redis_client: Redis, bridge: Bridge) -> None:
    for payload in (b"x", b"{}", b"[]", orjson.dumps({"job_id": "j", "progress": -1})):
        await bridge.pass_on(PROGRESS, payload)
    assert bridge.refused[PROGRESS] == 4
    assert await entries(redis_client, "updates") == []
