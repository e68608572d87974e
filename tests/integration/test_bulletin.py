"""What gateways tell of the health of the whole: once for all, and to whoever wants to hear it."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from api_gateway.bulletin import Bulletin
from api_gateway.components import Component, Status
from rollotape.errors import Unavailable
from rollotape.events import FIELD, SystemHealth
from rollotape.settings import Settings
from support.gateway import serve
from support.sockets import talking


class System:
    """Parts that stand as a test says."""

    def __init__(self) -> None:
        self.parts: dict[str, Status] = {"detector": "healthy", "postgresql": "healthy"}

    async def judge(self) -> list[Component]:
        return [
            Component(name, status, None if status == "healthy" else f"{name} is {status}")
            for name, status in self.parts.items()
        ]


@pytest.fixture
def system() -> System:
    return System()


async def told(redis: Redis) -> list[tuple[str | None, str, str | None]]:
    """Every fact about health on `updates`, which all are as the contract says."""
    entries: Any = await redis.xrange("updates")
    facts = [SystemHealth.model_validate_json(fields[FIELD]) for _, fields in entries]
    assert len({fact.id for fact in facts}) == len({fact.component for fact in facts})
    return [(fact.component, fact.status, fact.message) for fact in facts]


async def test_what_has_changed_for_two_looks_is_told_once_by_all_gateways(
    redis_client: Redis, system: System
) -> None:
    gateways = [Bulletin(redis_client, system.judge) for _ in range(3)]

    async def look(times: int = 1) -> None:
        for _ in range(times):
            for gateway in gateways:
                await gateway.turn()

    await look(3)
    assert await told(redis_client) == [], "what was always up is no news"
    system.parts["detector"] = "unhealthy"
    await look()
    assert await told(redis_client) == [], "it may recover by itself"
    await look(3)
    down = ("detector", "down", "detector is unhealthy")
    assert await told(redis_client) == [down]
    assert REGISTRY.get_sample_value("rollo_component_status", {"component": "detector"}) == 0

    gateways.append(Bulletin(redis_client, system.judge))
    await look(3)
    assert await told(redis_client) == [down], "one that comes later knows what was told"
    system.parts |= {"detector": "healthy", "postgresql": "degraded"}
    await look(3)
    degraded = ("postgresql", "degraded", "postgresql is degraded")
    assert await told(redis_client) == [down, ("detector", "up", None), degraded]
    assert REGISTRY.get_sample_value("rollo_component_status", {"component": "postgresql"}) == 0.5


async def test_what_comes_and_goes_is_not_told(redis_client: Redis, system: System) -> None:
    gateway = Bulletin(redis_client, system.judge)
    for n in range(8):
        system.parts["detector"] = ("healthy", "unhealthy")[n % 2]
        await gateway.turn()
    assert await told(redis_client) == []


async def test_while_redis_is_away_nothing_is_told_and_afterwards_it_is(
    redis_client: Redis, system: System
) -> None:
    async with Redis.from_url("redis://127.0.0.1:1", retry=None) as nobody:
        gateway = Bulletin(nobody, system.judge)
        system.parts["detector"] = "degraded"
        for _ in range(2):
            with pytest.raises(Unavailable):
                await gateway.turn()
    gateway = Bulletin(redis_client, system.judge)
    await gateway.turn()
    await gateway.turn()
    assert await told(redis_client) == [("detector", "degraded", "detector is degraded")]


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with serve(settings) as opened:
        yield opened


async def test_who_subscribes_to_parts_of_the_system_hears_of_them(
    url: str, redis_client: Redis, system: System
) -> None:
    async with talking(url) as everything, talking(url) as few, talking(url) as none:
        assert (await everything.subscribe(system=["*"]))["system"] == ["*"]
        assert (await few.subscribe(system=["detector"], filters={"timeframe": "1d"}))["system"] == [
            "detector"
        ]
        await none.subscribe(patterns=["*"])
        gateway = Bulletin(redis_client, system.judge)
        system.parts = {"postgresql": "degraded", "detector": "unhealthy"}
        await gateway.turn()
        await gateway.turn()
        heard = [await everything.hears("h"), await everything.hears("h")]
        assert [(item["S"], item["data"]["status"]) for item in heard] == [
            ("postgresql", "degraded"), ("detector", "down"),
        ]  # fmt: skip
        assert await few.hears("h") == heard[1]
        await few.say(action="subscribe", system=["AAPL "])
        assert (await few.hears("error"))["errors"][0]["field"] == "system"
        assert not [item for item in none.items if item["T"] == "h"]


async def test_server_sent_events_have_it_as_a_channel(url: str, redis_client: Redis, system: System) -> None:
    await redis_client.xadd("updates", {"json": b"{}"})
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        asked = http.stream("GET", "/api/patterns/stream", params={"channels": "system"})
        async with asked as answer:
            lines = answer.aiter_lines()
            while not (await anext(lines)).startswith("id:"):
                pass
            system.parts["detector"] = "unhealthy"
            gateway = Bulletin(redis_client, system.judge)
            await gateway.turn()
            await gateway.turn()
            while (await anext(lines)) != "event: system.health":
                pass
            assert (await anext(lines)).startswith("id:")
            said = orjson.loads((await anext(lines)).removeprefix("data: "))
            assert (said["component"], said["status"]) == ("detector", "down")
