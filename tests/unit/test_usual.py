"""Requests that are read without h11 are read, and answered, as h11 would have done."""

import asyncio
import re
import time
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_gateway import heads
from api_gateway.app import Gateway, create_app
from api_gateway.auth import Known
from api_gateway.bounds import Bounds
from api_gateway.limits import Bucket
from rollotape import keys
from rollotape.cache.reader import Snapshot
from rollotape.domain.scan import Table
from rollotape.settings import Settings
from support.connections import App, Client

HOST = "Host: g:8000"
USUAL = [
    f"GET / HTTP/1.1\r\n{HOST}\r\n\r\n",
    f"GET /a%20b/c?x=1&y=%2f?z HTTP/1.1\r\n{HOST}\r\nX-Empty:\r\nx-two:1\r\nX-Two:\t 2 \t\r\n\r\n",
    f"GET http://g/ HTTP/1.1\r\nConnection: Keep-Alive\r\nUser-Agent: \xe4 \"'(),;:\\/{{}}\r\n{HOST}\r\n\r\n",
]
FOR_H11 = [
    f"HEAD / HTTP/1.1\r\n{HOST}\r\n\r\n",
    f"POST / HTTP/1.1\r\n{HOST}\r\nContent-Length: 2\r\n\r\nab",
    f"GET / HTTP/1.1\r\n{HOST}\r\nContent-Length: 2\r\n\r\nab",
    f"GET / HTTP/1.1\r\n{HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\nconnection: close\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\nExpect: 100-continue\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\n{HOST}\r\n\r\n",
    f"GET / HTTP/1.0\r\n{HOST}\r\n\r\n",
    f"GET / HTTP/1.1\n{HOST}\n\n",
    f"GET  / HTTP/1.1\r\n{HOST}\r\n\r\n",
    f"GET /\xe4 HTTP/1.1\r\n{HOST}\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\nA : 1\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\nA: 1\r\n folded\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\nA: 1\0\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\n" + "A: 1\r\n" * 101 + "\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\n",
    f"GET / HTTP/1.1\r\n{HOST}\r\n\r\nGET / HTTP/1.1\r\n{HOST}\r\n\r\n",
]


def answering(status: int, headers: Iterable[tuple[bytes, bytes]], *bodies: bytes) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        for body in bodies[:-1]:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": bodies[-1] if bodies else b""})

    return app


OK = answering(200, [(b"content-type", b"text/plain"), (b"content-length", b"2")], b"ok")


@pytest.mark.parametrize("request_text", USUAL)
async def test_it_is_read_as_h11_reads_it(request_text: str) -> None:
    whole, client, other = request_text.encode("latin-1"), Client(OK), Client(OK)
    mine = await client.say(whole)
    theirs = await other.say(whole[:9], whole[9:])
    assert client.was_usual and not other.was_usual
    assert [seen for seen in client.seen if seen.pop(heads.REMEMBERED) == {}] == other.seen
    assert mine == theirs
    assert not client.wire.closed


@pytest.mark.parametrize("request_text", FOR_H11)
async def test_what_is_not_usual_is_left_to_h11(request_text: str) -> None:
    client = Client(OK)
    await client.say(request_text.encode("latin-1"))
    assert not client.was_usual


@pytest.mark.parametrize(
    "app",
    [
        answering(200, [(b"content-length", b"0")], b""),
        answering(304, [(b"etag", b'"x"')]),
        answering(204, []),
        answering(200, [(b"content-length", b"5")], b"ab", b"", b"cde"),
        answering(200, [], b"ab", b"", b"cde"),
        answering(200, [], b""),
        answering(200, [(b"connection", b"close"), (b"content-length", b"2")], b"ok"),
    ],
)
async def test_it_is_answered_as_h11_answers_it(app: App) -> None:
    whole, client, other = USUAL[0].encode(), Client(app), Client(app)
    mine, theirs = await client.say(whole), await other.say(whole[:9], whole[9:])
    assert client.was_usual and not other.was_usual
    head, _, body = mine.partition(b"\r\n\r\n")
    their_head, _, their_body = theirs.partition(b"\r\n\r\n")
    assert sorted(head.lower().split(b"\r\n")) == sorted(their_head.lower().split(b"\r\n"))
    assert body == their_body
    assert client.wire.closed == other.wire.closed


async def test_a_head_goes_out_with_its_body_and_one_without_a_length_at_once() -> None:
    client = Client(OK)
    client.protocol.data_received(USUAL[0].encode())
    await asyncio.gather(*client.state.tasks)
    assert len(client.wire.parts) == 1

    held = asyncio.Event()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        held.set()
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        assert await receive() == {"type": "http.disconnect"}

    client = Client(stream)
    client.protocol.data_received(USUAL[0].encode())
    await held.wait()
    assert client.wire.said.endswith(b"\r\n\r\n")
    client.protocol.connection_lost(OSError("gone"))
    await asyncio.gather(*client.state.tasks)


async def test_one_connection_has_usual_requests_and_others_in_any_order() -> None:
    client = Client(OK)
    for text in [*USUAL, FOR_H11[1], *USUAL, FOR_H11[-1], USUAL[0]]:
        said = await client.say(text.encode("latin-1"))
        assert said.count(b"HTTP/1.1 200 OK") == said.count(b"ok") == (2 if text == FOR_H11[-1] else 1)
        assert client.was_usual == (text in USUAL)


async def test_what_comes_before_the_answer_is_out_waits_for_it() -> None:
    client = Client(OK)
    request = USUAL[0].encode()
    client.protocol.data_received(request)
    client.protocol.data_received(request[:7])
    assert client.wire.paused
    assert (await client.say()).count(b"ok") == 1
    assert not client.wire.paused
    assert (await client.say(request[7:])).count(b"ok") == 1


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"2"), (b"x", b"a\r\nb: c")],
        [(b"content-length", b"2"), (b"x", b"a\nb: c")],
        [(b"content-length", b"2"), (b"x", b"\0")],
        [(b"content-length", b"3")],
        [(b"content-length", b"1")],
    ],
)
async def test_an_answer_that_would_break_the_connection_is_not_sent(
    headers: list[tuple[bytes, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(answering(200, headers, b"ok"))
    said = await client.say(USUAL[0].encode())
    assert not said.startswith(b"HTTP/1.1 200")
    assert client.wire.closed


async def test_an_idle_connection_is_closed_and_one_that_is_used_is_not() -> None:
    client = Client(OK)
    client.protocol.timeout_keep_alive = 0.05
    await client.say(USUAL[0].encode())
    client.protocol._answered_at += 60.0  # as if asked again just now
    client.protocol.timeout_keep_alive_handler()
    assert not client.wire.closed
    client.protocol._answered_at -= 120.0
    client.protocol.timeout_keep_alive_handler()
    assert client.wire.closed


async def test_a_head_beyond_the_bounds_is_refused_as_ever() -> None:
    client = Client(OK, Bounds(headers=3, head_bytes=200))
    assert (await client.say(f"GET / HTTP/1.1\r\n{HOST}\r\nA: 1\r\nB: 1\r\n\r\n".encode())).endswith(b"ok")
    many = "A: 1\r\n" * 5
    assert (await client.say(f"GET / HTTP/1.1\r\n{HOST}\r\n{many}\r\n".encode())).startswith(b"HTTP/1.1 431")
    client = Client(OK, Bounds(headers=3, head_bytes=200))
    long = f"GET /{'x' * 300} HTTP/1.1\r\n{HOST}\r\n\r\n"
    assert (await client.say(long.encode())).startswith(b"HTTP/1.1 431")


# ---- what a connection remembers of its headers

KEY, WRONG, OVER = keys.make(), keys.make(), keys.make()
LINES = [
    f"Authorization: Bearer {KEY.text}", f"X-API-Key: {KEY.text}", f"X-API-Key: {OVER.text}",
    f"Authorization: Bearer {WRONG.text}", "Authorization: Basic eDp5", "Content-Encoding: gzip",
    "Origin: https://page.example", "Origin: https://other.example", "Accept: text/csv", "Accept: */*",
    "Accept-Encoding: gzip", "Accept-Encoding: br;q=0.1, zstd", "If-None-Match: *", "X-Request-Id: mine",
    "X-Request-Id: not sane", f"traceparent: 00-{'a' * 32}-{'b' * 16}-00",
]  # fmt: skip
SCAN = "/api/patterns/scan"
HOSTS = st.sampled_from([HOST, HOST, "Host: elsewhere.example"])
HEADS = st.tuples(HOSTS, st.lists(st.sampled_from(LINES), max_size=4)).map(lambda said: [said[0], *said[1]])
TARGETS = st.sampled_from([SCAN, "/api/v1/patterns/scan?limit=3", f"{SCAN}?nope=1"])
_NEW = re.compile(
    rb"x-request-id: [0-9a-f]{32}|x-ratelimit-[a-z]+: \d+|ratelimit: [^\r]*|\"request_id\":\"[0-9a-f]{32}\""
    rb"|\"query_time_ms\":[\d.]+|,\d+\.\d+(?=[^\n]*$)"
)


@cache
def gateway() -> Gateway:
    """With a key that is good, one that is over, and a read model that is empty."""
    said = Settings(
        redis_url="redis://127.0.0.1:1", database_url="postgresql://127.0.0.1:1/x", auth="on",
        hosts="g", origins="https://page.example", rate_requests=10**8, rate_strangers=10**8,
    )  # fmt: skip
    app = create_app(said)
    servers, for_ever = app.state.servers, time.monotonic() + 1e6
    for key, until in ((KEY, None), (OVER, said)):
        row = {"id": key.id, "owner": "o", "scope": "read", "rate": None, "hash": key.hash}
        servers.access._keys._known[key.id] = Known(row | {"expires_at": until and _Past()}, for_ever)
    servers.access._keys._unknown[WRONG.id] = Known(None, for_ever)
    for name in (KEY.id, OVER.id, "from:127.0.0.1", "from:elsewhere"):
        bucket: Bucket = servers.access._limits._bucket(name, 10**8)
        bucket.tokens, bucket.ends_at = 10**8, for_ever
    servers.reader._answer = Snapshot("e", 5, 1, False, Table.of([], []))
    servers.reader._answered_at = for_ever
    return app


def _lines(said: bytes) -> list[bytes]:
    """What is the same whenever it is said; headers in any order."""
    head, _, body = said.partition(b"\r\n\r\n")
    return [*sorted(_NEW.sub(b"", line) for line in head.split(b"\r\n")), _NEW.sub(b"", body)]


class _Past:
    def timestamp(self) -> float:
        return 1.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TARGETS, HEADS, st.integers(1, 3)), min_size=1, max_size=4))
async def test_an_answer_is_the_same_as_if_nothing_were_remembered(
    asked: list[tuple[str, list[str], int]],
) -> None:
    app = gateway()
    mine = Client(app)
    for target, head, times in asked:
        whole = "\r\n".join([f"GET {target} HTTP/1.1", *head, "", ""]).encode()
        await Client(app).say(whole[:9], whole[9:])  # what is answered first is not cached
        expected = await Client(app).say(whole[:9], whole[9:])
        for _ in range(times):
            assert _lines(await mine.say(whole)) == _lines(expected)


async def test_what_was_remembered_of_other_headers_is_forgotten() -> None:
    client = Client(gateway())
    good, bad = (f"GET {SCAN} HTTP/1.1\r\n{HOST}\r\nX-API-Key: {k}\r\n\r\n" for k in (KEY.text, "x"))
    answers = [await client.say(said.encode()) for said in (good, good, bad, good)]
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 2 + [b"HTTP/1.1 401", b"HTTP/1.1 200"]
    assert client.was_usual


# ---- what is answered before a task is made of it

GOOD = [HOST, f"X-API-Key: {KEY.text}"]


def _request(*lines: str, target: str = SCAN) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode()


def _tokens() -> int:
    bucket: Bucket = gateway().state.servers.access._limits._bucket(KEY.id, 10**8)
    return bucket.tokens


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["Accept-Encoding: gzip"],
        ["If-None-Match: *"],
        ["X-Request-Id: mine"],
        ["Origin: https://page.example"],
        ["Origin: https://other.example"],
    ],
)
async def test_what_is_there_is_answered_at_once_and_is_the_same(more: list[str]) -> None:
    asked, client = _request(*GOOD, *more), Client(gateway())
    before = await Client(gateway()).say(asked[:9], asked[9:])
    usually = await Client(gateway()).say(asked[:9], asked[9:])
    tokens = _tokens()
    assert [_lines(await client.say(asked)) for _ in range(3)] == [_lines(usually)] * 3
    assert (client.at_once, client.seen) == (3, [])
    assert tokens - _tokens() == 3
    assert before[:12] == usually[:12]
    assert client.state.total_requests == 3


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([HOST], 401),
        ([HOST, f"X-API-Key: {WRONG.text}"], 401),
        ([HOST, f"X-API-Key: {OVER.text}"], 401),
        ([*GOOD, f"Authorization: Bearer {WRONG.text}"], 401),
        (["Host: elsewhere.example", GOOD[1]], 421),
        ([*GOOD, "Content-Encoding: gzip"], 415),
        ([*GOOD, f"traceparent: 00-{'a' * 32}-{'b' * 16}-00"], 200),
        ([*GOOD, "X-Forwarded-For: 9.9.9.9"], 200),
        ([*GOOD, "x-forwarded-proto: https"], 200),
    ],
)
async def test_what_is_not_plain_goes_the_usual_way_and_costs_one_token(
    lines: list[str], status: int
) -> None:
    await Client(gateway()).say(_request(*GOOD))
    client, tokens = Client(gateway()), _tokens()
    assert (await client.say(_request(*lines))).startswith(b"HTTP/1.1 %d" % status)
    assert (client.at_once, len(client.seen)) == (0, 1)
    assert tokens - _tokens() == (status == 200)


async def test_a_proxy_that_nobody_trusts_changes_nothing() -> None:
    asked = _request(*GOOD, "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https")
    await Client(gateway()).say(_request(*GOOD))
    client = Client(gateway(), peer="10.0.0.9")
    assert (await client.say(asked)).startswith(b"HTTP/1.1 200")
    assert client.at_once == 1


async def test_an_unread_answer_is_waited_with() -> None:
    await Client(gateway()).say(_request(*GOOD))
    client = Client(gateway())
    client.protocol.pause_writing()
    client.protocol.data_received(_request(*GOOD))
    await asyncio.sleep(0)
    early = client.wire.said
    client.protocol.resume_writing()
    assert (await client.say()).startswith(b"HTTP/1.1 200")
    assert (early, client.at_once) == (b"", 0)


async def test_a_bug_on_the_short_way_is_met_on_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    await Client(gateway()).say(_request(*GOOD))
    client = Client(gateway())

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gateway().state.servers.scans, "at_once", broken)
    assert (await client.say(_request(*GOOD))).startswith(b"HTTP/1.1 200")
    assert (client.at_once, len(client.seen)) == (0, 1)


async def test_a_connection_that_was_answered_at_once_may_rest_before_it_asks_again() -> None:
    client = Client(gateway())
    await Client(gateway()).say(_request(*GOOD))
    await client.say(_request(*GOOD))
    client.protocol.data_received(_request(*GOOD)[:9])
    assert client.at_once == 1
    assert client.protocol._head_over is not None  # a head that has begun has to come
    rest = Client(gateway())
    await rest.say(_request(*GOOD))
    assert rest.protocol._head_over is None
    assert rest.protocol.timeout_keep_alive_task is not None
