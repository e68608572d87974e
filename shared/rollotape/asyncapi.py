"""The streams as AsyncAPI 3, from the contracts themselves, for writers and readers in other languages."""

from typing import Any

from rollotape import __version__
from rollotape.events import FIELD, STREAMS, Contract, StreamContract

_REF = "#/components/schemas/{model}"
_ABOUT = """
Every stream is a Redis stream. An entry has one field, `json`, whose value is the UTF-8 text of one JSON
object without an envelope: `XADD bars.12 * json '{"version":1,"symbol":"AAPL",...}'`. Unknown fields and
unknown versions are refused. Sending an entry twice, or in another order, changes nothing.
"""


def document() -> dict[str, Any]:
    """AsyncAPI 3.0 of every stream in `events.STREAMS`."""
    contracts = {m.__name__: m for stream in STREAMS.values() for m in stream.messages}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Rollo Tape", "version": __version__, "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": {stream.name: _channel(stream) for stream in STREAMS.values()},
        "operations": {_operation_name(stream): _operation(stream) for stream in STREAMS.values()},
        "components": {
            "messages": {name: _message(contract) for name, contract in contracts.items()},
            "schemas": _schemas(list(contracts.values())),
        },
    }


def _channel(stream: StreamContract) -> dict[str, Any]:
    said: dict[str, Any] = {
        "address": f"{stream.name}.{{partition}}" if stream.partitioned else stream.name,
        "description": stream.summary,
        "messages": {m.__name__: {"$ref": f"#/components/messages/{m.__name__}"} for m in stream.messages},
        "x-redis-stream": {"command": "XADD", "field": FIELD.decode(), "groups": list(stream.groups)},
    }
    if stream.partitioned:
        how = "crc32 of the symbol's UTF-8 bytes modulo P; P is fixed at installation, 16 by default."
        said["parameters"] = {"partition": {"description": how, "examples": ["12"]}}
    return said


def _operation_name(stream: StreamContract) -> str:
    return f"{_action(stream)}_{stream.name}"


def _action(stream: StreamContract) -> str:
    """As Rollo Tape sees it: a stream that a group of ours reads is received, any other is sent."""
    return "receive" if stream.groups else "send"


def _operation(stream: StreamContract) -> dict[str, Any]:
    channel = f"#/channels/{stream.name}"
    return {
        "action": _action(stream),
        "channel": {"$ref": channel},
        "summary": stream.summary,
        "messages": [{"$ref": f"{channel}/messages/{m.__name__}"} for m in stream.messages],
    }


def _message(contract: type[Contract]) -> dict[str, Any]:
    return {
        "name": contract.__name__,
        "title": contract.__name__,
        "summary": (contract.__doc__ or "").strip(),
        "contentType": "application/json",
        "payload": {"$ref": _REF.format(model=contract.__name__)},
    }


def _schemas(contracts: list[type[Contract]]) -> dict[str, Any]:
    """JSON Schemas side by side, so that one reference finds them all."""
    found: dict[str, Any] = {}
    for contract in contracts:
        schema = contract.model_json_schema(ref_template=_REF)
        found |= schema.pop("$defs", {})
        found[contract.__name__] = schema
    return found
