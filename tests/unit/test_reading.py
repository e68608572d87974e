"""A change of bars, wherever it is, leaves what reading everything anew gives, and names nothing else."""

from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from rollotape.domain.bars import Rows
from rollotape.domain.reading import (
    ACTIVE_BARS,
    CONTEXT_BARS,
    PATTERN_BARS,
    Derived,
    OwnPattern,
    PaperTrade,
    Stored,
    TooShort,
    derive,
    read_tapes,
)
from rollotape.domain.wyckoff.fold import Checkpoint
from rollotape.domain.wyckoff.rules import CURRENT, WYCKOFF_1, Rules
from support.wyckoff import KEY, drawn, walk


@dataclass
class Tables:
    """What a database would hold of one key."""

    events: dict[Any, Any] = field(default_factory=dict)
    statuses: dict[Any, Any] = field(default_factory=dict)
    ranges: dict[Any, Any] = field(default_factory=dict)
    states: dict[int, bytes] = field(default_factory=dict)
    patterns: dict[UUID, OwnPattern] = field(default_factory=dict)
    trades: dict[UUID, PaperTrade] = field(default_factory=dict)

    def stored(self, bars: Rows, first: int) -> tuple[Stored, int]:
        """What is read of them for a change of bars from `first` on, and the first bar to be read."""
        earlier = [ts for ts in self.states if ts < first]
        before = max(earlier, default=None)
        known = np.searchsorted(bars["ts"], -(2**62) if before is None else before, side="right")
        begin = 0 if before is None else max(0, int(known) - CONTEXT_BARS)
        since = -(2**62) if before is None else before
        patterns_from = -(2**62)
        if before is not None and int(known) >= PATTERN_BARS:
            patterns_from = int(bars["ts"][int(known) - PATTERN_BARS])
        return Stored(
            None if before is None else Checkpoint(before, self.states[before]),
            {ts: state for ts, state in self.states.items() if ts > since},
            [e for e in self.events.values() if e.confirmed_ts > since],
            [s for s in self.statuses.values() if s.confirmed_ts > since],
            [r for r in self.ranges.values() if r.confirmed_ts > since],
            [p for p in self.patterns.values() if p.detected_at >= patterns_from],
            [t for t in self.trades.values() if t.generated_at >= patterns_from],
        ), begin

    def apply(self, derived: Derived) -> None:
        """As a database does: what goes must be there, what comes must not, unless it is known."""
        for event in derived.events_gone:
            del self.events[event.key]
        for status in derived.statuses_gone:
            del self.statuses[status.key, status.range_id, status.status]
        for gone in derived.ranges_gone:
            del self.ranges[gone.range_id, gone.confirmed_ts]
        for _, ts in derived.states_gone:
            del self.states[ts]
        for pattern in derived.patterns_gone:
            del self.patterns[pattern.id]
        for trade in derived.trades_gone:
            del self.trades[trade.id]
        assert derived.patterns_known == {p.id for p in derived.patterns} & self.patterns.keys()
        assert derived.trades_known == {t.id for t in derived.trades} & self.trades.keys()
        pairs: list[tuple[dict[Any, Any], dict[Any, Any]]] = [
            (self.events, {e.key: e for e in derived.events}),
            (self.statuses, {(s.key, s.range_id, s.status): s for s in derived.statuses}),
            (self.ranges, {(r.range_id, r.confirmed_ts): r for r in derived.ranges}),
            (self.states, {c.ts: c.state for _, c in derived.states}),
        ]
        for rows, new in pairs:
            assert not rows.keys() & new.keys()
            rows.update(new)
        self.patterns |= {p.id: p for p in derived.patterns}
        self.trades |= {t.id: t for t in derived.trades}


def read(tables: Tables, bars: Rows, first: int, last: int, rules: Rules, ahead: int) -> Derived:
    """Read again after a change from `first` to `last`, with so many bars after it, or with all."""
    stored, begin = tables.stored(bars, first)
    end = int(np.searchsorted(bars["ts"], last, side="right")) + ahead
    for stop in (min(end, len(bars)), len(bars)):
        [tape] = read_tapes([KEY], [bars[begin:stop]], [stored], rules)
        try:
            return derive(KEY, tape, stored, last, whole=stop == len(bars), rules=rules)
        except TooShort:
            assert stop < len(bars)
    raise AssertionError("the whole is never too short")


def everything(bars: Rows, rules: Rules) -> Tables:
    tables = Tables()
    tables.apply(read(tables, bars, int(bars["ts"][0]), int(bars["ts"][-1]), rules, 0))
    return tables


def changed(bars: Rows, at: int, random: Random) -> Rows:
    """A bar that is gone, or has other numbers."""
    if random.random() < 0.4:
        return np.delete(bars, at)
    other = bars.copy()
    other["volume"][at] *= random.choice((0.1, 8))
    other["low"][at] *= random.choice((1, 0.96))
    return other


@pytest.mark.parametrize("rules", [CURRENT, WYCKOFF_1], ids=lambda rules: rules.name)
@pytest.mark.parametrize("seed", range(6))
def test_a_change_of_any_bar_and_back_leaves_what_reading_everything_gives(rules: Rules, seed: int) -> None:
    random = Random(seed)
    bars = drawn(seed) if seed % 2 else walk(seed)
    for _ in range(12):
        at = random.randrange(len(bars))
        ts, ahead = int(bars["ts"][at]), random.choice((0, 80, 150, 10_000))
        other = changed(bars, at, random)
        tables, expected = everything(other, rules), everything(bars, rules)
        tables.apply(read(tables, bars, ts, ts, rules, ahead))
        assert tables == expected
        again = read(tables, bars, ts, ts, rules, ahead)
        assert not again.changes


@pytest.mark.parametrize("seed", range(4))
def test_appended_bars_leave_what_reading_everything_gives(seed: int) -> None:
    random, bars, tables = Random(seed), walk(seed), Tables()
    at = 0
    while at < len(bars):
        size = random.choice((1, 1, 5, 60))
        part = bars[: at + size]
        tables.apply(read(tables, part, int(bars["ts"][at]), int(part["ts"][-1]), WYCKOFF_1, 0))
        at += size
    assert tables == everything(bars, WYCKOFF_1)


def test_a_pattern_is_active_until_its_20th_later_bar() -> None:
    bars = walk(93)
    pattern = min(everything(bars, WYCKOFF_1).patterns.values(), key=lambda p: p.confirmed_ts)
    own = int(np.searchsorted(bars["ts"], pattern.confirmed_ts)) + 1
    for later, status in ((ACTIVE_BARS - 1, "active"), (ACTIVE_BARS, "expired")):
        assert everything(bars[: own + later], WYCKOFF_1).patterns[pattern.id].status == status
