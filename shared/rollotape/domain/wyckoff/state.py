"""What the fold remembers between bars, and how it is kept: a few hundred bytes at most, positions as ages.

A state says nothing about where in its history it stands: two histories that lead to the same situation have
equal states, which is how a late bar's effect is seen to end.
"""

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import orjson

from rollotape.domain.wyckoff.facts import Phase
from rollotape.domain.wyckoff.rules import CREST, LOOKBACK, Rules

State = bytes
"""Of both sides after a bar: compact JSON, equal exactly when the situation is the same."""

RISE, GROUND, STRENGTH = range(3)
"""Stages of a range: until its AR is known, until its SOS, until its end."""
NO_DIP, TEST_DIP, SPRING_DIP, UNDER, SPENT = range(5)
"""Of prices near support: none; a secondary test; a spring; too low or too long; one that is over."""
NO_TEST, AWAITED, DECIDED = range(3)
"""The test of a spring."""


class Mark(NamedTuple):
    """A bar that matters later. `at` is its position on the tape; in a state, how many bars ago it was."""

    at: int
    ts: int
    price: float
    """The extreme on the side of its event, linear."""
    level: int
    """The same, in quanta of this side's view."""
    close: int
    volume: float
    spread: int
    volume_ratio: float
    """By the mean volume of the 20 bars before; 0 where that is 0."""
    spread_ratio: float
    range_ratio: float
    """Spread by A20; 0 where that is 0."""
    decline: float
    """How far the close lies below the 50-bar mean, in A20."""
    place: float
    """Where in its spread it closed."""


class Distances(NamedTuple):
    """Distances of the rules in quanta, whole: the first ones at least, those from `st_zone` on at most."""

    ar_rise: int
    sos_over: int
    lps_depth: int
    ps_rally: int
    st_turn: int
    spring_turn: int
    test_turn: int
    lps_turn: int
    st_zone: int
    spring_over: int
    spring_most: int
    test_zone: int
    lps_under: int
    fail: int
    climax_slack: int
    st_apart: int


def distances(unit_sum: int, rules: Rules) -> Distances:
    """`unit_sum` is twenty U."""
    at_least = (
        rules.ar_rise, rules.sos_over, rules.lps_depth, rules.ps_rally, rules.st_turn, rules.spring_turn,
        rules.test_turn, rules.lps_turn,
    )  # fmt: skip
    at_most = (
        rules.st_zone, rules.spring_over, rules.spring_most, rules.test_zone, rules.lps_under, rules.fail,
        rules.climax_slack, rules.st_apart,
    )  # fmt: skip
    return Distances(
        *(-(-unit_sum * f.numerator // (LOOKBACK * f.denominator)) for f in at_least),
        *(unit_sum * f.numerator // (LOOKBACK * f.denominator) for f in at_most),
    )


@dataclass(slots=True)
class OpenRange:
    opened: int
    opened_ts: int
    climax: Mark
    unit_sum: int
    support: int
    """The lowest of climax and secondary tests, in quanta of this side's view."""
    support_price: float
    phases: list[tuple[Phase, int]]
    proven: bool = False
    """Whether its climax was written down."""
    stage: int = RISE
    reaction: Mark | None = None
    """AR: so far, then for good."""
    secondary_tests: int = 0
    dip: int = NO_DIP
    dip_from: int | None = None
    """Where the undercut began that may become a spring."""
    dip_low: Mark | None = None
    spring: Mark | None = None
    test: int = NO_TEST
    candidate: Mark | None = None
    """Of the test of `spring`."""
    sos: Mark | None = None
    sos_confidence: float = 0.0
    crest: Mark | None = None
    """The highest bar since SOS; what follows it is the pullback."""
    pull_low: Mark | None = None
    pull_volume: float = 0.0
    pull_spread: int = 0


@dataclass(slots=True)
class SideState:
    supports: list[Mark] = field(default_factory=list)
    """Preliminary supports that are neither confirmed nor expired, oldest first."""
    last_climax: int | None = None
    range: OpenRange | None = None


_POSITIONS = frozenset({"opened", "dip_from"})
_NAMES = tuple(f.name for f in fields(OpenRange))
_MARKS = frozenset({"climax", "reaction", "dip_low", "spring", "candidate", "sos", "crest", "pull_low"})


def dump(sides: tuple[SideState, SideState], now: int) -> State:
    """The state after the bar at position `now`."""
    return orjson.dumps([_dump_side(side, now) for side in sides])


def load(state: State, now: int) -> tuple[SideState, SideState]:
    """The state of the bar at position `now`; the position may be any, even negative."""
    first, second = orjson.loads(state)
    return _load_side(first, now), _load_side(second, now)


def _dump_side(side: SideState, now: int) -> list[Any]:
    supports = [_turned(mark, now) for mark in side.supports]
    last = None if side.last_climax is None else now - side.last_climax
    if last is not None and last >= CREST - 1:
        last = None  # too long ago for any bar to come
    return [supports, last, None if side.range is None else _dump_range(side.range, now)]


def _load_side(said: list[Any], now: int) -> SideState:
    supports, last, kept = said
    return SideState(
        [_mark(values, now) for values in supports],
        None if last is None else now - last,
        None if kept is None else _load_range(kept, now),
    )


def _turned(mark: Mark, now: int) -> list[Any]:
    """Position into age or back: both are `now` minus the other."""
    return [now - mark[0], *mark[1:]]


def _mark(values: list[Any], now: int) -> Mark:
    return Mark(now - values[0], *values[1:])


def _dump_range(kept: OpenRange, now: int) -> list[Any]:
    out = []
    for name in _NAMES:
        value = getattr(kept, name)
        if name in _MARKS:
            value = None if value is None else _turned(value, now)
        elif name in _POSITIONS:
            value = None if value is None else now - value
        out.append(value)
    return out


def _load_range(said: list[Any], now: int) -> OpenRange:
    values = dict(zip(_NAMES, said, strict=True))
    for name in _MARKS:
        if values[name] is not None:
            values[name] = _mark(values[name], now)
    for name in _POSITIONS:
        if values[name] is not None:
            values[name] = now - values[name]
    values["phases"] = [(phase, ts) for phase, ts in values["phases"]]
    return OpenRange(**values)


EMPTY: State = dump((SideState(), SideState()), 0)
"""Before the first bar."""
