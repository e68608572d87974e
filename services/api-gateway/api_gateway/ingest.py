"""Inputs over HTTP: taken apart without changing a byte, judged as the stream judges them, sent on."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.decoder import JSONDecoder
from typing import Any

from fastapi import Request, Response

from api_gateway import openapi, responses
from api_gateway.backends import Backends
from api_gateway.problems import (
    BODY_TOO_SLOW,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    FieldError,
    Problem,
    invalid,
    printable,
    short,
)
from rollotape import calendars, intake
from rollotape.errors import Fault
from rollotape.streams.partitions import partition_of, stream_name

MOST_ENTRIES = 1_000
MOST_BYTES = 2 * 1024 * 1024
SLOWEST_S = 30.0

JSON_LINES = "application/x-ndjson"
MEDIA_TYPES = ("application/json", JSON_LINES)

_ANY = {"title": "Anything else", "description": "Is refused alone, with its reasons."}


def request(name: str, words: str, model: str) -> dict[str, Any]:
    """What OpenAPI says of a body that is a list called `name`, or lines."""
    what = f"At most {MOST_ENTRIES:,} {words} and {MOST_BYTES:,} bytes. Symbols may be in lower case."
    entries = {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_ENTRIES,
        "items": {"anyOf": [{"$ref": f"#/components/schemas/{model}"}, _ANY]},
    }
    whole = {
        "type": "object",
        "required": [name],
        "additionalProperties": False,
        "properties": {name: entries},
    }
    lines = {"type": "string", "description": "One per line; empty lines do not count."}
    content = {"application/json": {"schema": whole}, JSON_LINES: {"schema": lines}}
    return {"requestBody": {"required": True, "description": what, "content": content}}


RESPONSES = openapi.failing(408, 413, 415, 422, 503) | {
    202: {"description": "All of them were sent on", "headers": openapi.headers()},
    207: {
        "description": "Some were refused, perhaps all; those that were not were sent on",
        "headers": openapi.headers(),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/IngestAnswer"}}},
    },
}


@dataclass(frozen=True, slots=True)
class Offer:
    """One bar or event as its sender wrote it, but for the case of its symbol."""

    index: int
    payload: bytes
    symbol: str
    is_frame: bool

    def message(self, partitions: int) -> tuple[str, bytes]:
        """For the stream of bars."""
        return stream_name("bars", partition_of(self.symbol, partitions)), self.payload


def media_type(request: Request) -> str:
    """The type of the body.

    Raises:
        Problem: 415, it is none that is taken here, or it is compressed.
    """
    given, *parameters = (p.strip().lower() for p in request.headers.get("content-type", "").split(";"))
    charset = next((p[8:].strip('"') for p in parameters if p.startswith("charset=")), "utf-8")
    taken = {"Accept": ", ".join(MEDIA_TYPES), "Accept-Encoding": "identity"}
    if given not in MEDIA_TYPES or charset not in ("utf-8", "utf8"):
        said = short(request.headers.get("content-type", "")) or "none"
        raise _unsupported("content-type", f"must be {' or '.join(MEDIA_TYPES)} in UTF-8, got {said}", taken)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _unsupported("content-encoding", "must be identity: compressed bodies are not taken", taken)
    return given


def _unsupported(field: str, reason: str, headers: dict[str, str]) -> Problem:
    errors = [FieldError("header", field, reason)]
    return Problem(UNSUPPORTED_MEDIA_TYPE, f"{field}: {reason}", errors=errors, headers=headers)


async def body(request: Request) -> bytes:
    """The whole body.

    Raises:
        Problem: 413, it is too large; 408, it does not come.
    """
    parts, size = [], 0
    try:
        async with asyncio.timeout(SLOWEST_S):
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    raise Problem(TOO_LARGE, f"The body may have {MOST_BYTES:,} bytes.", headers=_LAST_ANSWER)
                parts.append(part)
    except TimeoutError:
        detail = f"The body has to arrive within {SLOWEST_S:.0f} seconds."
        raise Problem(BODY_TOO_SLOW, detail, headers=_LAST_ANSWER) from None
    return b"".join(parts)


_LAST_ANSWER = {"Connection": "close"}  # the rest of the body is still to come, and nobody will read it


def offers(content: bytes, media_type: str, name: str = "bars") -> list[Offer]:
    """What a body offers.

    Raises:
        Problem: 422, the body as a whole is not what it should be.
    """
    payloads = _lines(content) if media_type == JSON_LINES else _elements(content, name)
    found = [_offer(index, payload) for index, payload in enumerate(payloads)]
    if not 1 <= len(found) <= MOST_ENTRIES:
        raise _malformed(name, f"must be 1 to {MOST_ENTRIES:,}, got {len(found):,}")
    return found


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line.strip()]


def _elements(content: bytes, name: str) -> list[bytes]:
    """The elements of `{"<name>": [...]}` byte for byte.

    Decoding and encoding again would repair what the stream refuses: a name given twice, a number too large.
    """
    try:
        text = content.decode()
        return [part.encode() for part in _Walk(text).elements(name)]
    except UnicodeDecodeError as error:
        raise _malformed("body", f"must be UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise _malformed("body", "must be JSON, and not nested that deeply") from None
    except ValueError as error:
        raise _malformed("body", f'must be JSON of the form {{"{name}": [...]}}: {error}') from None


class _Walk:
    """Goes through the text of a body, element by element."""

    # Numbers are left as text: nobody looks at them here, and some have no double.
    _DECODER = JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
    _SPACE = re.compile(r"[ \t\n\r]*")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def elements(self, name: str) -> Iterator[str]:
        """The elements of the list that is all there is, under this name."""
        self._expect("{")
        if self._next_is("}"):
            raise ValueError(f"{name} is missing")
        found, self._at = self._DECODER.raw_decode(self._text, self._skip())
        if found != name:
            raise ValueError(f"the one name is {name}")
        self._expect(":")
        self._expect("[")
        while not self._next_is("]"):
            first = self._skip()
            _, self._at = self._DECODER.raw_decode(self._text, first)
            yield self._text[first : self._at]
            if not self._next_is("]"):
                self._expect(",")
                if self._next_is("]"):
                    raise ValueError("a comma before ]")
        self._expect("]")
        self._expect("}")
        if self._skip() != len(self._text):
            raise ValueError("more after the last }")

    def _skip(self) -> int:
        space = self._SPACE.match(self._text, self._at)
        assert space is not None
        self._at = space.end()
        return self._at

    def _next_is(self, sign: str) -> bool:
        return self._text.startswith(sign, self._skip())

    def _expect(self, sign: str) -> None:
        if not self._next_is(sign):
            raise ValueError(f"expected {sign} at character {self._at}")
        self._at += 1


def _offer(index: int, payload: bytes) -> Offer:
    """Lower case is raised at this door and nowhere else; the stream takes symbols as they come."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return Offer(index, payload, "", False)  # the judge will say what is wrong
    if not isinstance(said, dict):
        return Offer(index, payload, "", False)
    symbol = said.get("symbol")
    if not isinstance(symbol, str):
        return Offer(index, payload, "", "frame" in said)
    if symbol.isascii() and symbol != symbol.upper():
        symbol = symbol.upper()
        payload = json.dumps(said | {"symbol": symbol}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return Offer(index, payload, symbol, "frame" in said)


def judge(offers: Sequence[Offer], arrived_ms: int) -> dict[int, list[dict[str, str]]]:
    """Faults of the offers that a stream would refuse, by their index. Takes a moment: run it in a thread."""
    messages = [intake.Message(offer.payload, arrived_ms) for offer in offers]
    refused: dict[int, list[dict[str, str]]] = {}
    for refusal in intake.read(messages, calendars.sessions).refused:
        refused.setdefault(offers[refusal.entry].index, []).extend(faults(refusal.faults))
    for offer in offers:
        if offer.is_frame:
            refused[offer.index] = [{"field": "frame", "reason": "is not taken here: send single bars"}]
    return refused


def faults(found: Iterable[Fault]) -> list[dict[str, str]]:
    """Reasons as an answer names them."""
    return [{"field": printable(fault.field), "reason": printable(fault.reason)} for fault in found]


async def sent(
    servers: Backends,
    welcome: Sequence[Offer],
    messages: Sequence[tuple[str, bytes]],
    refused: Mapping[int, list[dict[str, str]]],
) -> Response:
    """Send what is welcome on, as these messages, and say what became of everything."""
    ids = await servers.streams.send(messages)
    entries = [
        {"index": offer.index, "stream": stream, "id": entry}
        for offer, (stream, _), entry in zip(welcome, messages, ids, strict=True)
    ]
    said = {
        "accepted": {"count": len(entries), "entries": entries},
        "refused": [{"index": index, "faults": why} for index, why in sorted(refused.items())],
    }
    return responses.fresh(responses.dumps(said), status=207 if refused else 202)


def _malformed(field: str, reason: str) -> Problem:
    return invalid([FieldError("body", field, reason)])
