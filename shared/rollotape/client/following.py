"""What somebody who follows the stream knows: where they are, and what they have seen."""

import random
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from rollotape.client.attempts import Attempts, Patience, is_worth_another, pause_s
from rollotape.client.errors import ClientError
from rollotape.events import Pattern

MEDIA_TYPE = "text/event-stream"
SILENCE_S = 30.0
"""A gateway says something every ten seconds; one that is silent for so long is gone."""
MOST_REMEMBERED = 200_000
"""Facts whose versions are known, the latest ones."""


@dataclass(frozen=True, slots=True)
class Update:
    """A fact, seen for the first time. `id` is where to go on after it."""

    id: str
    type: str
    fact_id: str | None
    fact_version: int | None
    said: dict[str, Any]
    """The fact as it came, a `PatternUpdate`."""

    @property
    def pattern(self) -> Pattern:
        """The pattern that it is about.

        Raises:
            pydantic.ValidationError: it is about something else.
        """
        return Pattern.model_validate(self.said.get("pattern"), strict=False, extra="ignore")


@dataclass(frozen=True, slots=True)
class Gap:
    """Facts may be missing before this point: read the scan again. `id` is where to go on after it."""

    id: str


class Following:
    """Reads a stream, over as many connections as it takes."""

    def __init__(self, since: str | None, patience: Patience) -> None:
        self.last_id = since
        self.repeats = 0
        """Facts that came again and were dropped."""
        self.connections = 0
        self._patience = patience
        self._first = Attempts(patience)
        self._failed = 0
        self._versions: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._rest = b""
        self._fields: dict[str, str] = {}

    def headers(self) -> dict[str, str]:
        """Of the next request."""
        last = {} if self.last_id is None else {"Last-Event-ID": self.last_id}
        return {"Accept": MEDIA_TYPE, "Cache-Control": "no-store"} | last

    def begin(self) -> None:
        """A connection is there; half an event of the one before is worth nothing."""
        self.connections += 1
        self._rest, self._fields = b"", {}

    def wait_after(self, error: ClientError) -> float:
        """Seconds until the next connection; after the first that was made there is no end to trying.

        Raises:
            ClientError: this one; it would come again.
        """
        if not self.connections:
            return self._first.wait_after(error)
        if not is_worth_another(error):
            raise error
        self._failed += 1
        return pause_s(error, self._failed, self._patience, random.random)

    def feed(self, part: bytes) -> Iterator[Update | Gap]:
        """What is new in the next bytes. An id counts when the whole of its event is here, not before."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            if text := line.removesuffix(b"\r").decode("utf-8", "replace"):
                self._field(text)
            elif (event := self._ended()) is not None:
                yield event

    def _field(self, text: str) -> None:
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in self._fields:
            self._fields["data"] += f"\n{value}"
        elif name == "retry" and value.isascii() and value.isdigit():
            self._patience = replace(self._patience, first_s=int(value) / 1_000)
        elif name in ("id", "event", "data"):
            self._fields[name] = value

    def _ended(self) -> Update | Gap | None:
        fields, self._fields = self._fields, {}
        if "id" in fields:
            self._move(fields["id"])
        kind, place = fields.get("event"), self.last_id or ""
        if kind is None or "data" not in fields:
            return None
        if kind == "gap":
            return Gap(place)
        said = orjson.loads(fields["data"])
        update = Update(place, kind, said.get("id"), said.get("fact_version"), said)
        return update if self._is_new(update) else None

    def _move(self, place: str) -> None:
        """Another installation counts its versions anew."""
        if self.last_id is not None and self.last_id.partition("-")[0] != place.partition("-")[0]:
            self._versions.clear()
        self.last_id = place
        self._failed = 0

    def _is_new(self, update: Update) -> bool:
        if update.fact_id is None or update.fact_version is None:
            return True
        key = update.type.partition(".")[0], update.fact_id
        if update.fact_version <= self._versions.get(key, -1):
            self.repeats += 1
            return False
        self._versions[key] = update.fact_version
        self._versions.move_to_end(key)
        if len(self._versions) > MOST_REMEMBERED:
            self._versions.popitem(last=False)
        return True
