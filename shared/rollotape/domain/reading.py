"""What changed bars change in what is read from them: Wyckoff facts, own patterns, paper trades.

Pure: from the bars, and from what was stored before, to the rows that appear and those that go. A row that
stays as it was is in neither list.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from rollotape.domain.analysis import ALWAYS, FOREVER, Key
from rollotape.domain.bars import Rows
from rollotape.domain.ids import own_id
from rollotape.domain.trades import MOST_BARS, Trade, follow
from rollotape.domain.wyckoff import tape as tapes
from rollotape.domain.wyckoff.checkpoints import Refolded, refold
from rollotape.domain.wyckoff.facts import Event, EventKey, Fact, Pattern, Range, Side, Status
from rollotape.domain.wyckoff.fold import Checkpoint
from rollotape.domain.wyckoff.rules import CURRENT, REACH, Rules
from rollotape.domain.wyckoff.state import State
from rollotape.domain.wyckoff.tape import Tape

SOURCE = "rollo"
"""Of our own patterns, and of the trades on them; nobody outside may send it."""
ACTIVE_BARS = 20
"""An own pattern is over when so many later bars are stored."""
PATTERN_BARS = 300
"""Further back than this no stored pattern can change: a range lasts 250 bars, and its tests no longer."""
CONTEXT_BARS = REACH + 1
AHEAD_BARS = 512
"""Bars after the last change that are read at first: most changes have lost their effect by then."""

assert ACTIVE_BARS >= MOST_BARS
assert CURRENT.range_bars < PATTERN_BARS

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:rollotape:paper")
_CENTS = Decimal("1e-8")
_MOST = Decimal("9999999999.99999999")
"""What a column for money holds."""


class OwnPattern(NamedTuple):
    """A pattern of ours as it is stored; times in microseconds since 1970, money in whole 1e-8."""

    id: UUID
    symbol: str
    timeframe: str
    pattern_type: str
    side: Side
    phase: str
    status: str
    revision: int
    """1 once its test is passed."""
    confidence: float
    price: float
    change_pct: float | None
    vol_ratio: float | None
    rsi: float | None
    sma_20: float | None
    sma_50: float | None
    entry: Decimal
    stop: Decimal
    target_1: Decimal
    target_2: Decimal | None
    planned_r: float
    test_confirmed: bool | None
    range_id: UUID
    rule_set: str
    detected_at: int
    confirmed_at: int | None
    """When its test was passed."""
    expires_at: int
    event_ts: int
    confirmed_ts: int

    @property
    def key(self) -> EventKey:
        return (
            self.symbol, self.timeframe, self.rule_set, self.side, str(self.range_id), self.pattern_type,
            self.event_ts,
        )  # fmt: skip


class PaperTrade(NamedTuple):
    """A trade on a pattern of ours as it is stored."""

    id: UUID
    symbol: str
    timeframe: str
    pattern_id: UUID
    pattern_type: str
    direction: str
    status: str
    generated_at: int
    changed_at: int
    entry_date: int | None
    entry_price: Decimal | None
    entry_session: int | None
    stop: Decimal
    target: Decimal
    planned_r: float
    bars_held: int
    exit_date: int | None
    exit_price: Decimal | None
    exit_session: int | None
    exit_reason: str | None
    realized_r: float | None


@dataclass(slots=True)
class Stored:
    """What is stored of one key and may have to change."""

    before: Checkpoint | None = None
    """The last one older than the first changed bar."""
    states: dict[int, State] = field(default_factory=dict)
    """The checkpoints after it."""
    events: list[Event] = field(default_factory=list)
    """Confirmed after `before`, to the end of the bars that were read; their terms sorted."""
    statuses: list[Status] = field(default_factory=list)
    """The same, without an end."""
    ranges: list[Range] = field(default_factory=list)
    patterns: list[OwnPattern] = field(default_factory=list)
    """From PATTERN_BARS before `before` on, without an end."""
    trades: list[PaperTrade] = field(default_factory=list)
    """Of those patterns."""


@dataclass(slots=True)
class Derived:
    """Rows that appear, or appear otherwise than they were, and rows that go."""

    events: list[Event] = field(default_factory=list)
    events_gone: list[Event] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    statuses_gone: list[Status] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    ranges_gone: list[Range] = field(default_factory=list)
    patterns: list[OwnPattern] = field(default_factory=list)
    patterns_known: set[UUID] = field(default_factory=set)
    """Those of `patterns` that were there before."""
    patterns_gone: list[OwnPattern] = field(default_factory=list)
    trades: list[PaperTrade] = field(default_factory=list)
    trades_known: set[UUID] = field(default_factory=set)
    trades_gone: list[PaperTrade] = field(default_factory=list)
    states: list[tuple[Key, Checkpoint]] = field(default_factory=list)
    states_gone: list[tuple[Key, int]] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)

    def add(self, other: "Derived") -> None:
        for name in self.__slots__:
            mine, others = getattr(self, name), getattr(other, name)
            mine.update(others) if isinstance(mine, set) else mine.extend(others)


class TooShort(Exception):
    """The change is still felt where the bars end that were read; read all of them."""


def read_tapes(
    keys: Sequence[Key], bars: Sequence[Rows], stored: Sequence[Stored], rules: Rules = CURRENT
) -> list[Tape]:
    """Tapes of several keys at once; bars begin with history, or CONTEXT_BARS before what is to be read."""
    starts = [
        0 if s.before is None else int(np.searchsorted(b["ts"], s.before.ts, side="right"))
        for s, b in zip(stored, bars, strict=True)
    ]
    return tapes.read(bars, starts, [timeframe == "1d" for _, timeframe in keys], rules)


def derive(
    key: Key, tape: Tape, stored: Stored, last_changed: int, *, whole: bool, rules: Rules = CURRENT
) -> Derived:
    """Read one key again after a change of its bars, the last one of them at `last_changed`.

    Raises:
        TooShort: the tape ends before the history (not `whole`), and it would have to go on.
    """
    read = _refold(key, tape, stored, last_changed, rules)
    until = FOREVER if read.state is not None else read.until
    if not whole:
        settled = int(np.searchsorted(tape.bars["ts"], read.until)) + ACTIVE_BARS < len(tape)
        if until == FOREVER or not settled:
            raise TooShort

    derived = Derived()
    _facts(derived, stored, read.facts, until)
    _states(derived, key, stored, read.checkpoints, until)
    fresh = _patterns(tape, stored, read.facts, ALWAYS if read.since is None else read.since, until)
    _own(derived, tape, stored, fresh, until)
    return derived


def own_patterns(facts: Iterable[Fact], ts: NDArray[np.int64]) -> list[OwnPattern]:
    """Every pattern of a whole history as it is to be stored; `ts` are its analysed bars."""
    facts = list(facts)
    passed = _passed(f for f in facts if isinstance(f, Status))
    return [_own_pattern(f, passed.get(f.key), ts) for f in facts if isinstance(f, Pattern)]


def paper_trade(pattern: OwnPattern, bars: Rows) -> PaperTrade:
    """The trade on a pattern after these analysed bars, of which those up to its own do not count."""
    later = int(np.searchsorted(bars["ts"], pattern.confirmed_ts, side="right"))
    trade = follow(planned(pattern), bars[later : later + MOST_BARS])
    return PaperTrade(
        paper_id(pattern.id), pattern.symbol, pattern.timeframe, pattern.id,
        pattern.pattern_type, "long" if trade.sign > 0 else "short", trade.status, pattern.detected_at,
        trade.changed_at, trade.entry_date, _money(trade.entry_price), trade.entry_session, pattern.stop,
        pattern.target_1, pattern.planned_r, trade.bars, trade.exit_date, _money(trade.exit_price),
        trade.exit_session, trade.reason, trade.realized_r,
    )  # fmt: skip


def paper_id(pattern_id: UUID) -> UUID:
    """The id of the trade on a pattern of ours."""
    return own_id(_NAMESPACE, str(pattern_id))


def sorted_terms(event: Event) -> Event:
    """The same event with its terms by name: a database keeps no order of them."""
    return event._replace(terms=tuple(sorted(event.terms)))


def _refold(key: Key, tape: Tape, stored: Stored, last_changed: int, rules: Rules) -> Refolded:
    if tape.start >= len(tape):  # no bar is left to be read
        since = None if stored.before is None else stored.before.ts
        return Refolded(since, FOREVER, [], [], b"")
    return refold(key, tape, stored.before, stored.states, last_changed)


def _facts(derived: Derived, stored: Stored, facts: Sequence[Fact], until: int) -> None:
    events = [sorted_terms(f) for f in facts if isinstance(f, Event)]
    statuses = [f for f in facts if isinstance(f, Status)]
    ranges = [f for f in facts if isinstance(f, Range)]

    def within(fact: Event | Status | Range) -> bool:
        return fact.confirmed_ts <= until

    derived.events, derived.events_gone = _compared(
        {e.key: e for e in filter(within, stored.events)}, {e.key: e for e in events}
    )
    derived.statuses, derived.statuses_gone = _compared(
        {(s.key, s.range_id, s.status): s for s in filter(within, stored.statuses)},
        {(s.key, s.range_id, s.status): s for s in statuses},
    )
    derived.ranges, derived.ranges_gone = _compared(
        {(r.range_id, r.confirmed_ts): r for r in filter(within, stored.ranges)},
        {(r.range_id, r.confirmed_ts): r for r in ranges},
    )


def _states(
    derived: Derived, key: Key, stored: Stored, checkpoints: Sequence[Checkpoint], until: int
) -> None:
    fresh = {c.ts: c for c in checkpoints}
    derived.states = [(key, c) for ts, c in fresh.items() if stored.states.get(ts) != c.state]
    derived.states_gone = [
        (key, ts)
        for ts, state in stored.states.items()
        if ts <= until and (ts not in fresh or fresh[ts].state != state)
    ]


def _patterns(
    tape: Tape, stored: Stored, facts: Sequence[Fact], since: int, until: int
) -> list[OwnPattern]:
    """Every pattern that may be another one now, as it has to be."""
    passed_before = _passed(s for s in stored.statuses if s.confirmed_ts <= until)
    passed = _passed(s for s in stored.statuses if s.confirmed_ts > until)
    passed |= _passed(f for f in facts if isinstance(f, Status))
    ts = tape.bars["ts"]
    fresh = [_own_pattern(f, passed.get(f.key), ts) for f in facts if isinstance(f, Pattern)]
    for pattern in stored.patterns:
        if since < pattern.confirmed_ts <= until:
            continue
        if pattern.key in passed or pattern.key in passed_before:
            pattern = _tested(pattern, passed.get(pattern.key))
        if _reached(pattern, tape, until):
            pattern = pattern._replace(status=_status(pattern.confirmed_ts, ts))
        fresh.append(pattern)
    return fresh


def _reached(pattern: OwnPattern, tape: Tape, until: int) -> bool:
    """Whether the tape has all bars that a trade on the pattern may touch, changed ones among them."""
    ts = tape.bars["ts"]
    return bool(len(ts)) and ts[0] <= pattern.confirmed_ts <= until


def _own(
    derived: Derived, tape: Tape, stored: Stored, fresh: Sequence[OwnPattern], until: int
) -> None:
    before = {p.id: p for p in stored.patterns}
    derived.patterns, _ = _compared(before, {p.id: p for p in fresh})
    derived.patterns_gone = [before[i] for i in before.keys() - {p.id for p in fresh}]
    derived.patterns_known = {p.id for p in derived.patterns} & before.keys()

    trades_before = {t.pattern_id: t for t in stored.trades}
    trades = {}
    for pattern in fresh:
        known = trades_before.get(pattern.id)
        if known is None or _reached(pattern, tape, until):
            known = paper_trade(pattern, tape.bars)
        trades[pattern.id] = known
    derived.trades, _ = _compared(trades_before, trades)
    derived.trades_gone = [trades_before[i] for i in trades_before.keys() - trades.keys()]
    derived.trades_known = {t.id for t in derived.trades if t.pattern_id in trades_before}


_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


def _compared(stored: Mapping[_K, _V], fresh: Mapping[_K, _V]) -> tuple[list[_V], list[_V]]:
    """Fresh values that are not stored like this, and stored ones that are not fresh like this."""
    new = [value for key, value in fresh.items() if stored.get(key) != value]
    return new, [value for key, value in stored.items() if fresh.get(key) != value]


def _passed(statuses: Iterable[Status]) -> dict[EventKey, int]:
    """When the tests of springs were passed."""
    return {s.key: s.knowable_at for s in statuses if s.status == "test_passed"}


def _own_pattern(p: Pattern, tested_at: int | None, ts: NDArray[np.int64]) -> OwnPattern:
    rsi = p.indicators.rsi
    plain = OwnPattern(
        p.id, p.symbol, p.timeframe, p.kind, p.side, p.phase, _status(p.confirmed_ts, ts), 0, p.confidence,
        p.entry, p.indicators.change_pct, p.indicators.vol_ratio, None if rsi is None else min(rsi, 100.0),
        p.indicators.sma_20, p.indicators.sma_50, _cents(p.entry), _cents(p.stop), _cents(p.target_1),
        _money(p.target_2), p.planned_r, p.test_confirmed, p.range_id, p.rule_set, p.knowable_at, None,
        p.expires_at, p.event_ts, p.confirmed_ts,
    )  # fmt: skip
    return plain if p.test_confirmed is None else _tested(plain, tested_at)


def _tested(pattern: OwnPattern, tested_at: int | None) -> OwnPattern:
    passed = tested_at is not None
    return pattern._replace(test_confirmed=passed, confirmed_at=tested_at, revision=int(passed))


def _status(confirmed_ts: int, ts: NDArray[np.int64]) -> str:
    later = len(ts) - int(np.searchsorted(ts, confirmed_ts, side="right"))
    return "expired" if later >= ACTIVE_BARS else "active"


def planned(pattern: OwnPattern) -> Trade:
    """The trade that a pattern proposes, before any later bar.

    At the levels as they are stored, so that whoever reads them finds the same trade.
    """
    return Trade(
        pattern_id=pattern.id,
        symbol=pattern.symbol,
        timeframe=pattern.timeframe,
        kind=pattern.pattern_type,
        sign=1 if pattern.side == "accumulation" else -1,
        stop=float(pattern.stop),
        target=float(pattern.target_1),
        planned_r=pattern.planned_r,
        detected_ts=pattern.confirmed_ts,
        changed_at=pattern.detected_at,
    )


def _cents(price: float) -> Decimal:
    return min(Decimal(repr(price)).quantize(_CENTS), _MOST)


def _money(price: float | None) -> Decimal | None:
    return None if price is None else _cents(price)
