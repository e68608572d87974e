"""Which facts of `updates` a webhook is told of."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

NEWCOMERS = "scan.new_entrants"
EVENTS = ("pattern.detected", "pattern.updated", "pattern.expired", "pattern.retracted", NEWCOMERS)
HISTORICAL = timedelta(days=1)
"""A fact that could be known longer than this before it was published is history."""
SIGNATURE = "v1"


class Fact(NamedTuple):
    """What a webhook may be told of."""

    type: str
    id: str
    version: int
    owner: str | None
    """Whose it is; None: everybody's."""
    symbols: frozenset[str]
    body: bytes


class Wish(NamedTuple):
    """What the owner of a webhook wants to be told of."""

    owner: str
    events: Collection[str]
    symbols: Collection[str] | None

    def has(self, fact: Fact) -> bool:
        if fact.type not in self.events or fact.owner not in (None, self.owner):
            return False
        return self.symbols is None or not fact.symbols.isdisjoint(self.symbols)


def read(payload: bytes | None, published: datetime) -> Fact | None:
    """An entry of `updates`; None where no webhook is told of it: it is something else, or historical."""
    try:
        said = orjson.loads(payload or b"")
        kind = said["type"]
        if kind not in EVENTS:
            return None
        if kind == NEWCOMERS:
            owner, symbols = said["owner"], frozenset(entrant["symbol"] for entrant in said["entrants"])
        elif is_historical(said["pattern"], published):
            return None
        else:
            owner, symbols = None, frozenset((said["pattern"]["symbol"],))
        return Fact(kind, str(said["id"]), int(said["fact_version"]), owner, symbols, payload or b"")
    except (ValueError, KeyError, TypeError):  # the other group of this stream has it as a dead letter
        return None


def is_historical(pattern: Mapping[str, Any], published: datetime) -> bool:
    """By its detection, or by its test, where that was passed later: nothing else in it says when."""
    times = [pattern["detected_at"], pattern.get("confirmed_at")]
    return max(datetime.fromisoformat(time) for time in times if time is not None) < published - HISTORICAL
