"""What the fold says: events, changes of their status, ranges as they change, patterns; all immutable.

Every fact carries `confirmed_ts`, the bar at which it became knowable, and `knowable_at`, its end.
Times are microseconds since 1970; prices are linear.
"""

from typing import Literal, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from rollotape.domain.ids import own_id

Side = Literal["accumulation", "distribution"]
Phase = Literal["A", "B", "C", "D", "E"]
Standing = Literal["open", "completed", "failed", "expired", "abandoned"]
"""Of a range."""
Terms = tuple[tuple[str, float], ...]
"""What a confidence is made of: name and value of each term, 0..1; the weights stand in the rules."""

EventKey = tuple[str, str, str, str, str, str, int]
"""(symbol, timeframe, rule_set, side, range_id or "", kind, event_ts)"""

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:rollotape:wyckoff")


class Event(NamedTuple):
    symbol: str
    timeframe: str
    rule_set: str
    side: Side
    range_id: UUID | None
    """None for PS and PSY: a later `Status` names their range."""
    kind: str
    event_ts: int
    confirmed_ts: int
    knowable_at: int
    price: float
    """The extreme of the bar described; of SOS and SOW its close."""
    confidence: float
    terms: Terms

    @property
    def key(self) -> EventKey:
        return event_key(self)


class Status(NamedTuple):
    """What became of an event: PS `confirmed` or `expired`, SC `superseded`, SPRING `test_passed`."""

    symbol: str
    timeframe: str
    rule_set: str
    side: Side
    range_id: UUID | None
    """Of the event; for a confirmed PS, whose own key has none, the range that confirms it."""
    kind: str
    event_ts: int
    status: Literal["confirmed", "expired", "superseded", "test_passed"]
    confirmed_ts: int
    knowable_at: int

    @property
    def key(self) -> EventKey:
        """The key of the event that this is about."""
        return event_key(self)


class Range(NamedTuple):
    """A range as it stands after the bar `confirmed_ts`, said whenever anything of it changed."""

    symbol: str
    timeframe: str
    rule_set: str
    side: Side
    range_id: UUID
    opened_ts: int
    """Its first climax."""
    climax_ts: int
    """Its climax now."""
    confirmed_ts: int
    knowable_at: int
    status: Standing
    phase: Phase
    phases: tuple[tuple[Phase, int], ...]
    """Every phase reached and the bar at which that was known."""
    support: float | None
    resistance: float | None
    unit: float
    """U in natural logarithms."""


class Indicators(NamedTuple):
    vol_ratio: float | None
    change_pct: float | None
    rsi: float | None
    sma_20: float | None
    sma_50: float | None


class Pattern(NamedTuple):
    """A trade that an event proposes; `test_confirmed` is at first False, None for a type without a test."""

    symbol: str
    timeframe: str
    rule_set: str
    side: Side
    range_id: UUID
    kind: str
    event_ts: int
    confirmed_ts: int
    knowable_at: int
    """`detected_at` of the pattern."""
    expires_at: int
    phase: Phase
    confidence: float
    entry: float
    stop: float
    target_1: float
    target_2: float | None
    """3R; None where no price lies that far."""
    planned_r: float
    test_confirmed: bool | None
    indicators: Indicators

    @property
    def key(self) -> EventKey:
        return event_key(self)

    @property
    def id(self) -> UUID:
        return own_id(_NAMESPACE, "|".join(("pattern", *map(str, self.key))))


Fact = Event | Status | Range | Pattern


def event_key(fact: Event | Status | Pattern) -> EventKey:
    own = None if fact.kind in ("PS", "PSY") else fact.range_id
    return (
        fact.symbol, fact.timeframe, fact.rule_set, fact.side, str(own or ""), fact.kind, fact.event_ts,
    )  # fmt: skip


def range_id(symbol: str, timeframe: str, rule_set: str, side: Side, opened_ts: int) -> UUID:
    return uuid5(_NAMESPACE, "|".join(("range", symbol, timeframe, rule_set, side, str(opened_ts))))
