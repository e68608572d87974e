"""The gate alone: names, and connections that are no requests."""

from typing import Any

import pytest

from api_gateway import gate
from api_gateway.gate import Gate
from api_gateway.problems import Interrupted


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8080", "localhost"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("a.example.", "a.example"),
        ("", ""),
        ("localhost:80:80", "localhost:80:80"),
        ("[::1", ""),
        ("[::1]x", ""),
        ("localhost@evil.example", ""),
        ("localhost, evil.example", ""),
        ("localhost:evil", ""),
        ("localhost/evil", ""),
    ],
)
def test_a_host_is_a_name_and_a_port_or_nothing(host: str, name: str) -> None:
    assert gate.name_of(host) == name


@pytest.mark.parametrize(
    ("said", "auth", "names"),
    [
        ("", "on", []),
        ("", "off", ["localhost", "127.0.0.1", "::1"]),
        ("a.example:8080, B", "on", ["localhost", "127.0.0.1", "::1", "a.example", "b"]),
    ],
)
def test_which_names_are_ours(said: str, auth: str, names: list[str]) -> None:
    assert gate.hosts(said, auth=auth) == names


@pytest.mark.parametrize(("host", "let_in"), [(b"localhost:1", True), (b"evil.example", False)])
async def test_a_websocket_goes_by_our_name_as_well(host: bytes, let_in: bool) -> None:
    reached, said = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is to be read")

    scope = {"type": "websocket", "path": "/api/stream", "headers": [(b"host", host)]}
    await Gate(app, ["localhost"], [])(scope, receive, send)

    assert bool(reached) == let_in
    assert [m["type"] for m in said] == ([] if let_in else ["websocket.close"])


async def test_a_body_in_parts_is_counted_as_it_comes() -> None:
    parts = [b"x" * 6, b"x" * 5]

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(0), "more_body": True}

    body = gate.Measured(receive, 10, 1.0)
    assert len((await body())["body"]) == 6
    with pytest.raises(Interrupted) as refused:
        await body()
    assert (refused.value.status_code, refused.value.problem.kind.slug) == (413, "too-large")
