"""The streams and what the gateway tells live, as AsyncAPI 3, for writers and readers in other languages."""

from typing import Any

from pydantic import BaseModel

from rollotape import __version__, live
from rollotape.events import FIELD, STREAMS, Contract, StreamContract

_REF = "#/components/schemas/{model}"
_ABOUT = """
Every stream is a Redis stream. An entry has one field, `json`, whose value is the UTF-8 text of one JSON
object without an envelope: `XADD bars.12 * json '{"version":1,"symbol":"AAPL",...}'`. Unknown fields and
unknown versions are refused. Sending an entry twice, or in another order, changes nothing.

The gateway tells facts live: over WebSocket (`/api/stream`) and as server-sent events
(`/api/patterns/stream`), each also under `/api/v1`.
"""
_PLACE = "6f1e0f3a5d0c4be5a9a4d1f0f7f5a001-1767387600000-0"
_JSON = "application/json"
_ASKED = [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("bearer", "key")]
_SERVERS: dict[str, Any] = {
    "redis": {
        "host": "127.0.0.1:6379",
        "protocol": "redis",
        "description": "`ROLLO_REDIS_URL`: whoever may write here is believed.",
    },
    "gateway": {
        "host": "127.0.0.1:8080",
        "protocol": "ws",
        "description": "Where the gateway listens; `wss` behind a proxy that ends TLS.",
        "security": _ASKED,
    },
    "gateway-http": {
        "host": "127.0.0.1:8080",
        "protocol": "http",
        "description": "The same gateway.",
        "security": _ASKED,
    },
}
_SECURITY: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key, or a token (JWT).",
    },
    "key": {"type": "httpApiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
_EXAMPLES: dict[type[BaseModel], list[Any]] = {
    live.Auth: [{"action": "auth", "token": "rollo_4f1c..."}],
    live.Subscribe: [
        {
            "action": "subscribe", "patterns": ["*"], "vsa": ["AAPL"], "bars": ["AAPL", "MSFT"],
            "filters": {"pattern_types": ["SPRING", "SOS"], "confidence_min": 0.7, "rsi_range": [30, 70]},
            "since": _PLACE,
        },
        {"action": "subscribe", "filters": None},
    ],
    live.Unsubscribe: [{"action": "unsubscribe", "vsa": ["AAPL"]}],
    live.Told: [
        [{"T": "welcome", "version": 1, "auth": "on", "auth_within_s": 10.0, "heartbeat_s": 10.0}],
        [{"T": "authenticated", "owner": "ada", "scope": "read"}],
        [
            {
                "T": "subscription", "patterns": ["*"], "vsa": ["AAPL"], "wyckoff": [], "rs": [], "bars": [],
                "scans": [], "system": [], "filters": {"confidence_min": 0.7}, "id": _PLACE,
            }
        ],
        [{"T": "gap", "id": _PLACE}],
        [{"T": "here", "id": _PLACE}],
        [
            {
                "T": "error", "code": 400, "msg": "action: must be one of auth, subscribe, unsubscribe",
                "errors": [{"field": "action", "reason": "must be one of auth, subscribe, unsubscribe"}],
            }
        ],
        [{"T": "error", "code": 407, "msg": "slow client: resume from id", "id": _PLACE}],
    ],
    live.EventTold: [{"type": "gap"}],
}  # fmt: skip


def document() -> dict[str, Any]:
    """AsyncAPI 3.0 of every stream in `events.STREAMS`, and of what the gateway tells live."""
    contracts = {m.__name__: m for stream in STREAMS.values() for m in stream.messages}
    said: tuple[type[BaseModel], ...] = (live.Told, live.EventTold, *live.HEARD)
    messages = {name: _message(contract) for name, contract in contracts.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Rollo Tape", "version": __version__, "description": _ABOUT},
        "servers": _SERVERS,
        "defaultContentType": _JSON,
        "channels": {stream.name: _channel(stream) for stream in STREAMS.values()} | _live_channels(),
        "operations": {_operation_name(stream): _operation(stream) for stream in STREAMS.values()}
        | _live_operations(),
        "components": {
            "messages": messages | {model.__name__: _message(model) for model in said},
            "schemas": _schemas(list(contracts.values())) | live.schemas(_REF),
            "securitySchemes": _SECURITY,
        },
    }


def _channel(stream: StreamContract) -> dict[str, Any]:
    said: dict[str, Any] = {
        "address": f"{stream.name}.{{partition}}" if stream.partitioned else stream.name,
        "servers": [{"$ref": "#/servers/redis"}],
        "description": stream.summary,
        "messages": _references(*stream.messages),
        "x-redis-stream": {"command": "XADD", "field": FIELD.decode(), "groups": list(stream.groups)},
    }
    if stream.partitioned:
        how = "crc32 of the symbol's UTF-8 bytes modulo P; P is fixed at installation, 16 by default."
        said["parameters"] = {"partition": {"description": how, "examples": ["12"]}}
    return said


def _references(*models: type[BaseModel]) -> dict[str, Any]:
    return {m.__name__: {"$ref": f"#/components/messages/{m.__name__}"} for m in models}


def _live_channels() -> dict[str, Any]:
    return {
        "stream": {
            "address": "/api/stream",
            "servers": [{"$ref": "#/servers/gateway"}],
            "description": "WebSocket: facts, the newest bars and scores, as a client subscribes to them.",
            "messages": _references(live.Told, *live.HEARD),
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            "x-errors": {str(number): meaning for number, meaning in live.ERRORS.items()},
            "x-closes": {str(code): meaning for code, meaning in live.CLOSES.items()},
        },
        "events": {
            "address": "/api/patterns/stream",
            "servers": [{"$ref": "#/servers/gateway-http"}],
            "description": "Server-sent events: `event` is the type of the fact, or `gap`; `id` the place"
            " that `Last-Event-ID` resumes from; `data` the message.",
            "messages": _references(live.EventTold),
            "bindings": {"http": {"bindingVersion": "0.3.0"}},
        },
    }


def _live_operations() -> dict[str, Any]:
    stream = "#/channels/stream"
    return {
        "tell": {
            "action": "send",
            "channel": {"$ref": stream},
            "summary": "What clients are told.",
            "messages": [{"$ref": f"{stream}/messages/Told"}],
        },
        "hear": {
            "action": "receive",
            "channel": {"$ref": stream},
            "summary": "What clients say. Each is answered by `subscription`, `authenticated` or `error`.",
            "messages": [{"$ref": f"{stream}/messages/{model.__name__}"} for model in live.HEARD],
            "reply": {
                "channel": {"$ref": stream},
                "messages": [{"$ref": f"{stream}/messages/Told"}],
            },
        },
        "tell_events": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "Patterns as they change, who comes into saved scans, and how the system is.",
            "messages": [{"$ref": "#/channels/events/messages/EventTold"}],
            "bindings": {"http": {"method": "GET", "bindingVersion": "0.3.0"}},
        },
    }


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


def _message(model: type[BaseModel]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": model.__name__,
        "title": model.__name__,
        "summary": (model.__doc__ or "").strip(),
        "contentType": _JSON,
        "payload": {"$ref": _REF.format(model=model.__name__)},
    }
    if examples := _EXAMPLES.get(model):
        said["examples"] = [{"payload": payload} for payload in examples]
    return said


def _schemas(contracts: list[type[Contract]]) -> dict[str, Any]:
    """JSON Schemas side by side, so that one reference finds them all."""
    found: dict[str, Any] = {}
    for contract in contracts:
        schema = contract.model_json_schema(ref_template=_REF)
        found |= schema.pop("$defs", {})
        found[contract.__name__] = schema
    return found
