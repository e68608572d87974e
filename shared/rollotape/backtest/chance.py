"""What the same trades earn at other dates: all entries of a market turned together around its calendar.

One turn moves every entry of every symbol by the same number of sessions, those that fall off the end back
to the beginning. So entries of one day stay on one day, and days in a row in a row: what shares a market day
still does, and only the tie between a pattern and what comes after it is cut. Stop and target keep their
distances from the entry in mean true ranges (A20 of the 20 bars before).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, fsum, log
from random import Random
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rollotape.backtest.trades import Followed
from rollotape.domain.bars import TIMEFRAMES, Rows
from rollotape.domain.sessions import DAY_US, Sessions, Times
from rollotape.domain.trades import MOST_BARS
from rollotape.domain.wyckoff.rules import TREND
from rollotape.domain.wyckoff.tape import Index, Tape

REGULAR_US = int(6.5 * 3600 * 1e6)
"""Of one session; how many bars that makes need not be exact."""
AT_ONCE = 50
"""Trades of a symbol tried at all turns together, so that memory is bounded."""
WEEK_US = 7 * DAY_US
ALL = "all"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calendar:
    """The sessions (weeks, of weekly bars) at which an entry may stand, and where in them each bar begins."""

    starts: Times
    first: int
    count: int
    since_us: int
    """Entries before this instant are not asked for."""

    def turned(self, ts: Times, offsets: Index) -> tuple[Times, NDArray[np.bool_]]:
        """Starts of the bars each offset further on, a row for each of `ts`; and which of `ts` take part."""
        unit = np.searchsorted(self.starts, ts, side="right") - 1
        inside = (unit >= self.first) & (unit < self.first + self.count)
        within = ts - self.starts[np.maximum(unit, 0)]
        to = self.first + (unit[:, None] - self.first + offsets[None, :]) % self.count
        return self.starts[to] + within[:, None], inside


def calendar(
    timeframe: str, first_us: int, last_us: int, sessions: Sessions, since_us: int | None = None
) -> Calendar:
    """Of a market whose bars start from `first_us` to `last_us`: those at which a trade can begin and end."""
    frame, units = TIMEFRAMES[timeframe], 1
    if frame.name == "1w":
        starts = np.arange(first_us, last_us + 1, WEEK_US, dtype=np.int64)
    elif frame.name == "1d":
        starts = sessions.days * DAY_US
    else:
        starts, units = sessions.opens, max(1, REGULAR_US // frame.length_us)
    begin, end = np.searchsorted(starts, [first_us, last_us], side="right").tolist()
    first = max(begin - 1, 0) + ceil(TREND / units)
    if since_us is not None:
        first = max(first, int(np.searchsorted(starts, since_us)))
    return Calendar(starts, first, end - ceil(MOST_BARS / units) + 1 - first, since_us or first_us)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The mean R of some trades beside that of the same trades at other dates."""

    trade_count: int
    avg_r: float
    null_avg_r: float
    null_low: float
    """Of 100 turns, two or three are below this."""
    null_high: float
    p: float
    """Share of the turns, the real dates counted as one, that earned at least as much."""


@dataclass(slots=True)
class Chance:
    """Adds up, symbol by symbol, what trades earn at their own dates and at turned ones."""

    calendar: Calendar
    offsets: Index
    earned: dict[str, list[float]] = field(default_factory=dict)
    turned: dict[str, Floats] = field(default_factory=dict)

    @classmethod
    def seeded(cls, calendar: Calendar, turns: int, seed: int) -> "Chance":
        """Turns drawn evenly from all that there are."""
        random = Random(seed)
        drawn = [int(random.random() * calendar.count) for _ in range(turns)]
        return cls(calendar, np.array(drawn, np.int64))

    def add(self, tape: Tape, followed: Sequence[Followed]) -> None:
        """Trades of one symbol. Only those with a whole trade's bars ahead and the mean true range behind."""
        if self.calendar.count < 2:
            return
        judged = [f for f in followed if f.trade.realized_r is not None and self._may_begin(tape, f.at)]
        for start in range(0, len(judged), AT_ONCE):
            part = judged[start : start + AT_ONCE]
            for one, at_other_dates in zip(part, self._tried(tape, part), strict=True):
                assert one.trade.realized_r is not None
                for name in (one.pattern.kind, ALL):
                    self.earned.setdefault(name, []).append(one.trade.realized_r)
                    so_far = self.turned.setdefault(name, np.zeros(len(self.offsets)))
                    so_far += at_other_dates

    def verdicts(self) -> Mapping[str, Verdict]:
        """By pattern type, and of all together."""
        return {name: self._verdict(name) for name in sorted(self.earned)}

    def _verdict(self, name: str) -> Verdict:
        earned = self.earned[name]
        real, others = fsum(earned) / len(earned), self.turned[name] / len(earned)
        low, high = np.quantile(others, [0.025, 0.975]).tolist()
        as_good = int(np.count_nonzero(others >= real - 1e-9))
        p = (1 + as_good) / (1 + len(others))
        return Verdict(len(earned), real, fsum(others.tolist()) / len(others), low, high, p)

    def _first(self, tape: Tape) -> int:
        """The first bar of the symbol at which a trade can begin."""
        return max(TREND, int(np.searchsorted(tape.bars["ts"], self.calendar.since_us)))

    def _may_begin(self, tape: Tape, at: int) -> bool:
        fits = self._first(tape) <= at <= len(tape) - MOST_BARS
        return fits and bool(tape.true_range_sum[at] > 0)

    def _tried(self, tape: Tape, followed: Sequence[Followed]) -> Floats:
        """R of each trade at each turn: a row for each trade."""
        at = np.array([f.at for f in followed], np.int64)
        to = self._places(tape, at)
        stop, target = (self._moved(tape, at, to, levels) for levels in _levels(followed))
        sign = np.array([f.trade.sign for f in followed])
        signs = np.repeat(sign, len(self.offsets))
        flat = outcomes(tape.bars, to.ravel(), signs, stop.ravel(), target.ravel())
        return flat.reshape(to.shape)

    def _places(self, tape: Tape, at: Index) -> Index:
        """Where each entry comes to stand. A symbol without that bar is turned around its own history."""
        ts, bars = np.ascontiguousarray(tape.bars["ts"]), len(tape)
        wanted, inside = self.calendar.turned(ts[at], self.offsets)
        found = np.minimum(np.searchsorted(ts, wanted), bars - 1)
        first, last = self._first(tape), bars - MOST_BARS
        there = (ts[found] == wanted) & (found >= first) & (found <= last) & inside[:, None]
        alone = first + (at[:, None] - first + self.offsets[None, :]) % (last - first + 1)
        return np.where(there, found, alone)

    def _moved(self, tape: Tape, at: Index, to: Index, levels: Floats) -> Floats:
        """A level by the entry price, as many mean true ranges from a turned entry as from the real one."""
        usual = tape.true_range_sum
        here, there = usual[at][:, None], usual[to]
        moved: Floats = np.exp(levels[:, None] * np.where(there > 0, there / here, 1.0))
        return moved


def _levels(followed: Sequence[Followed]) -> tuple[Floats, Floats]:
    """Logarithms of stop and target by the entry price."""
    stops, targets = [], []
    for trade in (f.trade for f in followed):
        assert trade.entry_price is not None
        stops.append(log(trade.stop / trade.entry_price))
        targets.append(log(trade.target / trade.entry_price))
    return np.array(stops), np.array(targets)


def outcomes(bars: Rows, at: Index, sign: Any, stop: Floats, target: Floats) -> Floats:
    """R of trades entered at the opens of bars `at`, by the rules of domain.trades; levels by the entry."""
    entry = bars["open"][at][:, None]
    opens, highs, lows, closes = (
        sliding_window_view(bars[name], MOST_BARS)[at] / entry for name in ("open", "high", "low", "close")
    )
    long, s, t = (sign > 0)[:, None], stop[:, None], target[:, None]
    stopped = np.where(long, lows <= s, highs >= s)
    reached = np.where(long, highs >= t, lows <= t)
    over = stopped | reached
    rows, bar = np.arange(len(at)), over.argmax(axis=1)
    opening, s, t = opens[rows, bar], stop, target
    gapped = np.where(sign > 0, (opening <= s) | (opening >= t), (opening >= s) | (opening <= t))
    gapped &= bar > 0  # an entry at its own open is no gap
    price = np.where(gapped, opening, np.where(stopped[rows, bar], s, t))
    price = np.where(over[rows, bar], price, closes[:, -1])
    earned: Floats = (price - 1) / (1 - s)
    return earned
