"""Requests that mean harm, against the gateway as it runs: no 5xx, and every answer keeps its promise."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from api_gateway.app import describe
from fuzz import asking, talking
from fuzz.asking import Door
from rollotape.embedded import Urls
from rollotape.settings import Settings
from support import databases
from support.gateway import Judge
from support.populated import give_key, tidy

EXAMPLES, MESSAGES = 2, 500
"""A sample, of each operation and in all; `make fuzz` has more."""
SEED = 20_181_224
JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def opened(servers: Urls, server_url: str, template: str) -> Iterator[tuple[Settings, list[Door]]]:
    """Gateways over a database with something of everything."""
    with databases.copy_of(template, server_url) as database_url:
        settings = Settings(
            redis_url=servers.redis_url,
            cache_url=servers.cache_url,
            database_url=database_url,
            auth="off",
            hosts="g",
        )
        with asking.doors(settings) as doors:
            yield settings, doors


@pytest.fixture(scope="module")
def url(opened: tuple[Settings, list[Door]]) -> str:
    """The gateway that asks nobody for a key."""
    return opened[1][0].url


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(describe())


def _check(judge: Judge, method: str, target: str, status: int, headers: Any, body: bytes) -> None:
    """No 5xx; and as declared, or a problem where nothing is declared."""
    assert status < 500, body
    path = urlsplit(target).path
    if method.lower() in judge.operations(path):
        judge.conforms(method, path, status, headers, body)
    else:
        assert (status, headers["content-type"]) in [(s, "application/problem+json") for s in (404, 405)]
    assert "x-request-id" in headers
    assert b"Traceback" not in body


@pytest.mark.parametrize(
    ("number", "phases", "least"),
    [
        (0, "", 3_000),
        (2, "examples,fuzzing", 150),
        pytest.param(1, "examples,fuzzing,stateful", 200, marks=pytest.mark.long),
    ],
)
def test_generated_requests_find_nothing(
    opened: tuple[Settings, list[Door]], tmp_path: Path, number: int, phases: str, least: int
) -> None:
    """Schemathesis with every check: valid requests are accepted, invalid ones refused, all as documented."""
    settings, doors = opened
    outcome = asking.ask(
        doors[number], tmp_path, SEED, EXAMPLES, phases=phases, paths="" if number else "^/(?!api/v1)"
    )
    tidy(settings)

    assert not outcome.found, outcome.found
    assert outcome.generated == outcome.passed > least


@pytest.mark.parametrize("auth", ["off", "on"])
async def test_messages_with_little_sense_find_nothing(
    opened: tuple[Settings, list[Door]], auth: str
) -> None:
    """Over WebSocket, and beside them a client that means well; `make fuzz` says fifty thousand."""
    settings, _ = opened
    key = give_key(settings, "read", owner="ada").text if auth == "on" else None
    with talking.gateway(settings, auth=auth) as running:
        report = await talking.say(running, settings, MESSAGES, SEED, key=key)

    assert report.harm.count >= MESSAGES
    assert len(report.harm.sent) > 10
    assert report.facts > 0


_TARGETS = {
    "NUL in a symbol": "/api/symbols/A%00B/vsa",
    "NUL alone": "/api/symbols/%00/vsa",
    "NUL in a list": "/api/bars?symbols=A%00",
    "NUL in a name": "/api/bars?symbols=A&%00=1",
    "NUL in every value": "/api/bars?symbols=%00&start=%00&end=%00&sort=%00&limit=%00&timeframe=%00",
    "NUL in a token": "/api/bars?symbols=A&page_token=%00",
    "not UTF-8 in the path": "/api/symbols/%FF%FE/vsa",
    "not UTF-8 in the query": "/api/bars?symbols=%FF",
    "an encoded surrogate": "/api/bars?symbols=%ED%A0%80",
    "a surrogate in the path": "/api/symbols/%ED%A0%80/vsa",
    "a symbol of 300 characters": "/api/symbols/" + "A" * 300 + "/vsa",
    "a symbol of 30,000 characters": "/api/symbols/" + "A" * 30_000 + "/vsa",
    "no symbol": "/api/symbols//vsa",
    "a dot": "/api/symbols/./vsa",
    "up and out": "/api/symbols/%2e%2e%2f%2e%2e%2fetc/vsa",
    "backslashes": "/api/symbols/..%5C..%5C/vsa",
    "SQL in a symbol": "/api/symbols/'%3B%20DROP%20TABLE%20bars--/vsa",
    "SQL in a kind": "/api/symbols/AAPL/vsa?kinds=no_demand')%3B--",
    "line ends": "/api/bars?symbols=A%0d%0aX-Evil:%201",
    "line ends in the path": "/api/symbols/A%0d%0aX-Evil:%201/vsa",
    "a format string": "/api/bars?symbols=%25s%25n{0}",
    "year 9999": "/api/bars?symbols=AAPL&start=0001-01-01&end=9999-12-31",
    "the last microsecond": "/api/bars?symbols=AAPL&end=9999-12-31T23:59:59.999999Z&sort=desc",
    "the first one": "/api/symbols/AAPL/vsa?start=0001-01-01T00:00:00Z&end=0001-01-01T00:00:00Z",
    "year 0": "/api/bars?symbols=AAPL&start=0000-01-01",
    "out of all calendars": "/api/bars?symbols=AAPL&end=9999-12-31T23:59:59-23:59",
    "limit above 32 bits": "/api/bars?symbols=AAPL&limit=4294967296",
    "limit above 64 bits": "/api/bars?symbols=AAPL&limit=18446744073709551616",
    "limit of 10,000 digits": "/api/bars?symbols=AAPL&limit=" + "9" * 10_000,
    "negative zero": "/api/bars?symbols=AAPL&limit=-0",
    "not a number": "/api/bars?symbols=AAPL&limit=NaN",
    "infinite": "/api/bars?symbols=AAPL&limit=1e999",
    "other digits": "/api/bars?symbols=AAPL&limit=%D9%A5",
    "twice": "/api/bars?symbols=AAPL&limit=1&limit=2",
    "five thousand times": "/api/bars?symbols=AAPL" + "&limit=1" * 5_000,
    "ten thousand symbols": "/api/bars?symbols=" + ",".join(["A"] * 10_000),
    "ten thousand other symbols": "/api/bars?symbols=" + ",".join(f"S{n}" for n in range(9_000)),
    "a thousand unknown names": "/api/bars?" + "&".join(f"x{n}=1" for n in range(1_000)),
    "a name of 20,000 characters": "/api/bars?" + "x" * 20_000 + "=1",
    "brackets": "/api/bars?symbols[]=A&symbols[$ne]=B",
    "semicolons": "/api/bars?symbols=A;limit=1",
    "a made-up token": "/api/bars?symbols=AAPL&page_token=AAAA",
    "a long token": "/api/bars?symbols=AAPL&page_token=" + "A" * 20_000,
    "a second slash": "//api//bars?symbols=AAPL",
    "a slash at the end": "/api/bars/?symbols=AAPL",
    "another case": "/API/BARS?symbols=AAPL",
    "NUL in what is looked for": "/api/symbols?search=%00",
    "SQL in what is looked for": "/api/symbols?search='%20OR%201=1--",
    "wildcards": "/api/symbols?search=%25_%5C",
    "a symbol that is a path": "/api/symbols/AAPL/rs/rs/vsa",
    "a date that is none": "/api/analytics/rs?as_of=2024-02-30",
    "the first date": "/api/analytics/rs?as_of=0001-01-01",
    "the last date": "/api/analytics/rs?as_of=9999-12-31",
    "the ends of time": "/api/symbols/AAPL/rs?start=0001-01-01&end=9999-12-31",
    "NUL in a filter": "/api/patterns/scan?symbols=%00&phase=%00&sort_by=%00&rsi_range=%00,%00",
    "a page far beyond": "/api/patterns/scan?page=1000000&per_page=100",
    "a page beyond all": "/api/patterns/scan?page=99999999999999999",
    "a number that is none": "/api/patterns/scan?confidence_min=nan&vol_min=-inf&rsi_range=nan,inf",
    "a thousand types": "/api/patterns/scan?pattern_types=" + ",".join(f"T{n}" for n in range(1_000)),
    "no id": "/api/patterns/%00",
    "NUL as a type": "/api/analytics/trend/%00",
    "no type": "/api/analytics/trades/",
    "no UTF-8 as a type": "/api/analytics/trades/%FF%FE?limit=1",
    "NUL in the filters of trades": "/api/analytics/trades?symbols=%00&sectors=%00&days=%00&phase=%00",
    "more days than there were": "/api/analytics/pattern-performance?days=99999999999999999999",
    "a page of trades far beyond": "/api/analytics/trades?days=all&page=1000000&per_page=100",
    "a made-up token of trades": "/api/analytics/trades?page_token=" + "A" * 5_000,
    "a thousand types of trades": "/api/analytics/vsa?pattern_types="
    + ",".join(f"T{n}" for n in range(1_000)),
    "nothing there": "/.env",
}


@pytest.mark.parametrize("target", _TARGETS.values(), ids=_TARGETS.keys())
def test_targets_that_mean_harm(url: str, judge: Judge, target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n".encode()
    status, headers, body = _raw(url, request)

    _check(judge, "GET", target, status, headers, body)


def _connected(url: str) -> socket.socket:
    where = urlsplit(url)
    return socket.create_connection((str(where.hostname), where.port or 80), timeout=20)


def _raw(url: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes that no client library would send; the answer as it came."""
    with _connected(url) as connection:
        connection.sendall(request)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    split = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in split}
    return int(first.split()[1]), headers, body


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET /livez\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: g\r\nX: a\x00b\r\n\r\n", id="NUL in a header"),
        pytest.param(b"GET /livez HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(
            b"POST /api/bars HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            id="two lengths",
        ),
        pytest.param(
            b"POST /api/bars HTTP/1.1\r\nHost: g\r\nContent-Length: -1\r\n\r\n", id="negative length"
        ),
    ],
)
def test_what_is_no_http_gets_a_problem_too(url: str, request_bytes: bytes) -> None:
    status, headers, body = _raw(url, request_bytes)

    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert orjson.loads(body)["request_id"] == headers["x-request-id"]


@pytest.mark.parametrize("start", [b"GET /", b"GET /livez HTTP/1.1\r\nX: "], ids=["target", "header"])
def test_a_head_without_end_is_cut_off(url: str, start: bytes) -> None:
    with _connected(url) as connection:
        connection.sendall(start)
        with pytest.raises(ConnectionError):  # an answer may come, but nobody reads a hundred megabytes
            for _ in range(1_000):
                connection.sendall(b"A" * 100_000)


_BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "nothing": (b"", JSON),
    "nothing at all": (b"", {}),
    "null": (b"null", JSON),
    "NUL": (b"\x00", JSON),
    "a number": (b"1e999999", JSON),
    "not JSON": (b"{'bars': []}", JSON),
    "not UTF-8": (b'{"bars":["\xff\xfe"]}', JSON),
    "UTF-16": ('{"bars":[1]}'.encode("utf-16"), JSON),
    "nested lists": (b'{"bars":[' + b"[" * 500_000 + b"]" * 500_000 + b"]}", JSON),
    "nested objects": (b'{"bars":[' + b'{"a":' * 300_000, JSON),
    "nested in one bar, closed": (b'{"bars":[' + b"[" * 900 + b"]" * 900 + b"]}", JSON),
    "a huge integer": (b'{"bars":[{"revision":' + b"9" * 1_000_000 + b"}]}", JSON),
    "a huge integer beside a lower case symbol": (
        b'{"bars":[{"symbol":"a","revision":' + b"9" * 5_000 + b"}]}",
        JSON,
    ),
    "a huge exponent": (b'{"bars":[{"open":1e9999999999}]}', JSON),
    "NaN": (b'{"bars":[{"open":NaN,"high":Infinity,"low":-Infinity}]}', JSON),
    "lone surrogates": (rb'{"bars":[{"symbol":"\ud800","\udfff":1}]}', JSON),
    "NUL in a symbol": (rb'{"bars":[{"symbol":"A\u0000"}]}', JSON),
    "a symbol of 500 kB": (b'{"bars":[{"symbol":"' + b"a" * 500_000 + b'"}]}', JSON),
    "a name twice": (b'{"bars":[{"symbol":"A","symbol":"B"}]}', JSON),
    "every kind of element": (b'{"bars":[1,-0,1.5,"x",null,true,[],{},[{}],{"bars":[]}]}', JSON),
    "a thousand nothings": (b'{"bars":[' + b",".join([b"{}"] * 1_000) + b"]}", JSON),
    "a frame": (b'{"bars":[{"version":1,"timeframe":"1d","frame":{"symbol":["A"]}}]}', JSON),
    "two megabytes of space": (b" " * 2_097_152, JSON),
    "more than two megabytes": (b" " * 2_097_153, JSON),
    "lines of nothing": (b"\n" * 100_000, LINES),
    "a thousand bad lines": (b"x\n" * 1_000, LINES),
    "1,001 lines": (b"1\n" * 1_001, LINES),
    "binary lines": (bytes(range(256)) * 20, LINES),
    "a long line": (b'"' + b"A" * 1_500_000 + b'"', LINES),
    "nested lines": ((b"[" * 100_000 + b"\n") * 5, LINES),
    "a form": (b"bars=1", {"Content-Type": "application/x-www-form-urlencoded"}),
    "multipart": (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}),
    "a strange type": (b"{}", {"Content-Type": "application/json" + ";a=b" * 1_000}),
    "no type": (b"{}", {"Content-Type": ";;;=,"}),
    "compressed": (b"\x1f\x8b", JSON | {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize(("content", "headers"), _BODIES.values(), ids=_BODIES.keys())
def test_bodies_that_mean_harm(url: str, judge: Judge, content: bytes, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{url}/api/bars", content=content, headers=headers, timeout=30)

    _check(judge, "POST", "/api/bars", answer.status_code, answer.headers, answer.content)
    assert answer.status_code in (207, 413, 415, 422)


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "PROPFIND", "get", "X" * 200]
)
@pytest.mark.parametrize("path", ["/api/bars?symbols=AAPL", "/api/symbols/AAPL/vsa", "/livez", "/nowhere"])
def test_methods_that_mean_harm(url: str, judge: Judge, method: str, path: str) -> None:
    request = f"{method} {path} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n".encode()
    status, headers, body = _raw(url, request)

    if method == "HEAD":
        assert (status, body) == (404 if path == "/nowhere" else 200, b"")
    else:
        _check(judge, method, path, status, headers, body)
        assert status == (404 if path == "/nowhere" else 405)


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/csv;q=nan, */*;q=zzz, ;;;,,, application/json;q=9e999"},
        {"Accept": "," * 30_000},
        {"Accept-Encoding": "gzip;q=-1, *;q=inf, identity;q=0"},
        {"Accept-Encoding": "gzip," * 5_000},
        {"If-None-Match": 'W/"' + "x" * 30_000},
        {"If-None-Match": '*, "a", W/'},
        {"X-Request-Id": "../../etc/passwd"},
        {"X-Request-Id": "x" * 10_000},
        {"Range": "bytes=0-0,-1"},
        {"Host": "evil.example"},
        {"Content-Length": "0", "Transfer-Encoding": "identity"},
        {"Authorization": "Bearer " + "x" * 20_000},
    ],
    ids=str,
)
def test_headers_that_mean_harm(url: str, judge: Judge, headers: dict[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in ({"Host": "g"} | headers).items())
    request = f"GET /api/bars?symbols=NONE HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode()
    status, answered, body = _raw(url, request)

    assert status in (200, 304, 400, 415, 421, 422)
    if status != 400:
        _check(judge, "GET", "/api/bars", status, answered, body)


def test_after_all_that_it_answers_as_before(url: str) -> None:
    assert len(httpx.get(f"{url}/api/bars?symbols=AAPL").json()["bars"]["AAPL"]) == 100
    assert httpx.get(f"{url}/readyz").json() == {"status": "ready", "away": []}
