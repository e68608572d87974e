"""Patterns over HTTP: the scan from memory alone, one pattern in full, events in."""

import csv
import gzip
import io
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import brotli
import httpx
import orjson
import pytest
from backports import zstd
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from api_gateway import scan
from api_gateway.app import create_app
from rollotape import patterns
from rollotape.settings import Settings
from support.databases import execute, fetch
from support.gateway import Event, Setup, build_model, day, insert_days, insert_events, insert_patterns


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


def _app(client: httpx.AsyncClient) -> Any:
    transport: Any = client._transport
    return transport.app


async def _get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _numbers(said: Any) -> list[int]:
    return [int(item["id"].replace("-", ""), 16) for item in said["patterns"]]


async def _stored(settings: Settings, *setups: Setup) -> None:
    await insert_patterns(settings.database_url, setups)
    await build_model(settings)


# ---- the scan


async def test_a_scan_shows_items_with_everything_an_item_has(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, Setup(1, rsi=41.5, test_confirmed=True))

    said = await _get(client, "/api/patterns/scan?display=true")

    [item] = said["patterns"]
    assert (item["symbol"], item["rsi"], item["rs_excess"], item["entry"]) == ("AAPL", 41.5, None, 10.5)
    assert (item["targets"], item["sector"]) == ([12.0], "Information Technology")
    assert item["vsa_events"] == {"no_demand": 0, "no_supply": 2, "stopping_volume": 1}
    assert item["display"] == {
        "conf": "80%", "rs": "-", "vol": "-", "price": "10.00", "chg": "-",
        "time": "01-01 00:00", "exp": "01-01 00:00",
    }  # fmt: skip
    assert said["pagination"] == {
        "total": 1, "page": 1, "per_page": 30, "pages": 1, "limit": None, "next_page_token": None
    }  # fmt: skip
    assert said["stale"] is False
    assert "display" not in (await _get(client, "/api/patterns/scan"))["patterns"][0]


SETUPS = (
    Setup(1, confidence=0.9, rsi=30.0, rs_ratio=1.2, rs_excess=5.0, vol_ratio=2.0, phase="C"),
    Setup(
        2, confidence=0.6, pattern_type="UTAD", side="distribution", symbol="MSFT", timeframe="1h", phase="D"
    ),
    Setup(3, confidence=0.4, symbol="XOM", pattern_type="BULL_FLAG", side=None, phase=None, vol_ratio=0.5),
    Setup(4, confidence=0.7, symbol="JPM", test_confirmed=True, detected_at=day(9), rsi=70.0, rs_excess=-1.0),
)


FOUND = {
    "": [1, 4, 2],
    "confidence_min=0": [1, 4, 2, 3],
    "confidence_min=0.7": [1, 4],
    "pattern_types=utad,spring": [1, 4, 2],
    "pattern_types=UTAD": [2],
    "symbols=msft&symbols=jpm": [4, 2],
    "sectors=Technology": [1, 2],
    "timeframe=1Hour": [2],
    "timeframes=1h,1d": [1, 4, 2],
    "phase=d,c": [1, 4, 2],
    "phase=A": [],
    "side=distribution": [2],
    "rs_min=1": [1],
    "rs_excess_min=-1.0": [1, 4],
    "vol_min=1.5": [1],
    "rsi_range=30,70": [1, 4],
    "rsi_range=30.5,100": [4],
    "test_confirmed=true": [4],
    "test_confirmed=false": [],
    "detected_since=2024-01-02": [4],
    "sort_by=symbol&sort_order=asc": [1, 4, 2],
    "sort_by=rs&confidence_min=0": [1, 2, 3, 4],
    "sort_by=volume&sort_order=asc&confidence_min=0": [3, 1, 2, 4],
    "sort_by=detected_at": [4, 1, 2],
}


async def test_every_filter_and_order_of_a_scan(client: httpx.AsyncClient, settings: Settings) -> None:
    await _stored(settings, *SETUPS)

    found = {query: _numbers(await _get(client, f"/api/patterns/scan?{query}")) for query in FOUND}

    assert found == FOUND


REFUSED = {
    "universe=nothing": "universe",
    "watchlist_id=1": "watchlist_id",
    "scan_id=1": "scan_id",
    "rsi_range=70,30": "rsi_range",
    "rsi_range=30": "rsi_range",
    "rsi_range=0,101": "rsi_range",
    "confidence_min=nan": "confidence_min",
    "confidence_min=1.01": "confidence_min",
    "vol_min=inf": "vol_min",
    "rs_min=1e999": "rs_min",
    "phase=F": "phase",
    "sectors=Wheat": "sectors",
    "pattern_types=A-B": "pattern_types",
    "page=1&limit=3": "page",
    "per_page=101": "per_page",
    "test_confirmed=yes": "test_confirmed",
    "timeframe=1M": "timeframe",
}


async def test_what_a_scan_cannot_mean_is_refused_by_name(client: httpx.AsyncClient) -> None:
    answers = {query: await client.get(f"/api/patterns/scan?{query}") for query in REFUSED}

    assert {answer.status_code for answer in answers.values()} == {422}
    assert {query: answer.json()["errors"][0]["field"] for query, answer in answers.items()} == REFUSED


@pytest.mark.parametrize(
    "order", ["sort_by=rs", "sort_by=volume&sort_order=asc", "sort_by=symbol", "sort_order=asc"]
)
@pytest.mark.parametrize("limit", [1, 3])
async def test_both_ways_of_paging_show_every_pattern_once(
    client: httpx.AsyncClient, settings: Settings, order: str, limit: int
) -> None:
    values = [None, 1.0, 2.0, 1.0, None, 3.0, 1.0]
    await _stored(settings, *(Setup(n + 1, rs_ratio=v, vol_ratio=v) for n, v in enumerate(values)))
    path = f"/api/patterns/scan?{order}"
    whole = _numbers(await _get(client, path))

    by_number = [
        await _get(client, f"{path}&per_page={limit}&page={n + 1}") for n in range(-(-7 // limit) + 1)
    ]
    by_token = [await _get(client, f"{path}&limit={limit}")]
    while token := by_token[-1]["pagination"]["next_page_token"]:
        by_token.append(await _get(client, f"{path}&limit={limit}&page_token={token}"))

    assert sorted(whole) == list(range(1, 8))
    assert [n for page in by_number for n in _numbers(page)] == whole
    assert [n for page in by_token for n in _numbers(page)] == whole
    assert {page["pagination"]["total"] for page in by_number} == {7}


async def test_a_pattern_that_goes_between_two_pages_takes_no_other_with_it(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, *(Setup(n, confidence=1 - n / 100) for n in range(1, 7)))
    first = await _get(client, "/api/patterns/scan?limit=3")

    execute(settings.database_url, f"DELETE FROM patterns WHERE id IN ('{Setup(2).id}', '{Setup(3).id}')")
    await build_model(settings)
    token = first["pagination"]["next_page_token"]

    async def rest() -> list[int]:
        return _numbers(await _get(client, f"/api/patterns/scan?limit=3&page_token={token}"))

    assert await rest() == [4, 5, 6]
    assert (await client.get(f"/api/patterns/scan?sort_by=rs&page_token={token}")).status_code == 400


async def test_a_scan_asks_postgres_nothing(client: httpx.AsyncClient, settings: Settings) -> None:
    await _stored(settings, *SETUPS)
    _app(client).state.servers.postgres._settings = settings.model_copy(
        update={"database_url": "postgresql://x@127.0.0.1:1/x"}
    )

    assert len((await _get(client, "/api/patterns/scan"))["patterns"]) == 3


async def test_the_same_question_is_found_ready_and_its_etag_is_known(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, *SETUPS)
    path = "/api/patterns/scan?symbols=AAPL"

    first, second = await client.get(path), await client.get(path)
    etag = first.headers["etag"]
    again = await client.get(path, headers={"If-None-Match": etag})
    other = await client.get(f"{path}&per_page=7", headers={"If-None-Match": etag})
    stats = await _get(client, "/api/patterns/stats")

    assert [a.json()["cache_info"]["cached"] for a in (first, second)] == [False, True]
    assert first.json()["cache_info"]["query_time_ms"] > 0
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)
    assert {a.headers["cache-control"] for a in (first, again)} == {"private, max-age=30"}
    assert (stats["hits"], stats["misses"], stats["ratio"]) == (2, 2, 0.5)
    assert (stats["entries"], stats["eviction_policy"]) == (4, "noeviction")


UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


@pytest.mark.parametrize("encoding", UNPACK)
async def test_a_compressed_scan_says_what_the_plain_one_says_and_the_time_that_it_took_itself(
    client: httpx.AsyncClient, settings: Settings, encoding: str
) -> None:
    await _stored(settings, *(Setup(n) for n in range(1, 9)))
    plain = await client.get("/api/patterns/scan", headers={"Accept-Encoding": "identity"})

    packed = []
    for path in ("/api/patterns/scan", "/api/v1/patterns/scan"):
        async with client.stream("GET", path, headers={"Accept-Encoding": encoding}) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == encoding
        assert int(answer.headers["content-length"]) == len(raw) < len(plain.content) / 2
        assert answer.headers["etag"] == plain.headers["etag"]
        packed.append(orjson.loads(UNPACK[encoding](raw)))

    times = [said["cache_info"].pop("query_time_ms") for said in packed]
    assert min(times) >= 0 and max(times) < 10_000
    assert packed == [plain.json() | {"cache_info": {"cached": True}}] * 2


async def test_what_is_asked_in_other_words_is_the_same_question_and_the_next_page_keeps_the_words(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, *(Setup(n) for n in range(1, 4)))

    first = await client.get("/api/patterns/scan?symbols=aapl,msft&limit=2&format=csv")
    again = await client.get("/api/patterns/scan?limit=2&symbols=MSFT&symbols=AAPL&format=csv")
    [link] = [part[1:] for part in again.headers["link"].split(">;")[:1]]
    rest = await client.get(link)

    assert first.headers["etag"] == again.headers["etag"]
    assert link.startswith("/api/patterns/scan?limit=2&symbols=MSFT&symbols=AAPL&format=csv&page_token=")
    assert len(list(csv.DictReader(io.StringIO(rest.text)))) == 1
    assert "link" not in rest.headers


async def test_answers_given_before_routing_have_an_id_and_count_under_their_route(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, Setup(1))

    def counted() -> float:
        found = REGISTRY.get_sample_value("rollo_http_requests_total", labels)
        return found or 0.0

    labels = {"route": "/api/v1/patterns/scan", "method": "GET", "status": "2xx"}
    before = counted()
    for _ in range(2):
        answer = await client.get("/api/v1/patterns/scan", headers={"X-Request-Id": "mine"})
        assert answer.headers["x-request-id"] == "mine"
        assert answer.headers["x-content-type-options"] == "nosniff"
    head = await client.head("/api/v1/patterns/scan")

    assert counted() - before == 2
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])


async def test_what_expires_is_gone_at_that_moment_whoever_has_an_answer_ready(
    client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = datetime.now(UTC) + timedelta(hours=1)
    await _stored(settings, Setup(1), Setup(2, expires_at=ends))
    before = await client.get("/api/patterns/scan")

    later = int(ends.timestamp() * 1_000_000)
    monkeypatch.setattr(scan, "now_us", lambda: later)
    after = await client.get("/api/patterns/scan", headers={"If-None-Match": before.headers["etag"]})

    assert (_numbers(before.json()), _numbers(after.json())) == ([1, 2], [1])


async def test_without_traffic_there_is_no_ratio(client: httpx.AsyncClient, settings: Settings) -> None:
    await build_model(settings)

    assert (await _get(client, "/api/patterns/stats"))["ratio"] is None


async def test_a_read_model_that_is_missing_or_broken_is_a_503_and_never_a_short_list(
    client: httpx.AsyncClient, settings: Settings, redis_client: Redis
) -> None:
    missing = await client.get("/api/patterns/scan")
    await _stored(settings, *SETUPS)
    async with httpx.AsyncClient(transport=client._transport, base_url="http://g") as another:
        await redis_client.hdel("rm:{patterns}:items", str(SETUPS[0].id))
        _app(client).state.servers.reader._answered_at = -1.0
        broken = await another.get("/api/patterns/scan")

    for answer in (missing, broken):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert await redis_client.exists("rm:{patterns}:rebuild")


async def test_a_scan_as_csv_has_the_same_patterns_in_the_same_order(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, *SETUPS)

    answer = await client.get("/api/patterns/scan?limit=2&format=csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))

    assert [row["symbol"] for row in rows] == ["AAPL", "JPM"]
    assert (rows[0]["target_1"], rows[0]["vsa_no_supply"], rows[0]["confirmed_at"]) == ("12.0", "2", "")
    assert "page_token=" in answer.headers["link"]


# ---- one pattern


async def test_one_pattern_says_what_the_scan_says_and_what_its_counts_are_made_of(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await insert_days(settings.database_url, "AAPL", 30)
    await insert_events(settings.database_url, "AAPL", [Event(20, "no_supply"), Event(28, "no_supply")])
    await _stored(settings, Setup(1, detected_at=day(25), rs_ratio=1.5))
    execute(
        settings.database_url,
        "INSERT INTO sector_mapping VALUES ('AAPL', 'Energy', 'XLE', '2024-01-20', 4.5, 2, true)",
    )
    execute(
        settings.database_url,
        "INSERT INTO rs_scores"
        " (as_of, symbol, rs_score, rs_ratio, is_sector_leader, market_status, sector_status)"
        " SELECT session_date, symbol, extract(day FROM session_date), 1.5, false, 'o', 'o' FROM bars"
        " WHERE session_date > '2024-01-20'",
    )
    await build_model(settings)

    said = await _get(client, f"/api/patterns/{Setup(1).id}")
    [item] = (await _get(client, "/api/patterns/scan"))["patterns"]

    assert {name: said[name] for name in item} == item
    assert (said["rs_excess"], said["rs_ratio"], said["is_sector_leader"]) == (4.5, None, True)
    assert (said["rs_excess_at_detection"], said["rs_ratio_at_detection"]) == (float(day(24).day), 1.5)
    assert [event["event_ts"] for event in said["events"]] == ["2024-01-21T00:00:00Z"]
    assert (said["status"], said["range"], said["trade"]) == ("active", None, None)
    assert (said["wyckoff_events"], said["preliminary_events_in_range"]) == (None, None)
    assert (await client.get(f"/api/patterns/{Setup(2).id}")).status_code == 404
    assert (await client.get("/api/patterns/none")).status_code == 422


# ---- events in


def _event(**changes: Any) -> dict[str, Any]:
    return {
        "event": "detected", "source": "scanner-7", "symbol": "AAPL", "timeframe": "1d",
        "pattern_type": "BULL_FLAG", "confidence": 0.9, "detected_at": "2024-01-02T00:00:00Z",
    } | changes  # fmt: skip


async def test_good_events_reach_the_stream_of_their_symbol_and_bad_ones_are_named(
    client: httpx.AsyncClient, redis_client: Redis
) -> None:
    older = {"symbol": "AAPL", "pattern": "Doji", "confidence": 0.5, "timestamp": 1_700_000_000}
    sent = [_event(symbol="aapl"), _event(confidence=2), _event(symbol="MSFT", surprise=1), 7, older]

    answer = await client.post("/api/patterns", json={"patterns": sent})

    assert answer.status_code == 207
    said = answer.json()
    assert [(e["index"], e["stream"]) for e in said["accepted"]["entries"]] == [
        (0, "patterns.12"),
        (4, "patterns.12"),
    ]
    assert {r["index"]: r["faults"][0]["field"] for r in said["refused"]} == {
        1: "confidence",
        2: "surprise",
        3: "json",
    }
    entries: Any = await redis_client.xrange("patterns.12")
    payloads = [fields[b"json"] for _, fields in entries]
    assert orjson.loads(payloads[0]) == _event()
    assert patterns.read(payloads[1], 1_800_000_000_000).state["pattern_type"] == "DOJI"


async def test_all_good_events_are_202_also_as_lines(client: httpx.AsyncClient, redis_client: Redis) -> None:
    content = b"\n".join(orjson.dumps(_event(revision=n)) for n in range(3))

    answer = await client.post(
        "/api/patterns", content=content, headers={"Content-Type": "application/x-ndjson"}
    )

    assert (answer.status_code, await redis_client.xlen("patterns.12")) == (202, 3)
    assert (await client.post("/api/patterns", json={"bars": [_event()]})).status_code == 422


async def test_patterns_are_found_by_their_key(settings: Settings) -> None:
    plan = fetch(settings.database_url, f"EXPLAIN SELECT * FROM patterns WHERE id = '{Setup(1).id}'")

    assert "patterns_pkey" in str(plan)
