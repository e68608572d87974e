"""Watchlists and saved scans over HTTP: each owner's own, made once, changed by one at a time."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from api_gateway import lists
from api_gateway.app import create_app
from rollotape import keys
from rollotape.postgres import idempotency, owned
from rollotape.settings import Settings
from support.closed_trades import Trade, insert_trades
from support.databases import execute, fetch
from support.gateway import Judge, Setup, build_model, insert_days, insert_patterns
from support.waiting import eventually

WATCHLISTS, SCANS = "/api/users/watchlists", "/api/users/scans"
BOTH = pytest.mark.parametrize(
    ("path", "content"), [(WATCHLISTS, {"symbols": ["AAPL"]}), (SCANS, {"filters": {"symbols": ["AAPL"]}})]
)
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Users:
    """Two owners, the first with two keys, and what the document says of their answers."""

    mine: httpx.AsyncClient
    also_mine: httpx.AsyncClient
    theirs: httpx.AsyncClient
    judge: Judge
    servers: Any

    async def ask(self, method: str, path: str, status: int, **sent: Any) -> httpx.Response:
        """As the first one; the answer is what the document says."""
        answer = await self.mine.request(method, path, **sent)
        assert answer.status_code == status, answer.text
        bare = path.partition("?")[0]
        self.judge.conforms(method, bare, answer.status_code, answer.headers, answer.content)
        return answer

    async def made(self, path: str, name: str, **content: Any) -> str:
        answer = await self.ask("POST", path, 201, json={"name": name, **content})
        return str(answer.json()["id"])


def _key(settings: Settings, owner: str) -> dict[str, str]:
    key = keys.make()
    execute(
        settings.database_url,
        "INSERT INTO api_keys (id, name, scope, hash, owner)"
        f" VALUES ('{key.id}', 'test', 'write', '\\x{key.hash.hex()}', '{owner}')",
    )
    return {"X-API-Key": key.text}


@pytest.fixture
async def users(settings: Settings) -> AsyncIterator[Users]:
    app = create_app(settings.model_copy(update={"auth": "on", "rate_requests": 100_000}))
    transport = httpx.ASGITransport(app=app)
    mine, also_mine, theirs = (
        httpx.AsyncClient(transport=transport, base_url="http://g", headers=_key(settings, owner))
        for owner in ("ann", "ann", "bob")
    )
    async with mine, also_mine, theirs:
        yield Users(mine, also_mine, theirs, Judge(app.openapi()), app.state.servers)
    await app.state.servers.close()


def _reason(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["field"]


# ---- both kinds


@BOTH
async def test_what_was_made_is_found_where_the_answer_says(
    users: Users, path: str, content: dict[str, Any]
) -> None:
    made = await users.ask("POST", path, 201, json={"name": "One", **content})

    assert made.headers["location"] == f"{path}/{made.json()['id']}"
    assert made.headers["cache-control"] == "no-store"
    found = await users.ask("GET", made.headers["location"], 200)
    assert (found.json(), found.headers["etag"]) == (made.json(), '"1"')
    listed = (await users.ask("GET", path, 200)).json()
    [name] = set(listed) - {"next_page_token"}
    assert [item["name"] for item in listed[name]] == ["One"]
    again = await users.mine.get(made.headers["location"].replace("/api/", "/api/v1/"))
    assert again.json() == made.json()


@BOTH
async def test_what_is_replaced_is_another_one_and_what_is_removed_is_gone(
    users: Users, path: str, content: dict[str, Any]
) -> None:
    at = f"{path}/{await users.made(path, 'One', **content)}"

    changed = await users.ask("PUT", at, 200, json={"name": "Two", **content})

    assert (changed.json()["name"], changed.json()["version"], changed.headers["etag"]) == ("Two", 2, '"2"')
    same = await users.ask("PUT", at, 200, json={"name": "Two", **content})
    assert same.json() == changed.json(), "nothing changed"
    await users.ask("DELETE", at, 204)
    for method in ("GET", "DELETE"):
        await users.ask(method, at, 404)
    await users.ask("PUT", at, 404, json={"name": "Two", **content})


@BOTH
async def test_nobody_sees_or_changes_what_others_have(
    users: Users, path: str, content: dict[str, Any]
) -> None:
    at = f"{path}/{await users.made(path, 'Mine', **content)}"

    for method in ("GET", "PUT", "DELETE"):
        sent: Any = {"json": {"name": "Theirs", **content}} if method == "PUT" else {}
        answer = await users.theirs.request(method, at, **sent)
        assert answer.status_code == 404, method
        nowhere = await users.theirs.request(method, f"{path}/{uuid4()}", **sent)
        assert nowhere.json()["title"] == answer.json()["title"], "nothing says that it is there"
    theirs = await users.theirs.get(path)
    assert "Mine" not in theirs.text
    assert (await users.theirs.post(path, json={"name": "Mine", **content})).status_code == 201
    assert (await users.also_mine.get(at)).json()["name"] == "Mine", "another key of the same owner"


@BOTH
async def test_two_of_one_name_are_a_conflict(users: Users, path: str, content: dict[str, Any]) -> None:
    await users.made(path, "One", **content)
    other = await users.made(path, "Two", **content)

    again = await users.ask("POST", path, 409, json={"name": "One", **content})
    renamed = await users.ask("PUT", f"{path}/{other}", 409, json={"name": "One", **content})

    assert _reason(again) == _reason(renamed) == (409, "name")
    assert (await users.mine.get(f"{path}/{other}")).json()["name"] == "Two"


@BOTH
async def test_one_too_many_is_refused(
    users: Users, path: str, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned, "MOST_OWNED", 2)
    sent = [users.mine.post(path, json={"name": f"n{n}", **content}) for n in range(6)]

    answers = await asyncio.gather(*sent)

    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409, 409]
    refused = await users.ask("POST", path, 409, json={"name": "more", **content})
    assert refused.json()["type"] == "urn:rollotape:problem:limit-reached"
    assert (await users.theirs.post(path, json={"name": "first", **content})).status_code == 201


@BOTH
async def test_who_changes_an_older_version_is_told_so(
    users: Users, path: str, content: dict[str, Any]
) -> None:
    at = f"{path}/{await users.made(path, 'One', **content)}"
    await users.ask("PUT", at, 200, json={"name": "Two", **content}, headers={"If-Match": '"1"'})

    for tag in ('"1"', 'W/"2"', '"02"', "2", ""):
        late = await users.ask("PUT", at, 412, json={"name": "Three", **content}, headers={"If-Match": tag})
        assert _reason(late) == (412, "if-match")
        await users.ask("DELETE", at, 412, headers={"If-Match": tag})

    assert (await users.mine.get(at)).json()["name"] == "Two"
    await users.ask("PUT", at, 200, json={"name": "Four", **content}, headers={"If-Match": '"1", "2"'})
    await users.ask("DELETE", at, 204, headers={"If-Match": "*"})


@BOTH
async def test_pages_and_tables_have_each_once_in_the_order_of_names(
    users: Users, path: str, content: dict[str, Any]
) -> None:
    names = ["b", "A", "é", "a,b", 'a "b"', "c"]
    for name in names:
        await users.made(path, name, **content)
    found: list[str] = []
    target = f"{path}?limit=2"
    while True:
        answer = await users.ask("GET", target, 200)
        said = answer.json()
        [kind] = set(said) - {"next_page_token"}
        found += [item["name"] for item in said[kind]]
        if said["next_page_token"] is None:
            break
        assert answer.links["next"]["url"].endswith(said["next_page_token"])
        target = f"{path}?limit=2&page_token={said['next_page_token']}"

    assert found == sorted(names)
    table = await users.ask("GET", f"{path}?format=csv", 200)
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["name"] for row in rows] == sorted(names)
    theirs = await users.theirs.get(target)
    assert theirs.status_code == 400, "a page token belongs to its owner"


BODIES: list[tuple[bytes, str]] = [
    (b"", "body"),
    (b"[]", "body"),
    (b"null", "body"),
    (b'{"name": "a", "name": "b"}', "body"),
    (b'{"name": NaN}', "body"),
    (b"\xff", "body"),
    (b"\xef\xbb\xbf{}", "body"),
    (b"[" * 100_000, "body"),
    (b'{"name": 1%s}' % (b"0" * 5_000), "body"),
    (b'{"name": ""}', "name"),
    (b'{"name": " a"}', "name"),
    (b'{"name": "a\\u0000"}', "name"),
    (b'{"name": "\\ud800"}', "name"),
    (b'{"name": "a\\n"}', "name"),
    (b'{"name": 1}', "name"),
    (b'{"name": "%s"}' % (b"a" * 81), "name"),
    (b'{"name": "a", "owner": "bob"}', "owner"),
]


@BOTH
async def test_a_body_that_is_not_as_it_has_to_be_is_refused_by_its_field(
    users: Users, path: str, content: dict[str, Any]
) -> None:
    for body, field in BODIES:
        answer = await users.ask("POST", path, 422, content=body, headers=JSON)
        assert field in {error["field"] for error in answer.json()["errors"]}, body[:80]

    assert not (await users.mine.get(path)).json()[path.rpartition("/")[2].replace("scans", "saved_scans")]


@BOTH
async def test_other_bodies_than_json_are_refused(users: Users, path: str, content: dict[str, Any]) -> None:
    for kind in ("text/plain", "application/x-ndjson", "application/json; charset=latin-1"):
        answer = await users.ask("POST", path, 415, content=b"{}", headers={"Content-Type": kind})
        assert _reason(answer) == (415, "content-type")
    await users.ask("POST", path, 413, content=b" " * 2_097_153, headers=JSON)
    await users.ask("POST", f"{path}?x=1", 422, json={"name": "a", **content})
    await users.ask("GET", f"{path}?limit=101", 422)
    await users.ask("GET", f"{path}?page_token=x", 400)
    await users.ask("GET", f"{path}/1", 422)


# ---- the same request again


@BOTH
async def test_the_same_key_makes_one_however_often_and_at_once_it_is_sent(
    users: Users, path: str, content: dict[str, Any]
) -> None:
    sent: Any = {"json": {"name": "One", **content}, "headers": {"Idempotency-Key": "k-1"}}

    answers = await asyncio.gather(*(users.mine.post(path, **sent) for _ in range(5)))
    later = await users.ask("POST", path, 201, **sent)

    told = {(a.status_code, a.content, a.headers["location"], a.headers["etag"]) for a in [*answers, later]}
    assert len(told) == 1
    assert len(fetch(users.servers.settings.database_url, "SELECT 1 FROM idempotency_keys")) == 1
    await users.ask("DELETE", later.headers["location"], 204)
    gone = await users.ask("POST", path, 201, **sent)
    assert gone.json() == later.json(), "it was made, and the answer is that of then"
    await users.ask("GET", gone.headers["location"], 404)


@BOTH
async def test_a_key_goes_with_one_request_of_one_owner(
    users: Users, path: str, content: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "k-1"}
    await users.ask("POST", path, 201, json={"name": "One", **content}, headers=headers)

    other = await users.ask("POST", path, 422, json={"name": "Two", **content}, headers=headers)

    assert _reason(other) == (422, "idempotency-key")
    theirs = await users.theirs.post(path, json={"name": "Two", **content}, headers=headers)
    assert theirs.status_code == 201
    for bad in (b"", b"a b", b"x" * 201, "é".encode()):
        named = {b"Idempotency-Key": bad}
        answer = await users.mine.post(path, json={"name": "Three", **content}, headers=named)
        assert _reason(answer) == (422, "idempotency-key"), bad
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await users.mine.post(path, json={"name": "x", **content}, headers=twice)).status_code == 422


async def test_a_key_is_forgotten_after_a_day(users: Users, settings: Settings) -> None:
    sent = {"json": {"name": "One", "symbols": []}, "headers": {"Idempotency-Key": "k"}}
    await users.ask("POST", WATCHLISTS, 201, **sent)
    old = "UPDATE idempotency_keys SET created_at = created_at - interval '24 hours'"
    execute(settings.database_url, old)

    await users.ask("POST", WATCHLISTS, 409, **sent)
    other = {"json": {"name": "Two", "symbols": []}, "headers": {"Idempotency-Key": "k"}}
    await users.ask("POST", WATCHLISTS, 201, **other)

    execute(settings.database_url, old)
    third = {"json": {"name": "Three", "symbols": []}, "headers": {"Idempotency-Key": "l"}}
    await users.ask("POST", WATCHLISTS, 201, **third)
    [row] = fetch(settings.database_url, "SELECT key FROM idempotency_keys")
    assert row["key"] == "l"


async def test_keys_have_an_end(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST_KEYS", 1)
    sent = {"json": {"name": "One", "symbols": []}, "headers": {"Idempotency-Key": "k"}}
    await users.ask("POST", WATCHLISTS, 201, **sent)

    other: Any = {"json": {"name": "Two", "symbols": []}, "headers": {"Idempotency-Key": "l"}}
    assert (await users.mine.post(WATCHLISTS, **other)).status_code == 409
    await users.ask("POST", WATCHLISTS, 201, **sent)


class _Lost(Exception):
    """The gateway dies here."""


@pytest.mark.parametrize("where", ["before the commit", "after the commit"])
async def test_a_crash_between_row_and_answer_makes_neither_two_nor_none(
    users: Users, settings: Settings, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The connection is cut where a process would have died; the client sends the same again."""
    sent: Any = {"json": {"name": "One", "symbols": ["AAPL"]}, "headers": {"Idempotency-Key": "k"}}

    await users.ask("GET", WATCHLISTS, 200)  # the key is known from here on
    store, run = idempotency.store, users.servers.postgres.run

    cuts = 0

    async def cut(connection: Any, *given: Any) -> None:
        nonlocal cuts
        cuts += 1
        await store(connection, *given)
        connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError("cut")

    async def lost(work: Any) -> Any:
        await run(work)
        raise _Lost

    with monkeypatch.context() as patch:
        if where == "before the commit":
            patch.setattr(idempotency, "store", cut)
        else:
            patch.setattr(users.servers.postgres, "run", lost)
        answer = await users.mine.post(WATCHLISTS, **sent)
    assert answer.status_code == (503 if where == "before the commit" else 500)
    assert cuts == (where == "before the commit"), "what may have been committed is not begun again"

    stored = fetch(settings.database_url, "SELECT count(*) FROM watchlists")[0][0]
    assert stored == (0 if where == "before the commit" else 1)
    again = await users.ask("POST", WATCHLISTS, 201, **sent)
    [row] = fetch(settings.database_url, "SELECT id FROM watchlists")
    assert str(row["id"]) == again.json()["id"]


async def test_a_pooled_connection_that_broke_meanwhile_costs_no_answer(
    users: Users, settings: Settings
) -> None:
    await users.made(WATCHLISTS, "One", symbols=[])
    mine = "application_name = 'rollo-api-gateway' AND datname = current_database()"
    fetch(settings.database_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")

    await users.made(WATCHLISTS, "Two", symbols=[])


# ---- watchlists


async def test_symbols_are_kept_once_in_their_order_and_unknown_ones_are_named(
    users: Users, settings: Settings
) -> None:
    await insert_days(settings.database_url, "ZZZ", 1)
    symbols = ["nope", "MSFT", "ZZZ", "aapl", "NOPE", "brk/x"]

    made = await users.ask("POST", WATCHLISTS, 201, json={"name": "a", "symbols": symbols})

    assert made.json()["symbols"] == ["NOPE", "MSFT", "ZZZ", "AAPL", "BRK/X"]
    assert (made.json()["symbol_count"], made.json()["unknown_symbols"]) == (5, ["NOPE", "BRK/X"])
    await insert_days(settings.database_url, "NOPE", 1)
    assert (await users.ask("GET", made.headers["location"], 200)).json()["unknown_symbols"] == ["BRK/X"]


async def test_a_watchlist_has_a_thousand_symbols_at_most(users: Users) -> None:
    symbols = [f"S{n}" for n in range(1_001)]

    answer = await users.ask("POST", WATCHLISTS, 422, json={"name": "a", "symbols": symbols})

    assert _reason(answer) == (422, "symbols")
    made = await users.ask("POST", WATCHLISTS, 201, json={"name": "a", "symbols": symbols[1:]})
    assert made.json()["symbol_count"] == 1_000
    for bad, field in (("a b", "symbols.1"), (1, "symbols.1"), ("", "symbols.1"), ("ſ", "symbols.1")):
        refused = await users.ask("POST", WATCHLISTS, 422, json={"name": "b", "symbols": ["A", bad]})
        assert _reason(refused) == (422, field)


# ---- restricted to what a caller keeps


@pytest.fixture
async def stored(users: Users, settings: Settings) -> Users:
    await insert_patterns(
        settings.database_url,
        [
            Setup(1, "AAPL", confidence=0.9),
            Setup(2, "MSFT", confidence=0.6, pattern_type="SOS"),
            Setup(3, "NVDA", confidence=0.7),
            Setup(4, "XOM", confidence=0.4),
        ],
    )
    await build_model(settings)
    return users


async def _found(users: Users, query: str) -> list[str]:
    answer = await users.ask("GET", f"/api/patterns/scan?{query}", 200)
    return [item["symbol"] for item in answer.json()["patterns"]]


async def test_a_scan_of_a_watchlist_has_its_symbols_alone(stored: Users) -> None:
    mine = await stored.made(WATCHLISTS, "Mine", symbols=["NVDA", "MSFT", "XOM"])
    none = await stored.made(WATCHLISTS, "None", symbols=[])

    assert await _found(stored, f"watchlist_id={mine}") == ["NVDA", "MSFT"]
    assert await _found(stored, f"watchlist_id={mine}&symbols=msft,aapl") == ["MSFT"]
    assert await _found(stored, f"watchlist_id={mine.upper()}&confidence_min=0") == ["NVDA", "MSFT", "XOM"]
    assert await _found(stored, f"watchlist_id={none}") == []
    table = await stored.ask("GET", f"/api/patterns/scan?watchlist_id={mine}&format=csv", 200)
    assert len(table.text.splitlines()) == 3


async def test_pages_of_a_watchlist_go_on_while_it_changes(stored: Users) -> None:
    mine = await stored.made(WATCHLISTS, "Mine", symbols=["AAPL", "NVDA", "MSFT"])
    query = f"/api/patterns/scan?watchlist_id={mine}&limit=1"
    token = (await stored.mine.get(query)).json()["pagination"]["next_page_token"]

    body = {"name": "Mine", "symbols": ["NVDA", "XOM"]}
    await stored.ask("PUT", f"{WATCHLISTS}/{mine}", 200, json=body)
    second = (await stored.ask("GET", f"{query}&page_token={token}", 200)).json()

    assert [item["symbol"] for item in second["patterns"]] == ["NVDA"]
    other = await stored.made(WATCHLISTS, "Other", symbols=["NVDA"])
    moved = f"/api/patterns/scan?watchlist_id={other}&limit=1&page_token={token}"
    await stored.ask("GET", moved, 400)


@pytest.mark.parametrize("path", ["/api/patterns/scan?", "/api/analytics/trades?days=all&"])
async def test_a_page_leads_on_within_what_was_asked_whoever_else_asks_for_the_same_symbols(
    path: str, stored: Users, settings: Settings
) -> None:
    """The same is found, and other tokens lead on: what is kept of one is not of the other."""
    await insert_trades(
        settings.database_url, [Trade(n, 1.0, symbol=s) for n, s in enumerate(("AAPL", "MSFT", "NVDA"), 1)]
    )
    symbols = ["AAPL", "MSFT", "NVDA"]
    one, two = [await stored.made(WATCHLISTS, name, symbols=symbols) for name in ("One", "Two")]
    among = ("symbols=AAPL,MSFT,NVDA", f"watchlist_id={one}", f"watchlist_id={two}")
    for asked in (*among, *among[::-1]):
        query = f"{path}{asked}&limit=1"
        said = (await stored.ask("GET", query, 200)).json()
        token = said["pagination"]["next_page_token"]
        assert (await stored.ask("GET", f"{query}&page_token={token}", 200)).json() != said


async def test_a_saved_scan_is_asked_for_by_its_id(stored: Users) -> None:
    filters = {"confidence_min": 0.65, "sort_by": "symbol", "sort_order": "desc", "timeframes": ["1Day"]}
    saved = await stored.made(SCANS, "High", filters=filters)

    assert await _found(stored, f"scan_id={saved}") == ["NVDA", "AAPL"]
    assert await _found(stored, f"scan_id={saved}&confidence_min=0&sort_order=asc") == [
        "AAPL", "MSFT", "NVDA", "XOM"
    ]  # fmt: skip
    assert await _found(stored, f"scan_id={saved}&timeframe=1w") == []
    assert await _found(stored, f"scan_id={saved}&per_page=1&page=2") == ["AAPL"]
    said = (await stored.ask("GET", f"{SCANS}/{saved}", 200)).json()
    assert said["filters"] == {**filters, "timeframes": ["1d"]}, "as the scan reads them"


async def test_a_saved_scan_may_be_of_a_universe_and_of_a_watchlist(
    stored: Users, settings: Settings
) -> None:
    execute(settings.database_url, "UPDATE universes SET symbols = '{AAPL,MSFT}' WHERE key = 'sp500'")
    watched = await stored.made(WATCHLISTS, "Mine", symbols=["NVDA", "MSFT"])

    for filters, found in (
        ({"universe": "SP500"}, ["AAPL", "MSFT"]),
        ({"universe": "sp500", "watchlist_id": watched}, ["MSFT"]),
        ({"universe": "sp500", "watchlist_id": watched, "symbols": ["aapl"]}, []),
    ):
        saved = await stored.made(SCANS, str(found), filters=filters)
        assert await _found(stored, f"scan_id={saved}") == found
    query = f"universe=sp500&watchlist_id={watched}&days=all"
    await insert_trades(
        settings.database_url, [Trade(n, 1.0, symbol=s) for n, s in enumerate(("AAPL", "MSFT", "NVDA"), 1)]
    )
    said = (await stored.ask("GET", f"/api/analytics/pattern-performance?{query}", 200)).json()
    assert said["total"]["trade_count"] == 1


async def test_a_saved_scan_with_a_watchlist_keeps_it_from_being_deleted(stored: Users) -> None:
    watched = await stored.made(WATCHLISTS, "Mine", symbols=["NVDA"])
    saved = await stored.made(SCANS, "Of mine", filters={"watchlist_id": watched})

    assert await _found(stored, f"scan_id={saved}") == ["NVDA"]
    refused = await stored.ask("DELETE", f"{WATCHLISTS}/{watched}", 409)
    assert "'Of mine'" in refused.json()["detail"]
    theirs = {"name": "x", "filters": {"watchlist_id": watched}}
    answer = await stored.theirs.post(SCANS, json=theirs)
    assert _reason(answer) == (422, "filters.watchlist_id")
    await stored.ask("DELETE", f"{SCANS}/{saved}", 204)
    await stored.ask("DELETE", f"{WATCHLISTS}/{watched}", 204)


FILTERS: list[tuple[Any, str]] = [
    ({"confidence_min": 2}, "filters.confidence_min"),
    ({"confidence_min": None}, "filters.confidence_min"),
    ({"confidence_min": "0.5"}, "filters.confidence_min"),
    ({"confidence_min": True}, "filters.confidence_min"),
    ({"rsi_range": [70, 30]}, "filters.rsi_range"),
    ({"rsi_range": [1, 2, 3]}, "filters.rsi_range"),
    ({"sectors": ["Nonsense"]}, "filters.sectors"),
    ({"sectors": ["Energy,Materials"]}, "filters.sectors"),
    ({"sectors": []}, "filters.sectors"),
    ({"timeframes": ["2d"]}, "filters.timeframes"),
    ({"pattern_types": ["A,B"]}, "filters.pattern_types.0"),
    ({"symbols": "AAPL"}, "filters.symbols"),
    ({"universe": "a b"}, "filters.universe"),
    ({"universe": "nobody-knows-it"}, "filters.universe"),
    ({"watchlist_id": "1"}, "filters.watchlist_id"),
    ({"watchlist_id": str(UUID(int=9))}, "filters.watchlist_id"),
    ({"sort_by": "luck"}, "filters.sort_by"),
    ({"page": 1}, "filters.page"),
    ({"scan_id": str(UUID(int=9))}, "filters.scan_id"),
    ({"nonsense": 1}, "filters.nonsense"),
    (None, "filters"),
]


async def test_filters_that_a_scan_would_refuse_are_refused(users: Users) -> None:
    for filters, field in FILTERS:
        answer = await users.ask("POST", SCANS, 422, json={"name": "a", "filters": filters})
        assert field in {error["field"] for error in answer.json()["errors"]}, filters


@pytest.mark.parametrize("query", ["watchlist_id", "scan_id"])
async def test_what_others_keep_is_not_to_be_asked_for(stored: Users, query: str) -> None:
    made = {
        "watchlist_id": await stored.made(WATCHLISTS, "Mine", symbols=["NVDA"]),
        "scan_id": await stored.made(SCANS, "Mine", filters={}),
    }[query]
    assert await _found(stored, f"{query}={made}")

    for path in ("/api/patterns/scan", "/api/v1/patterns/scan"):
        theirs = await stored.theirs.get(f"{path}?{query}={made}")
        assert _reason(theirs) == (404, query)
    await stored.ask("GET", f"/api/patterns/scan?{query}={uuid4()}", 404)
    await stored.ask("GET", f"/api/patterns/scan?{query}=1", 422)


async def test_figures_of_a_watchlist_are_of_its_symbols_alone(users: Users, settings: Settings) -> None:
    await insert_trades(settings.database_url, [Trade(1, 2.0, symbol="AAPL"), Trade(2, -1.0, symbol="MSFT")])
    mine = await users.made(WATCHLISTS, "Mine", symbols=["MSFT", "XOM"])
    none = await users.made(WATCHLISTS, "None", symbols=[])

    async def count(query: str) -> int:
        path = f"/api/analytics/pattern-performance?days=all&{query}"
        return int((await users.ask("GET", path, 200)).json()["total"]["trade_count"])

    assert await count("symbols=AAPL,MSFT") == 2
    assert await count(f"watchlist_id={mine}") == 1
    assert await count(f"watchlist_id={mine}&symbols=AAPL") == 0
    assert await count(f"watchlist_id={none}") == 0
    for name in ("sector-breakdown", "trend/SPRING", "trades", "trades/SPRING", "vsa"):
        await users.ask("GET", f"/api/analytics/{name}?watchlist_id={mine}", 200)
        other = await users.theirs.get(f"/api/analytics/{name}?watchlist_id={mine}")
        assert _reason(other) == (404, "watchlist_id"), name
    empty = await users.ask("GET", f"/api/analytics/trades?days=all&watchlist_id={none}", 200)
    assert (empty.json()["trades"], empty.json()["filters"]["symbols"]) == ([], [])


# ---- in memory


async def test_scans_of_a_watchlist_in_use_cause_no_sql_that_they_wait_for(
    stored: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await stored.made(WATCHLISTS, "Mine", symbols=["NVDA"])
    query = f"watchlist_id={mine}"
    assert await _found(stored, query) == ["NVDA"]
    looks = 0
    look = owned.Shelf.look

    async def counted(*given: Any) -> Any:
        nonlocal looks
        looks += 1
        return await look(*given)

    monkeypatch.setattr(owned.Shelf, "look", counted)
    monkeypatch.setattr(lists, "FRESH_S", 60.0)

    for _ in range(20):
        assert await _found(stored, query) == ["NVDA"]

    assert looks == 0


async def test_a_change_by_another_gateway_is_heeded(stored: Users, settings: Settings) -> None:
    mine = await stored.made(WATCHLISTS, "Mine", symbols=["NVDA"])
    assert await _found(stored, f"watchlist_id={mine}") == ["NVDA"]

    execute(settings.database_url, "UPDATE watchlists SET symbols = '{AAPL}', version = version + 1")

    async def is_heeded() -> bool:
        return await _found(stored, f"watchlist_id={mine}") == ["AAPL"]

    await eventually(is_heeded)
    execute(settings.database_url, "DELETE FROM watchlists")

    async def is_gone() -> bool:
        answer = await stored.mine.get(f"/api/patterns/scan?watchlist_id={mine}")
        return answer.status_code == 404

    await eventually(is_gone)


async def test_while_postgres_is_away_known_watchlists_go_on_and_others_are_503(
    stored: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await stored.made(WATCHLISTS, "Mine", symbols=["NVDA"])
    other = await stored.made(WATCHLISTS, "Other", symbols=["NVDA"])
    assert await _found(stored, f"watchlist_id={mine}") == ["NVDA"]
    postgres = stored.servers.postgres
    await postgres.close()
    postgres._settings = postgres._settings.model_copy(
        update={"database_url": "postgresql://x@127.0.0.1:1/x"}
    )
    monkeypatch.setattr(lists, "FRESH_S", 0.0)

    assert await _found(stored, f"watchlist_id={mine}") == ["NVDA"]
    unknown = await stored.ask("GET", f"/api/patterns/scan?watchlist_id={other}", 503)
    assert unknown.headers["retry-after"]
    await stored.ask("GET", WATCHLISTS, 503)
    await stored.ask("POST", WATCHLISTS, 503, json={"name": "x", "symbols": []})
    monkeypatch.setattr(lists, "AWAY_S", 0.0)
    await stored.ask("GET", f"/api/patterns/scan?watchlist_id={mine}", 503)
