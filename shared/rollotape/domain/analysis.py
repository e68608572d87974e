"""What a batch of bars changes: which bars win, and which events appear or vanish because of it.

Two pure steps, because the second needs to know what was stored about the bars that the first found touched:
`settle` decides which bars win, `analyse` what follows from them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollotape.domain import bars as domain
from rollotape.domain.bars import Flags, Rows
from rollotape.domain.vsa.arrays import Found, Series
from rollotape.domain.vsa.rules import REACH, RULE_SETS, RuleSet

Key = tuple[str, str]
"""(symbol, timeframe)"""
Index = NDArray[np.int64]

ALWAYS = -(2**63)
FOREVER = 2**63 - 1
"""The first and the last instant, as ends of a window that has none."""


@dataclass(frozen=True, slots=True)
class Window:
    """Every stored bar of one key from `since` to `until`, oldest first (times in microseconds)."""

    bars: Rows
    since: int = ALWAYS
    until: int = FOREVER

    def covers(self, first: int, last: int) -> bool:
        """Whether bars from `first` to `last` can be judged with this window alone, and what they reach."""
        if last > self.until or (self.until != FOREVER and not self._enough(self.bars["ts"] > last)):
            return False
        return self.since == ALWAYS or (first >= self.since and self._enough(self.bars["ts"] < first))

    def _enough(self, side: Flags) -> bool:
        return int(np.count_nonzero(domain.analysed(self.bars) & side)) >= REACH

    def from_context_of(self, first: int) -> int:
        """Position from which the bars matter to one at `first`: REACH analysed bars before it."""
        before = int(np.searchsorted(self.bars["ts"], first))
        for start in (max(0, before - 2 * REACH), 0):  # nearly always the last few are enough
            [analysed] = np.nonzero(domain.analysed(self.bars[start:before]))
            if len(analysed) >= REACH:
                return start + int(analysed[-REACH])
        return 0


class VsaEvent(NamedTuple):
    """A volume-spread event; times in microseconds since 1970."""

    symbol: str
    timeframe: str
    rule_set: str
    kind: str
    event_ts: int
    confirmed_ts: int
    knowable_at: int
    direction: str

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        return self[:5]


class Span(NamedTuple):
    """Stored events of one key confirmed from `first` to `last` may no longer follow."""

    symbol: str
    timeframe: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the incoming bars: applied + duplicate + superseded is all of them."""

    applied: int = 0
    duplicate: int = 0
    superseded: int = 0
    conflict: int = 0
    """Equal revision, different content; decided by the total order, and counted beside the others."""


@dataclass(slots=True)
class Settled:
    """Winners of all keys touched, by key and time, with enough around them to judge what they reach.

    `key[i]` is the index in `keys` of bar i; `changed` are the incoming winners, `replaced` those of them
    that take a stored bar's place; `affected` are positions of analysed bars whose answers may differ now.
    """

    keys: Sequence[Key]
    kept: list[Rows]
    windows: list[Window]
    key: Index
    bars: Rows
    changed: Flags
    replaced: Flags
    analysed: Index
    affected: Index
    spans: list[Span]
    counts: Counts


@dataclass(slots=True)
class Analysis:
    """Everything that is to be written, and the windows as they are once it is."""

    keys: Sequence[Key]
    inserted: tuple[Index, Rows]
    replaced: tuple[Index, Rows]
    judged_anew: tuple[Index, Rows]
    """Stored bars of which only `evaluable` changed."""
    appeared: list[VsaEvent]
    vanished: list[VsaEvent]
    windows: dict[Key, Window]
    counts: Counts

    @property
    def changes(self) -> bool:
        return self.counts.applied > 0

    def extents(self, column: str) -> dict[Key, tuple[int, int]]:
        """Smallest and largest value of a column over the changed bars of every key that changed."""
        owner = np.concatenate([self.inserted[0], self.replaced[0]])
        values = np.concatenate([self.inserted[1][column], self.replaced[1][column]])
        low, high = extents(owner, values, len(self.keys))
        return {
            key: (first, last)
            for key, first, last in zip(self.keys, low.tolist(), high.tolist(), strict=True)
            if first <= last
        }


def extents(owner: Index, values: Index, count: int) -> tuple[Index, Index]:
    """Smallest and largest value of each of `count` owners; without values, the first exceeds the last."""
    low, high = np.full(count, FOREVER), np.full(count, ALWAYS)
    np.minimum.at(low, owner, values)
    np.maximum.at(high, owner, values)
    return low, high


def settle(windows: Mapping[Key, Window], keys: Sequence[Key], key: Index, incoming: Rows) -> Settled:
    """Decide which bars win; the outcome does not depend on their order or repetition.

    Args:
        windows: for every key a window that covers its incoming bars.
        keys, key, incoming: incoming bar i belongs to `keys[key[i]]`; at least one.
    """
    held = [windows[k] for k in keys]
    firsts, _ = extents(key, incoming["ts"], len(keys))
    cuts = [w.from_context_of(first) for w, first in zip(held, firsts.tolist(), strict=True)]
    tails = [w.bars[cut:] for w, cut in zip(held, cuts, strict=True)]

    bars = np.concatenate([*tails, incoming])
    owner = np.concatenate([np.repeat(np.arange(len(keys)), [len(t) for t in tails]), key])
    stored = np.arange(len(bars)) < len(bars) - len(incoming)
    order = np.lexsort((-bars["arrived"], stored, *domain.precedence(bars), bars["ts"], owner))
    bars, owner, stored = bars[order], owner[order], stored[order]

    same_key = (owner[1:] == owner[:-1]) & (bars["ts"][1:] == bars["ts"][:-1])
    wins = np.append(~same_key, True)
    group = np.cumsum(np.append(True, ~same_key)) - 1
    occupied = np.bincount(group, stored).astype(bool)
    counts = _count(bars, stored, wins, group, same_key)

    bars, owner, changed = bars[wins], owner[wins], ~stored[wins]
    bars["evaluable"][changed & ~domain.analysed(bars)] = -1
    [analysed] = np.nonzero(domain.analysed(bars))
    affected = _affected(owner, changed, analysed)
    kept = [w.bars[:cut] for w, cut in zip(held, cuts, strict=True)]
    spans = _spans(keys, held, owner, bars, changed, analysed[affected])
    replaced = changed & occupied
    return Settled(keys, kept, held, owner, bars, changed, replaced, analysed, affected, spans, counts)


def _count(bars: Rows, stored: Flags, wins: Flags, group: Index, same_key: Flags) -> Counts:
    winner = np.flatnonzero(wins)[group]
    said = ("revision", "synthetic", "hash")
    equal = np.logical_and.reduce([bars[name] == bars[name][winner] for name in said])
    loses = ~stored & ~wins
    differs = (bars["hash"][1:] != bars["hash"][:-1]) | (bars["synthetic"][1:] != bars["synthetic"][:-1])
    rival = same_key & differs & (bars["revision"][1:] == bars["revision"][:-1])
    return Counts(
        applied=int(np.count_nonzero(wins & ~stored)),
        duplicate=int(np.count_nonzero(loses & equal)),
        superseded=int(np.count_nonzero(loses & ~equal)),
        conflict=int(np.count_nonzero(rival & ~(stored[1:] & stored[:-1]))),
    )


def _affected(owner: Index, changed: Flags, analysed: Index) -> Index:
    """Positions among the analysed bars that a change reaches: its own or the next, and REACH later ones."""
    if not len(analysed):
        return analysed
    at = np.searchsorted(analysed, np.flatnonzero(changed))
    series = owner[analysed]
    inside = at < len(analysed)
    inside[inside] = series[at[inside]] == owner[changed][inside]
    marks = np.bincount(at[inside], minlength=len(analysed))
    total = np.append(0, np.cumsum(marks))
    start = np.searchsorted(series, series)  # where each bar's own series begins
    here = np.arange(len(analysed))
    return np.flatnonzero(total[here + 1] > total[np.maximum(here - REACH, start)])


def _spans(
    keys: Sequence[Key], held: Sequence[Window], owner: Index, bars: Rows, changed: Flags, affected: Index
) -> list[Span]:
    """Where stored events may have to go; bars that only continue a series leave none."""
    touched = np.append(np.flatnonzero(changed), affected)
    first, last = extents(owner[touched], bars["ts"][touched], len(keys))
    newest = (int(w.bars["ts"][-1]) if len(w.bars) else ALWAYS for w in held)
    return [
        Span(*key, f, t)
        for key, f, t, stored in zip(keys, first.tolist(), last.tolist(), newest, strict=True)
        if f <= stored
    ]


def analyse(
    settled: Settled, stored: Iterable[VsaEvent], rule_sets: Sequence[RuleSet] = RULE_SETS
) -> Analysis:
    """Decide what follows from the winners; `stored` are the events confirmed within `settled.spans`."""
    s = settled
    judged_anew, expected = _judge(s, rule_sets)
    found = {event.key: event for event in expected}
    reached = s.changed.copy()
    reached[s.analysed[s.affected]] = True
    moments = set(zip(s.key[reached].tolist(), s.bars["ts"][reached].tolist(), strict=True))
    index = {key: i for i, key in enumerate(s.keys)}
    open_to_doubt = {
        e.key: e for e in stored if (index[e.symbol, e.timeframe], e.confirmed_ts) in moments
    }
    inserted = s.changed & ~s.replaced
    return Analysis(
        keys=s.keys,
        inserted=(s.key[inserted], s.bars[inserted]),
        replaced=(s.key[s.replaced], s.bars[s.replaced]),
        judged_anew=(s.key[judged_anew], s.bars[judged_anew]),
        appeared=[e for e in expected if open_to_doubt.get(e.key) != e],
        vanished=[e for key, e in open_to_doubt.items() if key not in found],
        windows=_windows(s),
        counts=s.counts,
    )


def _judge(s: Settled, rule_sets: Sequence[RuleSet]) -> tuple[Flags, list[VsaEvent]]:
    """Set `evaluable` of the affected bars; return which stored ones changed, and the events found there."""
    judged_anew = np.zeros(len(s.bars), bool)
    if not len(s.affected):
        return judged_anew, []
    owner, bars = s.key[s.analysed], s.bars[s.analysed]
    position = np.arange(len(owner)) - np.searchsorted(owner, owner)
    _assert_context(s, owner, position)
    daily = np.array([timeframe == "1d" for _, timeframe in s.keys])[owner]
    series = Series(bars, position, daily)

    at = s.analysed[s.affected]
    evaluable = series.evaluable[s.affected]
    judged_anew[at] = (s.bars["evaluable"][at] != evaluable) & ~s.changed[at]
    s.bars["evaluable"][at] = evaluable

    affected = np.zeros(len(bars), bool)
    affected[s.affected] = True
    found = (f for rule_set in rule_sets for f in series.find(rule_set))
    return judged_anew, [e for f in found for e in _events(s.keys, owner, bars, f, affected)]


def _assert_context(s: Settled, owner: Index, position: Index) -> None:
    """A window that does not begin with its symbol's history must hold what the first affected bar needs."""
    begins = np.array([w.since == ALWAYS for w in s.windows])
    assert (begins[owner[s.affected]] | (position[s.affected] >= REACH)).all(), "window without its context"


def _events(
    keys: Sequence[Key], owner: Index, bars: Rows, found: Found, affected: Flags
) -> Iterable[VsaEvent]:
    direction = found.rule.direction
    assert direction is not None
    for at in found.confirmed[affected[found.confirmed]].tolist():
        described, confirming = bars[at + found.rule.described], bars[at]
        symbol, timeframe = keys[owner[at]]
        yield VsaEvent(
            symbol,
            timeframe,
            found.rule_set,
            found.rule.kind,
            described["ts"].item(),
            confirming["ts"].item(),
            confirming["end_ts"].item(),
            direction,
        )


def _windows(s: Settled) -> dict[Key, Window]:
    ends = np.searchsorted(s.key, np.arange(1, len(s.keys) + 1))
    parts = np.split(s.bars, ends[:-1])
    return {
        key: Window(np.concatenate([kept, part]), window.since, window.until)
        for key, kept, part, window in zip(s.keys, s.kept, parts, s.windows, strict=True)
    }
