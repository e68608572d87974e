"""Bars as the fold reads them: logarithms in whole numbers, the means of the rules, and where to look.

Everything here depends on a bar's own window alone. Logarithms are whole multiples of 2**-46, so running sums
of them are exact whatever they started with; volumes are added up in one fixed order. So a value is the same
number, to the last bit, in a batch of any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import log
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rollotape.domain.bars import Flags, Rows
from rollotape.domain.wyckoff.rules import CREST, CURRENT, LOOKBACK, TREND, Rules

QUANTUM = 2.0**-46
"""Fine enough for 1e-9 of the calmest minute; 50 logarithms of any double, times 100, fit into 64 bits."""
MAX_DAYS = 60
"""A daily mean whose bars reach back further than this is no yardstick any more."""

Index = NDArray[np.int64]
Volumes = NDArray[np.float64]


@dataclass(slots=True)
class View:
    """One side's view of the prices: as they are for accumulation, turned over for distribution."""

    sign: int
    high: Index
    low: Index
    close: Index
    climaxes: Index
    """Positions of bars that are a climax, if the range allows."""
    supports: Index
    """Positions of bars that are preliminary support, if what came before allows."""
    below: Index
    """How far the close lies below the 50-bar mean, in fiftieths."""


@dataclass(slots=True)
class Tape:
    """The analysed bars of one symbol and timeframe, oldest first, to be folded from position `start` on.

    Sums are over the previous 20 bars. What is derived is only there from `start` on.
    """

    rules: Rules
    bars: Rows
    start: int
    accumulation: View
    distribution: View
    volume_sum: Volumes
    spread_sum: Index
    true_range_sum: Index
    evaluable: Flags
    quiet: Flags
    """Volume low enough for a test."""
    strong: Flags
    """Volume and spread of a sign of strength."""

    def __len__(self) -> int:
        return len(self.bars)


def read(
    parts: Sequence[Rows], starts: Sequence[int], daily: Sequence[bool], rules: Rules = CURRENT
) -> list[Tape]:
    """One tape for every part, by one rule set; read together, because numpy likes long arrays.

    Bars from `starts[i]` on are to be folded; part i begins with its key's history, or at least REACH bars
    before that.
    """
    lengths = [len(part) for part in parts]
    ends = np.cumsum(lengths)
    firsts = ends - np.array(lengths)
    bars = parts[0] if len(parts) == 1 else _joined(parts, firsts)
    position = np.arange(len(bars)) - np.repeat(firsts, lengths)
    wanted = np.flatnonzero(position >= np.repeat(np.array(starts), lengths))
    whole = _read(bars, position, np.repeat(np.array(daily, bool), lengths), wanted, rules)
    if len(parts) == 1:
        whole.start = starts[0]
        return [whole]
    here = [slice(first, end) for first, end in zip(firsts.tolist(), ends.tolist(), strict=True)]
    views = zip(_views(whole.accumulation, here), _views(whole.distribution, here), strict=True)
    return [_part(whole, cut, start, *both) for cut, start, both in zip(here, starts, views, strict=True)]


def _joined(parts: Sequence[Rows], firsts: Index) -> Rows:
    """As numpy.concatenate, which takes much longer to find out that all parts have one type."""
    out = np.empty(firsts[-1] + len(parts[-1]), parts[0].dtype)
    for first, part in zip(firsts.tolist(), parts, strict=True):
        out[first : first + len(part)] = part
    return out


def quanta(prices: NDArray[np.float64]) -> Index:
    """Natural logarithms as whole numbers. By math.log: numpy's differs by the length of an array's rest."""
    logs = np.fromiter(map(log, prices.tolist()), np.float64, len(prices))
    return np.rint(logs / QUANTUM).astype(np.int64)


def _read(bars: Rows, position: Index, daily: Flags, at: Index, rules: Rules) -> Tape:
    """Everything at the positions `at`; positions of other bars stay 0."""
    high, low, close = (quanta(bars[name]) for name in ("high", "low", "close"))
    volume = np.ascontiguousarray(bars["volume"])
    spread = high - low
    before = _back(close, 1)
    true_range = np.maximum(high, before) - np.minimum(low, before)
    volume_sum = _added(volume, at)
    spread_sum, range_sum = _sum(spread, at, LOOKBACK), _sum(true_range, at, LOOKBACK)
    here, heard, wide = position[at], LOOKBACK * volume[at], LOOKBACK * spread[at]

    session = bars["session"]
    near = session[at] - session[at - np.minimum(here, LOOKBACK)] <= MAX_DAYS
    evaluable = (here > LOOKBACK) & (volume_sum > 0) & (range_sum > 0) & (near | ~daily[at])
    climactic = evaluable & (here >= TREND - 1) & (wide > 0)
    climactic &= _at_least(heard, rules.climax_volume, volume_sum)
    climactic &= _at_least(wide, rules.climax_spread, spread_sum)
    supporting = evaluable & (here >= CREST - 1) & _at_least(heard, rules.ps_volume, volume_sum)
    supporting &= _at_least(wide, rules.ps_spread, range_sum)
    quiet = evaluable & _less(heard, rules.test_volume, volume_sum)
    strong = evaluable & _at_least(heard, rules.sos_volume, volume_sum)
    strong &= _at_least(wide, rules.sos_spread, spread_sum)

    mean_close = _sum(close, at, TREND - 1) + close[at]  # 50 times the mean, the bar itself included
    lookback = at - np.minimum(here, LOOKBACK)
    previous = at - np.minimum(here, 1)

    def view(sign: int) -> View:
        h, lo, c = (high, low, close) if sign > 0 else (-low, -high, -close)
        now = c[at]
        below = sign * mean_close - TREND * now
        down = (below > 0) & (now < c[lookback])
        place = LOOKBACK * (now - lo[at])
        climax = climactic & down & (now < c[previous]) & _at_least(place, rules.climax_place, wide)
        climax &= _at_least(LOOKBACK * below, TREND * rules.climax_decline, range_sum)
        climax[climax] = lo[at[climax]] < _lowest(lo, at[climax])
        support = supporting & down & _at_least(place, rules.ps_place, wide) & ~climax
        return View(sign, h, lo, c, at[climax], at[support], _spread_out(below, at, len(bars)))

    derived = (volume_sum, spread_sum, range_sum, evaluable, quiet, strong)
    everywhere = (_spread_out(values, at, len(bars)) for values in derived)
    return Tape(rules, bars, 0, view(1), view(-1), *everywhere)


def _spread_out(values: Any, at: Index, count: int) -> Any:
    if len(values) == count:
        return values
    out = np.zeros(count, values.dtype)
    out[at] = values
    return out


def _views(whole: View, here: Sequence[slice]) -> list[View]:
    climaxes, supports = _cuts(whole.climaxes, here), _cuts(whole.supports, here)
    return [
        View(
            whole.sign, whole.high[cut], whole.low[cut], whole.close[cut],
            whole.climaxes[some] - cut.start, whole.supports[other] - cut.start, whole.below[cut],
        )
        for cut, some, other in zip(here, climaxes, supports, strict=True)
    ]  # fmt: skip


def _cuts(positions: Index, here: Sequence[slice]) -> list[slice]:
    first = np.searchsorted(positions, [cut.start for cut in here])
    last = np.searchsorted(positions, [cut.stop for cut in here])
    return [slice(*pair) for pair in zip(first.tolist(), last.tolist(), strict=True)]


def _part(whole: Tape, cut: slice, start: int, accumulation: View, distribution: View) -> Tape:
    return Tape(
        whole.rules, whole.bars[cut], start, accumulation, distribution,
        whole.volume_sum[cut], whole.spread_sum[cut],
        whole.true_range_sum[cut], whole.evaluable[cut], whole.quiet[cut], whole.strong[cut],
    )  # fmt: skip


def _at_least(values: Any, factor: Fraction, others: Any) -> Flags:
    """values >= factor * others, exactly where the products are whole."""
    return np.asarray(values * factor.denominator >= others * factor.numerator, bool)


def _less(values: Any, factor: Fraction, others: Any) -> Flags:
    return np.asarray(values * factor.denominator < others * factor.numerator, bool)


def _back(values: Any, bars: int) -> Any:
    out = np.zeros_like(values)
    out[bars:] = values[:-bars]
    return out


def _sum(values: Index, at: Index, bars: int) -> Index:
    """Sum over the `bars` before each position; whole numbers, so running sums are exact.

    Garbage for the first bars of a series, which are not evaluable.
    """
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    sums: Index = total[at] - total[np.maximum(at - bars, 0)]
    return sums


def _added(values: Volumes, at: Index) -> Volumes:
    """Sum of doubles over the previous 20 bars: always oldest first, so that it is rounded alike."""
    first = np.maximum(at - LOOKBACK, 0)
    total: Volumes = values[first]
    for offset in range(1, LOOKBACK):
        total += values[np.minimum(first + offset, len(values) - 1)]
    return total


def _lowest(low: Index, at: Index) -> Index:
    """The lowest low of the previous 20 bars at each of these positions."""
    if not len(at):
        return at
    extremes: Index = sliding_window_view(low, LOOKBACK)[at - LOOKBACK].min(axis=1)
    return extremes
