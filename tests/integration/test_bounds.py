"""What a request may have, and how long it may take, are settings of the gateway as it runs."""

import socket
import time
from collections.abc import Iterator

import pytest

from api_gateway.bounds import DEFAULT, Bounds
from rollotape.settings import Settings
from support.gateway import serve

TIGHT = {
    "http_headers": 20, "http_head_bytes": 2_000, "http_head_s": 0.5, "http_body_bytes": 1_000,
    "http_body_s": 0.5, "http_connections": 3, "auth": "off",
}  # fmt: skip


@pytest.fixture
def address(settings: Settings) -> Iterator[tuple[str, int]]:
    with serve(settings.model_copy(update=TIGHT)) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)


def test_without_settings_they_are_what_they_always_were(settings: Settings) -> None:
    assert Bounds.of(settings) == DEFAULT


def _asked(address: tuple[str, int], sent: bytes) -> bytes:
    """Everything that comes until the gateway ends the connection."""
    with socket.create_connection(address, 10) as connection:
        connection.sendall(sent)
        heard = b""
        while part := connection.recv(65_536):
            heard += part
        return heard


def _head(lines: list[str]) -> bytes:
    return "\r\n".join(["GET /livez HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def test_more_headers_than_are_set_are_431(address: tuple[str, int]) -> None:
    good = _asked(address, _head([*(f"X-{n}: 1" for n in range(18)), "Connection: close"]))
    assert good.startswith(b"HTTP/1.1 200 ")
    bad = _asked(address, _head([f"X-{n}: 1" for n in range(30)]))
    assert bad.startswith(b"HTTP/1.1 431 ")
    assert b"20 headers, and 2,000 bytes" in bad


def test_a_longer_head_than_is_set_is_431(address: tuple[str, int]) -> None:
    assert _asked(address, _head(["X-Long: " + "x" * 2_500])).startswith(b"HTTP/1.1 431 ")


def test_a_head_that_does_not_come_in_the_time_that_is_set_is_408(address: tuple[str, int]) -> None:
    began = time.monotonic()
    assert _asked(address, b"GET /livez HTTP/1.1\r\nHost: 127").startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < DEFAULT.head_s


def test_a_body_that_is_larger_or_slower_than_is_set_is_refused(address: tuple[str, int]) -> None:
    begin = "POST /api/bars HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    assert _asked(address, f"{begin}1001\r\n\r\n".encode()).startswith(b"HTTP/1.1 413 ")
    began = time.monotonic()
    assert _asked(address, f"{begin}900\r\n\r\n{{".encode()).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < DEFAULT.body_s


def test_more_connections_than_are_set_are_503(address: tuple[str, int]) -> None:
    held = [socket.create_connection(address, 10) for _ in range(3)]
    try:
        assert _asked(address, b"").startswith(b"HTTP/1.1 503 ")
    finally:
        for connection in held:
            connection.close()
