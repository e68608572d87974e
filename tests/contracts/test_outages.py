"""Outages, held against every GET that the OpenAPI document has: the right answer, an older one that says so,
or 503 with `Retry-After`; never a list that is empty because a server was away.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx
import pytest

from api_gateway.app import create_app, describe
from rollotape.settings import Settings
from support.databases import execute
from support.doors import Door, door
from support.gateway import Judge
from support.populated import populate
from support.surface import Operation, operations

LOOK_S = 0.02
FRESH_S = 1.0
PATIENT_S = 10.0
"""A crowded machine may take longer, but not for ever; how long it took is said where it is too long."""
_ALL = [o for o in operations(describe()) if o.method == "GET" and not o.streams]
REPORTS = ("/livez", "/readyz", "/docs", "/openapi.json", "/asyncapi.json")
"""What is asked for when something is away: it is to answer whatever that is."""
OF_HEALTH = ("/health", "/pattern-discovery/", "/patterns/stats", "/dashboard/stats")
"""They say what is away, by null or by name."""
OF_REDIS = ("/patterns/scan", "/patterns/summary")
"""Of the read model: as fresh without PostgreSQL as with it; stale here, where nobody keeps it."""


class Asking(NamedTuple):
    """A gateway whose servers can go away, and what it answered while all were there."""

    client: httpx.AsyncClient
    judge: Judge
    redis: Door
    cache: Door
    postgres: Door
    before: dict[str, Any]


@pytest.fixture(scope="module")
async def asking(clean: Settings) -> AsyncIterator[Asking]:
    await populate(clean)
    execute(clean.database_url, "DELETE FROM changed_answers")  # nobody counts them up here: they would wait
    assert clean.cache_url
    async with AsyncExitStack() as stack:
        doors = [
            await stack.enter_async_context(door(url))
            for url in (clean.redis_url, clean.cache_url, clean.database_url)
        ]
        urls = dict(zip(("redis_url", "cache_url", "database_url"), (d.url for d in doors), strict=True))
        app = create_app(clean.model_copy(update=urls))
        stack.push_async_callback(app.state.servers.close)
        transport = httpx.ASGITransport(app=app)
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://g", timeout=30)
        )
        redis, cache, postgres = doors
        made = Asking(client, Judge(app.openapi()), redis, cache, postgres, {})
        for operation in _ALL:
            answer = await _ask(made, operation)
            assert answer.status_code == 200, f"{operation}: {answer.text[:300]}"
            made.before[operation.path] = _said(answer)
        yield made


@pytest.fixture(autouse=True)
async def _all_there(asking: Asking) -> AsyncIterator[None]:
    """Before and after each test, as far as the gateway knows, too."""
    yield
    for opened in (asking.redis, asking.cache, asking.postgres):
        opened.become("open")
    ends_at = time.monotonic() + PATIENT_S
    for operation in _ALL:
        while not _is_as_before(asking, operation, await _ask(asking, operation)):
            assert time.monotonic() < ends_at, f"{operation} is not as before"
            await asyncio.sleep(LOOK_S)


async def _ask(asking: Asking, operation: Operation, **query: object) -> httpx.Response:
    """Held against the document, if it is a refusal."""
    target = operation.target(**query)
    answer = await asking.client.get(target)
    path = target.partition("?")[0]
    if answer.status_code != 200:
        asking.judge.conforms("GET", path, answer.status_code, answer.headers, answer.content)
    return answer


def _said(answer: httpx.Response) -> Any:
    return answer.json() if answer.headers["content-type"].startswith("application/json") else answer.text


def _emptied(before: Any, now: Any, at: str = "") -> Iterator[str]:
    """Where there was something, and now is a list or a mapping without anything in it."""
    if isinstance(before, list | dict) and before and now in ([], {}):
        yield at
    elif isinstance(before, dict) and isinstance(now, dict):
        for name, value in before.items():
            yield from _emptied(value, now.get(name), f"{at}.{name}")


def _is_as_before(asking: Asking, operation: Operation, answer: httpx.Response) -> bool:
    """Whole, and as fresh as when all were there."""
    if answer.status_code != 200:
        return False
    said = _said(answer)
    before = asking.before[operation.path]
    is_fresh = _is_stale(said) == _is_stale(before) or _is_among(operation, OF_REDIS)
    return is_fresh and not list(_emptied(before, said))


def _is_stale(said: Any) -> bool:
    return isinstance(said, dict) and said.get("stale") is True


def _is_among(operation: Operation, parts: tuple[str, ...]) -> bool:
    return any(part in operation.path for part in parts)


async def _is_honest(asking: Asking, operation: Operation, **query: object) -> bool:
    """Whether it was answered by more than a 503; what is neither right nor a refusal fails the test."""
    answer = await _ask(asking, operation, **query)
    if _is_among(operation, (*REPORTS, *OF_HEALTH)):
        assert answer.status_code in (200, 503), f"{operation}: {answer.status_code}"
        return answer.status_code == 200
    if answer.status_code == 503:
        assert answer.headers["content-type"] == "application/problem+json", str(operation)
        assert int(answer.headers["retry-after"]) >= 1, str(operation)
        return False
    assert answer.status_code == 200, f"{operation}: {answer.status_code} {answer.text[:300]}"
    emptied = list(_emptied(asking.before[operation.path], _said(answer)))
    assert not emptied, f"{operation}: {', '.join(emptied)} empty, with {query}"
    return True


async def test_without_the_cache_every_answer_is_right(asking: Asking) -> None:
    asking.cache.become("shut")
    for operation in _ALL:
        answer = await _ask(asking, operation)
        assert _is_as_before(asking, operation, answer) or _is_among(operation, OF_HEALTH), (
            f"{operation}: {answer.status_code} {answer.text[:300]}"
        )


async def test_without_postgresql_an_answer_is_older_and_says_so_or_is_503(asking: Asking) -> None:
    asking.postgres.become("shut")
    answered: list[Operation] = []
    refused: list[Operation] = []
    for operation in _ALL:
        is_answered = await _is_honest(asking, operation)
        (answered if is_answered else refused).append(operation)
        ends_at = time.monotonic() + PATIENT_S  # what was read a moment ago is not older yet
        while is_answered and not _is_among(operation, (*REPORTS, *OF_HEALTH, *OF_REDIS)):
            if _is_stale(_said(await _ask(asking, operation))):
                break
            assert time.monotonic() < ends_at, f"{operation} does not say that it is older"
            await asyncio.sleep(LOOK_S)
    assert any("/analytics/" in o.path for o in answered), "no answer that was kept was given"
    assert any(o.path == "/api/bars" for o in refused), "bars were answered without PostgreSQL"


async def test_without_postgresql_what_nobody_asked_before_is_never_empty(asking: Asking) -> None:
    asking.postgres.become("shut")
    asked = 0
    for operation in _ALL:
        named = operation.parameters()
        for name, value in (("limit", 7), ("per_page", 7), ("days", 77), ("format", "csv")):
            if name in named:
                asked += 1
                answer = await _ask(asking, operation, **{name: value})
                if name == "format" and answer.status_code == 200:
                    has_rows = any(isinstance(v, list) and v for v in asking.before[operation.path].values())
                    assert answer.text.count("\n") > 1 or not has_rows, f"{operation}: no row"
                else:
                    await _is_honest(asking, operation, **{name: value})
    assert asked > 20


async def test_without_the_redis_of_streams_what_is_stored_is_read(asking: Asking) -> None:
    asking.redis.become("shut")
    for operation in _ALL:
        is_answered = await _is_honest(asking, operation)
        if not _is_among(operation, (*REPORTS, *OF_HEALTH, *OF_REDIS)):
            assert is_answered, f"{operation} needs nothing of the streams"
    scan = next(o for o in _ALL if _is_among(o, OF_REDIS))
    assert not await _is_honest(asking, scan), "a scan without its read model"


async def test_without_anything_nothing_is_empty(asking: Asking) -> None:
    for opened in (asking.redis, asking.cache, asking.postgres):
        opened.become("shut")
    for operation in _ALL:
        await _is_honest(asking, operation)


async def test_when_all_are_back_every_answer_is_fresh_soon(asking: Asking) -> None:
    for opened in (asking.redis, asking.cache, asking.postgres):
        opened.become("shut")
    for operation in _ALL:
        await _is_honest(asking, operation)
    for opened in (asking.redis, asking.cache, asking.postgres):
        opened.become("open")
    back = time.monotonic()
    took: dict[str, float] = {}
    for operation in _ALL:
        while not _is_as_before(asking, operation, await _ask(asking, operation)):
            assert time.monotonic() < back + PATIENT_S, f"{operation} is not fresh again"
            await asyncio.sleep(LOOK_S)
        took[operation.path] = time.monotonic() - back
    late = {path: f"{s:.1f} s" for path, s in took.items() if s > FRESH_S}
    print(f"fresh again after {max(took.values()):.2f} s at most; later than {FRESH_S:g} s: {late}")
