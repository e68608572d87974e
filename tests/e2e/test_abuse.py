"""Clients that mean harm, against the gateway as it runs: refused, and without growing."""

import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from rollotape.settings import Settings
from support.waiting import eventually_sync

MB = 1024 * 1024
GROWTH = 12 * MB
"""What a process may seem to grow by: buffers and allocators are not exact."""


class Running:
    """A gateway in a process of its own, as it is installed."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self.process, self.url = process, url
        self.port = urlsplit(url).port or 80

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def memory(self, name: str = "VmRSS") -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", "ascii")

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208, no entry is looked at

    def answers(self) -> None:
        """It is well, and quickly."""
        began = time.monotonic()
        assert httpx.get(f"{self.url}/livez", timeout=5).status_code == 200
        assert time.monotonic() - began < 5


@pytest.fixture
def gateway(settings: Settings, tmp_path: Path) -> Iterator[Running]:
    log = tmp_path / "gateway.log"
    environment = {
        "ROLLO_REDIS_URL": settings.redis_url,
        "ROLLO_DATABASE_URL": settings.database_url,
        "ROLLO_AUTH": "off",
        "ROLLO_HTTP_PORT": "0",
    }
    with log.open("wb") as output:
        command = [sys.executable, "-P", "-m", "api_gateway"]
        process = subprocess.Popen(command, stderr=output, env=os.environ | environment)

    def listening() -> str | None:
        lines = map(orjson.loads, log.read_bytes().splitlines())
        return next((line["url"] for line in lines if line["event"] == "listening"), None)

    try:
        url = eventually_sync(listening, within_s=60, what="a gateway that listens")
        assert url
        running = Running(process, url)
        for path in ("/livez", "/readyz", "/api/bars?symbols=A", "/openapi.json"):
            assert (
                httpx.get(f"{url}{path}", timeout=30).status_code == 200
            )  # so that it is as large as it gets
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait(10)


def _grown(gateway: Running, work: Callable[[], None]) -> int:
    """By how much the process was larger at most while `work` ran."""
    gateway.answers()
    before = gateway.memory()
    gateway.forget_peak()
    work()
    grown = gateway.memory("VmHWM") - before
    print(f"grown by {grown / 1024:,.0f} kB at most, {(gateway.memory() - before) / 1024:+,.0f} kB after")
    return grown


def _flood(gateway: Running, head: bytes, part: bytes, times: int) -> tuple[bytes, int]:
    """Send a body without end, reading on the way; the answer and how much went out."""
    sent, received = 0, b""
    with gateway.connect() as connection:
        connection.sendall(head)
        connection.setblocking(False)
        deadline = time.monotonic() + 30
        for _ in range(times):
            view = memoryview(part)
            while view and time.monotonic() < deadline:
                try:
                    done = connection.send(view)
                    view, sent = view[done:], sent + done
                except BlockingIOError:
                    time.sleep(0.001)
                except OSError:
                    return received + _rest(connection), sent
                try:
                    received += connection.recv(65_536)
                except BlockingIOError:
                    pass
                except OSError:
                    return received, sent
        return received + _rest(connection), sent


def _rest(connection: socket.socket) -> bytes:
    connection.settimeout(15)
    received = b""
    try:
        while part := connection.recv(65_536):
            received += part
    except OSError:
        pass
    return received


BODY = 300 * MB
POST = b"POST /api/bars HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LINES = POST.replace(b"json", b"x-ndjson")
PART = b" " * MB
CHUNK = b"%x\r\n%b\r\n" % (len(PART), PART)


@pytest.mark.parametrize(
    ("head", "part", "path"),
    [
        pytest.param(POST + b"Content-Length: %d\r\n\r\n" % BODY, PART, "/api/bars", id="said"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK, "/api/bars", id="chunked"),
        pytest.param(LINES + b"Content-Length: %d\r\n\r\n" % BODY, PART, "/api/bars", id="lines"),
        pytest.param(
            (POST + b"Content-Length: %d\r\n\r\n" % BODY).replace(b"POST", b"GET"),
            PART,
            "/api/bars",
            id="get",
        ),
    ],
)
def test_a_body_of_300_megabytes_is_refused_and_not_kept(
    gateway: Running, head: bytes, part: bytes, path: str
) -> None:
    answers: list[tuple[bytes, int]] = []

    grown = _grown(gateway, lambda: answers.append(_flood(gateway, head, part, BODY // MB)))

    [(received, sent)] = answers
    assert b"HTTP/1.1 413 " in received, received[:200]
    assert sent < BODY / 3
    assert grown < GROWTH
    gateway.answers()


def test_200_half_open_requests_are_let_go(gateway: Running) -> None:
    starts = [b"", b"G", b"GET /livez HTTP/1.1\r\n", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "]
    with ExitStack() as stack:
        connections: list[socket.socket] = []

        def open_all() -> None:
            for n in range(200):
                connection = stack.enter_context(gateway.connect())
                connection.sendall(starts[n % 4])
                connections.append(connection)
            # those of who asked before may have been counted, and be gone
            eventually_sync(lambda: gateway.files() >= before + 190, what="200 connections taken")

        before = gateway.files()
        grown = _grown(gateway, open_all)
        gateway.answers()
        for connection in connections[3::4]:
            connection.sendall(b"drip")  # a byte now and then does not buy time
        received = [_rest(connection) for connection in connections]

        eventually_sync(lambda: gateway.files() <= before + 2, what="no connection left open")
    assert {answer[:13] for answer in received} == {b"HTTP/1.1 408 "}
    assert all(b"head-too-slow" in answer for answer in received)
    assert grown < GROWTH


def test_bodies_that_do_not_come_are_let_go(gateway: Running) -> None:
    head = POST + b"Content-Length: 100\r\n\r\n{"
    with ExitStack() as stack:
        connections = [stack.enter_context(gateway.connect()) for _ in range(50)]
        for connection in connections:
            connection.sendall(head)
            connection.settimeout(45)
        gateway.answers()
        answers = [connection.recv(65_536) for connection in connections]
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 408 "}


def test_10000_headers_are_refused(gateway: Running) -> None:
    at_once = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
        b"x-%d: 1\r\n" % n for n in range(10_000)
    )

    def ask() -> None:
        for _ in range(20):
            with gateway.connect() as connection:
                connection.sendall(at_once + b"\r\n")
                assert _rest(connection).startswith(b"HTTP/1.1 431 ")
        with gateway.connect() as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ")
            for _ in range(64):
                try:
                    connection.sendall(b"x" * 65_536)
                except OSError:
                    break
            assert b"HTTP/1.1 431 " in _rest(connection)

    assert _grown(gateway, ask) < GROWTH
    gateway.answers()


def test_a_compressed_bomb_is_not_opened(gateway: Running) -> None:
    bomb = gzip.compress(b"\0" * (200 * MB), 9)
    assert len(bomb) < MB

    def ask() -> None:
        for path in ("/api/bars", "/api/patterns", "/livez"):
            answer = httpx.post(
                f"{gateway.url}{path}",
                content=bomb,
                headers={"Content-Encoding": "gzip", "Content-Type": "application/json"},
                timeout=30,
            )
            assert answer.status_code == 415

    assert _grown(gateway, ask) < GROWTH


def test_clients_that_ask_and_never_read_are_let_go(gateway: Running) -> None:
    """An answer that nobody takes must not wait for ever, nor keep the others waiting."""
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50
    before = gateway.files()
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(gateway.connect())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.sendall(asked)
        gateway.answers()

        eventually_sync(lambda: gateway.files() <= before + 2, within_s=90, what="no connection left")


@pytest.mark.parametrize("count", [1, 3])
def test_one_connection_serves_requests_in_a_row_and_in_a_pipe(gateway: Running, count: int) -> None:
    """What refuses hostile clients leaves good ones alone."""
    body = b'{"bars": [1]}'
    post = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    alive = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with gateway.connect() as connection:
        reader = connection.makefile("rb")
        for _ in range(count):
            connection.sendall(post)
            time.sleep(0.05)  # head and body are two segments, as most clients send them
            connection.sendall(body)
            assert _status(reader) == 207
        connection.sendall(alive * count)
        assert [_status(reader) for _ in range(count)] == [200] * count
    with gateway.connect() as connection:  # answered before its body came, and good for another request
        reader = connection.makefile("rb")
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n")
        assert _status(reader) == 404
        connection.sendall(b"abc" + alive)
        assert _status(reader) == 200


def _status(reader: IO[bytes]) -> int:
    """Of the next answer, which is read to its end."""
    status = int(reader.readline().split()[1])
    length = 0
    while (line := reader.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    reader.read(length)
    return status
