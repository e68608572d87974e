"""The stream over WebSocket, on a gateway over real servers."""

from collections.abc import Iterator

import httpx
import orjson
import pytest
from redis.asyncio import Redis
from websockets.exceptions import InvalidStatus

from api_gateway.routes import socket
from rollotape import keys
from rollotape.embedded.server import free_port
from rollotape.settings import Settings
from support.databases import execute, fetch
from support.gateway import Score, insert_days, insert_scores, serve
from support.sockets import (
    EVERYTHING,
    connected,
    event_fact,
    pattern_fact,
    talking,
    tell,
    versions,
)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with serve(settings) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/api/stream", "/api/v1/stream"])
async def test_facts_come_as_arrays_with_the_id_to_resume_from(
    url: str, redis_client: Redis, path: str
) -> None:
    async with talking(url, path) as client:
        assert client.items[0]["auth"] == "off"
        told = await client.subscribe(patterns=["*"], vsa=["aapl"], wyckoff=[])
        assert [told[name] for name in ("patterns", "vsa", "filters")] == [["*"], ["AAPL"], None]

        facts = [
            pattern_fact(1, "MSFT"),
            event_fact("vsa.detected", 2, "AAPL"),
            event_fact("vsa.detected", 3, "MSFT"),
            event_fact("wyckoff.range", 4, "AAPL"),
            pattern_fact(5, "AAPL", "expired"),
        ]
        ids = await tell(redis_client, facts)
        heard = await client.facts(3)

    assert [(item["T"], item["S"], item["data"]) for item in heard] == [
        ("p", "MSFT", facts[0]),
        ("v", "AAPL", facts[1]),
        ("p", "AAPL", facts[4]),
    ]
    epoch = told["id"].split("-")[0]
    assert [item["id"] for item in heard] == [f"{epoch}-{ids[n]}" for n in (0, 1, 4)]


async def test_a_client_that_comes_back_misses_nothing_and_hears_nothing_twice(
    url: str, redis_client: Redis
) -> None:
    async with talking(url) as client:
        await client.subscribe(**EVERYTHING)
        await tell(redis_client, [pattern_fact(n) for n in range(3)])
        last = (await client.facts(3))[-1]["id"]
    await tell(redis_client, [pattern_fact(n) for n in range(3, 400)])
    async with talking(url) as other, talking(url) as client:
        await other.subscribe(patterns=["*"])
        assert (await client.subscribe(**EVERYTHING, since=last))["id"] == last
        await tell(redis_client, [pattern_fact(n) for n in range(400, 420)])

        assert versions(await client.facts(417)) == list(range(3, 420))
        seen = versions(await other.facts(20))
        while seen[-1] < 419:
            seen += versions(await other.facts(1))
        assert seen == list(range(seen[0], 420))


async def test_a_client_that_lags_by_an_id_that_is_gone_hears_of_a_gap(
    url: str, settings: Settings, redis_client: Redis
) -> None:
    ids = await tell(redis_client, [pattern_fact(n) for n in range(10)])
    [[epoch]] = fetch(settings.database_url, "SELECT epoch FROM installation")
    await redis_client.xtrim("updates", minid=ids[5], approximate=False)
    for since in (f"{epoch.hex}-{ids[3]}", f"{'0' * 32}-{ids[7]}", f"{epoch.hex}-{2**62}-0", "nonsense"):
        async with talking(url) as client:
            await client.subscribe(patterns=["*"], since=since)
            assert await client.hears("gap", "p") == {"T": "gap", "id": f"{epoch.hex}-{ids[9]}"}
    async with talking(url) as client:
        await client.subscribe(patterns=["*"], since=f"{epoch.hex}-{ids[6]}")
        assert versions(await client.facts(3)) == [7, 8, 9]


async def test_a_stream_that_was_lost_is_a_gap_to_those_who_listen(url: str, redis_client: Redis) -> None:
    async with talking(url) as client:
        await client.subscribe(patterns=["*"])
        await tell(redis_client, [pattern_fact(n) for n in range(5)])
        assert versions(await client.facts(5)) == list(range(5))
        await redis_client.delete("updates")
        await tell(redis_client, [pattern_fact(5)])
        await client.hears("gap")
        await tell(redis_client, [pattern_fact(6)])
        assert (await client.hears("p"))["data"]["fact_version"] == 6


async def test_lists_grow_and_shrink_and_every_answer_has_the_full_set(url: str, redis_client: Redis) -> None:
    async with talking(url) as client:
        await client.subscribe(patterns=["AAPL", "MSFT"], vsa=["*"])
        await client.say(action="unsubscribe", patterns=["aapl"], vsa=["*"], bars=["X"])
        told = await client.hears("subscription")
        assert {name: told[name] for name in ("patterns", "vsa", "wyckoff", "rs", "bars")} == {
            "patterns": ["MSFT"], "vsa": [], "wyckoff": [], "rs": [], "bars": [],
        }  # fmt: skip
        facts = [pattern_fact(1, "AAPL"), event_fact("vsa.detected", 2), pattern_fact(3, "MSFT")]
        await tell(redis_client, facts)
        assert versions(await client.facts(1)) == [3]


async def test_filters_are_those_of_the_scan_and_ends_pass_whatever_they_are_worth(
    url: str, redis_client: Redis
) -> None:
    filters = {
        "sectors": ["technology"], "confidence_min": 0.7, "timeframes": "1d", "rsi_range": [30, 70],
        "pattern_types": ["spring"],
    }  # fmt: skip
    async with talking(url) as client:
        told = await client.subscribe(patterns=["*"], vsa=["*"], filters=filters)
        assert told["filters"] == filters
        await tell(
            redis_client,
            [
                pattern_fact(1, rsi=50),
                pattern_fact(2, rsi=50, confidence=0.6),
                pattern_fact(3),
                pattern_fact(4, rsi=71),
                pattern_fact(5, "XOM", rsi=50),
                pattern_fact(6, rsi=50, pattern_type="SOS"),
                pattern_fact(7, kind="expired", confidence=0.1),
                pattern_fact(8, "XOM", kind="expired"),
                event_fact("vsa.detected", 9, "XOM", "1h"),
                event_fact("vsa.detected", 10, "XOM"),
                pattern_fact(11, rsi=70.0, confidence=0.7),
            ],
        )
        assert versions(await client.facts(4)) == [1, 7, 10, 11]
        assert (await client.subscribe(filters=None))["filters"] is None
        await tell(redis_client, [pattern_fact(12, "XOM")])
        assert versions(await client.facts(1)) == [12]


async def test_a_subscription_may_be_to_a_watchlist_a_saved_scan_and_a_universe(
    url: str, redis_client: Redis
) -> None:
    async with httpx.AsyncClient(base_url=f"{url}/api/users") as http:
        made = {"name": "mine", "symbols": ["AAPL", "XOM"]}
        watchlist = (await http.post("/watchlists", json=made)).json()["id"]
        saved = {"name": "springs", "filters": {"pattern_types": ["SPRING"], "watchlist_id": watchlist}}
        scan = (await http.post("/scans", json=saved)).json()["id"]
    facts = [
        pattern_fact(1, "MSFT"),
        pattern_fact(2, "AAPL", confidence=0.1),
        pattern_fact(3, "XOM", pattern_type="SOS"),
        pattern_fact(4, "XOM"),
    ]
    async with talking(url) as client, talking(url) as other, talking(url) as third:
        assert (await client.subscribe(patterns=["*"], filters={"watchlist_id": watchlist}))["filters"]
        await other.subscribe(patterns=["*"], filters={"scan_id": scan})
        await third.subscribe(patterns=["*"], filters={"scan_id": scan, "symbols": ["XOM"]})
        await tell(redis_client, facts)
        assert versions(await client.facts(3)) == [2, 3, 4]
        assert versions(await other.facts(2)) == [2, 4]
        assert versions(await third.facts(1)) == [4]
        for kept in ({"watchlist_id": scan}, {"universe": "nowhere"}):
            await client.say(action="subscribe", filters=kept)
            told = await client.hears("error")
            assert (told["code"], told["errors"][0]["field"]) == (400, f"filters.{next(iter(kept))}")


async def test_the_newest_bar_and_score_come_at_once_and_then_when_they_change(
    url: str, settings: Settings, redis_client: Redis
) -> None:
    await insert_days(settings.database_url, "AAPL", 3)
    await insert_days(settings.database_url, "MSFT", 2)
    await insert_scores(settings.database_url, [Score("AAPL", 2, 1.5)])
    async with talking(url) as client, talking(url) as other:
        await client.subscribe(bars=["AAPL"], rs=["*"])
        await other.subscribe(bars=["*"])
        first = {item["T"]: item for item in await client.facts(2)}
        assert (first["b"]["S"], first["b"]["data"]["t"][:10]) == ("AAPL", "2024-01-03")
        assert first["b"]["data"]["timeframe"] == "1d"
        assert (first["r"]["S"], first["r"]["data"]["rs_score"]) == ("AAPL", 1.5)
        assert {item["S"] for item in await other.facts(2)} == {"AAPL", "MSFT"}

        execute(settings.database_url, "UPDATE bars SET close = 11.5, revision = 99 WHERE symbol = 'AAPL'")
        execute(settings.database_url, "UPDATE bars SET close = 11.5, revision = 99 WHERE symbol = 'MSFT'")
        wake = {"version": 1, "timeframe": "1d", "first_session": "2024-01-01", "last_session": "2024-01-03"}
        await redis_client.xadd("sessions", {"json": orjson.dumps(wake)})
        changed = (await client.facts(1))[0]
        assert (changed["T"], changed["S"], changed["data"]["c"]) == ("b", "AAPL", 11.5)
        seen = {(item["S"], item["data"]["c"]) for item in await other.facts(2)}
        assert seen == {("AAPL", 11.5), ("MSFT", 11.5)}

        execute(settings.database_url, "UPDATE rs_scores SET rs_score = 2.5")
        scored = {"version": 1, "type": "rs.scored", "id": "x", "fact_version": 2, "changed": 1}
        [at] = await tell(redis_client, [scored | {"as_of": "2024-01-03"}])
        changed = (await client.facts(1))[0]
        assert (changed["T"], changed["data"]["rs_score"]) == ("r", 2.5)
        assert changed["id"].endswith(at)


# ---- who may


def _key(settings: Settings, expires: str = "NULL") -> str:
    key = keys.make()
    execute(
        settings.database_url,
        "INSERT INTO api_keys (id, name, scope, hash, expires_at)"
        f" VALUES ('{key.id}', 'test', 'read', '\\x{key.hash.hex()}', {expires})",
    )
    return key.text


@pytest.fixture
def closed_url(settings: Settings) -> Iterator[str]:
    with serve(settings.model_copy(update={"auth": "on", "ws_clients_per_key": 2})) as opened:
        yield opened


async def test_a_key_lets_in_by_message_or_by_header(
    closed_url: str, settings: Settings, redis_client: Redis
) -> None:
    key = _key(settings)
    async with talking(closed_url) as client:
        assert client.items[0]["auth"] == "on"
        await client.say(action="subscribe", patterns=["*"])
        assert (await client.hears("error"))["code"] == 401
        await client.say(action="auth", token=key)
        assert (await client.hears("authenticated"))["scope"] == "read"
        await client.subscribe(patterns=["*"])
        await tell(redis_client, [pattern_fact(1)])
        assert versions(await client.facts(1)) == [1]
        await client.say(action="auth", token=key)
        assert (await client.hears("error"))["code"] == 400
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        async with talking(closed_url, additional_headers=headers) as client:
            await client.hears("authenticated")


async def test_a_key_that_will_not_do_is_402_and_the_end(closed_url: str, settings: Settings) -> None:
    for token in ("nonsense", _key(settings)[:-1] + "~", _key(settings, "now() - interval '1 second'")):
        async with talking(closed_url) as client:
            await client.say(action="auth", token=token)
            assert (await client.hears("error"))["code"] == 402
            assert await client.close_code() == 4402
        async with talking(closed_url, additional_headers={"X-API-Key": token}) as client:
            assert (await client.hears("error"))["code"] == 402
            assert await client.close_code() == 4402


async def test_a_key_that_is_revoked_ends_what_it_began(
    closed_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "RECHECK_S", 0.5)
    async with talking(closed_url, additional_headers={"X-API-Key": _key(settings)}) as client:
        await client.subscribe(patterns=["*"])
        execute(settings.database_url, "UPDATE api_keys SET revoked_at = now()")
        assert (await client.hears("error"))["code"] == 402


async def test_who_does_not_say_who_it_is_is_sent_away(
    closed_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "AUTH_S", 0.5)
    async with talking(closed_url) as client:
        assert (await client.hears("error"))["code"] == 404
        assert await client.close_code() == 4404


async def test_connections_of_a_key_and_of_a_gateway_are_limited(closed_url: str, settings: Settings) -> None:
    headers = {"X-API-Key": _key(settings)}
    async with (
        talking(closed_url, additional_headers=headers) as first,
        talking(closed_url, additional_headers=headers) as second,
        talking(closed_url, additional_headers=headers) as third,
        talking(closed_url, additional_headers={"X-API-Key": _key(settings)}) as other,
    ):
        await first.hears("authenticated")
        await second.hears("authenticated")
        assert (await third.hears("error"))["code"] == 406
        assert await third.close_code() == 4406
        await other.hears("authenticated")
    with serve(settings.model_copy(update={"ws_clients": 1})) as url:
        async with talking(url) as first, connected(url) as second:
            await first.hears("authenticated")
            assert (await second.hears("error", "welcome"))["code"] == 406


async def test_pages_of_strangers_may_not_connect(settings: Settings) -> None:
    with serve(settings.model_copy(update={"origins": "https://desk.example.org, https://b.example"})) as url:
        good = ("http://localhost:5173", "http://127.0.0.1", "http://[::1]:1", "https://desk.example.org")
        for origin in good:
            async with talking(url, origin=origin):
                pass
        bad = ("https://evil.example", "null", "http://localhost.example", "http://127.0.0.1.example", "x")
        for origin in bad:
            with pytest.raises(InvalidStatus) as refused:
                async with talking(url, origin=origin):
                    pass
            answer = refused.value.response
            assert answer.status_code == 403
            assert orjson.loads(answer.body or b"")["errors"][0]["field"] == "origin"


async def test_a_message_that_is_wrong_is_named_and_too_many_of_them_are_the_end(url: str) -> None:
    async with talking(url) as client:
        await client.hears("authenticated")
        await client.connection.send(b"\x00")
        assert (await client.hears("error"))["errors"][0]["field"] == "message"
        await client.say(action="subscribe", patterns="*")
        told = await client.hears("error")
        assert (told["code"], told["errors"][0]["field"]) == (400, "patterns")
        await client.subscribe(patterns=["*"])
        for _ in range(socket.MOST_FAULTS):
            await client.say(action="dance")
        assert await client.close_code() == 4400


async def test_without_redis_it_is_said_in_band(settings: Settings) -> None:
    with serve(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})) as url:
        async with talking(url) as client:
            await client.say(action="subscribe", patterns=["*"])
            assert (await client.hears("error"))["code"] == 503
