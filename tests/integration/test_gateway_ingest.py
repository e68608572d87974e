"""What comes in over HTTP on a real Redis: trades, and lines that are sent on while more of them arrive."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from api_gateway import ingest
from api_gateway.app import create_app
from rollotape import signals
from rollotape.embedded.server import free_port
from rollotape.errors import Unprocessable
from rollotape.settings import Settings
from support.waiting import eventually

LINES = {"Content-Type": "application/x-ndjson"}
PATHS = ["bars", "patterns", "signals"]


@pytest.fixture
async def client(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """Of a gateway with the settings of a parameter, where there is one."""
    app = create_app(settings.model_copy(update=getattr(request, "param", {})))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


def _event(**changes: Any) -> dict[str, Any]:
    return {
        "event": "opened", "source": "desk-2", "symbol": "AAPL", "timeframe": "1d", "direction": "long",
        "generated_at": "2024-01-02T00:00:00Z", "stop": 180.5,
    } | changes  # fmt: skip


def _one(path: str, revision: int = 0) -> bytes:
    """Something good."""
    if path == "signals":
        return orjson.dumps(_event(revision=revision))
    said: dict[str, Any] = {"symbol": "AAPL", "timeframe": "1d", "revision": revision}
    if path == "bars":
        prices = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1500.5}
        return orjson.dumps(said | {"ts": "2024-01-02T00:00:00Z"} | prices)
    said |= {"event": "detected", "source": "scanner-7", "pattern_type": "BULL_FLAG", "confidence": 0.9}
    return orjson.dumps(said | {"detected_at": "2024-01-02T00:00:00Z"})


async def test_good_trades_reach_the_stream_of_their_symbol_and_bad_ones_are_named(
    client: httpx.AsyncClient, redis_client: Redis
) -> None:
    sent = [
        _event(symbol="aapl"),
        _event(stop=0),
        _event(source="rollo"),
        _event(event="closed"),
        _event(entry_price=100.0, entry_date="2024-01-03T00:00:00Z"),
        _event(surprise=1),
        7,
        _event(symbol="MSFT", direction="short"),
    ]

    answer = await client.post("/api/signals", json={"signals": sent})

    assert answer.status_code == 207
    said = answer.json()
    accepted = [(e["index"], e["stream"]) for e in said["accepted"]["entries"]]
    assert (said["accepted"]["count"], said["refused_count"]) == (2, 6)
    assert accepted[0] == (0, "signals.12")
    assert accepted[1][0] == 7
    assert {r["index"]: [f["field"] for f in r["faults"]] for r in said["refused"]} == {
        1: ["stop"],
        2: ["source"],
        3: ["exit_date", "entry_date"],
        4: ["stop"],
        5: ["surprise"],
        6: ["json"],
    }
    entries: Any = await redis_client.xrange("signals.12")
    [(entry_id, fields)] = entries
    assert entry_id.decode() == said["accepted"]["entries"][0]["id"]
    assert orjson.loads(fields[b"json"]) == _event()
    assert signals.read(fields[b"json"], 1_800_000_000_000).symbol == "AAPL"


async def test_a_stream_refuses_what_the_gateway_refuses(client: httpx.AsyncClient) -> None:
    good = _event(entry_date="2024-01-03T00:00:00Z", entry_price=200.0)
    sent = [good, good | {"stop": 200.0}, good | {"direction": "short"}, good | {"exit_price": 1.0}]

    said = (await client.post("/api/v1/signals", json={"signals": sent})).json()

    refused = {r["index"]: r["faults"] for r in said["refused"]}
    for index, event in enumerate(sent):
        try:
            signals.read(orjson.dumps(event), 1_800_000_000_000)
        except Unprocessable as error:
            assert refused[index] == [{"field": f.field, "reason": f.reason} for f in error.faults]
        else:
            assert index not in refused
    assert set(refused) == {1, 2, 3}


async def test_a_thousand_trades_are_one_request_and_one_more_is_not(
    client: httpx.AsyncClient, redis_client: Redis
) -> None:
    trades = [_event(revision=n) for n in range(1_001)]

    assert (await client.post("/api/signals", json={"signals": trades})).status_code == 422
    assert await redis_client.keys("signals.*") == []
    answer = await client.post("/api/signals", json={"signals": trades[:1_000]})

    assert (answer.status_code, answer.json()["accepted"]["count"]) == (202, 1_000)
    assert await redis_client.xlen("signals.12") == 1_000
    assert (await client.post("/api/signals?dry=1", json={"signals": trades[:1]})).status_code == 422
    assert (await client.post("/api/signals", json={"trades": trades[:1]})).status_code == 422


@pytest.mark.parametrize("path", PATHS)
async def test_lines_are_sent_on_while_more_of_them_arrive(
    client: httpx.AsyncClient, redis_client: Redis, path: str
) -> None:
    seen: list[int] = []

    async def lines() -> AsyncIterator[bytes]:
        for batch in range(3):
            yield b"\n".join(_one(path, batch * 1_000 + n) for n in range(1_000)) + b"\n"
            await eventually(lambda batch=batch: _has(batch), what="the batch in Redis")  # type: ignore[misc]
        yield b"\n  \n" + _one(path, 3_000)[:20]
        yield _one(path, 3_000)[20:] + b"\nnothing"

    async def _has(batch: int) -> bool:
        seen.append(await redis_client.xlen(f"{path}.12"))
        return seen[-1] == (batch + 1) * 1_000

    answer = await client.post(f"/api/{path}", content=lines(), headers=LINES)

    said = answer.json()
    assert (answer.status_code, said["accepted"]["count"], said["refused_count"]) == (207, 3_001, 1)
    assert [e["index"] for e in said["accepted"]["entries"]] == list(range(1_000))
    assert [(r["index"], r["faults"][0]["field"]) for r in said["refused"]] == [(3_001, "json")]
    entries: Any = await redis_client.xrange(f"{path}.12")
    assert [orjson.loads(fields[b"json"])["revision"] for _, fields in entries] == list(range(3_001))


async def test_a_body_that_goes_wrong_in_its_middle_says_what_was_sent_on(
    client: httpx.AsyncClient, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MOST_LINES", 2_000)

    async def lines() -> AsyncIterator[bytes]:
        while True:
            yield b"\n".join([_one("bars"), b"{}"] * 500) + b"\n"

    answer = await client.post("/api/bars", content=lines(), headers=LINES)

    assert answer.status_code == 413
    said = "At most 2,000 lines are one request. Of the first 2,000 lines 1,000 were sent on."
    assert answer.json()["detail"] == said
    assert await redis_client.xlen("bars.12") == 1_000


@pytest.mark.parametrize("client", [{"http_lines_bytes": 400_000}], indirect=True)
async def test_a_body_that_the_gate_ends_says_what_was_sent_on(client: httpx.AsyncClient) -> None:

    async def lines() -> AsyncIterator[bytes]:
        while True:
            yield b"\n".join([_one("bars")] * 1_000) + b"\n"

    answer = await client.post("/api/bars", content=lines(), headers=LINES)

    assert answer.status_code == 413
    said = "The body may have 400,000 bytes. Of the first 2,000 lines 2,000 were sent on."
    assert answer.json()["detail"] == said


@pytest.mark.parametrize("client", [{"http_body_s": 0.2}], indirect=True)
async def test_lines_that_stop_coming_are_408_and_say_what_was_sent_on(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "SLOWEST_BYTES_S", 10 * 1024 * 1024)

    async def lines() -> AsyncIterator[bytes]:
        yield b"\n".join([_one("bars")] * 1_000) + b"\n"
        await asyncio.Event().wait()

    answer = await client.post("/api/bars", content=lines(), headers=LINES)

    assert answer.status_code == 408
    assert "Of the first 1,000 lines 1,000 were sent on." in answer.json()["detail"]


@pytest.mark.parametrize("client", [{"http_lines_bytes": 1_000_000}], indirect=True)
async def test_more_bytes_than_lines_may_have_are_413(client: httpx.AsyncClient) -> None:

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65_536

    answer = await client.post("/api/patterns", content=endless(), headers=LINES)

    assert (answer.status_code, answer.json()["detail"]) == (413, "The body may have 1,000,000 bytes.")


@pytest.mark.parametrize("path", PATHS)
async def test_no_line_at_all_is_422(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(f"/api/{path}", content=b"\n \n", headers=LINES)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, path)


@pytest.mark.parametrize("path", PATHS)
async def test_without_redis_nothing_is_accepted(settings: Settings, path: str) -> None:
    away = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    app = create_app(away)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as client:
        answer = await client.post(f"/api/{path}", content=_one(path), headers=LINES)
    await app.state.servers.close()

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
