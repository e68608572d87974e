"""Summaries, health, performance and the dashboard over HTTP: measured values only, unknown is null."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from api_gateway.app import create_app
from rollotape.settings import Settings
from support.connections import Client
from support.databases import execute
from support.gateway import Setup, build_model, insert_days, insert_patterns


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async for opened in _client(settings):
        yield opened


async def _client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


async def _get(client: httpx.AsyncClient, path: str, status: int = 200) -> Any:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def _refused(client: httpx.AsyncClient, path: str) -> list[str]:
    said = await _get(client, path, 422)
    return [error["field"] for error in said["errors"]]


async def _stored(settings: Settings, *setups: Setup) -> None:
    await insert_patterns(settings.database_url, setups)
    await build_model(settings)


# ---- patterns/summary


def _recent() -> tuple[Setup, ...]:
    now = datetime.now(UTC)
    return (
        Setup(1, confidence=0.8, detected_at=now - timedelta(hours=1)),
        Setup(2, symbol="XOM", confidence=0.3, detected_at=now - timedelta(days=3)),
        Setup(3, symbol="XOM", pattern_type="UTAD", side="distribution", phase=None, timeframe="1h"),
        Setup(4, symbol="ZZZ", side=None, expires_at=now + timedelta(days=1)),
        Setup(5, symbol="ZZZ", expires_at=now - timedelta(days=1)),
    )


async def test_a_summary_is_of_all_that_is_active_whatever_its_confidence(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, *_recent())

    said = await _get(client, "/api/patterns/summary")

    assert (said["total"], said["symbols"], said["stale"]) == (4, 3, False)
    assert said["by"] == {
        "pattern_type": [{"name": "SPRING", "count": 3}, {"name": "UTAD", "count": 1}],
        "phase": [{"name": "C", "count": 3}, {"name": None, "count": 1}],
        "sector": [
            {"name": "Energy", "count": 2},
            {"name": "Information Technology", "count": 1},
            {"name": None, "count": 1},
        ],
        "side": [
            {"name": "accumulation", "count": 2},
            {"name": "distribution", "count": 1},
            {"name": None, "count": 1},
        ],
        "timeframe": [{"name": "1d", "count": 3}, {"name": "1h", "count": 1}],
    }
    assert said["top_symbols"][0] == {"name": "XOM", "count": 2}
    assert said["high_confidence"] == {"at_least": 0.8, "count": 4 - 1}
    assert (said["new"]["window"], said["new"]["count"]) == ("24h", 1)
    scan = await _get(client, "/api/patterns/scan?confidence_min=0")
    assert scan["pagination"]["total"] == said["total"]


NEW = {"30m": 0, "2h": 1, "1d": 1, "7d": 2, "3650d": 4}


async def test_the_window_of_a_summary_says_what_is_new(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, *_recent())
    found = {
        window: (await _get(client, f"/api/v1/patterns/summary?window={window}"))["new"]["count"]
        for window in NEW
    }
    assert found == NEW


async def test_a_summary_as_csv_has_every_count(client: httpx.AsyncClient, settings: Settings) -> None:
    await _stored(settings, *_recent())
    answer = await client.get("/api/patterns/summary?top=1", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {"group": "phase", "name": "", "count": "1"} in rows
    assert [r["count"] for r in rows if r["group"] in ("total", "new", "high_confidence")] == ["4", "3", "1"]
    assert [r["name"] for r in rows if r["group"] == "top_symbols"] == ["XOM"]


async def test_a_summary_that_has_not_changed_is_304(client: httpx.AsyncClient, settings: Settings) -> None:
    await _stored(settings, Setup(1))
    first = await client.get("/api/patterns/summary?window=3650d")
    assert first.headers["cache-control"] == "private, max-age=30"
    for _ in range(3):  # a minute may end in between, once
        again = await client.get(
            "/api/patterns/summary?window=3650d", headers={"If-None-Match": first.headers["etag"]}
        )
        if again.status_code == 304:
            break
        first = again
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("query", "field"),
    [("window=1w", "window"), ("window=0h", "window"), ("top=0", "top"), ("top=101", "top"), ("x=1", "x")],
)
async def test_a_summary_refuses_by_name(client: httpx.AsyncClient, query: str, field: str) -> None:
    assert await _refused(client, f"/api/patterns/summary?{query}") == [field]


async def test_without_a_read_model_a_summary_is_503(client: httpx.AsyncClient, redis_client: Redis) -> None:
    answer = await client.get("/api/patterns/summary")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    await redis_client.flushall()


# ---- health and performance


async def test_health_names_every_part_with_its_own_verdict(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await _stored(settings, Setup(1))

    said = await _get(client, "/api/pattern-discovery/health")

    parts = {c["name"]: c for c in said["components"]}
    assert list(parts) == [
        "postgresql", "redis-streams", "read-model", "redis-answers", "delivery",
        "detector", "rs-worker", "cache-builder", "bars",
    ]  # fmt: skip
    assert said["status"] == "degraded", "no worker is there, and no bar"
    well = [name for name, c in parts.items() if c["status"] == "healthy"]
    assert well == ["postgresql", "redis-streams", "read-model", "redis-answers", "delivery"]
    assert parts["postgresql"]["figures"]["answer_ms"] > 0
    assert parts["redis-streams"]["figures"]["eviction_policy"] == "noeviction"
    assert parts["read-model"]["figures"]["entries"] == 1
    assert parts["detector"]["reason"] == "none is connected to PostgreSQL"
    assert parts["bars"]["reason"] == "no bar has ever come"


async def test_without_a_read_model_health_is_503_and_says_what_it_saw(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/pattern-discovery/health")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert (said["status"], said["detail"]) == (503, "Unhealthy: read-model it is missing.")
    assert {c["name"]: c["status"] for c in said["components"]}["postgresql"] == "healthy"

    of_patterns = await _get(client, "/api/patterns/health", 503)
    assert of_patterns["model"]["state"] == "missing"
    assert of_patterns["reasons"][0] == "read-model: it is missing"


async def test_a_server_that_is_away_is_a_finding(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:1/x"})
    async for client in _client(nowhere):
        answer = await client.get("/api/pattern-discovery/health")
        parts = {c["name"]: c for c in answer.json()["components"]}
        assert answer.status_code == 503
        assert (parts["postgresql"]["status"], parts["postgresql"]["figures"]) == ("unhealthy", {})
        assert parts["redis-streams"]["status"] == "healthy"
        assert (await _get(client, "/api/patterns/health", 503))["bars"] is None
    gone = settings.model_copy(update={"cache_url": "redis://127.0.0.1:1"})
    await _stored(settings, Setup(1))
    async for client in _client(gone):
        said = await _get(client, "/api/pattern-discovery/health")
        parts = {c["name"]: c for c in said["components"]}
        assert (parts["redis-answers"]["status"], parts["redis-answers"]["critical"]) == ("degraded", False)


async def test_entries_that_nobody_read_and_indexes_that_disagree_are_seen(
    client: httpx.AsyncClient, settings: Settings, redis_client: Redis
) -> None:
    await _stored(settings, Setup(1), Setup(2))
    for n in range(3):
        await redis_client.xadd("updates", {"json": b"{}"}, id=f"{1_767_623_400_000 + n}-0")

    said = await _get(client, "/api/patterns/health")

    assert said["model"]["index_sizes"] == dict.fromkeys(said["model"]["index_sizes"], 2)
    assert said["facts"] == {
        "last_fact_at": "2026-01-05T14:30:00.002000Z", "last_processed_at": None, "processed": 0,
        "lag": 3, "pending": 0, "oldest_pending_s": None,
    }  # fmt: skip
    assert "delivery: nobody has ever read for cache-builder, webhooks" in said["reasons"]

    await redis_client.zrem("rm:{patterns}:by:confidence", str(Setup(1).id))
    async for other in _client(settings):
        broken = await _get(other, "/api/patterns/health", 503)
        assert broken["model"]["state"] == "broken"
        assert broken["model"]["index_sizes"]["confidence"] == 1


async def test_bars_are_late_by_the_time_of_the_market(client: httpx.AsyncClient, settings: Settings) -> None:
    await _stored(settings, Setup(1))
    now = datetime.now(UTC)
    execute(
        settings.database_url,
        f"INSERT INTO newest_bars VALUES ('1m', '{now.isoformat()}'), ('1d', '2018-02-07 21:00Z')",
    )
    said = await _get(client, "/api/patterns/health")
    minute, day = (next(b for b in said["bars"] if b["timeframe"] == name) for name in ("1m", "1d"))
    assert (minute["state"], minute["allowed_s"]) == ("fresh", 960.0)
    assert (day["state"], day["newest_at"]) == ("ended", "2018-02-07T21:00:00Z")
    assert day["behind_s"] > 5 * 252 * 5 * 3_600
    assert not [reason for reason in said["reasons"] if reason.startswith("bars")]


async def test_performance_is_what_was_measured(client: httpx.AsyncClient, settings: Settings) -> None:
    before = await _get(client, "/api/pattern-discovery/performance")
    assert before["scan"]["all"] == {
        "count": 0, "mean_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None
    }  # fmt: skip
    assert before["hit_ratio"]["scan"] is None
    unmet = {t["name"]: (t["measured"], t["met"]) for t in before["targets"]}
    assert unmet["scan_p95"] == (None, None)

    await _stored(settings, Setup(1))
    for _ in range(3):
        await _get(client, "/api/patterns/scan")
    await _get(client, "/api/v1/patterns/scan?confidence_min=0.7")
    await client.get("/api/nowhere")
    await _get(client, "/api/analytics/pattern-performance")
    await _get(client, "/api/analytics/pattern-performance")

    said = await _get(client, "/api/pattern-discovery/performance")
    scan = said["scan"]
    assert [scan[part]["count"] for part in ("all", "cached", "computed")] == [4, 2, 2]
    assert scan["all"]["p50_ms"] <= scan["all"]["p95_ms"] <= scan["all"]["p99_ms"]
    assert said["hit_ratio"]["scan"] == 0.5
    assert said["hit_ratio"]["analytics"] == 0.5
    routes = {r["route"]: r["count"] for r in said["routes"]}
    assert routes["/api/patterns/scan"] == 4
    assert routes["unmatched"] == 1
    assert said["requests"]["count"] == sum(routes.values())
    targets = {t["name"]: t for t in said["targets"]}
    assert targets["scan_hit_ratio"] == {
        "name": "scan_hit_ratio", "mission": "B8", "unit": "ratio", "target": 0.85,
        "measured": 0.5, "met": False,
    }  # fmt: skip
    assert targets["performance_uncached_mean"]["measured"] > 0
    assert said["memory_bytes"] > 10_000_000
    assert said["window"]["seconds"] <= 315


async def test_answers_that_were_there_at_once_are_counted_as_such(client: httpx.AsyncClient) -> None:
    transport: Any = client._transport
    connection = Client(transport.app)
    asked = b"GET /api/analytics/pattern-performance HTTP/1.1\r\nHost: localhost\r\n"
    first = await connection.say(asked + b"\r\n")
    etag = first.partition(b"etag: ")[2].partition(b"\r\n")[0]
    for more in (b"", b"", b"If-None-Match: %b\r\n" % etag):
        await connection.say(asked + more + b"\r\n")

    assert connection.at_once == 3
    said = await _get(client, "/api/pattern-discovery/performance")
    assert said["hit_ratio"]["analytics"] == 0.75


@pytest.mark.parametrize(
    "path", ["patterns/health", "pattern-discovery/health", "pattern-discovery/performance"]
)
async def test_health_takes_no_parameters_and_is_never_kept(
    client: httpx.AsyncClient, settings: Settings, path: str
) -> None:
    assert await _refused(client, f"/api/{path}?x=1") == ["x"]
    await _stored(settings, Setup(1))
    answer = await client.get(f"/api/{path}")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


# ---- universes


async def _universes(settings: Settings) -> None:
    execute(
        settings.database_url,
        "UPDATE universes SET symbols = '{AAPL,MSFT,XOM}', changed_at = '2026-01-05 08:00Z'"
        " WHERE key = 'sp500';"
        "INSERT INTO universes (key, description) VALUES ('mine', 'Mine');"
        "INSERT INTO exchanges VALUES ('AAPL', 'NASDAQ'), ('MSFT', 'NASDAQ'), ('XOM', 'NYSE AMERICAN');"
        "INSERT INTO sector_mapping (symbol, sector, as_of, is_sector_leader)"
        " VALUES ('XOM', 'Energy', '2026-01-05', true), ('CVX', 'Energy', '2026-01-05', false)",
    )


async def test_universes_are_listed_with_what_they_are(client: httpx.AsyncClient, settings: Settings) -> None:
    await _universes(settings)
    said = await _get(client, "/api/users/universe")
    heads = {u["key"]: u for u in said["universes"]}
    assert list(heads)[:3] == ["mine", "sp500", "leaders"]
    assert heads["sp500"] == {
        "key": "sp500", "description": "S&P 500", "category": "index", "count": 3,
        "changed_at": "2026-01-05T08:00:00Z",
    }  # fmt: skip
    assert (heads["mine"]["count"], heads["mine"]["changed_at"]) == (0, None)
    assert heads["exchange:nasdaq"]["count"] == 2
    assert heads["exchange:nyse-american"]["description"] == "Listed on NYSE AMERICAN"
    assert heads["sector:information-technology"]["count"] > 5
    assert heads["sector:telecommunication-services"]["count"] == 0
    only = await _get(client, "/api/v1/users/universe?category=Leaders")
    assert [(u["key"], u["count"]) for u in only["universes"]] == [("leaders", 1)]
    answer = await client.get("/api/users/universe?format=csv&category=index")
    assert answer.text.splitlines()[0] == "key,description,category,count,changed_at"
    assert answer.headers["cache-control"] == "no-store"
    assert await _refused(client, "/api/users/universe?category=x&limit=1") == ["limit", "category"]


async def test_a_universe_is_read_page_by_page(client: httpx.AsyncClient, settings: Settings) -> None:
    await _universes(settings)
    first = await client.get("/api/users/universe/SP500?limit=2")
    said = first.json()
    assert (said["symbols"], said["count"]) == (["AAPL", "MSFT"], 3)
    assert said["next_page_token"] in first.headers["link"]
    rest = await _get(client, f"/api/users/universe/sp500?page_token={said['next_page_token']}")
    assert (rest["symbols"], rest["next_page_token"]) == (["XOM"], None)
    assert (await client.get("/api/users/universe/sp500?format=csv&limit=1")).text == "symbol\r\nAAPL\r\n"
    empty = await _get(client, "/api/users/universe/mine")
    assert (empty["symbols"], empty["count"]) == ([], 0)
    unknown = await _get(client, "/api/users/universe/exchange:lse", 404)
    assert unknown["errors"][0]["field"] == "key"
    other = await client.get(f"/api/users/universe/leaders?page_token={said['next_page_token']}")
    assert other.status_code == 400
    assert await _refused(client, "/api/users/universe/sp500?limit=1001") == ["limit"]


async def test_without_postgresql_universes_are_503_and_never_empty(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:1/x"})
    async for client in _client(nowhere):
        for path in ("", "/sp500", "/nothing"):
            answer = await client.get(f"/api/users/universe{path}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


# ---- symbols: markets, detections


async def test_symbols_are_chosen_by_their_market(client: httpx.AsyncClient, settings: Settings) -> None:
    await _universes(settings)
    for market, found in {
        "nasdaq": ["AAPL", "MSFT"],
        "NYSE American,NASDAQ": ["AAPL", "MSFT", "XOM"],
    }.items():
        said = await _get(client, f"/api/symbols?market={market}")
        assert [s["symbol"] for s in said["symbols"]] == found
    both = await _get(client, "/api/symbols?market=NASDAQ&market=NYSE%20AMERICAN&sector=Energy")
    assert [(s["symbol"], s["exchange"]) for s in both["symbols"]] == [("XOM", "NYSE AMERICAN")]
    assert (await _get(client, "/api/symbols?market=LSE"))["symbols"] == []
    assert (await _get(client, "/api/symbols/AAPL"))["exchange"] == "NASDAQ"
    assert (await _get(client, "/api/symbols?search=CVX"))["symbols"][0]["exchange"] is None
    assert await _refused(client, "/api/symbols?market=N*") == ["market"]
    csv_form = await client.get("/api/symbols?market=NASDAQ&format=csv")
    assert [row["exchange"] for row in csv.DictReader(io.StringIO(csv_form.text))] == ["NASDAQ", "NASDAQ"]


async def test_detections_of_a_symbol_are_all_of_the_window_active_or_not(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    now = datetime.now(UTC)
    setups = [
        Setup(1, detected_at=now - timedelta(days=1)),
        Setup(2, detected_at=now - timedelta(days=2), expires_at=now - timedelta(days=1)),
        Setup(3, detected_at=now - timedelta(days=2), pattern_type="UTAD", timeframe="1h"),
        Setup(4, detected_at=now - timedelta(days=60)),
        Setup(5, symbol="MSFT", detected_at=now),
    ]
    await insert_patterns(settings.database_url, setups)

    async def ids(query: str) -> list[int]:
        said = await _get(client, f"/api/symbols/aapl/detections?{query}")
        return [int(item["id"].replace("-", ""), 16) for item in said["detections"]]

    assert sorted(await ids("")) == [1, 2, 3]
    assert (await ids("days=all"))[-1] == 4
    assert await ids("days=1") == [1]
    assert await ids("days=all&pattern_types=utad") == [3]
    assert await ids("days=all&timeframe=1Hour") == [3]

    said = await _get(client, "/api/v1/symbols/AAPL/detections?days=90&limit=1")
    seen = []
    while True:
        seen += said["detections"]
        if said["next_page_token"] is None:
            break
        token = said["next_page_token"]
        said = await _get(client, f"/api/symbols/AAPL/detections?days=90&limit=2&page_token={token}")
    assert [s["detected_at"] for s in seen] == sorted((s["detected_at"] for s in seen), reverse=True)
    assert len({s["id"] for s in seen}) == len(seen) == 4
    active = {int(s["id"].replace("-", ""), 16): s["is_active"] for s in seen}
    assert active == {1: True, 2: False, 3: True, 4: True}
    assert (seen[0]["entry"], seen[0]["targets"], said["days"]) == (10.5, [12.0], 90)


async def test_detections_refuse_and_know_by_name(client: httpx.AsyncClient, settings: Settings) -> None:
    await insert_patterns(settings.database_url, [Setup(1, symbol="NEW")])
    empty = await _get(client, "/api/symbols/MSFT/detections")
    assert (empty["detections"], empty["as_of"], empty["days"]) == ([], None, 30)
    assert (await _get(client, "/api/symbols/NEW/detections?days=1"))["detections"] == []
    await _get(client, "/api/symbols/NONE/detections", 404)
    assert await _refused(client, "/api/symbols/MSFT/detections?days=0&limit=0") == ["days", "limit"]
    answer = await client.get("/api/symbols/NEW/detections?days=all", headers={"Accept": "text/csv"})
    [row] = csv.DictReader(io.StringIO(answer.text))
    assert (row["symbol"], row["target_1"], row["is_active"]) == ("NEW", "12.0", "true")


# ---- dashboard


async def test_the_dashboard_counts_symbols_as_they_are_listed(
    client: httpx.AsyncClient, settings: Settings, redis_client: Redis
) -> None:
    await _universes(settings)
    await insert_days(settings.database_url, "AAPL", 3)
    execute(settings.database_url, "UPDATE sector_mapping SET as_of = '2024-01-03'")
    await _stored(settings, Setup(1))
    for n in range(3):
        await redis_client.xadd("updates", {"json": b"{}"}, id=f"{1_767_623_400_000 + n}-0")

    said = await _get(client, "/api/dashboard/stats")

    listed: list[Any] = []
    token = ""
    while token is not None:
        page = await _get(client, f"/api/symbols?limit=1000{token and f'&page_token={token}'}")
        listed, token = listed + page["symbols"], page["next_page_token"]
    assert said["symbols"]["total"] == len(listed)
    assert said["symbols"]["active"] == len([s for s in listed if s["active"]]) == 1
    for group, name in (("by_sector", "sector"), ("by_market", "exchange")):
        counted = {one["name"]: (one["symbols"], one["active"]) for one in said["symbols"][group]}
        names = {s[name] for s in listed}
        assert counted == {
            n: (
                len([s for s in listed if s[name] == n]),
                len([s for s in listed if s[name] == n and s["active"]]),
            )
            for n in names
        }
        assert [one["name"] for one in said["symbols"][group]][-1] is None
    assert said["events"] == {"facts": 3, "processed": 0, "last_event_at": "2026-01-05T14:30:00.002000Z"}
    assert (said["database"]["state"], said["cache"]["state"], said["stale"]) == ("up", "up", False)
    assert said["database"]["bytes"] > 1_000_000
    assert said["cache"]["hit_ratio"] is None
    assert said["read_model"] == {"state": "sound", "patterns": 1, "hit_ratio": None}


async def test_what_is_away_is_null_on_the_dashboard(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:1/x", "cache_url": None})
    async for client in _client(nowhere):
        said = await _get(client, "/api/v1/dashboard/stats")
        assert (said["symbols"], said["stale"], said["cache"]["state"]) == (None, True, "none")
        assert said["database"] == {
            "state": "away", "version": None, "schema_revision": None, "bytes": None, "connections": None,
            "answer_ms": None,
        }  # fmt: skip
        assert await _refused(client, "/api/dashboard/stats?x=1") == ["x"]
