"""What a picture shows: bars, and the marks, ranges and phases that were known at its last bar."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from rollotape.domain.wyckoff.facts import Event, Fact, Range, Status

_AT_LOWS = {
    "accumulation": frozenset({"PS", "SC", "ST", "SPRING", "TEST", "LPS"}),
    "distribution": frozenset({"AR", "SOW"}),
}
"""Events that are written under their bar; the others stand over it."""
_GONE = frozenset({"superseded", "expired"})
SHORT = {
    "no_demand": "nd", "no_supply": "ns", "stopping_volume": "sv", "test": "t", "upthrust": "ut",
    "selling_climax": "sc", "buying_climax": "bc",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar; `ts` is its start in microseconds since 1970."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class Vsa:
    """A volume-spread event; times in microseconds."""

    rule_set: str
    kind: str
    direction: str
    event_ts: int
    confirmed_ts: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A word on bar `at`, under its low or over its high."""

    at: int
    text: str
    below: bool
    side: str
    is_gone: bool = False
    """Superseded or expired."""
    is_tested: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A range from bar `first` to bar `last`; `phases` with the bars at which they were known."""

    first: int
    last: int
    low: float
    high: float
    side: str
    status: str
    phases: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Content:
    """Everything that is drawn; positions are places in `bars`."""

    title: str
    is_daily: bool
    bars: Sequence[Bar]
    marks: Sequence[Mark]
    boxes: Sequence[Box]
    dots: Sequence[Mark]
    """Volume-spread events, small."""


def content(
    title: str, bars: Sequence[Bar], facts: Iterable[Fact], vsa: Iterable[Vsa], *, daily: bool
) -> Content:
    """A picture of these bars, which are not none, by what was known at the last of them."""
    ts = [bar.ts for bar in bars]
    known = [fact for fact in facts if fact.confirmed_ts <= ts[-1]]
    statuses = _statuses(known)
    marks = [
        _mark(bisect_left(ts, fact.event_ts), fact, statuses.get(fact.key, ""))
        for fact in known
        if isinstance(fact, Event) and ts[0] <= fact.event_ts
    ]
    dots = [
        Mark(bisect_left(ts, v.event_ts), SHORT.get(v.kind, v.kind), v.direction == "bullish", v.rule_set)
        for v in vsa
        if ts[0] <= v.event_ts and v.confirmed_ts <= ts[-1]
    ]
    return Content(title, daily, bars, marks, list(_boxes(ts, known)), dots)


def _statuses(facts: Iterable[Fact]) -> dict[object, str]:
    """The newest status of every event that has one."""
    found = sorted((f for f in facts if isinstance(f, Status)), key=lambda f: f.confirmed_ts)
    return {status.key: status.status for status in found}


def _mark(at: int, event: Event, status: str) -> Mark:
    below = event.kind in _AT_LOWS[event.side]
    return Mark(at, event.kind, below, event.side, status in _GONE, status == "test_passed")


def _boxes(ts: Sequence[int], facts: Iterable[Fact]) -> Iterable[Box]:
    newest: dict[UUID, Range] = {}
    for fact in facts:
        if isinstance(fact, Range) and (
            fact.range_id not in newest or newest[fact.range_id].confirmed_ts <= fact.confirmed_ts
        ):
            newest[fact.range_id] = fact
    for one in sorted(newest.values(), key=lambda r: (r.opened_ts, r.side)):
        end = ts[-1] if one.status == "open" else one.confirmed_ts
        if end < ts[0] or one.support is None or one.resistance is None:
            continue
        phases = tuple((name, bisect_left(ts, at)) for name, at in one.phases)
        yield Box(
            bisect_left(ts, one.opened_ts), bisect_left(ts, end), one.support, one.resistance,
            one.side, one.status, phases,
        )  # fmt: skip
