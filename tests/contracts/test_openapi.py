"""The OpenAPI document is valid, complete, and true of every kind of answer."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api_gateway.app import create_app, describe
from api_gateway.problems import CATALOGUE
from rollotape.settings import Settings
from support.closed_trades import Trade, insert_trades
from support.gateway import (
    Event,
    Judge,
    Score,
    Setup,
    build_model,
    day,
    insert_days,
    insert_events,
    insert_patterns,
    insert_scores,
)

BAR = {
    "symbol": "AAPL",
    "timeframe": "1d",
    "ts": "2024-01-02T00:00:00Z",
    "open": 10.0,
    "high": 12.0,
    "low": 9.0,
    "close": 11.0,
    "volume": 1500.5,
}
TRADE = {
    "event": "opened", "source": "desk-2", "symbol": "AAPL", "timeframe": "1d", "direction": "long",
    "generated_at": "2024-01-02T00:00:00Z", "stop": 180.5,
}  # fmt: skip
JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe()


@pytest.fixture
async def client(settings: Settings, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    await insert_days(database_url, "AAPL", 30, evaluable_from=20)
    await insert_scores(database_url, [Score("AAPL", n, n / 7) for n in range(10)])
    await insert_patterns(database_url, [Setup(1), Setup(2, "MSFT", detected_at=day(25))])
    await insert_trades(database_url, [Trade(1, 1.0, pattern=1), Trade(2, None), Trade(3, -1.0)])
    await build_model(settings)
    events = [Event(21), Event(22), Event(23, "upthrust", rule_set="classic-1")]
    await insert_events(database_url, "AAPL", events)
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_every_path_is_there_and_also_under_v1(document: dict[str, Any]) -> None:
    paths = document["paths"]

    assert {"/livez", "/readyz", "/docs", "/openapi.json", "/asyncapi.json"} < set(paths)
    assert set(paths["/api/bars"]) == {"get", "post"}
    for path in [p for p in paths if p.startswith("/api/") and not p.startswith("/api/v1/")]:
        assert set(paths[path]) == set(paths[path.replace("/api/", "/api/v1/", 1)])


def test_every_error_is_declared_as_a_problem(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            errors = {status: said for status, said in operation["responses"].items() if int(status) >= 400}
            assert {"405", "422", "500"} <= set(errors), f"{method} {path}"
            for status, said in errors.items():
                assert list(said["content"]) == ["application/problem+json"], f"{method} {path} {status}"
                assert int(status) in CATALOGUE


def test_every_operation_has_its_own_id_and_a_sentence(document: dict[str, Any]) -> None:
    operations = [o for operations in document["paths"].values() for o in operations.values()]

    assert len({o["operationId"] for o in operations}) == len(operations)
    assert all(o["description"] for o in operations)


@pytest.mark.parametrize(
    ("method", "target", "sent", "status"),
    [
        ("GET", "/livez", {}, 200),
        ("GET", "/readyz", {}, 200),
        ("GET", "/docs", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("GET", "/asyncapi.json", {}, 200),
        ("GET", "/livez?x=1", {}, 422),
        ("PUT", "/livez", {}, 405),
        ("GET", "/api/bars?symbols=AAPL", {}, 200),
        ("GET", "/api/bars?symbols=AAPL&limit=1", {}, 200),
        ("GET", "/api/bars?symbols=NONE", {}, 200),
        ("GET", "/api/bars?symbols=AAPL&format=csv", {}, 200),
        ("GET", "/api/bars?symbols=NONE", {"headers": {"If-None-Match": "*"}}, 304),
        ("GET", "/api/bars?symbols=AAPL&page_token=x", {}, 400),
        ("GET", "/api/bars", {}, 422),
        ("GET", "/api/v1/bars?symbols=AAPL", {}, 200),
        ("GET", "/api/symbols/AAPL/vsa", {}, 200),
        ("GET", "/api/symbols/AAPL/vsa?end=2024-01-03", {}, 200),
        ("GET", "/api/symbols/AAPL/vsa?rule_set=all&limit=1&sort=desc", {}, 200),
        ("GET", "/api/symbols/AAPL/vsa?format=csv", {}, 200),
        ("GET", "/api/symbols/AAPL/vsa?page_token=x", {}, 400),
        ("GET", "/api/symbols/NONE/vsa", {}, 404),
        ("GET", "/api/symbols/a%20b/vsa", {}, 422),
        ("GET", "/api/v1/symbols/AAPL/vsa", {}, 200),
        ("GET", "/api/markers?symbol=AAPL", {}, 200),
        ("GET", "/api/markers?symbol=AAPL&types=vsa&limit=1&end=2024-01-03", {}, 200),
        ("GET", "/api/markers?symbol=AAPL&format=csv", {}, 200),
        ("GET", "/api/markers?symbol=AAPL&page_token=x", {}, 400),
        ("GET", "/api/markers?symbol=NONE", {}, 404),
        ("GET", "/api/markers", {}, 422),
        ("GET", "/api/analytics/rs", {}, 200),
        ("GET", "/api/analytics/rs?as_of=2024-01-09&sectors=Energy&sort_by=rating", {}, 200),
        ("GET", "/api/analytics/rs?format=csv", {}, 200),
        ("GET", "/api/analytics/rs?as_of=x", {}, 422),
        ("GET", "/api/analytics/rs?page_token=x", {}, 400),
        ("GET", "/api/analytics/rs/leaders", {}, 200),
        ("GET", "/api/analytics/pattern-performance", {}, 200),
        ("GET", "/api/analytics/pattern-performance?days=all&phase=C&origin=all&symbols=AAPL", {}, 200),
        ("GET", "/api/analytics/pattern-performance?format=csv", {}, 200),
        ("GET", "/api/analytics/pattern-performance", {"headers": {"If-None-Match": "*"}}, 304),
        ("GET", "/api/analytics/pattern-performance?days=x", {}, 422),
        ("GET", "/api/analytics/sector-breakdown?symbols=AAPL", {}, 200),
        ("GET", "/api/analytics/trend/SPRING?symbols=AAPL", {}, 200),
        ("GET", "/api/analytics/trend/a-b", {}, 422),
        ("GET", "/api/analytics/trades", {}, 200),
        ("GET", "/api/analytics/trades?status=all&limit=1", {}, 200),
        ("GET", "/api/analytics/trades?page_token=x", {}, 400),
        ("GET", "/api/v1/analytics/trades/spring?page=1", {}, 200),
        ("GET", f"/api/analytics/trades/{Trade(1, 1.0).id}", {}, 200),
        ("GET", f"/api/analytics/trades/{Trade(9, 1.0).id}", {}, 404),
        ("GET", "/api/analytics/trades/a-b", {}, 422),
        ("GET", "/api/analytics/vsa?days=all&origin=all", {}, 200),
        ("GET", f"/api/analytics/preliminary-events/{Setup(1).id}?lookback_days=5", {}, 200),
        ("GET", f"/api/analytics/preliminary-events/{Setup(1).id}?format=csv", {}, 200),
        ("GET", f"/api/analytics/preliminary-events/{Setup(9).id}", {}, 404),
        ("GET", "/api/symbols/AAPL/rs", {}, 200),
        ("GET", "/api/symbols/NONE/rs", {}, 404),
        ("GET", "/api/symbols", {}, 200),
        ("GET", "/api/symbols?active=true&search=aa", {}, 200),
        ("GET", "/api/symbols?active=yes&search=", {}, 422),
        ("GET", "/api/symbols/AAPL", {}, 200),
        ("GET", "/api/symbols/SPY", {}, 200),
        ("GET", "/api/symbols/NONE", {}, 404),
        ("GET", "/api/patterns/scan", {}, 200),
        ("GET", "/api/patterns/scan?display=true&limit=1&sort_by=rs", {}, 200),
        ("GET", "/api/patterns/scan?format=csv", {}, 200),
        ("GET", "/api/patterns/scan", {"headers": {"If-None-Match": "*"}}, 304),
        ("GET", "/api/patterns/scan?universe=x", {}, 422),
        ("GET", "/api/patterns/scan?page_token=x", {}, 400),
        ("GET", f"/api/patterns/scan?watchlist_id={Setup(9).id}", {}, 404),
        ("GET", f"/api/analytics/trades?watchlist_id={Setup(9).id}", {}, 404),
        ("GET", "/api/users/watchlists", {}, 200),
        ("GET", "/api/users/watchlists?format=csv", {}, 200),
        ("GET", f"/api/v1/users/watchlists/{Setup(9).id}", {}, 404),
        ("PUT", f"/api/users/watchlists/{Setup(9).id}", {"json": {"name": "a", "symbols": []}}, 404),
        ("DELETE", f"/api/users/watchlists/{Setup(9).id}", {}, 404),
        ("POST", "/api/users/watchlists", {"json": {"name": "a", "symbols": ["AAPL", "X"]}}, 201),
        ("POST", "/api/users/watchlists", {"json": {"name": "a"}}, 422),
        ("GET", "/api/users/scans", {}, 200),
        ("POST", "/api/users/scans", {"json": {"name": "a", "filters": {"rsi_range": [30, 70]}}}, 201),
        ("POST", "/api/users/scans", {"content": b"x", "headers": JSON}, 422),
        ("GET", "/api/patterns/stats", {}, 200),
        ("GET", f"/api/patterns/{Setup(1).id}", {}, 200),
        ("GET", f"/api/patterns/{Setup(9).id}", {}, 404),
        ("GET", "/api/patterns/x", {}, 422),
        ("POST", "/api/patterns", {"json": {"patterns": [3]}}, 207),
        ("POST", "/api/signals", {"json": {"signals": [TRADE]}}, 202),
        ("POST", "/api/signals", {"json": {"signals": [TRADE, {}]}}, 207),
        ("POST", "/api/v1/signals", {"content": orjson.dumps(TRADE), "headers": LINES}, 202),
        ("POST", "/api/signals", {"content": b"\n", "headers": LINES}, 422),
        ("POST", "/api/signals?dry=1", {"json": {"signals": [TRADE]}}, 422),
        ("POST", "/api/signals", {"content": b"trades"}, 415),
        ("POST", "/api/bars", {"json": {"bars": [BAR]}}, 202),
        ("POST", "/api/bars", {"json": {"bars": [BAR, 3, {"symbol": 1}]}}, 207),
        ("POST", "/api/bars", {"content": b" " * 2_097_153, "headers": JSON}, 413),
        ("POST", "/api/bars", {"content": b"bars"}, 415),
        ("POST", "/api/bars", {"content": b"bars", "headers": JSON}, 422),
    ],
)
async def test_answers_are_what_the_document_says(
    document: dict[str, Any],
    client: httpx.AsyncClient,
    method: str,
    target: str,
    sent: dict[str, Any],
    status: int,
) -> None:
    if target == "/livez" and method == "PUT":
        document["paths"]["/livez"]["put"] = document["paths"]["/livez"]["get"]

    answer = await client.request(method, target, **sent)

    assert answer.status_code == status
    path = target.partition("?")[0]
    Judge(document).conforms(method, path, answer.status_code, answer.headers, answer.content)
