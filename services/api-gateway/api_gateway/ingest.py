"""Inputs over HTTP: taken apart without changing a byte, judged as the stream judges them, sent on."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from json.decoder import JSONDecoder
from typing import Any

from fastapi import Request, Response

from api_gateway import openapi, responses
from api_gateway.backends import Backends
from api_gateway.bounds import DEFAULT
from api_gateway.problems import (
    BODY_TOO_SLOW,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    FieldError,
    Interrupted,
    Problem,
    invalid,
    printable,
    request_id,
    short,
)
from rollotape import calendars, intake
from rollotape.errors import Fault, Unprocessable
from rollotape.events import MAX_PAYLOAD_BYTES
from rollotape.often import Often
from rollotape.streams.partitions import partition_of, stream_name

ingested = Often("ingested", __name__)
"""By stream, the first and the last entry of what a request brought."""
MOST_ENTRIES = 1_000
MOST_LINES = 100_000
_BATCH_BYTES = 2 * 1024 * 1024
SLOWEST_BYTES_S = 64 * 1024
"""Lines may take longer than `bounds.body_s` where they come at least as fast as this."""
MOST_LISTED = 1_000
"""Of what was accepted, and of what was refused: an answer has an end, too."""

JSON_LINES = "application/x-ndjson"
MEDIA_TYPES = ("application/json", JSON_LINES)

_ANY = {"title": "Anything else", "description": "Is refused alone, with its reasons."}


def request(name: str, words: str, model: str, example: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a body that is a list called `name`, or lines."""
    what = (
        f"JSON: at most {MOST_ENTRIES:,} {words} and {DEFAULT.body_bytes:,} bytes (`ROLLO_HTTP_BODY_BYTES`)."
        f" Lines: at most {MOST_LINES:,} and {DEFAULT.lines_bytes:,} bytes (`ROLLO_HTTP_LINES_BYTES`),"
        " sent on as they arrive. Symbols may be in lower case."
    )
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
    line = f"One per line, such as `{json.dumps(example)}`; empty lines do not count."
    content = {
        "application/json": {"schema": whole, "example": {name: [example]}},
        JSON_LINES: {"schema": {"type": "string", "description": line}},
    }
    return {"requestBody": {"required": True, "description": what, "content": content}}


_ACCEPTED = {"count": 1, "entries": [{"index": 0, "stream": "bars.12", "id": "1515974400000-0"}]}
_REFUSED = [{"index": 1, "faults": [{"field": "high", "reason": "must not be below low"}]}]

RESPONSES = openapi.failing(408, 413, 415, 422, 503) | {
    202: {
        "description": "All of them were sent on",
        "headers": openapi.headers(),
        "content": {
            "application/json": {"example": {"accepted": _ACCEPTED, "refused": [], "refused_count": 0}}
        },
    },
    207: {
        "description": "Some were refused, perhaps all; those that were not were sent on",
        "headers": openapi.headers(),
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/IngestAnswer"},
                "example": {"accepted": _ACCEPTED, "refused": _REFUSED, "refused_count": 1},
            }
        },
    },
}


@dataclass(frozen=True, slots=True)
class Offer:
    """One bar or event as its sender wrote it, but for the case of its symbol."""

    index: int
    payload: bytes
    symbol: str
    is_frame: bool


@dataclass(slots=True)
class Judged:
    """By their index: the symbols of those that a stream would take, and the faults of the others."""

    symbols: dict[int, str] = field(default_factory=dict)
    refused: dict[int, list[dict[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be sent in: the name of its list and of its stream, and who judges it, when it arrived."""

    name: str
    judge: Callable[[Sequence[Offer], int], Judged]


@dataclass(slots=True)
class Account:
    """What became of everything; the first of each are listed."""

    offered: int = 0
    accepted: int = 0
    refused: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)

    def accept(self, entries: Sequence[dict[str, Any]]) -> None:
        self.accepted += len(entries)
        self.entries += entries[: MOST_LISTED - len(self.entries)]

    def refuse(self, refusals: Sequence[dict[str, Any]]) -> None:
        self.refused += len(refusals)
        self.refusals += refusals[: MOST_LISTED - len(self.refusals)]

    def answer(self) -> Response:
        said = {
            "accepted": {"count": self.accepted, "entries": self.entries},
            "refused": self.refusals,
            "refused_count": self.refused,
        }
        return responses.fresh(responses.dumps(said), status=207 if self.refused else 202)


async def take(request: Request, servers: Backends, kind: Kind) -> Response:
    """Judge each one of a body alone, send on those that are welcome, and say what became of everything.

    Lines are sent on while more of them arrive: of a body that goes wrong in its middle the lines before
    are accepted, and the problem says how many. To send them again changes nothing.

    Raises:
        Problem: the body, or where it should go to, is not as it has to be.
    """
    account = Account()
    if media_type(request) != JSON_LINES:
        found = await asyncio.to_thread(offers, await body(request), kind.name)
        await _send_on(servers, kind, found, account, request_id(request))
        return account.answer()
    try:
        async for lines in batches(_parts(request, servers.bounds.lines_bytes, SLOWEST_BYTES_S)):
            if account.offered + len(lines) > MOST_LINES:
                detail = f"At most {MOST_LINES:,} lines are one request."
                raise Problem(TOO_LARGE, detail, headers=_LAST_ANSWER)
            found = await asyncio.to_thread(_offers, lines, account.offered)
            await _send_on(servers, kind, found, account, request_id(request))
    except (Problem, Interrupted) as error:
        problem = error.problem if isinstance(error, Interrupted) else error
        if account.offered:
            problem.detail += f" Of the first {account.offered:,} lines {account.accepted:,} were sent on."
        raise
    if not account.offered:
        raise _malformed(kind.name, f"must be 1 to {MOST_LINES:,} lines, got none")
    return account.answer()


async def _send_on(
    servers: Backends, kind: Kind, found: Sequence[Offer], account: Account, asked_by: str
) -> None:
    partitions, arrived_ms = await servers.partitions(), await servers.streams.now_ms()
    judged = await asyncio.to_thread(_judged, kind, found, arrived_ms)
    welcome = [offer for offer in found if offer.index not in judged.refused]
    messages = [
        (stream_name(kind.name, partition_of(judged.symbols[offer.index], partitions)), offer.payload)
        for offer in welcome
    ]
    ids = await servers.streams.send(messages)
    sent: dict[str, list[str]] = {}
    for (stream, _), entry in zip(messages, ids, strict=True):
        sent[stream] = [sent.get(stream, (entry,))[0], entry]
    ingested.say(request_id=asked_by, accepted=len(ids), refused=len(judged.refused), entries=sent)
    account.offered += len(found)
    account.accept(
        [
            {"index": offer.index, "stream": stream, "id": entry}
            for offer, (stream, _), entry in zip(welcome, messages, ids, strict=True)
        ]
    )
    account.refuse([{"index": i, "faults": why} for i, why in sorted(judged.refused.items())])


def _judged(kind: Kind, found: Sequence[Offer], arrived_ms: int) -> Judged:
    """What is too long for a stream is not even looked at."""
    fits = [offer for offer in found if len(offer.payload) <= MAX_PAYLOAD_BYTES]
    judged = kind.judge(fits, arrived_ms)
    for offer in found:
        if len(offer.payload) > MAX_PAYLOAD_BYTES:
            reason = f"must be at most {MAX_PAYLOAD_BYTES:,} bytes"
            judged.refused[offer.index] = [{"field": "json", "reason": reason}]
    return judged


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
    most: int = request.app.state.servers.bounds.body_bytes
    return b"".join([part async for part in _parts(request, most, None)])


async def _parts(request: Request, most_bytes: int, bytes_per_s: float | None) -> AsyncIterator[bytes]:
    """A body as it arrives. What is done with a part does not count as the sender's time."""
    slowest_s: float = request.app.state.servers.bounds.body_s
    stream, size, patience_s = request.stream(), 0, slowest_s
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(patience_s):
                part = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            rate = f", or with {bytes_per_s / 1024:g} KiB a second" if bytes_per_s else ""
            detail = f"The body has to arrive within {slowest_s:g} seconds{rate}."
            raise Problem(BODY_TOO_SLOW, detail, headers=_LAST_ANSWER) from None
        patience_s -= time.monotonic() - began
        patience_s += len(part) / bytes_per_s if bytes_per_s else 0.0
        size += len(part)
        if size > most_bytes:
            raise Problem(TOO_LARGE, f"The body may have {most_bytes:,} bytes.", headers=_LAST_ANSWER)
        yield part


_LAST_ANSWER = {"Connection": "close"}  # the rest of the body is still to come, and nobody will read it


async def batches(parts: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Lines with something in them, as many at once as a list may have, and no more bytes than that.

    Of a line that is too long only so much is kept that this can be seen.
    """
    lines: list[bytes] = []
    size, rest = 0, b""
    async for part in parts:
        *ended, last = part.split(b"\n")
        for end in ended:
            line = rest + end[: MAX_PAYLOAD_BYTES + 1 - len(rest)]
            rest = b""
            if line.strip():
                lines.append(line)
                size += len(line)
            if len(lines) == MOST_ENTRIES or size >= _BATCH_BYTES:
                yield lines
                lines, size = [], 0
        rest += last[: MAX_PAYLOAD_BYTES + 1 - len(rest)]
    if rest.strip():
        lines.append(rest)
    if lines:
        yield lines


def offers(content: bytes, name: str = "bars") -> list[Offer]:
    """What a body in JSON offers.

    Raises:
        Problem: 422, the body as a whole is not what it should be.
    """
    found = _offers(_elements(content, name))
    if not 1 <= len(found) <= MOST_ENTRIES:
        raise _malformed(name, f"must be 1 to {MOST_ENTRIES:,}, got {len(found):,}")
    return found


def _offers(payloads: Iterable[bytes], first: int = 0) -> list[Offer]:
    return [_offer(index, payload) for index, payload in enumerate(payloads, first)]


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


def judge_bars(offers: Sequence[Offer], arrived_ms: int) -> Judged:
    """Bars as a stream would judge them. Takes a moment: run it in a thread."""
    messages = [intake.Message(offer.payload, arrived_ms) for offer in offers]
    judged = Judged({offer.index: offer.symbol for offer in offers})
    for refusal in intake.read(messages, calendars.sessions).refused:
        judged.refused.setdefault(offers[refusal.entry].index, []).extend(faults(refusal.faults))
    for offer in offers:
        if offer.is_frame:
            reason = "is not taken here: send single bars"
            judged.refused[offer.index] = [{"field": "frame", "reason": reason}]
    return judged


def judge_events(read: Callable[[bytes, int], Any]) -> Callable[[Sequence[Offer], int], Judged]:
    """Who judges events by what `read` makes of them: something with a symbol, or `Unprocessable`."""

    def judge(offers: Sequence[Offer], arrived_ms: int) -> Judged:
        judged = Judged()
        for offer in offers:
            try:
                judged.symbols[offer.index] = read(offer.payload, arrived_ms).symbol
            except Unprocessable as error:
                judged.refused[offer.index] = faults(error.faults)
        return judged

    return judge


def faults(found: Iterable[Fault]) -> list[dict[str, str]]:
    """Reasons as an answer names them."""
    return [{"field": printable(fault.field), "reason": printable(fault.reason)} for fault in found]


def _malformed(field: str, reason: str) -> Problem:
    return invalid([FieldError("body", field, reason)])
