"""Analytics over HTTP: what a plain reference says, in either form, in pages, kept, with servers away."""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from time import time_ns
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import structlog
from prometheus_client import REGISTRY

from api_gateway.app import create_app
from cache_builder.counting import count
from detector.wyckoff import Read
from rollotape import analytics
from rollotape.domain.performance import told
from rollotape.domain.wyckoff.rules import CURRENT
from rollotape.postgres import pages
from rollotape.postgres.analytics import Filters, PatternPerformance, Split, Window
from rollotape.postgres.pool import open_pool
from rollotape.postgres.wyckoff import Wyckoff
from rollotape.settings import Settings
from support import feeds, portfolios
from support import performance_reference as reference
from support.applying import open_bench
from support.closed_trades import Trade, insert_trades, roll_up, stored_trades
from support.connections import Client
from support.databases import execute, fetch
from support.doors import State, door
from support.gateway import Setup, insert_patterns
from support.performance_reference import Traded
from support.waiting import eventually

NOWHERE = "redis://127.0.0.1:1/0"
AT = "/api/analytics"
REAL = (
    "AAPL", "BA", "CAT", "CVX", "DIS", "GE", "IBM", "INTC", "JNJ", "JPM", "KO", "MSFT", "PFE", "WMT", "XOM",
)  # fmt: skip


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway of its own, which shows a change as soon as it knows of it."""
    app = create_app(settings)
    for answers in (app.state.servers.answers, app.state.servers.tape):
        answers.grace_s = 0.0
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
            yield opened
    finally:
        await app.state.servers.close()


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with _open(settings) as opened:
        yield opened


def _servers(client: httpx.AsyncClient) -> Any:
    transport: Any = client._transport
    return transport.app.state.servers


async def _get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(f"{AT}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _rows(client: httpx.AsyncClient, path: str) -> list[dict[str, str]]:
    answer = await client.get(f"{AT}/{path}", headers={"Accept": "text/csv"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text)))


async def _next(client: httpx.AsyncClient) -> None:
    """Have the gateway know what PostgreSQL says now."""
    for following in (_servers(client).generations, _servers(client).tape_generations):
        await following.next()


# ---- equal to the reference


def _portfolio(count: int = 120) -> list[Traded]:
    """Trades of the last hundred days and more, with all that can be said of one."""
    random, now = Random(11), datetime.now(UTC).replace(microsecond=0)
    found = []
    for _ in range(count):
        symbol = random.choice(sorted(portfolios.SYMBOLS))
        listed = portfolios.SYMBOLS[symbol]
        days_ago = random.choice((1, 3, 9, 20, 45, 80, 120, 500))
        ended = now - timedelta(days=days_ago, hours=random.randrange(30))
        entry, stop = random.choice((("100", "95"), ("100", "105"), ("33.33333333", "32.1")))
        away = (Decimal(entry) - Decimal(stop)) * Decimal(random.choice(("-1", "-1", "0", "0.3", "1.7", "3")))
        closed, known = random.random() < 0.9, random.random() < 0.8
        tested = random.choice((None, False, True)) if known else None
        found.append(
            Traded(
                id=UUID(int=random.getrandbits(128), version=4),
                symbol=symbol,
                timeframe=random.choice(("1d", "1d", "1h")),
                origin=random.choice(("paper", "paper", "external")),
                status="CLOSED" if closed else random.choice(("OPEN", "PENDING", "CANCELLED")),
                generated_at=ended - timedelta(hours=5),
                pattern_type=random.choice(portfolios.TYPES),
                entry=Decimal(entry),
                stop=Decimal(stop),
                exit_price=(Decimal(entry) + away).quantize(Decimal("1e-8")) if closed else None,
                exit=ended if closed else None,
                sessions=random.randrange(9) if closed else None,
                sector=listed[1] if listed and listed[0] == "stock" else None,
                pattern_id=UUID(int=random.getrandbits(128), version=4) if known else None,
                phase=random.choice(portfolios.PHASES) if known else None,
                tested=tested,
                tested_at=ended - timedelta(hours=random.choice((-1, 1))) if tested else None,
            )
        )
    return found


@pytest.fixture
async def trades(settings: Settings, database_url: str) -> list[Traded]:
    """A portfolio that is stored and rolled up."""
    found = _portfolio()
    connection = await asyncpg.connect(database_url)
    try:
        await portfolios.store(connection, found)
    finally:
        await connection.close()
    await roll_up(settings)
    return found


QUERIES: dict[str, tuple[int | None, Filters]] = {
    "": (30, Filters(origin="paper")),
    "days=7": (7, Filters(origin="paper")),
    "days=90&origin=all": (90, Filters()),
    "days=all&origin=external": (None, Filters(origin="external")),
    "days=all": (None, Filters(origin="paper")),
    "days=400&phase=c": (400, Filters(origin="paper", phase="C")),
    "days=3650&detection_phase=A&phase=A&origin=all": (3650, Filters(phase="A")),
    "days=all&timeframe=1Hour": (None, Filters(origin="paper", timeframe="1h")),
    "days=all&symbols=aaa,ddd": (None, Filters(origin="paper", symbols=("AAA", "DDD"))),
    "days=all&sectors=energy&sectors=Utilities&origin=all": (None, Filters(sectors=("Energy", "Utilities"))),
    "days=45&sectors=energy&phase=C&timeframe=1d": (
        45,
        Filters(origin="paper", sectors=("Energy",), phase="C", timeframe="1d"),
    ),
}
TYPED: dict[str, tuple[int | None, Filters]] = QUERIES | {
    "days=all&pattern_types=spring,sos": (None, Filters(origin="paper", pattern_types=("SOS", "SPRING"))),
    "days=90&pattern_types=utad&origin=all": (90, Filters(pattern_types=("UTAD",))),
}


def _window(days: int | None) -> Window:
    return Window(days, time_ns() // 1_000)


def _split(split: Split) -> dict[str, Any]:
    parts = {"test_confirmed": split.test_confirmed, "test_unconfirmed": split.test_unconfirmed}
    return told(split.performance) | {name: part and told(part) for name, part in parts.items()}


def _phases(found: Mapping[str, int]) -> dict[str, int]:
    return dict.fromkeys(("A", "B", "C", "D", "E", "unknown"), 0) | dict(found)


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _instant(when: datetime | None) -> str | None:
    return None if when is None else when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _expected_types(found: PatternPerformance) -> list[dict[str, Any]]:
    return [
        {"pattern_type": row.pattern_type, **_split(row.split), "phases": _phases(row.phases)}
        for row in found.rows
    ]


async def test_performance_is_what_a_reference_says(client: httpx.AsyncClient, trades: list[Traded]) -> None:
    for query, (days, filters) in TYPED.items():
        expected = reference.pattern_performance(trades, _window(days), filters)

        said = await _get(client, f"pattern-performance?{query}")

        assert said["patterns"] == _expected_types(expected), query
        assert said["total"] == _split(expected.total) | {"phases": _phases(expected.phases)}, query
        assert (said["as_of"], said["stale"]) == (_instant(expected.as_of), False)
        assert said["filters"]["origin"] == (filters.origin or "all")


async def test_sectors_are_what_a_reference_says(
    client: httpx.AsyncClient, settings: Settings, trades: list[Traded], database_url: str
) -> None:
    execute(
        database_url,
        "INSERT INTO sector_mapping (symbol, sector, etf, rs_score, is_sector_leader) VALUES"
        " ('AAA', 'Energy', 'XLE', 1.25, true), ('EEE', 'Energy', 'XLE', -3.5, false),"
        " ('CCC', NULL, NULL, 2, false)",
    )
    await roll_up(settings)
    await _next(client)
    stocks = [dict(row) for row in fetch(database_url, "SELECT * FROM sector_mapping")]
    for query, (days, filters) in TYPED.items():
        expected = reference.sector_breakdown(trades, stocks, _window(days), filters)

        said = await _get(client, f"sector-breakdown?{query}")

        assert said["sectors"] == [
            {
                "sector": row.sector,
                "etf": row.etf,
                "leader_count": row.leader_count,
                "median_rs": _number(row.median_rs),
                **_split(row.split),
            }
            for row in expected.rows
        ], query
        assert said["total"] == {"leader_count": expected.leader_count, **_split(expected.total)}, query


async def test_a_trend_is_what_a_reference_says(client: httpx.AsyncClient, trades: list[Traded]) -> None:
    for query, (days, filters) in QUERIES.items():
        expected = reference.trend(trades, "SPRING", _window(days), filters)

        said = await _get(client, f"trend/Spring?{query}")

        rows = [{name: _number(value) for name, value in row._asdict().items()} for row in expected.rows]
        assert said["trend"] == [row | {"date": row["date"].isoformat()} for row in rows], query
        assert (said["pattern_type"], said["rolling_state"]) == ("SPRING", None)


async def test_trades_are_those_of_a_reference_in_its_order(
    client: httpx.AsyncClient, trades: list[Traded]
) -> None:
    for query, (days, filters) in TYPED.items():
        expected = reference.asked(trades, _window(days), filters)

        said = await _get(client, f"trades?{query}&sort=asc&limit=1000")
        numbered = await _get(client, f"trades?{query}&per_page=100")

        assert [t["id"] for t in said["trades"]] == [str(t.id) for t in expected], query
        assert [t["realized_r"] for t in said["trades"]] == [float(t.r) for t in expected]
        assert [t["test_confirmed"] for t in said["trades"]] == [t.test for t in expected]
        assert [t["sector"] for t in said["trades"]] == [t.sector for t in expected]
        assert numbered["pagination"]["total"] == len(expected), query


async def test_five_years_of_real_bars_give_what_a_reference_says(
    shared_data: Path, settings: Settings, client: httpx.AsyncClient
) -> None:
    """Paper trades on the detector's own patterns, from bars to HTTP."""
    bars = feeds.daily(shared_data / "bars_daily_sp500.csv.gz", REAL)
    async with open_bench(settings) as bench:
        read = Read(Wyckoff(bench.pool, CURRENT), bench.outbox, quiet_s=-1.0)
        await bench.apply([payload for _, payload in feeds.frames(bars, 500)])
        while await read.once():
            pass
    await roll_up(settings)
    stored = stored_trades(settings.database_url)
    expected = reference.pattern_performance(stored, _window(None), Filters(origin="paper"))

    said = await _get(client, "pattern-performance?days=all")

    assert said["total"]["trade_count"] > 20
    assert said["patterns"] == _expected_types(expected)
    assert said["total"]["win_rate"] == _number(expected.total.performance.win_rate)
    listed = await _get(client, "trades?days=all&limit=1000&sort=asc")
    ended = reference.asked(stored, _window(None), Filters(origin="paper"))
    assert [t["id"] for t in listed["trades"]] == [str(t.id) for t in ended]


# ---- forms and pages

TABLES = (
    ("pattern-performance?days=all", "patterns"),
    ("sector-breakdown?days=all", "sectors"),
    ("trend/SPRING?days=all", "trend"),
    ("trades?days=all&limit=7", "trades"),
    ("trades/utad?days=all&page=1", "trades"),
)


async def test_csv_has_the_same_rows_in_the_same_order(
    client: httpx.AsyncClient, trades: list[Traded]
) -> None:
    for path, rows in TABLES:
        said, table = (await _get(client, path))[rows], await _rows(client, path)

        assert len(said) == len(table) > 1, path
        for one, row in zip(said, table, strict=True):
            plain = {n: _cell(v) for n, v in one.items() if not isinstance(v, dict | list) and n in row}
            assert row.items() >= plain.items(), path
            assert len(plain) > 5
            if rows == "patterns":
                assert row["phase_c"] == _cell(one["phases"]["C"])
                assert row["win_rate_low"] == _cell(one["win_rate_ci95"][0])
                split = one["test_confirmed"] or {}
                assert row["test_confirmed_win_rate"] == _cell(split.get("win_rate"))


def _cell(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


async def test_csv_without_rows_has_its_header(client: httpx.AsyncClient) -> None:
    for path in ("pattern-performance", "sector-breakdown", "trend/SPRING", "trades", "vsa"):
        answer = await client.get(f"{AT}/{path}?format=csv")

        assert answer.status_code == 200
        assert len(answer.text.splitlines()) == 1, path
        assert len(answer.text.split(",")) > 5


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("status", ["closed", "all"])
async def test_pages_lose_no_trade_and_give_none_twice(
    client: httpx.AsyncClient, trades: list[Traded], status: str, sort: str
) -> None:
    path = f"trades?days=all&origin=all&sort={sort}&status={status}"
    whole = [t["id"] for t in (await _get(client, f"{path}&limit=1000"))["trades"]]

    answer = await client.get(f"{AT}/{path}&limit=7")
    by_token = answer.json()["trades"]
    while "link" in answer.headers:
        target = answer.headers["link"].split(">")[0][1:]
        answer = await client.get(target)
        by_token += answer.json()["trades"]
    assert answer.json()["pagination"]["next_page_token"] is None

    first = await _get(client, f"{path}&page=1&per_page=7")
    pages = first["pagination"]["pages"]
    by_page = first["trades"]
    for page in range(2, pages + 1):
        by_page += (await _get(client, f"{path}&page={page}&per_page=7"))["trades"]

    assert len(whole) == first["pagination"]["total"] > 100
    assert [t["id"] for t in by_token] == whole
    assert [t["id"] for t in by_page] == whole
    assert (await _get(client, f"{path}&page={pages + 1}&per_page=7"))["trades"] == []


async def test_more_going_trades_than_are_counted_have_no_total_and_first_pages(
    client: httpx.AsyncClient, trades: list[Traded], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "trades?days=all&origin=all&status=all&per_page=3"
    whole = [t["id"] for t in (await _get(client, "trades?days=all&origin=all&status=all&limit=9"))["trades"]]
    assert (await _get(client, f"{path}&page=4&sort=asc"))["pagination"]["total"] == len(trades)
    monkeypatch.setattr(pages, "MOST_COUNTED", 9)

    pages_of_three = [await _get(client, f"{path}&page={page}") for page in (1, 2, 3)]
    beyond = await client.get(f"{AT}/{path}&page=4")

    assert [t["id"] for said in pages_of_three for t in said["trades"]] == whole
    assert {(s["pagination"]["total"], s["pagination"]["pages"]) for s in pages_of_three} == {(None, None)}
    assert (beyond.status_code, beyond.json()["errors"][0]["field"]) == (422, "page")
    assert (await _get(client, "trades?days=all&origin=all&per_page=3&page=4"))["pagination"]["total"] > 9


async def test_a_page_token_belongs_to_its_question(client: httpx.AsyncClient, trades: list[Traded]) -> None:
    first = await _get(client, "trades?days=all&limit=5")
    token = first["pagination"]["next_page_token"]

    assert len((await _get(client, f"trades?days=all&limit=9&page_token={token}"))["trades"]) == 9
    for other in ("days=90", "days=all&sort=asc", "days=all&origin=all", "days=all&status=open"):
        answer = await client.get(f"{AT}/trades?{other}&page_token={token}")
        assert answer.status_code == 400, other
    assert (await client.get(f"{AT}/trades/SPRING?days=all&page_token={token}")).status_code == 400


async def test_one_trade_by_its_id_whatever_its_status(
    client: httpx.AsyncClient, trades: list[Traded]
) -> None:
    going = next(t for t in trades if t.status != "CLOSED")
    ended = next(t for t in trades if t.status == "CLOSED")

    for trade in (going, ended):
        said = await _get(client, f"trades/{trade.id}")
        assert (said["trade"]["id"], said["trade"]["status"]) == (str(trade.id), trade.status)
        assert said["trade"]["realized_r"] == (float(trade.r) if trade.exit else None)
    listed = (await _get(client, "trades?days=all&origin=all&limit=1000"))["trades"]
    assert (await _get(client, f"trades/{ended.id}"))["trade"] in listed


async def test_what_was_read_in_the_tape(client: httpx.AsyncClient, database_url: str) -> None:
    now = datetime.now(UTC)
    await insert_patterns(database_url, [Setup(1, detected_at=now - timedelta(days=2))])

    said = await _get(client, "vsa?origin=all")
    table = await _rows(client, "vsa?origin=all")

    [seed] = [row for row in said["patterns"] if row["rule_set"] == "seed-1"]
    assert seed == {
        "pattern_type": "SPRING", "rule_set": "seed-1", "patterns": 1, "judged": 1,
        "no_demand": 0, "no_supply": 2, "stopping_volume": 1,
    }  # fmt: skip
    of_seed = {row["kind"]: row["count"] for row in table if row["rule_set"] == "seed-1"}
    assert of_seed == {"no_demand": "0", "no_supply": "2", "stopping_volume": "1"}
    assert (await _get(client, "vsa"))["patterns"] == []

    at = f"preliminary-events/{Setup(1).id}?lookback_days=60"
    for kind, days in (("SC", 20), ("ST", 3), ("AR", 9)):
        execute(
            database_url,
            f"INSERT INTO wyckoff_events SELECT 'AAPL', '1d', '{CURRENT.name}', 'accumulation', NULL,"
            f" '{kind}', t, t, t, 10, 0.5, '{{}}' FROM (SELECT now() - interval '{days} days' AS t) t",
        )
    said, table = await _get(client, at), await _rows(client, at)
    assert said["counts"] == {"ps_count": 0, "sc_count": 1, "ar_count": 1, "st_count": 1}
    assert [row["kind"] for row in table] == [event["kind"] for event in said["events"]] == ["SC", "AR", "ST"]
    for row, event in zip(table, said["events"], strict=True):
        assert row == {name: _cell(value) for name, value in event.items()}
    execute(database_url, "DELETE FROM wyckoff_events")

    before = await _get(client, f"preliminary-events/{Setup(1).id}?lookback_days=60")
    assert before["counts"] == {"ps_count": 0, "sc_count": 0, "ar_count": 0, "st_count": 0}
    assert (before["in_range"], before["events"], before["lookback_days"]) == (None, [], 60)


async def test_events_in_the_tape_are_counted_anew_by_a_generation_of_their_own(
    client: httpx.AsyncClient, settings: Settings, database_url: str
) -> None:
    before = await client.get(f"{AT}/vsa")
    assert before.json()["events"] == []
    await insert_trades(database_url, [Trade(1, 1.0)])
    await roll_up(settings)
    await _next(client)
    known = {"If-None-Match": before.headers["etag"]}
    assert (await client.get(f"{AT}/vsa", headers=known)).status_code == 304
    assert _servers(client).tape.statistics().misses == 1
    execute(
        database_url,
        "INSERT INTO vsa_events (symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at,"
        " direction)"
        " VALUES ('AAPL', '1d', 'seed-1', 'no_demand', now(), now(), now() - interval '1 hour', 'bearish')",
    )

    async with await open_pool(settings, service="test") as pool:
        await count(pool)

    async def seen() -> Any:
        return (await _get(client, "vsa"))["events"]

    assert await eventually(seen, within_s=60) == [
        {"rule_set": "seed-1", "kind": "no_demand", "direction": "bearish", "count": 1}
    ]


# ---- refused


REFUSED = (
    ("pattern-performance?days=0", "days"),
    ("pattern-performance?days=3651", "days"),
    ("pattern-performance?days=+7", "days"),
    ("pattern-performance?days=7.0", "days"),
    ("pattern-performance?days=ALL", "days"),
    ("pattern-performance?days=7&days=30", "days"),
    ("pattern-performance?phase=F", "phase"),
    ("pattern-performance?phase=A,B", "phase"),
    ("pattern-performance?phase=A&detection_phase=B", "phase"),
    ("pattern-performance?detection_phase=", "detection_phase"),
    ("pattern-performance?origin=both", "origin"),
    ("pattern-performance?pattern_types=SP-RING", "pattern_types"),
    ("pattern-performance?symbols=", "symbols"),
    ("pattern-performance?sectors=Crypto", "sectors"),
    ("pattern-performance?timeframe=3d", "timeframe"),
    ("pattern-performance?universe=nothing", "universe"),
    ("pattern-performance?watchlist_id=1", "watchlist_id"),
    ("pattern-performance?limit=5", "limit"),
    ("pattern-performance?format=xml", "format"),
    ("sector-breakdown?day=7", "day"),
    ("trend/SPRING?pattern_types=SOS", "pattern_types"),
    ("trend/SP-RING", "pattern_type"),
    ("trades?limit=1001", "limit"),
    ("trades?per_page=101", "per_page"),
    ("trades?page=1&limit=5", "page"),
    ("trades?status=won", "status"),
    ("trades/SPRING?pattern_types=SOS", "pattern_types"),
    ("trades/SP-RING", "which"),
    (f"trades/{UUID(int=1)}?days=7", "days"),
    ("vsa?page=1", "page"),
    (f"preliminary-events/{UUID(int=1)}?lookback_days=0", "lookback_days"),
    ("preliminary-events/1", "pattern_id"),
)


async def test_what_is_not_understood_is_refused_by_name(client: httpx.AsyncClient) -> None:
    for path, field in REFUSED:
        answer = await client.get(f"{AT}/{path}")

        assert answer.status_code == 422, path
        assert [error["field"] for error in answer.json()["errors"]] == [field], path


async def test_an_id_that_nobody_knows_is_not_found(client: httpx.AsyncClient) -> None:
    for path in ("trades", "preliminary-events"):
        assert (await client.get(f"{AT}/{path}/{uuid4()}")).status_code == 404


async def test_every_path_is_under_v1_too(client: httpx.AsyncClient, trades: list[Traded]) -> None:
    for path in ("pattern-performance", "sector-breakdown", "trend/SPRING", "trades/SPRING", "trades", "vsa"):
        plain, versioned = await client.get(f"{AT}/{path}"), await client.get(f"/api/v1/analytics/{path}")
        assert plain.status_code == versioned.status_code == 200
        assert plain.headers["etag"] == versioned.headers["etag"]


# ---- kept


async def test_an_answer_is_computed_once_for_everybody(
    client: httpx.AsyncClient, settings: Settings, trades: list[Traded]
) -> None:
    """Two gateways, in either form, compressed or not: one computation."""
    async with _open(settings) as other:
        asking = [
            each.get(f"{AT}/pattern-performance?days=90", headers={"Accept": form})
            for each in (client, other)
            for form in ("application/json", "text/csv") * 20
        ]
        answers = await asyncio.gather(*asking)

        kept = [_servers(each).answers.statistics() for each in (client, other)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 2
    assert sum(statistics.misses for statistics in kept) == 1
    assert sum(statistics.hits for statistics in kept) == 79


async def test_who_has_the_answer_is_told_so_without_a_look_at_the_data(
    client: httpx.AsyncClient, trades: list[Traded], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await client.get(f"{AT}/pattern-performance")
    assert first.headers["cache-control"] == "private, max-age=60, stale-while-revalidate=300"
    assert first.headers["vary"] == "Accept, Accept-Encoding, Authorization"
    monkeypatch.setattr(_servers(client).answers, "get", None)

    again = await client.get(f"{AT}/pattern-performance", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


async def test_an_etag_names_generation_question_and_form(
    client: httpx.AsyncClient, settings: Settings, trades: list[Traded]
) -> None:
    async def etag(path: str) -> str:
        return (await client.get(f"{AT}/{path}")).headers["etag"]

    paths = ("trades", "trades?days=7", "trades?format=csv", "trades?page=2", "trades/SPRING", "trend/SPRING")
    before = [await etag(path) for path in paths]
    assert len(set(before)) == len(paths)
    assert [await etag(path) for path in paths] == before
    await insert_trades(settings.database_url, [Trade(1, 1.0)])
    await roll_up(settings)
    await _next(client)

    after = [await etag(path) for path in paths]

    assert not set(after) & set(before)


async def test_an_answer_is_given_before_routing_ready_or_not(
    client: httpx.AsyncClient, trades: list[Traded], monkeypatch: pytest.MonkeyPatch
) -> None:
    route = {"route": "/api/analytics/trend/{pattern_type}", "method": "GET", "status": "2xx"}
    before = REGISTRY.get_sample_value("rollo_http_requests_total", route) or 0
    monkeypatch.setattr("api_gateway.routes.analytics._answer", None)

    slow = await client.get(f"{AT}/trend/SPRING")
    fast = await client.get(f"{AT}/trend/SPRING")

    assert slow.status_code == 200
    assert fast.content == slow.content
    assert REGISTRY.get_sample_value("rollo_http_requests_total", route) == before + 2


async def test_an_answer_that_is_there_is_given_at_once_until_something_changes(
    client: httpx.AsyncClient, settings: Settings, trades: list[Traded]
) -> None:
    transport: Any = client._transport
    connection = Client(transport.app)
    plain = f"GET {AT}/sector-breakdown HTTP/1.1\r\nHost: localhost\r\n"

    async def said(*more: str) -> bytes:
        return await connection.say("\r\n".join([plain[:-2], *more, "", ""]).encode())

    first, again = await said(), await said()
    [etag] = re.findall(rb"etag: (\S+)", again)
    unchanged = await said(f"If-None-Match: {etag.decode()}")
    packed = [await said("Accept-Encoding: gzip") for _ in range(2)]
    assert connection.at_once == 3  # all but the first of each form
    assert first.partition(b"\r\n\r\n")[2] == again.partition(b"\r\n\r\n")[2]
    assert unchanged.startswith(b"HTTP/1.1 304")
    assert packed[0].partition(b"\r\n\r\n")[2] == packed[1].partition(b"\r\n\r\n")[2]

    await insert_trades(settings.database_url, [Trade(1, 1.0)])
    await roll_up(settings)
    await _next(client)
    changed = await said(f"If-None-Match: {etag.decode()}")
    assert changed.startswith(b"HTTP/1.1 200")
    assert connection.at_once == 3


async def test_a_change_is_seen_by_everybody(
    client: httpx.AsyncClient, settings: Settings, trades: list[Traded]
) -> None:
    """Written, marked, rolled up and polled for, nothing being told to the gateway."""
    before = await _get(client, "pattern-performance?pattern_types=LPS")
    await insert_trades(settings.database_url, [Trade(1, 2.0, pattern_type="LPS")])
    await roll_up(settings)

    async def seen() -> Any:
        said = await _get(client, "pattern-performance?pattern_types=LPS")
        return said if said["total"]["trade_count"] else None

    said = await eventually(seen, within_s=60)

    assert before["total"]["trade_count"] == 0
    assert said["generation"] > before["generation"]
    assert said["patterns"][0]["avg_r_multiple"] == 2.0


async def test_an_exit_that_is_still_to_come_counts_once_the_clock_has_come_to_it(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    """No generation is counted up then."""
    await insert_trades(settings.database_url, [Trade(1, 1.0, days_ago=-2 / 86_400)])
    await roll_up(settings)
    await _next(client)

    async def count() -> int:
        return int((await _get(client, "pattern-performance?symbols=AAPL"))["total"]["trade_count"])

    first = await count()
    await eventually(count, within_s=60)

    assert first == 0


async def test_changes_that_wait_for_long_make_answers_stale(
    client: httpx.AsyncClient, settings: Settings, trades: list[Traded]
) -> None:
    fresh = await client.get(f"{AT}/trades")
    execute(
        settings.database_url,
        "INSERT INTO unrolled_days (day, marked_at) VALUES (NULL, now() - interval '1 minute')",
    )
    await _next(client)
    stale = await client.get(f"{AT}/trades")
    await roll_up(settings)
    await _next(client)

    assert (fresh.json()["stale"], stale.json()["stale"]) == (False, True)
    assert stale.headers["cache-control"] == "private, no-cache"
    assert stale.headers["etag"] != fresh.headers["etag"]
    assert not (await _get(client, "trades"))["stale"]


async def test_statistics_tell_hits_and_misses(client: httpx.AsyncClient, trades: list[Traded]) -> None:
    empty = (await client.get("/api/patterns/stats")).json()["answers"]
    for _ in range(4):
        await _get(client, "pattern-performance")

    said = (await client.get("/api/patterns/stats")).json()["answers"]

    assert (empty["ratio"], empty["entries"]) == (None, 0)
    assert (said["hits"], said["misses"], said["ratio"], said["entries"]) == (3, 1, 0.75, 1)
    assert said["generation"] > 0
    assert said["redis"]["eviction_policy"] == "allkeys-lru"


# ---- servers away


@pytest.mark.parametrize("with_redis", [True, False])
@pytest.mark.parametrize("state", ["shut", "silent"])
async def test_while_postgres_is_away_there_are_older_answers_or_none(
    settings: Settings, trades: list[Traded], state: State, with_redis: bool
) -> None:
    if not with_redis:
        settings = settings.model_copy(update={"cache_url": None})
    async with door(settings.database_url) as way:
        behind = settings.model_copy(update={"database_url": way.url})
        async with _open(behind) as client, _open(behind) as other:
            fresh = await client.get(f"{AT}/pattern-performance")
            table = await client.get(f"{AT}/pattern-performance?format=csv")
            way.become(state)
            await _next(client)

            old = await client.get(f"{AT}/pattern-performance")
            old_table = await client.get(f"{AT}/pattern-performance?format=csv")
            none = await client.get(f"{AT}/pattern-performance?days=90")
            elsewhere = await other.get(f"{AT}/pattern-performance")

            assert (old.status_code, old.json()["stale"]) == (200, True)
            assert old.json() | {"stale": False} == fresh.json()
            assert old_table.text == table.text
            assert old.headers["cache-control"] == "private, no-cache"
            assert elsewhere.status_code == (200 if with_redis else 503)
            assert (none.status_code, none.headers["retry-after"]) == (503, "2")
            way.become("open")

            async def back() -> bool:
                answer = await client.get(f"{AT}/pattern-performance?days=90")
                return answer.status_code == 200 and not answer.json()["stale"]

            await eventually(back)


async def test_without_redis_memory_and_postgres_answer(settings: Settings, trades: list[Traded]) -> None:
    for url in (None, NOWHERE):
        async with _open(settings.model_copy(update={"cache_url": url})) as client:
            said = await _get(client, "pattern-performance?days=all")
            assert said["total"]["trade_count"] > 0
            assert said["stale"] is False
            assert await _get(client, "pattern-performance?days=all") == said
            assert (await client.get("/api/patterns/stats")).json()["answers"]["redis"] is None
            assert _servers(client).answers.statistics().misses == 1


async def test_a_query_that_fails_is_no_empty_list(
    settings: Settings, trades: list[Traded], client: httpx.AsyncClient
) -> None:
    execute(settings.database_url, "ALTER TABLE signals RENAME TO gone")

    for path in ("trades?status=open", "trades?symbols=AAA", f"trades/{trades[0].id}"):
        answer = await client.get(f"{AT}/{path}")
        assert answer.status_code == 503, path


# ---- hard to believe

NO_TRADES = "no trades where patterns exist"


@pytest.mark.parametrize(
    ("given", "path", "doubt"),
    [
        ([Trade(n, 1.0) for n in range(31)], "pattern-performance", "every one of 31 trades won"),
        ([Trade(1, 51.0)], "pattern-performance", "avg_r_multiple of 51"),
        ([Trade(1, 51.0)], "trades", "realized_r of 51"),
        ([Trade(1, -51.0)], "trend/SPRING", "avg_r of -51"),
        ([], "pattern-performance", NO_TRADES),
        ([], "sector-breakdown", NO_TRADES),
        ([], "trend/SPRING", NO_TRADES),
        ([], "trades/SPRING", NO_TRADES),
        ([Trade(1, 1.0, pattern=1)], "pattern-performance", "7 trades with their test of 1"),
    ],
)
async def test_an_answer_that_is_hard_to_believe_is_logged_once_per_generation(
    settings: Settings,
    client: httpx.AsyncClient,
    given: list[Trade],
    path: str,
    doubt: str,
) -> None:
    setup = Setup(1, test_confirmed=True, detected_at=datetime.now(UTC) - timedelta(days=1))
    await insert_patterns(settings.database_url, [setup])
    execute(settings.database_url, "UPDATE patterns SET source = 'rollo'")
    await insert_trades(settings.database_url, given)
    await roll_up(settings)
    execute(settings.database_url, "UPDATE performance_headlines SET trades = 7 WHERE test = 'yes'")

    def told(logs: Any) -> list[int]:
        of = {"event": "answer_suspicious", "doubt": doubt}
        lines = [line for line in logs if line.items() >= of.items()]
        assert {line["question"].split(":")[0].split(".")[0] for line in lines} == {_name(path)}
        return [line["generation"] for line in lines]

    async with _open(settings) as other:
        with structlog.testing.capture_logs() as logs:
            for each in (client, other) * 3:
                await _get(each, path)
            [first] = told(logs)
            execute(settings.database_url, "UPDATE generations SET generation = generation + 1")
            for each in (client, other):
                await _next(each)
                await _get(each, path)
            assert told(logs) == [first, first + 1]
            await _get(client, f"{path}?days=90")
            assert told(logs) == [first, first + 1, first + 1]


def _name(path: str) -> str:
    return path.split("/")[0].replace("-", "_")


async def test_what_is_empty_for_a_reason_is_not_hard_to_believe(
    settings: Settings, client: httpx.AsyncClient
) -> None:
    setup = Setup(1, detected_at=datetime.now(UTC) - timedelta(days=1))
    await insert_patterns(settings.database_url, [setup])
    execute(settings.database_url, "UPDATE patterns SET source = 'rollo'")
    await insert_trades(settings.database_url, [Trade(1, 1.0), Trade(2, None)])
    await roll_up(settings)

    with structlog.testing.capture_logs() as logs:
        for path in ("trades?page=2", "trades?status=cancelled", "trend/UTAD", "sector-breakdown?phase=A"):
            await _get(client, path)

    assert not [line for line in logs if line["event"] == "answer_suspicious"]


def test_more_tests_than_trades_are_hard_to_believe() -> None:
    odd = {"trade_count": 1, "win_rate": 0.0, "test_confirmed": {"trade_count": 2, "win_rate": 0.0}}

    assert list(analytics.suspicions({"patterns": [odd]})) == ["2 trades with their test of 1"]


def test_nothing_is_hard_to_believe_in_an_ordinary_answer() -> None:
    plain = {
        "trade_count": 31, "win_rate": 96.8, "avg_r_multiple": -1.2, "test_confirmed": None,
        "rows": [{"trade_count": 30, "win_rate": 100.0, "realized_r": 50.0}],
    }  # fmt: skip

    assert list(analytics.suspicions(plain)) == []
