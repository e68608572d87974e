"""Streams of a key are counted over all gateways, and those of a gateway that is gone for a while only."""

import asyncio
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from api_gateway import places
from api_gateway.places import Places
from rollotape import keys
from rollotape.settings import Settings
from support.databases import execute
from support.gateway import serve
from support.sockets import talking
from support.waiting import eventually


async def test_gateways_share_what_a_key_may_have_open(redis_client: Redis) -> None:
    one, other = Places(redis_client, 3), Places(redis_client, 3)
    assert [await one.take("k"), await other.take("k"), await one.take("k")] == [True] * 3
    assert not await one.take("k")
    assert not await other.take("k")
    assert await other.take("another")
    one.leave("k")
    await eventually(lambda: other.take("k"), what="the place that was given back")
    assert not await one.take("k")
    await one.close()
    await other.close()
    assert not await redis_client.keys(places.KEY + "*")


async def test_a_crowd_gets_as_many_places_as_there_are(redis_client: Redis) -> None:
    gateways = [Places(redis_client, 10) for _ in range(3)]
    taken = await asyncio.gather(*(gateways[n % 3].take("k") for n in range(60)))
    assert sum(taken) == 10
    for gateway in gateways:
        await gateway.close()


async def test_nobody_waits_for_a_gateway_that_is_gone(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "LASTS_S", 1.0)
    monkeypatch.setattr(places, "RENEW_S", 0.2)
    one, other = Places(redis_client, 1), Places(redis_client, 1)
    assert await one.take("k")
    begun = await _until_ms(redis_client, "k")
    while await _until_ms(redis_client, "k") < begun + 2_000:  # twice as long as it lasts unless said again
        assert await one.take("often")
        one.leave("often")  # somebody always comes or goes
        assert not await other.take("k")
        await asyncio.sleep(0.01)

    assert one._keeping
    one._keeping.cancel()  # it is killed
    await eventually(lambda: other.take("k"), what="the place of a gateway that is gone")
    await other.close()


async def _until_ms(redis: Redis, name: str) -> int:
    said: Any = await redis.hgetall(places.KEY + name)
    [one] = said.values()
    return int(one.partition(b":")[2])


async def test_without_redis_nobody_is_locked_out_and_nobody_without_a_limit() -> None:
    async with Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=0.1) as away:
        alone = Places(away, 3)
        assert [await alone.take("k") for _ in range(5)] == [True] * 3 + [False] * 2
        alone.leave("k")
        assert await alone.take("k")
        await alone.close()


async def test_both_kinds_of_streams_count_at_whatever_gateway(settings: Settings) -> None:
    made = keys.make()
    row = f"('{made.id}', 'test', 'read', '\\x{made.hash.hex()}')"
    execute(settings.database_url, f"INSERT INTO api_keys (id, name, scope, hash) VALUES {row}")
    strict = settings.model_copy(update={"auth": "on", "ws_clients_per_key": 2})
    headers = {"X-API-Key": made.text}
    with serve(strict) as one, serve(strict) as other:
        async with (
            httpx.AsyncClient(base_url=other, headers=headers) as http,
            talking(one, additional_headers=headers) as first,
        ):
            await first.hears("authenticated")
            async with http.stream("GET", "/api/patterns/stream") as events:
                assert events.status_code == 200
                async with talking(other, additional_headers=headers) as third:
                    assert (await third.hears("error"))["code"] == 406
                refused = await http.get("/api/patterns/stream")
                assert refused.status_code == 429
                assert refused.headers["retry-after"] == "1"

            async def has_room() -> bool:
                async with http.stream("GET", "/api/patterns/stream") as again:
                    return again.status_code == 200

            await eventually(has_room, what="the place of a stream that has ended")
