"""A question as a value: what is asked for, and what the answer is. Nothing here waits for anybody."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

import orjson
from pydantic import BaseModel, TypeAdapter

from rollotape import answers

BASE = "/api/v1"
AT_ONCE = 1_000
"""Lines of one request."""
JSON, LINES = "application/json", "application/x-ndjson"

A = TypeVar("A")
I = TypeVar("I")  # noqa: E741 - the items of a page
Pairs = tuple[tuple[str, str], ...]
Text = str | Iterable[str]
"""One of them, or several."""
Thing = Mapping[str, Any] | BaseModel
NOTHING = type(None)
"""The shape of no answer."""


@dataclass(frozen=True, slots=True)
class Call(Generic[A]):
    """One request, and the shape of its answer. Asked again it is the same request, its headers included."""

    shape: type[A]
    path: str
    parameters: Pairs = ()
    method: Literal["GET", "POST", "PUT", "DELETE"] = "GET"
    content: bytes | None = None
    headers: Pairs = ()
    waits: bool = True
    """Whether an outage is waited out; of health it is the answer."""

    def read(self, body: bytes) -> A:
        """The answer; what a newer gateway adds to it is passed over."""
        if self.shape is NOTHING:
            return None  # type: ignore[return-value]  # that is its shape
        return TypeAdapter(self.shape).validate_json(body)

    def at(self, name: str, value: str) -> "Call[A]":
        """The same with this parameter."""
        others = tuple(pair for pair in self.parameters if pair[0] != name)
        return replace(self, parameters=(*others, (name, value)))


@dataclass(frozen=True, slots=True)
class Listing(Call[A], Generic[A, I]):
    """A question whose answer comes in pages."""

    items: Callable[[A], Iterable[I]] = field(kw_only=True)

    def after(self, page: A) -> "Call[A] | None":
        """The question for the next page; None after the last one."""
        told: Any = getattr(page, "pagination", page)
        token: str | None = told.next_page_token
        return None if token is None else self.at("page_token", token)


@dataclass(frozen=True, slots=True)
class Refused:
    """One of those that were sent and not taken; `index` is its place among them, from 0."""

    index: int
    faults: tuple[answers.FaultItem, ...]


@dataclass(slots=True)
class Sent:
    """What became of everything that was sent."""

    accepted: int = 0
    refused: list[Refused] = field(default_factory=list)

    def add(self, answer: answers.IngestAnswer, first: int) -> None:
        self.accepted += answer.accepted.count
        self.refused += [Refused(first + one.index, tuple(one.faults)) for one in answer.refused]


@dataclass(frozen=True, slots=True)
class Sending:
    """Bars or events on their way in: dicts or contracts of `rollotape.events`, any number of them."""

    name: Literal["bars", "patterns", "signals"]
    items: Iterable[Thing]

    def calls(self) -> Iterator[tuple[int, Call[answers.IngestAnswer]]]:
        """Requests of at most a thousand lines, each with the place of its first one."""
        items, first, path = iter(self.items), 0, f"{BASE}/{self.name}"
        while some := [_line(item) for item in islice(items, AT_ONCE)]:
            yield first, Call(answers.IngestAnswer, path, (), "POST", b"\n".join(some), typed(LINES))
            first += len(some)


def _line(item: Thing) -> bytes:
    if isinstance(item, BaseModel):
        return item.model_dump_json(exclude_unset=True).encode()
    return orjson.dumps(item, option=orjson.OPT_UTC_Z)


def typed(media_type: str) -> Pairs:
    return (("Content-Type", media_type),)


def said(given: Mapping[str, Any]) -> Pairs:
    """Parameters that were given, as a query says them."""
    return tuple((name, word(value)) for name, value in given.items() if value is not None)


def filters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Filters that were given, as a body says them: of what may be several always a list."""
    listed = {"pattern_types", "symbols", "sectors", "timeframes", "phase", "side"}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in listed and value is not None:
            found[name] = [value] if isinstance(value, str) else list(value)
        elif value is not None:
            found[name] = word(value) if isinstance(value, date | UUID) else value
    return found


def word(value: Any) -> str:
    """A value as a query has it.

    Raises:
        ValueError: it is a time of no time zone.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a time needs its time zone, got {value!r}")
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int | float | UUID):
        return str(value)
    return ",".join(map(word, value))


def part(name: object) -> str:
    """A symbol, type or id as a part of a path: BTC/USD has a slash of its own."""
    return quote(str(name), safe="")
