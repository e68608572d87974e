"""Who may ask, how often, and what is refused before anybody looks at keys: over HTTP, on real servers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import jwt
import orjson
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from api_gateway import auth, limits
from api_gateway.app import Gateway, create_app
from api_gateway.limits import Limits
from api_gateway.problems import Problem
from rollotape import keys
from rollotape.keys import Scope
from rollotape.postgres import keys as stored_keys
from rollotape.settings import Settings
from support.databases import execute, fetch
from support.gateway import Judge
from support.stacks import rollo
from support.waiting import eventually

SCAN = "/api/patterns/scan"
QUICK = f"{SCAN}?confidence_min=2"  # refused with 422, and needs no server for it
SECRET = "a secret of thirty-two bytes, or more"
Open = Callable[..., Any]


@pytest.fixture
async def opened(settings: Settings) -> AsyncIterator[Open]:
    """Clients of gateways with settings of their own, each from an address of its own."""
    async with AsyncExitStack() as stack:

        async def open_client(address: str = "127.0.0.1", **more: Any) -> httpx.AsyncClient:
            app = create_app(settings.model_copy(update={"auth": "on", **more}))
            stack.push_async_callback(app.state.servers.close)
            transport = httpx.ASGITransport(app=app, client=(address, 1))
            return await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url="http://g")
            )

        yield open_client


def _app(client: httpx.AsyncClient) -> Gateway:
    app: Any = client._transport.app  # type: ignore[attr-defined]
    assert isinstance(app, Gateway)
    return app


def _key(settings: Settings, scope: Scope = "read", **more: Any) -> dict[str, str]:
    """A header with a new key."""
    key = keys.make()
    said = {"id": key.id, "name": "test", "scope": scope, "hash": f"\\x{key.hash.hex()}"} | more
    columns, values = ", ".join(said), ", ".join(f"'{value}'" for value in said.values())
    execute(settings.database_url, f"INSERT INTO api_keys ({columns}) VALUES ({values})")
    return {"X-API-Key": key.text}


def _token(**changes: Any) -> dict[str, str]:
    said = {
        "iss": "us",
        "aud": "rollo",
        "sub": "ada",
        "scope": "read",
        "exp": int(time.time()) + 60,
    } | changes
    return {"Authorization": f"Bearer {jwt.encode(said, SECRET, 'HS256')}"}


_JWT: dict[str, Any] = {"jwt_issuer": "us", "jwt_audience": "rollo"}


# ---- how often


async def test_every_answer_says_how_often_one_may_still_ask(opened: Open, settings: Settings) -> None:
    client, key = await opened(rate_requests=50), _key(settings)
    judge = Judge(_app(client).openapi())

    first = await client.get(QUICK, headers=key)
    second = await client.get("/api/nothing", headers=key)

    assert first.headers["ratelimit-policy"] == '"key";q=50;w=60'
    assert first.headers["ratelimit"] == '"key";r=49;t=60'
    assert [first.headers[f"x-ratelimit-{n}"] for n in ("limit", "remaining", "reset")] == ["50", "49", "60"]
    assert (second.status_code, second.headers["x-ratelimit-remaining"]) == (404, "48")
    judge.conforms("GET", SCAN, 422, first.headers, first.content)


async def test_who_asks_too_often_is_told_when_to_go_on(opened: Open, settings: Settings) -> None:
    client, key, other = await opened(rate_requests=5), _key(settings), _key(settings)
    judge = Judge(_app(client).openapi())

    codes = [(await client.get(QUICK, headers=key)).status_code for _ in range(8)]
    refused = await client.get(QUICK, headers=key)

    assert codes == [422] * 5 + [429] * 3
    judge.conforms("GET", SCAN, 429, refused.headers, refused.content)
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"key";r=0;t=')
    assert (await client.get(QUICK, headers=other)).status_code == 422


async def test_a_key_may_have_a_number_of_its_own(opened: Open, settings: Settings) -> None:
    client, key = await opened(rate_requests=5), _key(settings, rate=7)

    answers = [await client.get(QUICK, headers=key) for _ in range(8)]

    assert [a.status_code for a in answers] == [422] * 7 + [429]
    assert answers[0].headers["x-ratelimit-limit"] == "7"


async def test_gateways_count_together_and_no_request_is_let_in_twice(
    opened: Open, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that finds Redis slow counts alone: here it has the patience of a busy machine."""
    monkeypatch.setattr(limits, "PATIENCE_S", 30.0)
    clients = [await opened(rate_requests=300) for _ in range(3)]
    key = _key(settings)

    answers = await asyncio.gather(*(clients[n % 3].get(QUICK, headers=key) for n in range(600)))

    let_in = sum(a.status_code == 422 for a in answers)
    assert {a.status_code for a in answers} == {422, 429}
    assert let_in == 300


async def test_a_window_ends(opened: Open, settings: Settings) -> None:
    client, key = await opened(rate_requests=2, rate_window_s=1), _key(settings)
    codes = [(await client.get(QUICK, headers=key)).status_code for _ in range(3)]

    async def let_in() -> bool:
        return bool((await client.get(QUICK, headers=key)).status_code == 422)

    assert codes == [422, 422, 429]
    await eventually(let_in, what="the next window")


async def test_most_requests_are_counted_without_redis(settings: Settings) -> None:
    async with Redis.from_url(settings.redis_url) as redis:
        counted = Limits(redis, 60)
        before = (await redis.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"]
        for _ in range(1_000):
            await counted.charge("k", 5_000)
        after = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        left = (await counted.charge("k", 5_000))[-2][1]
        await counted.close()

    assert after - before <= 1_000 / (5_000 / limits.BLOCKS) + 2
    assert left == b"3999"


async def test_without_redis_a_gateway_counts_alone(settings: Settings) -> None:
    """Nobody is refused for it, and nobody is let in without end."""
    moment = 0.0
    async with Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=0.1) as redis:
        counted = Limits(redis, 60, lambda: moment)
        for n in range(100):
            assert (await counted.charge("k", 100))[-2][1] == b"%d" % (99 - n)
        with pytest.raises(Problem) as refused:
            await counted.charge("k", 100)
        assert refused.value.kind.status == 429
        moment = 61.0
        assert (await counted.charge("k", 100))[-2][1] == b"99"


async def test_when_redis_goes_what_was_spent_stays_spent(settings: Settings) -> None:
    moment = 0.0
    async with Redis.from_url(settings.redis_url) as there, Redis.from_url("redis://127.0.0.1:1") as away:
        counted = Limits(there, 60, lambda: moment)
        for _ in range(60):
            await counted.charge("k", 100)
        counted._script = away.register_script("return 1")
        let_in = 0
        with pytest.raises(Problem):
            for _ in range(200):
                await counted.charge("k", 100)
                let_in += 1
        assert let_in == 40
        counted._script = there.register_script(limits._LEASE)
        moment = 61.0
        assert (await counted.charge("k", 100))[0] == (b"ratelimit-policy", b'"key";q=100;w=60')


async def test_a_redis_that_hangs_holds_up_one_request_and_not_all(
    opened: Open, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client, key = await opened(rate_requests=100, cache_url=f"redis://127.0.0.1:{port}"), _key(settings)
    monkeypatch.setattr(limits, "AWAY_S", 60.0)

    first = await client.get(QUICK, headers=key)
    began = time.monotonic()
    rest = [await client.get(QUICK, headers=_key(settings)) for _ in range(5)]

    assert {a.status_code for a in (first, *rest)} == {422}
    assert time.monotonic() - began < 5 * limits.PATIENCE_S + 2
    server.close()


async def test_guesses_are_counted_by_address_and_good_keys_go_on(opened: Open, settings: Settings) -> None:
    client, key = await opened(rate_strangers=3), _key(settings)
    assert (await client.get(QUICK, headers=key)).status_code == 422

    codes = [(await client.get(QUICK, headers={"X-API-Key": keys.make().text})).status_code for _ in range(5)]
    elsewhere = await opened("10.0.0.7", rate_strangers=3)

    assert codes == [401, 401, 401, 429, 429]
    assert (await client.get(QUICK)).status_code == 429
    assert (await client.get(QUICK, headers=key)).status_code == 422
    assert (await elsewhere.get(QUICK)).status_code == 401
    assert (await client.get("/livez")).status_code == 200


async def test_where_no_key_is_asked_for_nobody_is_counted(opened: Open) -> None:
    client = await opened(auth="off", rate_requests=1)

    answers = [await client.get(QUICK) for _ in range(3)]

    assert {a.status_code for a in answers} == {422}
    assert "ratelimit" not in answers[0].headers


async def test_an_answer_before_routing_is_admitted_and_counted_too(opened: Open, settings: Settings) -> None:
    client, key = await opened(rate_requests=50), _key(settings)
    for n in range(2):
        answer = await client.get(f"{SCAN}?limit=1", headers=key)
        assert answer.headers["x-ratelimit-remaining"] == str(49 - n)
    assert (await client.get(f"{SCAN}?limit=1")).status_code == 401


# ---- who


async def test_a_token_is_as_good_as_a_key(opened: Open) -> None:
    client = await opened(jwt_secret=SecretStr(SECRET), **_JWT)

    read, write = _token(), _token(scope="write")
    refused = await client.post("/api/bars", headers=read, json={"bars": [1]})

    assert (await client.get(QUICK, headers=read)).status_code == 422
    assert refused.status_code == 403
    assert (await client.post("/api/bars", headers=write, json={"bars": [1]})).status_code == 207
    assert (await client.get(QUICK, headers=_token(scope="other"))).status_code == 403


async def test_every_route_is_closed_to_whoever_may_not(opened: Open, settings: Settings) -> None:
    """Each operation that is documented, as everybody who should not, with the exact answer."""
    client = await opened(jwt_secret=SecretStr(SECRET), rate_strangers=100_000, rate_requests=100_000, **_JWT)
    document = _app(client).openapi()
    judge = Judge(document)
    past, over = "2020-01-01", "This key is unknown, expired or revoked."
    refused = {
        "no key": ({}, 401, "Send a key as Authorization: Bearer KEY."),
        "unknown": ({"X-API-Key": keys.make().text}, 401, over),
        "expired": (_key(settings, "admin", expires_at=past), 401, over),
        "revoked": (_key(settings, "admin", revoked_at=past), 401, over),
        "two keys": (_key(settings) | _token(), 401, "Send one key, not several."),
        "token that is over": (_token(exp=1, scope="admin"), 401, "This token is over."),
        "token for others": (_token(aud="x", scope="admin"), 401, "This token is for somebody else."),
        "token of others": (_token(iss="x", scope="admin"), 401, "This token is from somebody else."),
        "token signed by others": (_forged(), 401, "This token has a signature that does not fit."),
        "token without scope": (
            _token(scope=""), 403, "This token may nothing here: its scope names no scope of ours.",
        ),
    }  # fmt: skip
    reader = _key(settings, "read")
    asked = 0
    for path, operations in document["paths"].items():
        target = path.replace("{", "").replace("}", "")
        if target.removeprefix("/api/v1") in (
            "/livez",
            "/readyz",
            "/docs",
            "/openapi.json",
            "/asyncapi.json",
        ):
            continue
        for method in operations:
            trials = list(refused.values())
            if method != "get":
                words = "This key may read; this request takes one that may write."
                trials.append((reader, 403, words))
            for headers, status, detail in trials:
                answer = await client.request(method, target, headers=headers)
                assert (answer.status_code, answer.json()["detail"]) == (status, detail), (method, path)
                assert answer.headers["www-authenticate"].startswith('Bearer realm="rollo"')
                judge.conforms(method, target, status, answer.headers, answer.content)
                asked += 1
    assert asked > 30 * len(refused)


def _forged() -> dict[str, str]:
    said = {"iss": "us", "aud": "rollo", "sub": "a", "scope": "admin", "exp": int(time.time()) + 60}
    return {"Authorization": f"Bearer {jwt.encode(said, 'z' * 40, 'HS256')}"}


def test_a_replaced_key_and_the_old_one_are_both_good_for_a_while(settings: Settings) -> None:
    there: dict[str, Any] = {"ROLLO_DATABASE_URL": settings.database_url, "ROLLO_REDIS_URL": "redis://x"}
    create = ("key", "create", "--scope", "write", "--name", "feed", "--owner", "ada", "--rate", "9")
    made = orjson.loads(rollo(*create, "--expires", "30d", "--json", **there).stdout)

    rotated = orjson.loads(rollo("key", "rotate", made["id"], "--grace", "2h", "--json", **there).stdout)
    again = rollo("key", "rotate", made["id"], **there)
    rows = {
        row["id"]: row
        for row in fetch(settings.database_url, "SELECT *, expires_at - now() AS rest FROM api_keys")
    }

    old, new = rows[made["id"]], rows[rotated["id"]]
    assert (new["scope"], new["name"], new["owner"], new["rate"]) == ("write", "feed", "ada", 9)
    assert new["rotated_from"] == old["id"]
    assert new["hash"] == keys.digest(rotated["key"])
    assert 0.9 < old["rest"].total_seconds() / 7_200 <= 1
    assert 29.9 < new["rest"].total_seconds() / 86_400 <= 30
    assert again.returncode == 1
    assert f"{made['id']} was replaced by {rotated['id']} before" in again.stderr
    gone = rollo("key", "rotate", rotated["id"], "--grace", "0h", **there)
    assert gone.returncode == 0, gone.stderr
    assert rollo("key", "rotate", rotated["id"], **there).returncode == 1
    assert rollo("key", "rotate", "nobody", **there).returncode == 1
    assert rollo("key", "rotate", rotated["id"], "--grace", "soon", **there).returncode == 2


async def test_a_key_in_use_is_looked_up_by_one_task_before_it_has_to_be(
    opened: Open, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, key = await opened(), _key(settings)
    found = stored_keys.find
    asked = 0

    async def counted(connection: Any, key_id: str) -> Any:
        nonlocal asked
        asked += 1
        return await found(connection, key_id)

    monkeypatch.setattr(stored_keys, "find", counted)
    answers = await asyncio.gather(*(client.get(QUICK, headers=key) for _ in range(50)))
    assert {a.status_code for a in answers} == {422}
    assert asked == 1
    monkeypatch.setattr(auth, "FRESH_S", 0.4)

    async def is_asked_again() -> bool:
        assert (await client.get(QUICK, headers=key)).status_code == 422
        return asked > 1

    await eventually(is_asked_again, what="a look at the key")


# ---- what is refused whoever asks


@pytest.mark.parametrize(
    "host", ["evil.example", "g.evil.example", "127.0.0.1.evil.example", "a@g", "g:x", ""]
)
async def test_a_name_that_somebody_made_to_mean_this_machine_is_refused(opened: Open, host: str) -> None:
    client = await opened(auth="off", hosts="")
    judge = Judge(_app(client).openapi())

    answer = await client.get(SCAN, headers={"Host": host})

    assert answer.status_code == 421
    judge.conforms("GET", SCAN, 421, answer.headers, answer.content)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "localhost."])
async def test_names_of_this_machine_are_ours(opened: Open, host: str) -> None:
    client = await opened(auth="off", hosts="")

    assert (await client.get("/livez", headers={"Host": host})).status_code == 200


async def test_with_keys_any_name_will_do_unless_some_are_set(opened: Open, settings: Settings) -> None:
    key = _key(settings)
    anywhere = await opened(hosts="")
    here = await opened(hosts="rollo.example.org, Other:80")

    assert (await anywhere.get(QUICK, headers=key | {"Host": "x.y"})).status_code == 422
    for host, status in (("rollo.example.org:443", 422), ("other", 422), ("localhost", 422), ("x.y", 421)):
        assert (await here.get(QUICK, headers=key | {"Host": host})).status_code == status


PAGE = "https://desk.example.org"


async def test_pages_of_other_sites_are_told_nothing_unless_they_are_set(
    opened: Open, settings: Settings
) -> None:
    key, asks = _key(settings, "write"), {"Access-Control-Request-Method": "GET"}
    closed, open_ = await opened(), await opened(origins=f"{PAGE}, https://x.org")

    assert (await closed.options(SCAN, headers=asks | {"Origin": PAGE})).status_code == 401
    told = await closed.get(QUICK, headers=key | {"Origin": PAGE})
    assert "access-control-allow-origin" not in told.headers

    preflight = await open_.options(SCAN, headers=asks | {"Origin": PAGE})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    answer = await open_.get(QUICK, headers=key | {"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "RateLimit" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers
    for origin in ("https://evil.example", f"{PAGE}.evil.example", "null", f"{PAGE}:8443"):
        other = await open_.get(QUICK, headers=key | {"Origin": origin})
        assert "access-control-allow-origin" not in other.headers
        assert "Origin" in other.headers["vary"]


async def test_a_page_of_another_site_cannot_write_here(opened: Open) -> None:
    client = await opened(auth="off", origins=PAGE)
    body = {"bars": [1]}

    refused = await client.post("/api/bars", headers={"Origin": "https://evil.example"}, json=body)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:rollotape:problem:foreign-origin")
    for origin in (PAGE, "http://g"):
        assert (await client.post("/api/bars", headers={"Origin": origin}, json=body)).status_code == 207


async def test_browsers_are_told_to_make_nothing_of_an_answer_but_data(opened: Open) -> None:
    client = await opened(auth="off")
    for path in ("/livez", QUICK, "/nowhere"):
        said = (await client.get(path)).headers
        assert said["x-content-type-options"] == "nosniff"
        assert said["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert said["cross-origin-resource-policy"] == "same-origin"
    docs = (await client.get("/docs")).headers.get_list("content-security-policy")
    assert len(docs) == 1
    assert "script-src" in docs[0]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "nonsense"])
async def test_what_is_compressed_is_never_opened(opened: Open, method: str, coding: str) -> None:
    client = await opened(auth="off")
    judge = Judge(_app(client).openapi())

    answer = await client.request(
        method, "/api/bars", headers={"Content-Encoding": coding}, content=b"x" * 99
    )

    assert answer.status_code == 415
    judge.conforms(method, "/api/bars", 415, answer.headers, answer.content)


async def test_a_hundred_headers_are_enough(opened: Open) -> None:
    client = await opened(auth="off")
    judge = Judge(_app(client).openapi())

    few = await client.get("/livez", headers={f"X-{n}": "1" for n in range(90)})
    many = await client.get(SCAN, headers={f"X-{n}": "1" for n in range(101)})

    assert (few.status_code, many.status_code) == (200, 431)
    judge.conforms("GET", SCAN, 431, many.headers, many.content)


# ---- who wrote what


async def test_writes_are_remembered_with_who_when_what_and_the_request(
    opened: Open, settings: Settings
) -> None:
    client, key = await opened("10.1.2.3"), _key(settings, "write", owner="ada")
    reader = _key(settings)
    said = key | {"X-Request-Id": "mine"}

    await client.post("/api/bars?x=1", headers=said, json={"bars": [1]})
    await client.post("/api/bars", headers=key, json={"bars": [1]})
    await client.delete("/api/nothing/%00", headers=key)
    await client.get(QUICK, headers=key)
    await client.post("/api/bars", headers=reader, json={"bars": [1]})
    await client.post("/api/bars", json={"bars": [1]})

    def rows() -> list[Any]:
        found = fetch(settings.database_url, "SELECT * FROM audit_log ORDER BY id")
        return found if len(found) >= 3 else []

    found = [dict(row) for row in await eventually(lambda: asyncio.to_thread(rows), what="rows")]
    assert [(r["method"], r["path"], r["status"]) for r in found] == [
        ("POST", "/api/bars", 422), ("POST", "/api/bars", 207), ("DELETE", "/api/nothing/\\x00", 404),
    ]  # fmt: skip
    assert {(r["owner"], r["address"], r["key_id"]) for r in found} == {
        ("ada", "10.1.2.3", key["X-API-Key"].split("_")[1])
    }
    assert found[0]["request_id"] == "mine"


async def test_old_rows_of_who_wrote_what_are_removed(opened: Open, settings: Settings) -> None:
    execute(
        settings.database_url,
        "INSERT INTO audit_log (at, request_id, key_id, owner, method, path, status)"
        " SELECT now() - make_interval(days => n), 'x', 'k', 'o', 'POST', '/', 200"
        " FROM generate_series(0, 20) n",
    )
    client = await opened(auth="off", audit_days=10)

    await client.post("/api/bars", json={"bars": [1]})

    def old() -> bool:
        [row] = fetch(
            settings.database_url,
            "SELECT count(*) AS n, count(*) FILTER (WHERE owner = 'local') AS l FROM audit_log",
        )
        return bool((row["n"], row["l"]) == (11, 1))

    await eventually(lambda: asyncio.to_thread(old), what="the old rows gone")


async def test_rows_wait_for_postgres_and_the_request_does_not(opened: Open, settings: Settings) -> None:
    client = await opened(auth="off")
    servers: Any = _app(client).state.servers
    await client.post("/api/bars", json={"bars": [1]})  # it knows the partitions now

    async def stored() -> bool:
        return not servers.audit._waiting and not servers.audit._storing.cancelled()

    await eventually(stored, what="the first row")
    servers.audit._postgres = away = type(servers.postgres)(
        settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:1/x"})
    )

    assert (await client.post("/api/bars", json={"bars": [1]})).status_code == 207

    async def tried() -> bool:
        return bool(away._closed_until > 0)

    await eventually(tried, what="a try")
    servers.audit._postgres = servers.postgres
    await servers.audit.close()

    [row] = fetch(settings.database_url, "SELECT count(*) AS n FROM audit_log")
    assert row["n"] == 2
