"""What somebody who follows a stream knows: where they are, and what they have seen."""

import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict
from uuid import UUID

import orjson

from rollotape.answers import BarItem, StrengthItem
from rollotape.client import errors
from rollotape.client.attempts import Attempts, Patience, is_worth_another, pause_s
from rollotape.client.calls import Filters, Id, When
from rollotape.client.errors import ClientError
from rollotape.client.questions import Text, filters, word
from rollotape.events import Pattern, PatternUpdate, ScanUpdate, SystemHealth, VsaUpdate, WyckoffUpdate

MEDIA_TYPE = "text/event-stream"
SILENCE_S = 30.0
"""A gateway says something every ten seconds; one that is silent for so long is gone."""
MOST_REMEMBERED = 200_000
"""Facts whose versions are known, the latest ones."""
Fact = PatternUpdate | VsaUpdate | WyckoffUpdate | ScanUpdate | SystemHealth
_CONTRACTS: dict[str, type[Fact]] = {
    "pattern": PatternUpdate,
    "vsa": VsaUpdate,
    "wyckoff": WyckoffUpdate,
    "scan": ScanUpdate,
    "system": SystemHealth,
}


class Channels(TypedDict, total=False):
    """Symbols of each channel, of `scans` ids of saved ones, of `system` its parts, or "*" for all; 1,000
    of all together."""

    patterns: Text
    vsa: Text
    wyckoff: Text
    rs: Text
    bars: Text
    scans: Id | Iterable[Id]
    system: Text


class StreamFilters(Filters, total=False):
    """That on `timeframes` holds for everything that has one, the others for patterns."""

    detected_since: When
    scan_id: Id


@dataclass(frozen=True, slots=True)
class Update:
    """A fact, seen for the first time. `id` is where to go on after it."""

    id: str
    type: str
    fact_id: str | None
    fact_version: int | None
    said: dict[str, Any]
    """The fact as it came."""

    @property
    def fact(self) -> Fact:
        """The fact as its contract.

        Raises:
            KeyError: it is of a type that this client does not know.
            pydantic.ValidationError: it is not as that contract says.
        """
        contract = _CONTRACTS[self.type.partition(".")[0]]
        return contract.model_validate(self.said, strict=False, extra="ignore")

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


@dataclass(frozen=True, slots=True)
class NewestBar:
    """The newest stored bar of a symbol and timeframe; of those between two of these nothing is told."""

    id: str
    symbol: str
    timeframe: str
    bar: BarItem


@dataclass(frozen=True, slots=True)
class NewestScores:
    """The newest scores of a symbol."""

    id: str
    symbol: str
    scores: StrengthItem


Told = Update | Gap | NewestBar | NewestScores


class Following:
    """A place in the stream, over as many connections as it takes."""

    def __init__(self, since: str | None, patience: Patience) -> None:
        self.last_id = since
        self.repeats = 0
        """Facts that came again and were dropped."""
        self.connections = 0
        self._patience = patience
        self._first = Attempts(patience)
        self._failed = 0
        self._versions: OrderedDict[tuple[str, str], int] = OrderedDict()

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

    def begin(self) -> None:
        """A connection is there."""
        self.connections += 1

    def _move(self, place: str) -> None:
        """Another installation counts its versions anew."""
        if self.last_id is not None and self.last_id.partition("-")[0] != place.partition("-")[0]:
            self._versions.clear()
        self.last_id = place
        self._failed = 0

    def _new(self, place: str, said: dict[str, Any]) -> Iterator[Update]:
        """The fact, unless it was seen already."""
        update = Update(place, str(said["type"]), said.get("id"), said.get("fact_version"), said)
        if self._is_new(update):
            yield update

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


class Events(Following):
    """Reads server-sent events: facts about patterns, or of other channels."""

    def __init__(self, since: str | None, patience: Patience, channels: Text | None = None) -> None:
        super().__init__(since, patience)
        self.query = "" if channels is None else f"?channels={word(channels)}"
        self._rest = b""
        self._fields: dict[str, str] = {}

    def headers(self) -> dict[str, str]:
        """Of the next request."""
        last = {} if self.last_id is None else {"Last-Event-ID": self.last_id}
        return {"Accept": MEDIA_TYPE, "Cache-Control": "no-store"} | last

    def begin(self) -> None:
        """A connection is there; half an event of the one before is worth nothing."""
        super().begin()
        self._rest, self._fields = b"", {}

    def feed(self, part: bytes) -> Iterator[Update | Gap]:
        """What is new in the next bytes. An id counts when the whole of its event is here, not before."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            if text := line.removesuffix(b"\r").decode("utf-8", "replace"):
                self._field(text)
            else:
                yield from self._ended()

    def _field(self, text: str) -> None:
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in self._fields:
            self._fields["data"] += f"\n{value}"
        elif name == "retry" and value.isascii() and value.isdigit():
            self._patience = replace(self._patience, first_s=int(value) / 1_000)
        elif name in ("id", "event", "data"):
            self._fields[name] = value

    def _ended(self) -> Iterator[Update | Gap]:
        fields, self._fields = self._fields, {}
        if "id" in fields:
            self._move(fields["id"])
        if "event" not in fields or "data" not in fields:
            return
        if fields["event"] == "gap":
            yield Gap(self.last_id or "")
        else:
            yield from self._new(self.last_id or "", {"type": fields["event"]} | orjson.loads(fields["data"]))


class Subscription(Following):
    """Reads the stream over WebSocket: whatever was subscribed to."""

    def __init__(
        self,
        channels: Channels,
        asked: StreamFilters | None,
        since: str | None,
        patience: Patience,
    ) -> None:
        super().__init__(since, patience)
        wanted = {name: _listed(names) for name, names in channels.items()}
        self._wanted = wanted | ({} if asked is None else {"filters": filters(asked)})

    def message(self) -> str:
        """What to say as soon as the gateway knows who it is."""
        since = {} if self.last_id is None else {"since": self.last_id}
        return orjson.dumps({"action": "subscribe", **self._wanted, **since}).decode()

    def feed(self, item: Mapping[str, Any]) -> Iterator[Told]:
        """What is new in an item of a message.

        Raises:
            Refusal: the gateway has ended the connection, or will not have the subscription.
        """
        if "id" in item:
            self._move(item["id"])
        if item["T"] == "error":
            raise errors.ended(item)
        if item["T"] == "subscription":
            self.begin()
        elif item["T"] == "gap":
            yield Gap(item["id"])
        elif item["T"] == "b":
            data = item["data"]
            yield NewestBar(item["id"], item["S"], data["timeframe"], BarItem.model_validate(data))
        elif item["T"] == "r":
            yield NewestScores(item["id"], item["S"], StrengthItem.model_validate(item["data"]))
        elif "type" in item.get("data", ()):
            yield from self._new(item["id"], item["data"])


def _listed(names: Any) -> list[str]:
    return [str(names)] if isinstance(names, str | UUID) else [str(name) for name in names]
