"""The gateway over real servers: what is stored comes out, what comes in is sent on, outages are said."""

import asyncio
import csv
import gzip
import io
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit

import asyncpg
import brotli
import httpx
import orjson
import pytest
from backports import zstd
from redis.asyncio import Redis

from api_gateway import envelope, main
from api_gateway.app import create_app
from api_gateway.routes import bars as bars_route
from rollotape.errors import Refused
from rollotape.postgres import market
from rollotape.postgres.market import Bars
from rollotape.settings import Settings
from support.databases import execute
from support.gateway import Event, day, insert_days, insert_events
from support.waiting import eventually

Ask = Callable[[Settings], Any]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Clients of gateways with settings of their own, closed together."""
    async with AsyncExitStack() as stack:

        async def open_client(settings: Settings) -> httpx.AsyncClient:
            app = create_app(settings)
            stack.push_async_callback(app.state.servers.close)
            transport = httpx.ASGITransport(app=app)
            return await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://g"))

        yield open_client


@pytest.fixture
async def client(ask: Ask, settings: Settings) -> httpx.AsyncClient:
    opened = await ask(settings)
    assert isinstance(opened, httpx.AsyncClient)
    return opened


def _bar(**changes: Any) -> dict[str, Any]:
    prices = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1500.5}
    return {"symbol": "AAPL", "timeframe": "1d", "ts": "2024-01-02T00:00:00Z"} | prices | changes


# ---- bars


async def test_bars_come_by_symbol_in_the_dialect_of_market_data(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await insert_days(database_url, "AAPL", 2)
    await insert_days(database_url, "BTC/USD", 1)

    answer = await client.get("/api/bars?symbols=btc/usd,aapl,NONE")

    assert answer.status_code == 200
    said = answer.json()
    assert list(said["bars"]) == ["AAPL", "BTC/USD"]
    assert said["bars"]["AAPL"][1] == {
        "t": "2024-01-02T00:00:00Z",
        "o": 10.0,
        "h": 12.0,
        "l": 9.0,
        "c": 11.0,
        "v": 1500.5,
        "n": None,
        "vw": None,
        "revision": 1,
        "synthetic": False,
        "hours": "regular",
        "end_ts": "2024-01-02T21:00:00Z",
    }
    assert said["as_of"] == "2024-01-02T21:00:00Z"
    assert (said["next_page_token"], said["stale"], said["adjustment"]) == (None, False, None)


async def test_no_bar_means_an_empty_object_and_no_moment(client: httpx.AsyncClient) -> None:
    said = (await client.get("/api/bars?symbols=AAPL")).json()

    assert (said["bars"], said["as_of"]) == ({}, None)


async def test_start_and_end_are_included(client: httpx.AsyncClient, database_url: str) -> None:
    await insert_days(database_url, "AAPL", 5)

    said = (await client.get("/api/bars?symbols=AAPL&start=2024-01-02&end=2024-01-03T00:00:00Z")).json()

    assert [bar["t"][:10] for bar in said["bars"]["AAPL"]] == ["2024-01-02", "2024-01-03"]


async def test_timeframes_do_not_mix(client: httpx.AsyncClient, database_url: str) -> None:
    await insert_days(database_url, "AAPL", 2, timeframe="1h")

    assert (await client.get("/api/bars?symbols=AAPL&timeframe=1Day")).json()["bars"] == {}
    assert len((await client.get("/api/bars?symbols=AAPL&timeframe=1Hour")).json()["bars"]["AAPL"]) == 2


async def _pages(client: httpx.AsyncClient, path: str) -> list[httpx.Response]:
    pages = [await client.get(path)]
    while token := pages[-1].json()["next_page_token"]:
        pages.append(await client.get(f"{path}&page_token={token}"))
        assert pages[-1].status_code == 200
    return pages


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
async def test_pages_of_bars_lose_no_row_and_repeat_none(
    client: httpx.AsyncClient, database_url: str, sort: str, limit: int
) -> None:
    for symbol, count in (("A", 3), ("B", 1), ("C", 4)):
        await insert_days(database_url, symbol, count)

    pages = await _pages(client, f"/api/bars?symbols=C,A,B&sort={sort}&limit={limit}")

    rows = [(s, bar["t"]) for page in pages for s, bars in page.json()["bars"].items() for bar in bars]
    days = {"A": 3, "B": 1, "C": 4}
    ordered = {s: [f"2024-01-0{n + 1}T00:00:00Z" for n in range(count)] for s, count in days.items()}
    assert rows == [(s, t) for s, ts in ordered.items() for t in (ts if sort == "asc" else ts[::-1])]
    assert len(pages) == -(-len(rows) // limit)


async def test_a_bar_that_arrives_between_two_pages_shifts_nothing(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await insert_days(database_url, "B", 3)
    first = (await client.get("/api/bars?symbols=A,B&limit=2")).json()

    await insert_days(database_url, "A", 3)
    second = (await client.get(f"/api/bars?symbols=A,B&limit=2&page_token={first['next_page_token']}")).json()

    assert [bar["revision"] for bar in second["bars"]["B"]] == [2]


async def test_a_token_of_another_query_is_a_bad_cursor(client: httpx.AsyncClient, database_url: str) -> None:
    await insert_days(database_url, "AAPL", 3)
    token = (await client.get("/api/bars?symbols=AAPL&limit=1")).json()["next_page_token"]

    for other in ("AAPL&sort=desc", "AAPL&timeframe=1h", "AAPL&start=2024-01-01", "A", "AAPL,A"):
        answer = await client.get(f"/api/bars?symbols={other}&page_token={token}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "page_token")
    assert (await client.get(f"/api/bars?symbols=aapl&limit=7&page_token={token}")).status_code == 200


async def test_csv_has_the_same_rows_in_the_same_order(client: httpx.AsyncClient, database_url: str) -> None:
    for symbol in ("AAPL", "MSFT"):
        await insert_days(database_url, symbol, 3)
    path = "/api/bars?symbols=AAPL,MSFT&sort=desc&limit=4"

    said = (await client.get(path)).json()
    by_parameter = await client.get(f"{path}&format=csv")
    by_header = await client.get(path, headers={"Accept": "text/csv, application/json;q=0.5"})

    assert by_parameter.headers["content-type"] == "text/csv; charset=utf-8"
    assert by_header.content == by_parameter.content
    rows = list(csv.DictReader(io.StringIO(by_parameter.text)))
    in_json = [(s, b["t"]) for s, bars in said["bars"].items() for b in bars]
    assert [(r["symbol"], r["t"]) for r in rows] == in_json
    assert (rows[0]["v"], rows[0]["n"], rows[0]["synthetic"]) == ("1500.5", "", "false")
    assert f"page_token={said['next_page_token']}" in by_parameter.headers["link"]


async def test_a_thousand_symbols_and_ten_thousand_bars_are_one_question(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await insert_days(database_url, "LAST", 500)
    symbols = ",".join([*(f"S{n}" for n in range(999)), "LAST"])

    answer = await client.get(f"/api/bars?symbols={symbols}&limit={bars_route.MOST}")

    assert len(answer.json()["bars"]["LAST"]) == 500


# ---- volume-spread events


async def test_events_come_with_their_counts_and_the_bars_that_could_be_judged(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await insert_days(database_url, "AAPL", 30, evaluable_from=20)
    await insert_events(
        database_url,
        "AAPL",
        [
            Event(21),
            Event(22, "stopping_volume", "bullish", later=1),
            Event(23, "upthrust", rule_set="classic-1"),
        ],
    )

    answer = await client.get("/api/v1/symbols/aapl/vsa")

    assert answer.json() == {
        "symbol": "AAPL",
        "timeframe": "1d",
        "events": [
            {
                "kind": "no_demand",
                "direction": "bearish",
                "rule_set": "seed-1",
                "event_ts": "2024-01-22T00:00:00Z",
                "confirmed_ts": "2024-01-22T00:00:00Z",
                "knowable_at": "2024-01-22T21:00:00Z",
            },
            {
                "kind": "stopping_volume",
                "direction": "bullish",
                "rule_set": "seed-1",
                "event_ts": "2024-01-23T00:00:00Z",
                "confirmed_ts": "2024-01-24T00:00:00Z",
                "knowable_at": "2024-01-24T21:00:00Z",
            },
        ],
        "counts": {"seed-1": {"no_demand": 1, "no_supply": 0, "stopping_volume": 1}},
        "bars": {"count": 30, "evaluable": 10, "not_evaluable": 20, "not_analysed": 0},
        "next_page_token": None,
        "as_of": "2024-01-30T21:00:00Z",
        "stale": False,
    }


async def test_counts_of_two_rule_sets_are_never_mixed(client: httpx.AsyncClient, database_url: str) -> None:
    await insert_days(database_url, "AAPL", 30, evaluable_from=20)
    await insert_events(database_url, "AAPL", [Event(21), Event(21, rule_set="classic-1"), Event(22)])

    said = (await client.get("/api/symbols/AAPL/vsa?rule_set=all&kinds=no_demand,upthrust")).json()

    assert said["counts"] == {"seed-1": {"no_demand": 2}, "classic-1": {"no_demand": 1, "upthrust": 0}}
    assert len(said["events"]) == 3


async def test_where_no_bar_could_be_judged_a_count_is_null_and_not_zero(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await insert_days(database_url, "AAPL", 30, evaluable_from=20)

    early = (await client.get("/api/symbols/AAPL/vsa?end=2024-01-10&kinds=no_demand")).json()
    late = (await client.get("/api/symbols/AAPL/vsa?kinds=no_demand")).json()

    assert (early["events"], early["counts"]) == ([], {"seed-1": {"no_demand": None}})
    assert early["bars"] == {"count": 10, "evaluable": 0, "not_evaluable": 10, "not_analysed": 0}
    assert (late["events"], late["counts"]) == ([], {"seed-1": {"no_demand": 0}})


async def test_a_symbol_without_bars_is_unknown_and_one_without_events_is_not(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await insert_days(database_url, "BTC/USD", 3)

    unknown = await client.get("/api/symbols/AAPL/vsa")
    known = await client.get("/api/symbols/btc%2Fusd/vsa?timeframe=1h")

    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (404, "symbol")
    assert (known.status_code, known.json()["symbol"], known.json()["events"]) == (200, "BTC/USD", [])


async def test_filters_and_window_hold_for_events_and_counts_alike(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await insert_days(database_url, "AAPL", 40)
    await insert_events(
        database_url,
        "AAPL",
        [
            Event(25),
            Event(26, "stopping_volume", "bullish", later=1),
            Event(27, "stopping_volume", "bearish", later=1),
            Event(35),
        ],
    )
    window = f"start={day(27):%Y-%m-%d}&end={day(28):%Y-%m-%d}"

    said = (await client.get(f"/api/symbols/AAPL/vsa?{window}&direction=bullish")).json()

    assert [e["confirmed_ts"][:10] for e in said["events"]] == [f"{day(27):%Y-%m-%d}"]
    assert said["counts"]["seed-1"]["stopping_volume"] == 1
    assert said["bars"]["count"] == 2


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_pages_of_events_lose_none_where_many_share_a_bar(
    client: httpx.AsyncClient, database_url: str, sort: str, limit: int
) -> None:
    await insert_days(database_url, "AAPL", 40)
    events = [
        Event(on, kind, "bullish", rule_set, later=on % 2)
        for on in (30, 31, 32)
        for rule_set in ("seed-1", "classic-1")
        for kind in ("no_demand", "no_supply", "stopping_volume")
    ]
    await insert_events(database_url, "AAPL", events)

    pages = await _pages(client, f"/api/symbols/AAPL/vsa?rule_set=all&sort={sort}&limit={limit}")

    found = [
        tuple(e[n] for n in ("confirmed_ts", "event_ts", "rule_set", "kind"))
        for page in pages
        for e in page.json()["events"]
    ]
    assert len(found) == len(set(found)) == len(events)
    assert found == sorted(found, reverse=sort == "desc")
    assert all(page.json()["counts"]["seed-1"]["no_demand"] == 3 for page in pages)


async def test_events_as_csv_name_their_symbol(client: httpx.AsyncClient, database_url: str) -> None:
    await insert_days(database_url, "AAPL", 30)
    await insert_events(database_url, "AAPL", [Event(21)])

    answer = await client.get("/api/symbols/AAPL/vsa?format=csv")

    assert answer.text.splitlines() == [
        "symbol,timeframe,rule_set,kind,direction,event_ts,confirmed_ts,knowable_at",
        "AAPL,1d,seed-1,no_demand,bearish,2024-01-22T00:00:00Z,2024-01-22T00:00:00Z,2024-01-22T21:00:00Z",
    ]


async def test_every_query_of_the_gateway_is_served_by_an_index(database_url: str) -> None:
    for symbol in ("AAPL", "MSFT"):
        await insert_days(database_url, symbol, 400)
        await insert_events(database_url, symbol, [Event(on) for on in range(300)])
    symbols, first, last = market._bounds(Bars(["AAPL"], "1d", day(0), day(9), newest_first=False))
    window = ("AAPL", "1d", day(0), day(20))
    wanted = (*window, ["seed-1"], ["no_demand"], ["bearish"])
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("ANALYZE; SET enable_seqscan = off")
        for name, arguments in (
            ("bars_oldest_first", (symbols, first, last, "1d", 10)),
            ("bars_newest_first", (symbols, first, last, "1d", 10)),
            ("knows", ("AAPL",)),
            ("judged", window),
            ("vsa_counts", wanted),
            ("vsa_oldest_first", (*wanted, None, None, None, None, 10)),
            ("vsa_newest_first", (*wanted, day(5), day(5), "seed-1", "no_demand", 10)),
        ):
            plan = "\n".join(r[0] for r in await connection.fetch(f"EXPLAIN {market._SQL[name]}", *arguments))
            assert "Index" in plan and "Seq Scan" not in plan, f"{name}:\n{plan}"
            if name.startswith("vsa"):
                assert "idx_vsa_events_symbol_confirmed" in plan, f"{name}:\n{plan}"
    finally:
        await connection.close()


# ---- bars in


async def _entries(redis_client: Redis, stream: str) -> Any:
    return await redis_client.xrange(stream)


async def test_good_bars_reach_the_stream_of_their_partition_and_bad_ones_are_named(
    client: httpx.AsyncClient, redis_client: Redis
) -> None:
    bars = [_bar(symbol="aapl"), _bar(high=8.0, volume=-1.0), _bar(symbol="MSFT", final=False), {"frame": {}}]

    answer = await client.post("/api/bars", json={"bars": bars})

    assert answer.status_code == 207
    said = answer.json()
    assert said["accepted"]["count"] == 2
    assert [entry["index"] for entry in said["accepted"]["entries"]] == [0, 2]
    refused = {r["index"]: {f["field"] for f in r["faults"]} for r in said["refused"]}
    assert refused == {1: {"high", "volume"}, 3: {"frame"}}
    first = said["accepted"]["entries"][0]
    assert first["stream"] == "bars.12"
    [(entry_id, fields)] = await _entries(redis_client, "bars.12")
    assert entry_id.decode() == first["id"]
    assert orjson.loads(fields[b"json"]) == _bar()


async def test_all_good_is_202_and_lines_are_taken_as_they_are(
    client: httpx.AsyncClient, redis_client: Redis
) -> None:
    lines = [orjson.dumps(_bar(revision=n)) for n in range(3)]

    headers = {"Content-Type": "application/x-ndjson; charset=UTF-8"}
    answer = await client.post("/api/bars", content=b"\n".join(lines), headers=headers)

    assert (answer.status_code, answer.json()["accepted"]["count"], answer.json()["refused"]) == (202, 3, [])
    assert [fields[b"json"] for _, fields in await _entries(redis_client, "bars.12")] == lines


async def test_a_thousand_bars_are_one_request(client: httpx.AsyncClient, redis_client: Redis) -> None:
    answer = await client.post("/api/bars", json={"bars": [_bar(revision=n) for n in range(1_000)]})

    assert answer.json()["accepted"]["count"] == 1_000
    assert await redis_client.xlen("bars.12") == 1_000


async def test_a_refused_request_sends_nothing(client: httpx.AsyncClient, redis_client: Redis) -> None:
    too_many = {"bars": [_bar()] * 1_001}

    assert (await client.post("/api/bars", json=too_many)).status_code == 422
    assert (await client.post("/api/bars?dry=1", json={"bars": [_bar()]})).status_code == 422
    assert await redis_client.keys("bars.*") == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_bodies_of_another_kind_are_415(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.post("/api/bars", content=b'{"bars":[]}', headers=headers)

    assert answer.status_code == 415
    if "Content-Encoding" in headers:
        assert answer.headers["accept-encoding"] == "identity"
    else:
        assert "application/x-ndjson" in answer.headers["accept"]


async def test_a_body_above_two_megabytes_is_413(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65_536

    answer = await client.post("/api/bars", content=endless(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 413


# ---- rules for all


async def test_every_answer_has_an_id_that_is_the_clients_own_where_it_is_sane(
    client: httpx.AsyncClient,
) -> None:
    own = await client.get("/livez", headers={"X-Request-Id": "trace-1.a_B"})
    made = await client.get("/nowhere", headers={b"X-Request-Id": b"a b\xe9"})

    assert own.headers["x-request-id"] == "trace-1.a_B"
    assert len(made.headers["x-request-id"]) == 32
    assert made.json()["request_id"] == made.headers["x-request-id"]


async def test_a_request_goes_by_the_trace_of_its_caller_unless_it_was_given_a_name(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(envelope.requests, "say", lambda **fields: said.append(fields))
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    traced = {"traceparent": f"00-{trace}-{span}-01"}
    plain = await client.get("/livez", headers=traced)
    named = await client.get("/livez", headers=traced | {"X-Request-Id": "mine"})
    wrong = await client.get("/livez", headers={"traceparent": f"00-{trace}-{span}"})

    assert (plain.headers["x-request-id"], said[0]["request_id"]) == (trace, trace)
    assert named.headers["x-request-id"] == "mine"
    assert (said[1]["request_id"], said[1]["trace_id"]) == ("mine", trace)
    assert wrong.headers["x-request-id"] not in (trace, "")
    assert "trace_id" not in said[0] | said[2]


async def test_a_known_etag_is_answered_by_304_without_a_body(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await insert_days(database_url, "AAPL", 3)
    path = "/api/bars?symbols=AAPL"
    first = await client.get(path)
    etag = first.headers["etag"]

    again = await client.get(path, headers={"If-None-Match": f'"x", {etag}'})
    execute(database_url, "UPDATE bars SET close = 10.5")
    changed = await client.get(path, headers={"If-None-Match": etag})

    assert etag.startswith('W/"')
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert changed.status_code == 200
    for answer in (first, again):
        assert answer.headers["cache-control"] == "private, max-age=60, stale-while-revalidate=300"
        assert answer.headers["vary"] == "Accept, Accept-Encoding, Authorization"


@pytest.mark.parametrize(
    ("taken", "encoding", "unpack"),
    [
        ("deflate, gzip", "gzip", gzip.decompress),
        ("gzip, br", "br", brotli.decompress),
        ("gzip, deflate, br, zstd", "zstd", zstd.decompress),
    ],
)
async def test_bodies_are_compressed_for_those_who_take_it(
    client: httpx.AsyncClient, database_url: str, taken: str, encoding: str, unpack: Callable[[bytes], bytes]
) -> None:
    await insert_days(database_url, "AAPL", 50)
    path = "/api/bars?symbols=AAPL"

    plain = await client.get(path, headers={"Accept-Encoding": "gzip;q=0"})
    async with client.stream("GET", path, headers={"Accept-Encoding": taken}) as packed:
        raw = b"".join([part async for part in packed.aiter_raw()])

    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == encoding
    assert unpack(raw) == plain.content
    assert packed.headers["etag"] == plain.headers["etag"]


async def test_a_head_is_the_get_without_its_body(client: httpx.AsyncClient, database_url: str) -> None:
    await insert_days(database_url, "AAPL", 1)
    path = "/api/bars?symbols=AAPL"

    get, head = await client.get(path), await client.head(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-length"] == str(len(get.content))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_a_method_that_a_path_does_not_know_is_405_with_those_it_knows(
    client: httpx.AsyncClient, method: str
) -> None:
    answer = await client.request(method, "/api/v1/bars")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_both_mounts_answer_alike(client: httpx.AsyncClient, database_url: str) -> None:
    await insert_days(database_url, "AAPL", 3)
    for path in ("/bars?symbols=AAPL&limit=2", "/symbols/AAPL/vsa", "/symbols/NONE/vsa", "/bars"):
        old, new = await client.get(f"/api{path}"), await client.get(f"/api/v1{path}")
        assert old.status_code == new.status_code
        if old.status_code == 200:
            assert old.content == new.content
    for path in ("/livez", "/readyz", "/openapi.json", "/asyncapi.json", "/docs"):
        assert (await client.get(f"/api/v1{path}")).content == (await client.get(path)).content


# ---- outages


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_without_postgres_there_is_a_503_and_never_an_empty_list(ask: Ask, settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": f"postgresql://x@127.0.0.1:{_closed_port()}/x"})
    client = await ask(away)

    for path in ("/api/bars?symbols=AAPL", "/api/symbols/AAPL/vsa"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "PostgreSQL" in answer.json()["detail"]
        assert "127.0.0.1" not in answer.text
    assert (await client.post("/api/bars", json={"bars": [_bar()]})).status_code == 503
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "degraded", "away": ["PostgreSQL"]})


async def test_without_redis_reading_goes_on_and_sending_is_503(
    ask: Ask, settings: Settings, database_url: str
) -> None:
    await insert_days(database_url, "AAPL", 1)
    client = await ask(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{_closed_port()}"}))

    sent = await client.post("/api/bars", json={"bars": [_bar()]})

    assert (sent.status_code, sent.headers["retry-after"]) == (503, "2")
    assert (await client.get("/api/bars?symbols=AAPL")).status_code == 200
    assert (await client.get("/readyz")).json() == {"status": "degraded", "away": ["Redis"]}


async def test_without_both_it_is_alive_and_not_ready(ask: Ask, settings: Settings) -> None:
    port = _closed_port()
    urls = {"redis_url": f"redis://127.0.0.1:{port}", "database_url": f"postgresql://x@127.0.0.1:{port}/x"}
    client = await ask(settings.model_copy(update=urls))

    assert (await client.get("/livez")).status_code == 200
    assert (await client.get("/readyz")).status_code == 503


async def test_connections_that_postgres_closed_cost_no_request(
    client: httpx.AsyncClient, database_url: str, server_url: str
) -> None:
    await insert_days(database_url, "AAPL", 1)
    assert (await client.get("/api/bars?symbols=AAPL")).status_code == 200

    name = urlsplit(database_url).path.strip("/")
    execute(server_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    assert (await client.get("/api/bars?symbols=AAPL")).status_code == 200


@asynccontextmanager
async def _forwarding(port: int, target: SplitResult) -> AsyncIterator[None]:
    """A server that comes up late: what arrives at `port` goes to `target`."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65_536):
            writer.write(part)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    async with await asyncio.start_server(connect, "127.0.0.1", port):
        yield


async def test_postgres_that_comes_late_is_found_without_a_restart(
    ask: Ask, settings: Settings, database_url: str
) -> None:
    await insert_days(database_url, "AAPL", 1)
    port, target = _closed_port(), urlsplit(database_url)
    behind = target._replace(netloc=f"{target.netloc.rpartition('@')[0]}@127.0.0.1:{port}")
    client = await ask(settings.model_copy(update={"database_url": behind.geturl()}))
    assert (await client.get("/api/bars?symbols=AAPL")).status_code == 503

    async def answered() -> bool:
        return bool((await client.get("/api/bars?symbols=AAPL")).status_code == 200)

    async with _forwarding(port, target):
        await eventually(answered, what="bars from PostgreSQL")
        await client._transport.app.state.servers.close()


async def test_a_database_that_was_never_migrated_is_away(
    ask: Ask, settings: Settings, empty_database_url: str
) -> None:
    client = await ask(settings.model_copy(update={"database_url": empty_database_url}))

    assert (await client.get("/api/bars?symbols=AAPL")).status_code == 503


async def test_a_bug_is_a_500_that_tells_nothing(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(market, "bars", broken)

    answer = await client.get("/api/bars?symbols=AAPL")

    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "secret" not in answer.text


# ---- who may ask


@pytest.mark.parametrize(
    ("auth", "host", "word"),
    [
        ("off", "0.0.0.0", "ROLLO_HTTP_HOST"),
        ("off", "::", "ROLLO_HTTP_HOST"),
        ("off", "192.168.1.2", "ROLLO_HTTP_HOST"),
        ("off", "example.org", "ROLLO_HTTP_HOST"),
    ],
)
def test_without_keys_it_refuses_to_be_open(auth: str, host: str, word: str) -> None:
    settings = Settings(redis_url="redis://x", database_url="postgresql://x", auth=auth, http_host=host)

    with pytest.raises(Refused, match=word):
        main.guard(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "example.org"])
def test_with_keys_it_may_be_anywhere(host: str) -> None:
    main.guard(Settings(redis_url="redis://x", database_url="postgresql://x", http_host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_loopback_it_may_be_open(host: str) -> None:
    main.guard(Settings(redis_url="redis://x", database_url="postgresql://x", auth="off", http_host=host))
