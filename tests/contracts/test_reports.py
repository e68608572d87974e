"""Answers about the whole are what the OpenAPI document says, and so are the examples in it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from api_gateway.app import create_app, describe
from rollotape.settings import Settings
from support.databases import execute
from support.gateway import Judge, Setup, build_model, insert_patterns

GET = [
    ("/api/patterns/summary", 200),
    ("/api/patterns/summary?window=90m&top=1", 200),
    ("/api/patterns/summary?format=csv", 200),
    ("/api/patterns/summary?window=1w", 422),
    ("/api/v1/patterns/summary", 200),
    ("/api/patterns/health", 200),
    ("/api/patterns/health?x=1", 422),
    ("/api/pattern-discovery/health", 200),
    ("/api/v1/pattern-discovery/health", 200),
    ("/api/pattern-discovery/performance", 200),
    ("/api/pattern-discovery/performance?x=1", 422),
    ("/api/dashboard/stats", 200),
    ("/api/dashboard/stats?x=1", 422),
    ("/api/users/universe", 200),
    ("/api/users/universe?category=sector&format=csv", 200),
    ("/api/users/universe?category=x", 422),
    ("/api/users/universe/sp500", 200),
    ("/api/users/universe/SP500?limit=1", 200),
    ("/api/users/universe/sp500?format=csv", 200),
    ("/api/users/universe/sp500?page_token=x", 400),
    ("/api/users/universe/nothing", 404),
    ("/api/v1/users/universe/sector:energy", 200),
    ("/api/symbols?market=NASDAQ,NYSE&search=a", 200),
    ("/api/symbols?market=*", 422),
    ("/api/symbols/AAPL/detections", 200),
    ("/api/symbols/AAPL/detections?days=all&limit=1", 200),
    ("/api/symbols/AAPL/detections?days=all&format=csv", 200),
    ("/api/symbols/AAPL/detections?days=all&page_token=x", 400),
    ("/api/symbols/AAPL/detections?days=0", 422),
    ("/api/symbols/NONE/detections", 404),
    ("/api/v1/symbols/aapl/detections?timeframe=1Day", 200),
]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe()


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


async def test_every_answer_is_declared(
    document: dict[str, Any], client: httpx.AsyncClient, settings: Settings
) -> None:
    await insert_patterns(settings.database_url, [Setup(1), Setup(2)])
    await build_model(settings)
    execute(
        settings.database_url,
        "UPDATE universes SET symbols = '{AAPL,MSFT}', changed_at = now() WHERE key = 'sp500';"
        "INSERT INTO exchanges VALUES ('AAPL', 'NASDAQ');"
        "INSERT INTO newest_bars VALUES ('1d', '2018-02-07 21:00Z')",
    )
    judge = Judge(document)
    for target, status in GET:
        answer = await client.get(target)
        assert answer.status_code == status, f"{target}: {answer.text}"
        judge.conforms("GET", target.partition("?")[0], status, answer.headers, answer.content)
        if status == 200 and answer.headers.get("etag"):
            again = await client.get(target, headers={"If-None-Match": "*"})
            judge.conforms("GET", target.partition("?")[0], 304, again.headers, again.content)


async def test_unhealthy_is_a_problem_like_any_other(
    document: dict[str, Any], client: httpx.AsyncClient
) -> None:
    judge = Judge(document)
    for path in ("/api/patterns/health", "/api/pattern-discovery/health"):
        answer = await client.get(path)
        judge.conforms("GET", path, answer.status_code, answer.headers, answer.content)
        assert answer.status_code == 503


async def test_without_servers_what_can_be_said_is_said(document: dict[str, Any], settings: Settings) -> None:
    nowhere = {"database_url": "postgresql://x@127.0.0.1:1/x", "redis_url": "redis://127.0.0.1:1"}
    app = create_app(settings.model_copy(update=nowhere | {"cache_url": None}))
    judge = Judge(document)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as client:
        for path, status in (
            ("/api/dashboard/stats", 200),
            ("/api/pattern-discovery/performance", 200),
            ("/api/pattern-discovery/health", 503),
            ("/api/patterns/health", 503),
            ("/api/patterns/summary", 503),
            ("/api/users/universe", 503),
            ("/api/symbols/AAPL/detections", 503),
        ):
            answer = await client.get(path)
            assert answer.status_code == status, f"{path}: {answer.text}"
            judge.conforms("GET", path, status, answer.headers, answer.content)
    await app.state.servers.close()


def _examples(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Path, schema and example of every answer in JSON that has one."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for said in operation["responses"].values():
                content = said.get("content", {}).get("application/json", {})
                if "example" in content:
                    yield path, content["schema"], content["example"]


def test_examples_conform_to_what_they_are_examples_of(document: dict[str, Any]) -> None:
    seen = set()
    for path, schema, example in _examples(document):
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(example)
        seen.add(path.replace("/api/v1/", "/api/"))
    assert seen >= {
        "/api/patterns/summary",
        "/api/patterns/health",
        "/api/pattern-discovery/health",
        "/api/pattern-discovery/performance",
        "/api/dashboard/stats",
        "/api/users/universe",
        "/api/users/universe/{key}",
        "/api/symbols/{symbol}/detections",
    }
