"""Markers over HTTP, from rows in the real tables: what was known, in which order, on which page."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from pydantic import TypeAdapter

from api_gateway.app import create_app
from rollotape.answers import PatternAnswer
from rollotape.domain.reading import paper_id
from rollotape.settings import Settings
from support.gateway import Event, closing, day, insert_days, insert_events

RANGE = UUID("00000000-0000-4000-8000-000000000001")
PATTERN = UUID("00000000-0000-4000-8000-000000000002")
EVENT = """
INSERT INTO wyckoff_events (symbol, timeframe, rule_set, side, range_id, kind, event_ts, confirmed_ts,
                            knowable_at, price, confidence, terms)
VALUES ('AAPL', '1d', 'wyckoff-2', 'accumulation', $1, $2, $3, $4, $5, 9.5, 0.75, '{"volume": 0.5}')
"""
STATUS = """
INSERT INTO wyckoff_statuses (symbol, timeframe, rule_set, side, range_id, kind, event_ts, status,
                              confirmed_ts, knowable_at)
VALUES ('AAPL', '1d', 'wyckoff-2', 'accumulation', $1, $2, $3, $4, $5, $6)
"""
STAND = """
INSERT INTO wyckoff_ranges (range_id, confirmed_ts, symbol, timeframe, rule_set, side, opened_ts, climax_ts,
                            knowable_at, status, phase, phases, support, resistance, unit)
VALUES ($1, $2, 'AAPL', '1d', 'wyckoff-2', 'accumulation', $3, $3, $4, $5, $6, $7, 9, 12, 0.02)
"""
SETUP = """
INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, side, phase, status, revision, hash,
                      confidence, entry, stop, target_1, planned_r, test_confirmed, range_id, rule_set,
                      detected_at, expires_at, event_ts, confirmed_ts)
VALUES ($1, 'rollo', 'AAPL', '1d', 'SPRING', 'accumulation', 'C', 'active', 0, 7, 0.6, 10, 9, 12, 2, false,
        $2, 'wyckoff-2', $3, $4, $5, $6)
"""


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


@pytest.fixture
async def read_tape(database_url: str) -> None:
    """A range: PS on day 2, SC on 5, AR on 8, a spring on 20 that is tested on 24, all known a day later."""
    await insert_days(database_url, "AAPL", 30)
    connection = await asyncpg.connect(database_url)
    try:
        for kind, on in (("PS", 2), ("SC", 5), ("AR", 8), ("SPRING", 20), ("TEST", 24)):
            of = None if kind == "PS" else RANGE
            await connection.execute(EVENT, of, kind, day(on), day(on + 1), closing(on + 1))
        await connection.execute(STATUS, RANGE, "PS", day(2), "confirmed", day(6), closing(6))
        await connection.execute(STATUS, RANGE, "SPRING", day(20), "test_passed", day(25), closing(25))
        phases = f'[["A", {_us(day(6))}]]'
        await connection.execute(STAND, RANGE, day(6), day(5), closing(6), "open", "A", phases)
        phases = f'[["A", {_us(day(6))}], ["C", {_us(day(21))}]]'
        await connection.execute(STAND, RANGE, day(21), day(5), closing(21), "open", "C", phases)
        await connection.execute(SETUP, PATTERN, RANGE, closing(21), closing(49), day(20), day(21))
    finally:
        await connection.close()
    await insert_events(
        database_url, "AAPL", [Event(4), Event(20, "stopping_volume", "bullish", "classic-1", later=1)]
    )


def _us(when: datetime) -> int:
    return round(when.timestamp() * 1e6)


def _kinds(said: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in said["events"]]


@pytest.mark.usefixtures("read_tape")
async def test_everything_that_was_read_is_there_with_its_status(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/markers?symbol=aapl&timeframe=1Day")

    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["symbol"], said["timeframe"]) == ("AAPL", "1d")
    assert _kinds(said) == ["PS", "SC", "AR", "SPRING", "TEST"]
    assert said["events"][3] == {
        "rule_set": "wyckoff-2",
        "side": "accumulation",
        "range_id": str(RANGE),
        "kind": "SPRING",
        "event_ts": "2024-01-21T00:00:00Z",
        "confirmed_ts": "2024-01-22T00:00:00Z",
        "knowable_at": "2024-01-22T21:00:00Z",
        "price": 9.5,
        "confidence": 0.75,
        "terms": {"volume": 0.5},
        "status": "test_passed",
        "status_since": "2024-01-26T21:00:00Z",
    }
    [found] = said["ranges"]
    assert (found["status"], found["support"], found["resistance"]) == ("open", 9.0, 12.0)
    assert found["phases"] == [
        {"phase": "A", "since": "2024-01-07T00:00:00Z"},
        {"phase": "C", "since": "2024-01-22T00:00:00Z"},
    ]
    [pattern] = said["patterns"]
    assert (pattern["id"], pattern["entry"], pattern["targets"]) == (str(PATTERN), 10.0, [12.0, None])
    assert [(v["rule_set"], v["kind"]) for v in said["vsa"]] == [
        ("seed-1", "no_demand"),
        ("classic-1", "stopping_volume"),
    ]
    assert (said["as_of"], said["stale"]) == ("2024-01-30T21:00:00Z", False)


@pytest.mark.usefixtures("read_tape")
async def test_a_ps_belongs_to_the_range_that_confirmed_it(client: httpx.AsyncClient) -> None:
    support = (await client.get("/api/markers?symbol=AAPL")).json()["events"][0]

    assert (support["kind"], support["status"], support["range_id"]) == ("PS", "confirmed", str(RANGE))


@pytest.mark.usefixtures("read_tape")
async def test_an_earlier_end_shows_what_was_known_then(client: httpx.AsyncClient) -> None:
    said = (await client.get("/api/markers?symbol=AAPL&end=2024-01-24")).json()

    assert [(e["kind"], e["status"]) for e in said["events"]][-1] == ("SPRING", None)
    assert said["ranges"][0]["phase"] == "C"
    before = (await client.get("/api/markers?symbol=AAPL&end=2024-01-21")).json()
    assert _kinds(before) == ["PS", "SC", "AR"]  # the spring's bar is there; nobody could know
    assert (before["ranges"][0]["phase"], before["patterns"], len(before["vsa"])) == ("A", [], 1)


@pytest.mark.usefixtures("read_tape")
async def test_a_range_older_than_the_window_is_there_while_it_lasts(client: httpx.AsyncClient) -> None:
    said = (await client.get("/api/markers?symbol=AAPL&start=2024-01-23")).json()

    assert (_kinds(said), len(said["ranges"]), said["patterns"]) == (["TEST"], 1, [])


@pytest.mark.usefixtures("read_tape")
@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9])
async def test_pages_lose_no_marker_and_repeat_none(client: httpx.AsyncClient, limit: int) -> None:
    whole = (await client.get("/api/markers?symbol=AAPL")).json()
    names = ("events", "patterns", "ranges", "vsa")
    joined: dict[str, list[Any]] = {name: [] for name in names}
    token, pages = "", 0
    while token is not None:
        more = f"&page_token={token}" if token else ""
        answer = await client.get(f"/api/markers?symbol=AAPL&limit={limit}{more}")
        assert answer.status_code == 200, answer.text
        said, pages = answer.json(), pages + 1
        assert sum(len(said[name]) for name in names) <= limit
        for name in names:
            joined[name] += said[name]
        token = said["next_page_token"]
    assert joined == {name: whole[name] for name in names}
    assert pages == -(-9 // limit)


@pytest.mark.usefixtures("read_tape")
async def test_a_table_has_the_same_rows_in_the_same_order(client: httpx.AsyncClient) -> None:
    text = (await client.get("/api/markers?symbol=AAPL&types=event,pattern&format=csv")).text

    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["type"], row["kind"]) for row in rows] == [
        ("event", "PS"), ("event", "SC"), ("event", "AR"), ("event", "SPRING"), ("pattern", "SPRING"),
        ("event", "TEST"),
    ]  # fmt: skip


@pytest.mark.usefixtures("read_tape")
async def test_an_answer_that_the_client_has_is_304(client: httpx.AsyncClient) -> None:
    first = await client.get("/api/markers?symbol=AAPL")

    again = await client.get("/api/v1/markers?symbol=AAPL", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.usefixtures("read_tape")
async def test_bars_that_wait_to_be_read_make_it_stale(client: httpx.AsyncClient, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        columns = "symbol, timeframe, first_ts, last_ts"
        await connection.execute(f"INSERT INTO unread_bars ({columns}) VALUES ('AAPL', '1d', $1, $1)", day(9))
    finally:
        await connection.close()

    assert (await client.get("/api/markers?symbol=AAPL")).json()["stale"] is True
    assert (await client.get("/api/markers?symbol=AAPL&timeframe=1h")).json()["stale"] is False


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "symbol"),
        ("symbol=A%20B", "symbol"),
        ("symbol=A&symbol=B", "symbol"),
        ("symbol=A&timeframe=1M", "timeframe"),
        ("symbol=A&limit=1001", "limit"),
        ("symbol=A&types=event,rsi", "types"),
        ("symbol=A&start=2024-01-02&end=2024-01-01", "end"),
        ("symbol=A&symbols=B", "symbols"),
    ],
)
async def test_a_question_that_is_wrong_is_refused_by_its_field(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    answer = await client.get(f"/api/markers?{query}")

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field


async def test_a_symbol_without_bars_is_404(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/markers?symbol=NONE")

    assert answer.status_code == 404
    assert answer.json()["errors"] == [
        {"in": "query", "field": "symbol", "reason": "NONE has no bar in this database"}
    ]


@pytest.mark.usefixtures("read_tape")
async def test_a_token_of_another_question_is_400(client: httpx.AsyncClient) -> None:
    token = (await client.get("/api/markers?symbol=AAPL&limit=1")).json()["next_page_token"]

    assert (await client.get(f"/api/markers?symbol=AAPL&types=vsa&page_token={token}")).status_code == 400


TRADE = """
INSERT INTO signals (id, origin, source, symbol, timeframe, pattern_id, pattern_type, direction, status,
                     generated_at, changed_at, entry_date, entry_price, stop, target, planned_r, bars_held,
                     exit_date, exit_price, exit_reason, realized_r, sessions_held)
VALUES ($1, $2, 'rollo', 'AAPL', '1d', $3, 'SPRING', 'long', 'CLOSED', $4, $5, $4, 10.5, 9, 12, 2, 4,
        $5, 12, 'target', 1, 3)
"""


@pytest.mark.usefixtures("read_tape")
async def test_one_own_pattern_has_its_range_its_trade_and_what_was_read_before_it(
    client: httpx.AsyncClient, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        ends = (closing(22), closing(26))
        await connection.execute(TRADE, paper_id(PATTERN), "paper", PATTERN, *ends)
        await connection.execute(TRADE, RANGE, "external", PATTERN, *ends)
    finally:
        await connection.close()

    answer = await client.get(f"/api/patterns/{PATTERN}")

    assert answer.status_code == 200, answer.text
    said = answer.json()
    read = [(event["kind"], event["status"], event["terms"]) for event in said["wyckoff_events"]]
    terms = {"volume": 0.5}
    assert read == [
        ("PS", "confirmed", terms), ("SC", None, terms), ("AR", None, terms), ("SPRING", None, terms)
    ]  # fmt: skip
    assert {event["range_id"] for event in said["wyckoff_events"]} == {str(RANGE)}
    reached = [phase["phase"] for phase in said["range"]["phases"]]
    assert (said["range"]["range_id"], said["range"]["phase"], reached) == (str(RANGE), "C", ["A", "C"])
    trade = said["trade"]
    assert (trade["id"], trade["status"], trade["exit_price"]) == (str(paper_id(PATTERN)), "CLOSED", 12.0)
    assert said["as_of"] == trade["changed_at"] == "2024-01-27T21:00:00Z"
    TypeAdapter(PatternAnswer).validate_python(said)
