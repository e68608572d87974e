"""The AsyncAPI document is sound in its structure, and its schemas accept what we send and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from typer.testing import CliRunner

from rollotape import asyncapi
from rollotape.cli import contracts
from rollotape.events import BAR_ENTRY, STREAMS

BAR = {
    "symbol": "AAPL",
    "timeframe": "1d",
    "ts": "2024-01-02T00:00:00Z",
    "open": 10.0,
    "high": 12.0,
    "low": 9.0,
    "close": 11.0,
    "volume": 1500.5,
}
FRAME = {
    "timeframe": "1d",
    "frame": {name: [BAR[name]] for name in ("symbol", "ts", "open", "high", "low", "close", "volume")},
}
ROOT = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    said = orjson.loads(orjson.dumps(asyncapi.document()))
    assert isinstance(said, dict)
    return said


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _at(document: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_it_has_what_asyncapi_3_asks_for_and_only_known_names(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert set(document) <= ROOT
    assert {"title", "version"} <= set(document["info"])
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert set(operation["channel"]) == {"$ref"}
    for message in document["components"]["messages"].values():
        assert {"name", "contentType", "payload"} <= set(message)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in _references(document):
        assert isinstance(_at(document, reference), dict), reference


def test_messages_of_an_operation_are_messages_of_its_channel(document: dict[str, Any]) -> None:
    for operation in document["operations"].values():
        channel = operation["channel"]["$ref"]
        known = {f"{channel}/messages/{name}" for name in _at(document, channel)["messages"]}
        assert {m["$ref"] for m in operation["messages"]} == known


def test_every_stream_is_a_channel_with_its_address_and_its_field(document: dict[str, Any]) -> None:
    assert set(document["channels"]) == set(STREAMS)
    bars = document["channels"]["bars"]
    assert bars["address"] == "bars.{partition}"
    assert list(bars["parameters"]) == ["partition"]
    assert bars["x-redis-stream"] == {"command": "XADD", "field": "json", "groups": ["detector"]}
    assert document["channels"]["updates"]["address"] == "updates"


def _accepts(document: dict[str, Any], model: str, value: Any) -> bool:
    schema = {"$ref": f"#/components/schemas/{model}", "components": document["components"]}
    return jsonschema_rs.Draft7Validator(schema).is_valid(value)


@pytest.mark.parametrize(("model", "value"), [("Bar", BAR), ("BarFrame", FRAME)])
def test_schemas_and_our_own_parser_agree(
    document: dict[str, Any], model: str, value: dict[str, Any]
) -> None:
    assert _accepts(document, model, value)
    assert type(BAR_ENTRY.validate_json(orjson.dumps(value))).__name__ == model
    without = {k: v for k, v in value.items() if k != "timeframe"}
    for spoilt in (value | {"more": 1}, value | {"version": 2}, without):
        assert not _accepts(document, model, spoilt)


@pytest.mark.parametrize(
    ("name", "key"), [("asyncapi", "asyncapi"), ("openapi", "openapi"), ("schema", "Bar")]
)
def test_the_command_prints_or_writes_each_document(name: str, key: str, tmp_path: Path) -> None:
    out = tmp_path / "contract.json"

    printed = CliRunner().invoke(contracts.app, [name])
    written = CliRunner().invoke(contracts.app, [name, "--out", str(out)])

    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert key in orjson.loads(printed.stdout)
    assert out.read_text("utf-8") == printed.stdout
