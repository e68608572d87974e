"""The stream over WebSocket and clients that do not read, that flood it, or that make no sense.

Kills and replicas are in `test_gateway_stream`.
"""

import asyncio
import random

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from api_gateway import hub, main
from rollotape.settings import Settings
from support.following import happened
from support.gateway import serve
from support.sockets import (
    connected,
    event_fact,
    pattern_fact,
    talking,
    tell,
    versions,
)

WITHIN_S = 90.0


async def test_a_client_that_does_not_read_is_cut_off_and_told_where_to_resume(
    settings: Settings, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "FRAME_BYTES", 4_096)
    long, before = "X" * 20_000, _ended(407)
    with serve(settings.model_copy(update={"ws_queue_facts": 50})) as url:
        async with (
            talking(url, max_queue=1) as slow,
            talking(url) as quick,
            talking(url, max_queue=1) as newest,
        ):
            await slow.subscribe(patterns=["*"])
            await quick.subscribe(patterns=["*"])
            await newest.subscribe(bars=["*"], rs=["*"])
            told = 0
            while _ended(407) == before:  # its socket is full, and then its queue
                await tell(redis_client, [pattern_fact(told + k, rule_set=long) for k in range(40)])
                assert versions(await quick.facts(40)) == list(range(told, told + 40))
                told += 40
            heard = await slow.hears("error")
            assert heard["code"] == 407
            assert await slow.close_code() == 4407
            seen = versions([item for item in slow.items if item["T"] == "p"])
            assert seen == list(range(len(seen)))
            last = [item["id"] for item in slow.items if "id" in item and item["T"] == "p"][-1]
            assert heard["id"] == last
            await newest.subscribe(patterns=["*"])  # whom nothing is kept from stays
        async with talking(url) as again:
            await again.subscribe(patterns=["*"], since=last)
            assert versions(await again.facts(told - len(seen))) == list(range(len(seen), told))


async def test_a_client_that_answers_no_ping_is_slow_too(
    settings: Settings, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _ended(407)
    monkeypatch.setattr(main, "PING_EVERY_S", 0.3)
    monkeypatch.setattr(main, "PONG_WITHIN_S", 3.0)
    with serve(settings) as url:
        async with talking(url) as lively, talking(url) as silent:
            told = await silent.subscribe(patterns=["*"])
            transport = silent.connection.transport
            transport.pause_reading()
            await lively.subscribe(vsa=["*"])
            await happened(lambda: _ended(407) > before, "the end of one")
            transport.resume_reading()
            assert (await silent.hears("error"))["id"] == told["id"]
            await tell(redis_client, [event_fact("vsa.detected", 1)])
            assert versions(await lively.facts(1)) == [1]


def _ended(number: int) -> float:
    """Connections that gateways of this process ended with an error."""
    return REGISTRY.get_sample_value("rollo_ws_ended_total", {"number": str(number)}) or 0.0


async def test_a_quiet_stream_says_that_it_is_alive_and_where(
    settings: Settings, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.5)
    with serve(settings) as url:
        async with talking(url) as client:
            acknowledged = await client.subscribe(vsa=["NONE"])
            ids = await tell(redis_client, [pattern_fact(n) for n in range(3)])
            while (here := await client.hears("here"))["id"] == acknowledged["id"]:
                pass
            assert here["id"].endswith(ids[-1])


async def test_no_message_breaks_the_gateway_and_every_one_is_answered(
    settings: Settings, redis_client: Redis
) -> None:
    """`test_subscriptions` tries messages by the thousand; here they cross a wire."""
    chance = random.Random(7)
    with serve(settings) as url:
        async with talking(url) as witness:
            await witness.subscribe(patterns=["*"])
            for _ in range(40):
                async with connected(url) as client:
                    for message in _nonsense(chance, 8):
                        await client.connection.send(message)
                    answered = 0
                    while answered < 8:
                        item = await client.hears("error", "subscription")
                        assert item["T"] == "subscription" or item["code"] == 400
                        answered += 1
            await tell(redis_client, [pattern_fact(1)])
            assert versions(await witness.facts(1)) == [1]


def _nonsense(chance: random.Random, count: int) -> list[str | bytes]:
    pieces = [
        '{"action":"subscribe"', '"patterns":["*"]', '"filters":{"rsi_range":[0,100]}', '"since":"x"', "}",
        "[", "]", "{}", "null", "\\u0000", "1e999", '"', ",", "\U0001f4c9",
        '{"action":"unsubscribe","vsa":["*"]}',
        '{"action":"subscribe","patterns":["*"]}', '{"action":"auth"}', "[" * 2_000,
    ]  # fmt: skip
    made: list[str | bytes] = []
    for _ in range(count):
        text = "".join(chance.choices(pieces, k=chance.randint(0, 5)))
        made.append(text.encode() if chance.random() < 0.2 else text)
    return made


async def test_a_message_that_is_too_long_ends_the_connection(settings: Settings) -> None:
    with serve(settings) as url:
        async with talking(url) as client:
            await client.connection.send(" " * 70_000)
            assert await client.close_code() == 1009


async def test_a_flood_of_pings_that_nobody_reads_the_answers_of_is_borne(settings: Settings) -> None:
    with serve(settings) as url:
        async with talking(url) as witness:
            reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
            writer.write(
                b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n"
                b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            ping = b"\x89\xfd" + bytes(4) + b"x" * 125
            for _ in range(400):
                writer.write(ping * 100)
                await asyncio.wait_for(writer.drain(), WITHIN_S)
            assert (await witness.subscribe(patterns=["*"]))["patterns"] == ["*"]
            writer.close()
            del reader
