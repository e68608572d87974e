"""One symbol's history through a rule set: events, patterns, and the paper trade on each to its end."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from rollotape.domain import performance
from rollotape.domain.bars import Rows
from rollotape.domain.performance import Closed
from rollotape.domain.reading import OwnPattern, own_patterns, planned
from rollotape.domain.sessions import Sessions
from rollotape.domain.trades import MOST_BARS, Trade, follow
from rollotape.domain.wyckoff.facts import Event, EventKey, Fact, Pattern, Side, Status
from rollotape.domain.wyckoff.fold import advance
from rollotape.domain.wyckoff.rules import Rules
from rollotape.domain.wyckoff.state import EMPTY
from rollotape.domain.wyckoff.tape import Tape, read


@dataclass(frozen=True, slots=True)
class Followed:
    """A pattern, its trade as far as the bars go, and where the trade's first bar stands."""

    pattern: Pattern
    trade: Trade
    at: int
    test_confirmed: bool | None
    """As of the exit; None where the type has no test."""
    sector: str | None
    sessions: int | None
    """Held so far; None where it was never entered."""

    @property
    def closed(self) -> Closed | None:
        trade = self.trade
        if trade.realized_r is None or trade.exit_date is None or self.sessions is None:
            return None
        return Closed(trade.pattern_id, trade.realized_r, trade.exit_date, self.sessions, self.test_confirmed)


@dataclass(frozen=True, slots=True)
class History:
    """One symbol as it was read, with everything that followed."""

    tape: Tape
    followed: list[Followed]
    events: Counter[tuple[Side, str]]
    """How many there are of each side and kind."""


def history(
    symbol: str,
    timeframe: str,
    bars: Rows,
    rules: Rules,
    sessions: Sessions,
    *,
    sector: str | None = None,
    since_us: int | None = None,
) -> History:
    """All analysed bars of a symbol, and the events and patterns that a bar from `since_us` on confirmed."""
    [tape] = read([bars], [0], [timeframe == "1d"], rules)
    facts = advance((symbol, timeframe), EMPTY, tape).facts
    passed = _tests(facts)
    patterns = [fact for fact in facts if isinstance(fact, Pattern)]
    found = [
        _followed(pattern, own, bars, passed, sector, sessions)
        for pattern, own in zip(patterns, own_patterns(facts, bars["ts"]), strict=True)
        if since_us is None or pattern.confirmed_ts >= since_us
    ]
    events = Counter(
        (fact.side, fact.kind)
        for fact in facts
        if isinstance(fact, Event) and (since_us is None or fact.confirmed_ts >= since_us)
    )
    return History(tape, found, events)


def _tests(facts: list[Fact]) -> dict[EventKey, int]:
    """When the test of each spring was passed."""
    return {f.key: f.knowable_at for f in facts if isinstance(f, Status) and f.status == "test_passed"}


def _followed(
    pattern: Pattern,
    own: OwnPattern,
    bars: Rows,
    passed: dict[EventKey, int],
    sector: str | None,
    sessions: Sessions,
) -> Followed:
    at = int(np.searchsorted(bars["ts"], pattern.confirmed_ts, side="right"))
    trade = follow(planned(own), bars[at : at + MOST_BARS])
    confirmed = None
    if pattern.test_confirmed is not None:
        when = passed.get(pattern.key)
        confirmed = when is not None and when <= trade.changed_at
    return Followed(pattern, trade, at, confirmed, sector, _sessions(trade, bars, at, sessions))


def _sessions(trade: Trade, bars: Rows, at: int, sessions: Sessions) -> int | None:
    if trade.entry_session is None:
        return None
    last = trade.exit_session
    if last is None:
        last = bars["session"][at + trade.bars - 1].item()
    return performance.held(sessions, trade.entry_session, last)
