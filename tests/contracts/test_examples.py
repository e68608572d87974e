"""Every operation and every error has an example, which is what the document says and a gateway answers."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest
from redis.asyncio import Redis

from api_gateway import answered, examples, problems
from api_gateway.app import create_app, describe
from rollotape.settings import Settings
from support import told
from support.closed_trades import roll_up
from support.databases import execute
from support.gateway import build_model, serve
from support.populated import give_key, tidy
from support.sockets import tell
from support.surface import PATHS, Operation, Surface, operations

FILE = Path(answered.__file__).with_name("answered.json")
WRITE = os.environ.get("ROLLO_TEST_DOCS") == "write"
BY_HAND = {f"/api{path}" for path in examples.EXAMPLES}
"""Health and measures: of a gateway over test servers they would say that nothing runs."""
DESCRIPTIONS = ("/openapi.json", "/asyncapi.json")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BAR = {"symbol": "AAPL", "timeframe": "1d", "ts": "2024-01-02T00:00:00Z", "open": 10.0, "high": 12.0,
        "low": 9.0, "close": 11.0, "volume": 1500.5}  # fmt: skip
_SPRING = {"event": "detected", "source": "scanner-7", "symbol": "AAPL", "timeframe": "1d",
           "pattern_type": "SPRING", "side": "accumulation", "phase": "C", "confidence": 0.8,
           "detected_at": "2024-01-02T00:00:00Z"}  # fmt: skip
_TRADE = {"event": "opened", "source": "desk-2", "symbol": "AAPL", "timeframe": "1d", "direction": "long",
          "generated_at": "2024-01-02T00:00:00Z", "stop": 180.5}  # fmt: skip
BODIES: dict[str, list[tuple[str, Any]]] = {
    "post_bars": [("accepted", {"bars": [_BAR]}), ("partly", {"bars": [_BAR, _BAR | {"high": 1.0}]})],
    "post_patterns": [("accepted", {"patterns": [_SPRING]}), ("partly", {"patterns": [_SPRING, {}]})],
    "post_signals": [("accepted", {"signals": [_TRADE]}), ("partly", {"signals": [_TRADE, {}]})],
    "post_watchlist": [("made", {"name": "Energy", "symbols": ["XOM", "CVX"]})],
    "put_watchlist": [("replaced", {"name": "Chips", "symbols": ["NVDA", "AMD"]})],
    "post_saved_scan": [
        ("made", {"name": "Sure", "filters": {"confidence_min": 0.8, "rsi_range": [30, 70]}})
    ],
    "put_saved_scan": [("replaced", {"name": "Springs", "filters": {"pattern_types": ["SPRING"]}})],
    "post_webhook": [
        ("made", {"name": "Oil", "url": "https://example.org/oil", "events": ["pattern.detected"]}),
    ],
    "put_webhook": [
        ("replaced", {"name": "Desk", "url": "https://example.org/desk", "events": ["scan.new_entrants"]})
    ],
}  # fmt: skip
"""What is asked of whatever takes a body."""


def _requests(operation: Operation) -> Iterator[tuple[str, str, Any]]:
    """Name, target and body of what is asked for an example."""
    names = operation.parameters()
    few = {name: value for name, value in (("limit", 2), ("days", "all")) if name in names}
    asked = [("json", None)] if "requestBody" not in operation.said else BODIES[operation.name]
    for name, body in asked:
        yield name, operation.target(**few), body
    if "text/csv" in operation.content(200):
        yield "csv", operation.target(**few, format="csv"), None


async def _record(surface: Surface) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for operation in operations(surface.document):
        if operation.streams:
            found[operation.name] = [await _record_stream(surface.settings, operation)]
            continue
        await build_model(surface.settings)  # as builders do: what waits for them is marked stale
        await roll_up(surface.settings)
        for name, target, body in _requests(operation):
            answer = await surface.client.request(operation.method, target, json=body)
            assert answer.status_code < 300, answer.text
            media_type = answer.headers.get("content-type", "").partition(";")[0]
            if answer.content and not (operation.path in BY_HAND and media_type == "application/json"):
                met = {
                    "name": name,
                    "method": operation.method,
                    "target": target,
                    "status": answer.status_code,
                }
                said = _shown(operation, answer, media_type)
                met |= {"media_type": media_type, "answer": said} | ({} if body is None else {"body": body})
                found.setdefault(operation.name, []).append(met)
        tidy(surface.settings)
    return found


def _shown(operation: Operation, answer: httpx.Response, media_type: str) -> Any:
    if media_type != "application/json":
        return answer.text if len(answer.text) < 5_000 else answer.text[:200]
    said = answer.json()
    if operation.path in DESCRIPTIONS:
        return {name: value for name, value in said.items() if name in ("openapi", "asyncapi", "info")}
    return said


async def _record_stream(settings: Settings, operation: Operation) -> dict[str, Any]:
    """The first event that is told."""
    with serve(settings) as url:
        async with (
            Redis.from_url(settings.redis_url) as redis,
            httpx.AsyncClient(timeout=30) as client,
            client.stream("GET", url + operation.path, headers={"Host": "g"}) as answer,
        ):
            text = ""
            async for part in answer.aiter_text():
                if not text:
                    await tell(redis, [told.pattern(1, kind="detected")])
                text += part
                if "data: " in text and text.endswith("\n\n"):
                    break
    return {"name": "event", "method": "GET", "target": operation.path, "status": 200,
            "media_type": "text/event-stream", "answer": text}  # fmt: skip


async def _provoke(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One of each problem, by its name."""
    list_, watchlists = "/api/bars?symbols=AAPL", "/api/users/watchlists"
    mine = f"{watchlists}/00000000-0000-0000-0000-0000000000a1"
    chips = {"name": "Chips", "symbols": ["AAPL"]}
    found: dict[str, Any] = {}
    async with AsyncExitStack() as stack:

        async def met(
            method: str, target: str, client: httpx.AsyncClient = surface.client, **sent: Any
        ) -> None:
            answer = await client.request(method, target, **sent)
            said = answer.json()
            slug = said["type"].removeprefix("urn:rollotape:problem:")
            assert slug not in found, slug
            found[slug] = {"method": method, "target": target, "answer": said}

        async def other(**settings: Any) -> httpx.AsyncClient:
            app = create_app(surface.settings.model_copy(update=settings))
            stack.push_async_callback(app.state.servers.close)
            transport = httpx.ASGITransport(app=app)
            return await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url="http://g")
            )

        async def slow() -> AsyncIterator[bytes]:
            await asyncio.sleep(30)  # longer than the gateway waits
            yield b""

        await met("GET", f"{list_}&page_token=x")
        await met("GET", "/api/symbols/NONE")
        await met("PUT", "/api/bars")
        await met("POST", watchlists, json=chips, headers={"Origin": "https://pages.example"})
        await met("POST", watchlists, json=chips)
        await met("PUT", mine, json=chips, headers={"If-Match": '"9"'})
        await met("POST", "/api/bars", content=b" " * 2_097_153, headers={"Content-Type": "application/json"})
        await met("POST", "/api/bars", content=b"bars")
        await met("GET", list_, headers={"Host": "pages.example"})
        await met("GET", f"{list_}&limit=0")
        await met("GET", list_, headers={f"X-{n}": "1" for n in range(101)})
        many = "INSERT INTO watchlists (id, owner, name, symbols)"
        execute(
            surface.settings.database_url,
            f"{many} SELECT gen_random_uuid(), 'local', n::text, '{{}}' FROM generate_series(1, 99) n",
        )
        await met("POST", watchlists, json=chips | {"name": "one more"})
        tidy(surface.settings)
        impatient = await other(http_body_s=1.0)
        json = {"Content-Type": "application/json"}
        await met("POST", "/api/bars", impatient, content=slow(), headers=json)
        await met(
            "GET", "/api/symbols/AAPL", await other(database_url="postgresql://nobody@127.0.0.1:1/rollo")
        )
        keyed = await other(auth="on", rate_requests=2)
        reader = give_key(surface.settings, "read").header
        await met("GET", list_, keyed)
        await met("POST", watchlists, keyed, json=chips, headers=reader)
        await keyed.get(list_, headers=reader)
        await met("GET", list_, keyed, headers=reader)
        with monkeypatch.context() as patch:
            broken = await other()
            patch.setattr("api_gateway.routes.bars.responses.dumps", lambda _: 1 / 0)
            await met("GET", "/api/bars?symbols=AAPL&limit=1", broken)
    return found


async def test_examples_are_what_the_gateway_answers_or_make_docs_writes_them(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = {"operations": await _record(surface), "problems": await _provoke(surface, monkeypatch)}
    if WRITE:
        FILE.write_bytes(orjson.dumps(met, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    written = orjson.loads(FILE.read_bytes())

    assert met["operations"].keys() == written["operations"].keys(), "make docs"
    for name, said in met["operations"].items():
        assert _shape(said) == _shape(written["operations"][name]), f"{name}: make docs"
    for slug, said in met["problems"].items():
        assert _shape(said) == _shape(written["problems"][slug]), f"{slug}: make docs"
        for name in ("type", "title", "status", "detail"):
            assert said["answer"][name] == written["problems"][slug]["answer"][name], f"{slug}: make docs"


def _shape(value: Any) -> Any:
    """Kinds instead of values: times go on, and ids are made anew."""
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value[:2]]
    if isinstance(value, str):
        return "a time" if _TIME.fullmatch(value) else "an id" if _UUID.fullmatch(value) else "a text"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return value


async def test_examples_by_hand_have_the_shape_of_what_the_gateway_answers(surface: Surface) -> None:
    for path, example in examples.EXAMPLES.items():
        operation = next(o for o in operations(surface.document) if o.path == f"/api{path}")
        answer = await surface.client.get(operation.target(**_all_days(operation)))
        _alike(example, answer.json(), path)


def _all_days(operation: Operation) -> dict[str, Any]:
    return {"days": "all"} if "days" in operation.parameters() else {}


def _alike(example: Any, said: Any, where: str) -> None:
    if isinstance(example, dict) and isinstance(said, dict):
        assert example.keys() == said.keys() or _is_map(where), f"{where}: {example.keys() ^ said.keys()}"
        for name in example.keys() & said.keys():
            _alike(example[name], said[name], f"{where}.{name}")
    elif isinstance(example, list) and isinstance(said, list) and example and said:
        _alike(example[0], said[0], f"{where}[]")


def _is_map(where: str) -> bool:
    """Names of what was counted, or details of a component of its own."""
    return where.endswith((".figures", ".index_sizes", ".components[]", ".targets[]"))


def _contents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for operation in operations(document, v1=True):
        for status, answer in operation.said["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                yield f"{operation} {status} {media_type}", content
        for media_type, content in operation.said.get("requestBody", {}).get("content", {}).items():
            yield f"{operation} asked {media_type}", content


def _values(document: dict[str, Any], content: dict[str, Any]) -> list[Any]:
    found = [content["example"]] if "example" in content else []
    for example in content.get("examples", {}).values():
        if "$ref" in example:
            example = document["components"]["examples"][example["$ref"].rpartition("/")[2]]
        found.append(example["value"])
    return found


def test_every_operation_and_every_error_has_an_example_that_is_one() -> None:
    document = describe()
    checked = 0
    known: dict[bytes, jsonschema_rs.Validator] = {}
    for where, content in _contents(document):
        values = _values(document, content)
        if "x-ndjson" in where:
            assert "such as" in content["schema"]["description"]  # no generator takes words for a value
            continue
        assert values, f"{where} has no example"
        if "json" not in where.rpartition(" ")[2]:
            assert all(isinstance(value, str) and value for value in values), where
            continue
        key = orjson.dumps(content["schema"], option=orjson.OPT_SORT_KEYS)
        if key not in known:
            whole = {**content["schema"], "components": document["components"]}
            known[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        for value in values:
            error = next(known[key].iter_errors(value), None)
            assert error is None, f"{where}: {error and error.message}"
            checked += 1
    assert checked > 1_000


def test_every_problem_has_an_example_and_is_declared_where_it_is_met() -> None:
    document = describe()
    met = answered.recorded()["problems"]
    kinds = {k.slug: k for k in vars(problems).values() if isinstance(k, problems.Kind)}
    before_any_route = {"malformed-http", "head-too-slow", "too-many-connections"}
    assert set(met) == set(kinds) - before_any_route
    for slug, said in met.items():
        kind = kinds[slug]
        assert (said["answer"]["status"], said["answer"]["title"]) == (kind.status, kind.title)
        path = said["target"].partition("?")[0]
        template = next((p for p in document["paths"] if _fits(p, path)), None)
        assert template, path
        declared = document["paths"][template].get(said["method"].lower())
        if declared is not None:  # 405 is met where nothing is declared
            content = declared["responses"][str(kind.status)]["content"]["application/problem+json"]
            assert slug in content["examples"], slug


def _fits(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path) is not None


def test_requests_of_examples_are_about_what_there_is() -> None:
    assert set(PATHS) <= {
        name for operation in operations(describe()) for name in operation.parameters("path")
    }
