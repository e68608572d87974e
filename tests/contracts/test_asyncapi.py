"""The AsyncAPI document is sound in its structure, and its schemas accept what we send and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from typer.testing import CliRunner

from api_gateway import subscriptions, tail
from rollotape import asyncapi
from rollotape.cli import contracts
from rollotape.events import BAR_ENTRY, STREAMS
from support.sockets import CONTROL

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
CHANNEL = {"address", "title", "summary", "description", "servers", "parameters", "messages", "bindings"}
OPERATION = {"action", "channel", "title", "summary", "description", "messages", "reply", "bindings"}
MESSAGE = {"name", "title", "summary", "description", "contentType", "payload", "headers", "examples"}
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
    for server in document["servers"].values():
        assert {"host", "protocol"} <= set(server)
    for channel in document["channels"].values():
        assert {name for name in channel if not name.startswith("x-")} <= CHANNEL
    for operation in document["operations"].values():
        assert set(operation) <= OPERATION
        assert operation["action"] in ("send", "receive")
        assert set(operation["channel"]) == {"$ref"}
    for message in document["components"]["messages"].values():
        assert {"name", "contentType", "payload"} <= set(message) <= MESSAGE
        assert message["summary"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in _references(document):
        assert isinstance(_at(document, reference), dict), reference


def test_messages_of_the_operations_of_a_channel_are_its_messages(document: dict[str, Any]) -> None:
    used: dict[str, set[str]] = {}
    for operation in document["operations"].values():
        for said in (operation, *([operation["reply"]] if "reply" in operation else [])):
            found = used.setdefault(said["channel"]["$ref"], set())
            found |= {m["$ref"] for m in said["messages"]}
    for name, channel in document["channels"].items():
        reference = f"#/channels/{name}"
        assert used[reference] == {f"{reference}/messages/{message}" for message in channel["messages"]}


def test_every_example_is_one(document: dict[str, Any]) -> None:
    examples = [
        (message["payload"]["$ref"].rpartition("/")[2], example["payload"])
        for message in document["components"]["messages"].values()
        for example in message.get("examples", ())
    ]
    assert {model for model, _ in examples} == {"Auth", "Subscribe", "Unsubscribe", "Told", "EventTold"}
    for model, value in examples:
        assert _accepts(document, model, value), value


def test_what_is_said_live_is_what_the_gateway_knows(document: dict[str, Any]) -> None:
    """The document is written where the gateway is not known, from nothing that the gateway reads."""
    schemas = document["components"]["schemas"]
    stream = document["channels"]["stream"]
    assert set(schemas["Filters"]["properties"]) == set(subscriptions.FILTERS)
    for action, fields in (("Subscribe", {"filters", "since"}), ("Unsubscribe", set())):
        assert set(schemas[action]["properties"]) == {"action", *subscriptions.CHANNELS, *fields}
        for channel in subscriptions.CHANNELS:
            assert schemas[action]["properties"][channel]["maxItems"] == subscriptions.MOST_SYMBOLS
    told = {s["properties"]["T"]["const"] for s in schemas.values() if "T" in s.get("properties", ())}
    assert {*subscriptions.LETTERS.values(), *CONTROL, tail.GAP} == told
    codes = schemas["Error"]["properties"]["code"]["enum"]
    assert [int(number) for number in stream["x-errors"]] == codes
    assert {str(4_000 + code) for code in codes} < set(stream["x-closes"])


def test_every_stream_is_a_channel_with_its_address_and_its_field(document: dict[str, Any]) -> None:
    assert set(document["channels"]) == {*STREAMS, "stream", "events"}
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
