"""Which of several events about one pattern, or one trade, is its state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from rollotape.domain.bars import TIMEFRAMES, Timeframe
from rollotape.domain.sessions import DAY_US

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:rollotape:patterns")
_LIFETIME_DAYS = {"1d": 28, "1w": 140}
_INTRADAY_DAYS = 7

Rank = tuple[bool, int, int]
"""(expired, revision, hash): the greatest is the state, whoever came first. A trade does not expire."""


class Stored(NamedTuple):
    """What is known of something that events were applied about before."""

    rank: Rank
    symbol: str


@dataclass(frozen=True, slots=True)
class PatternFact:
    """One event about a pattern or a trade; times in microseconds since 1970, `state` its columns by name."""

    id: UUID
    symbol: str
    rank: Rank
    state: Mapping[str, Any]


@dataclass(slots=True)
class Settled:
    """The winners, and what became of the others; applied + duplicate + superseded is all of them."""

    winners: dict[UUID, PatternFact] = field(default_factory=dict)
    duplicate: int = 0
    superseded: int = 0
    conflict: int = 0

    @property
    def applied(self) -> int:
        return len(self.winners)


def pattern_id(source: str, symbol: str, pattern_type: str, timeframe: str, detected_at_us: int) -> UUID:
    """The id of a pattern whose sender has none."""
    return uuid5(_NAMESPACE, "|".join((source, symbol, pattern_type, timeframe, str(detected_at_us))))


def expires_at(timeframe: str, detected_at_us: int) -> int:
    """When a pattern ends whose sender does not say."""
    frame: Timeframe = TIMEFRAMES[timeframe]
    days = _INTRADAY_DAYS if frame.intraday else _LIFETIME_DAYS[timeframe]
    return detected_at_us + days * DAY_US


def state_hash(state: Mapping[str, Any]) -> int:
    """Signed 64 bits over a state, independent of the order of its fields."""
    text = "|".join(f"{name}={state[name]!r}" for name in sorted(state))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)


def settle(stored: Mapping[UUID, Stored], incoming: Iterable[PatternFact]) -> Settled:
    """Decide what the state of each of them is; the outcome does not depend on order or repetition."""
    result = Settled()
    for fact in incoming:
        rival = result.winners.get(fact.id)
        known = rival or stored.get(fact.id)
        if known is None:
            result.winners[fact.id] = fact
            continue
        best = known.rank
        if fact.rank == best:
            result.duplicate += 1
            continue
        result.conflict += fact.rank[:2] == best[:2]
        if fact.rank > best:
            result.superseded += rival is not None
            result.winners[fact.id] = fact
        else:
            result.superseded += 1
    return result
