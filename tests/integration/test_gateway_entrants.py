"""News of saved scans over both streams: whose they are, and nobody else's."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from rollotape import keys
from rollotape.settings import Settings
from support.databases import fetch
from support.gateway import serve
from support.sockets import pattern_fact, talking, tell

SCANS = [str(UUID(int=n, version=4)) for n in range(1, 5)]


def scan_fact(n: int, owner: str, scan: str = SCANS[0], symbol: str = "AAPL") -> dict[str, Any]:
    entrant = {
        "symbol": symbol, "pattern_id": SCANS[3], "pattern_type": "SPRING", "timeframe": "1d",
        "confidence": 0.8,
    }  # fmt: skip
    return {
        "version": 1, "type": "scan.new_entrants", "id": str(UUID(int=n)), "fact_version": n, "owner": owner,
        "scan": {"id": scan, "name": "mine"}, "entrants": [entrant],
    }  # fmt: skip


@pytest.fixture
def tokens(settings: Settings) -> dict[str, str]:
    """A key of each owner."""
    made = {}
    for owner in ("ada", "bob"):
        key = keys.make()
        query = "INSERT INTO api_keys (id, name, owner, hash, scope) VALUES ($1, 'test', $2, $3, 'read')"
        fetch(settings.database_url, query, key.id, owner, key.hash)
        made[owner] = key.text
    return made


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with serve(settings.model_copy(update={"auth": "on"})) as opened:
        yield opened


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_over_websocket_an_owner_hears_of_his_own_scans_alone(
    url: str, redis_client: Redis, tokens: dict[str, str]
) -> None:
    ada, bob = (bearer(tokens[owner]) for owner in ("ada", "bob"))
    async with (
        talking(url, additional_headers=ada) as everything,
        talking(url, additional_headers=ada) as one,
        talking(url, additional_headers=bob) as other,
        talking(url, additional_headers=ada) as patterns,
    ):
        assert (await everything.subscribe(scans=["*"]))["scans"] == ["*"]
        told = await one.subscribe(scans=[SCANS[1].upper()], filters={"timeframes": ["1h"]})
        assert told["scans"] == [SCANS[1]]
        await other.subscribe(scans=["*", SCANS[0]])
        await patterns.subscribe(patterns=["*"])
        facts = [
            scan_fact(1, "ada"), scan_fact(2, "bob", SCANS[2]), scan_fact(3, "ada", SCANS[1]),
            scan_fact(4, "carl"), scan_fact(5, "bob", SCANS[2]), pattern_fact(6),
        ]  # fmt: skip
        await tell(redis_client, facts)
        heard = await everything.facts(2)
        assert [(i["T"], i["S"], i["data"]) for i in heard] == [
            ("s", SCANS[0], facts[0]), ("s", SCANS[1], facts[2]),
        ]  # fmt: skip
        assert [i["data"] for i in await one.facts(1)] == [facts[2]]
        assert [i["data"] for i in await other.facts(2)] == [facts[1], facts[4]]
        assert [i["data"] for i in await patterns.facts(1)] == [facts[5]]

        await everything.subscribe(since=heard[0]["id"])
        assert [i["data"] for i in await everything.facts(1)] == [facts[2]], "resumed is one's own as well"
        await other.say(action="unsubscribe", scans=["*"])
        await other.hears("subscription")
        await tell(redis_client, [scan_fact(7, "ada"), scan_fact(8, "bob", SCANS[0])])
        assert [i["data"]["fact_version"] for i in await other.facts(1)] == [8]


@pytest.mark.parametrize("scans", ["*", ["AAPL"], [7], [[SCANS[0]]], [SCANS[0].replace("-", "")], [None]])
async def test_ids_that_are_none_are_refused_by_name(settings: Settings, scans: Any) -> None:
    with serve(settings) as url:
        async with talking(url) as client:
            await client.say(action="subscribe", scans=scans)
            told = await client.hears("error")
            assert (told["code"], told["errors"][0]["field"]) == (400, "scans")


async def test_without_keys_everybody_on_this_machine_is_the_owner(
    settings: Settings, redis_client: Redis
) -> None:
    with serve(settings) as url:
        async with talking(url) as client:
            await client.subscribe(scans=["*"])
            nobodys = {"type": "scan.new_entrants"}
            await tell(redis_client, [scan_fact(1, "ada"), scan_fact(2, "local"), nobodys])
            await tell(redis_client, [scan_fact(3, "local")])
            assert [i["data"]["fact_version"] for i in await client.facts(2)] == [2, 3]


async def test_server_sent_events_have_them_where_they_are_asked_for(
    url: str, redis_client: Redis, tokens: dict[str, str]
) -> None:
    facts = [scan_fact(1, "ada"), scan_fact(2, "bob"), pattern_fact(3), scan_fact(4, "ada")]
    first, *_ = await tell(redis_client, [pattern_fact(0), *facts])
    epoch = await _epoch(url, tokens["ada"])
    asked = {
        ("ada", "scans"): [1, 4], ("bob", "scans"): [2], ("ada", "scans,patterns"): [1, 3, 4],
        ("ada", "patterns"): [3], ("ada", None): [3],
    }  # fmt: skip
    for (owner, channels), expected in asked.items():
        headers = bearer(tokens[owner]) | {"Last-Event-ID": f"{epoch}-{first}"}
        query = {} if channels is None else {"channels": channels}
        heard = []
        async with (
            httpx.AsyncClient(base_url=url, headers=headers) as http,
            http.stream("GET", "/api/patterns/stream", params=query) as answer,
            asyncio.timeout(60),
        ):
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    heard.append(orjson.loads(line.removeprefix("data: "))["fact_version"])
                if len(heard) == len(expected):
                    break
        assert heard == expected, (owner, channels)


def test_channels_that_server_sent_events_do_not_have_are_refused(settings: Settings) -> None:
    with serve(settings) as url:
        wrong = httpx.get(f"{url}/api/patterns/stream?channels=vsa")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "channels")


async def _epoch(url: str, token: str) -> str:
    async with (
        httpx.AsyncClient(base_url=url, headers=bearer(token)) as http,
        http.stream("GET", "/api/patterns/stream") as answer,
        asyncio.timeout(60),
    ):
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                return line.removeprefix("id: ").split("-")[0]
    raise AssertionError("the stream has ended")
