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
from rollotape.domain.wyckoff.rules import CREST, LOOKBACK, TREND, Rules

QUANTUM = 2.0**-46
"""Fine enough for 1e-9 of the calmest minute; 50 logarithms of any double, times 100, fit into 64 bits."""
MAX_DAYS = 60
"""A daily mean whose bars reach back further than this is no yardstick any more."""

Index = NDArray[np.int64]
Volumes = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Tape:
    """The analysed bars of one symbol and timeframe, oldest first; sums are over the previous 20 bars."""

    bars: Rows
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


def read(parts: Sequence[Rows], daily: Sequence[bool], rules: Rules) -> list[Tape]:
    """One tape for every part; read together, because numpy likes long arrays.

    A part begins with its key's history, or REACH bars before the first that is to be folded.
    """
    lengths = [len(part) for part in parts]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    bars = parts[0] if len(parts) == 1 else np.concatenate(parts)
    position = np.arange(len(bars)) - np.repeat(starts, lengths)
    whole = _read(bars, position, np.repeat(np.array(daily, bool), lengths), rules)
    if len(parts) == 1:
        return [whole]
    return [_part(whole, int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def quanta(prices: NDArray[np.float64]) -> Index:
    """Natural logarithms as whole numbers. By math.log: numpy's differs by the length of an array's rest."""
    logs = np.fromiter(map(log, prices.tolist()), np.float64, len(prices))
    return np.rint(logs / QUANTUM).astype(np.int64)


def _read(bars: Rows, position: Index, daily: Flags, rules: Rules) -> Tape:
    high, low, close = (quanta(bars[name]) for name in ("high", "low", "close"))
    volume = np.ascontiguousarray(bars["volume"])
    spread = high - low
    before = _back(close, 1)
    true_range = np.maximum(high, before) - np.minimum(low, before)
    volume_sum = _added(volume, LOOKBACK)
    spread_sum, range_sum = _sums(spread, LOOKBACK), _sums(true_range, LOOKBACK)

    session = bars["session"]
    near = session - _back(session, LOOKBACK) <= MAX_DAYS
    evaluable = (position > LOOKBACK) & (volume_sum > 0) & (range_sum > 0) & (near | ~daily)

    def volume_at_least(factor: Fraction) -> Flags:
        return _at_least(LOOKBACK * volume, factor, volume_sum)

    def spread_at_least(factor: Fraction, total: Index) -> Flags:
        return _at_least(LOOKBACK * spread, factor, total)

    climactic = evaluable & (position >= TREND - 1) & (spread > 0) & volume_at_least(rules.climax_volume)
    climactic &= spread_at_least(rules.climax_spread, spread_sum)
    supporting = evaluable & (position >= CREST - 1) & volume_at_least(rules.ps_volume)
    supporting &= spread_at_least(rules.ps_spread, range_sum)
    quiet = evaluable & _less(LOOKBACK * volume, rules.test_volume, volume_sum)
    strong = evaluable & volume_at_least(rules.sos_volume)
    strong &= spread_at_least(rules.sos_spread, spread_sum)

    mean_close = _sums(close, TREND - 1) + close  # 50 times the mean, the bar itself included

    def view(sign: int) -> View:
        h, lo, c = (high, low, close) if sign > 0 else (-low, -high, -close)
        below = sign * mean_close - TREND * c
        down = (below > 0) & (c < _back(c, LOOKBACK))
        place = c - lo
        climax = climactic & down & (c < _back(c, 1)) & _at_least(place, rules.climax_place, spread)
        climax &= _at_least(LOOKBACK * below, TREND * rules.climax_decline, range_sum)
        climax[climax] = lo[climax] < _lowest(lo, np.flatnonzero(climax))
        support = supporting & down & _at_least(place, rules.ps_place, spread) & ~climax
        return View(sign, h, lo, c, np.flatnonzero(climax), np.flatnonzero(support), below)

    return Tape(bars, view(1), view(-1), volume_sum, spread_sum, range_sum, evaluable, quiet, strong)


def _part(tape: Tape, start: int, end: int) -> Tape:
    here = slice(start, end)

    def view(v: View) -> View:
        climaxes, supports = (
            at[slice(*np.searchsorted(at, (start, end)))] - start for at in (v.climaxes, v.supports)
        )
        return View(v.sign, v.high[here], v.low[here], v.close[here], climaxes, supports, v.below[here])

    return Tape(
        tape.bars[here],
        view(tape.accumulation),
        view(tape.distribution),
        tape.volume_sum[here],
        tape.spread_sum[here],
        tape.true_range_sum[here],
        tape.evaluable[here],
        tape.quiet[here],
        tape.strong[here],
    )


def _at_least(values: Any, factor: Fraction, others: Any) -> Flags:
    """values >= factor * others, exactly where the products are whole."""
    return np.asarray(values * factor.denominator >= others * factor.numerator, bool)


def _less(values: Any, factor: Fraction, others: Any) -> Flags:
    return np.asarray(values * factor.denominator < others * factor.numerator, bool)


def _back(values: Any, bars: int) -> Any:
    out = np.zeros_like(values)
    out[bars:] = values[:-bars]
    return out


def _sums(values: Index, bars: int) -> Index:
    """Sum over the previous `bars`, the bar itself excluded; whole numbers, so running sums are exact.

    Garbage for the first bars of a series, which are not evaluable.
    """
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    out = np.zeros_like(values)
    out[bars:] = total[bars:-1] - total[: -bars - 1]
    return out


def _added(values: Volumes, bars: int) -> Volumes:
    """The same for doubles: always oldest first, so that rounding is the same in any batch."""
    out = np.zeros_like(values)
    if len(values) > bars:
        total = values[: len(values) - bars].copy()
        for offset in range(1, bars):
            total += values[offset : len(values) - bars + offset]
        out[bars:] = total
    return out


def _lowest(low: Index, at: Index) -> Index:
    """The lowest low of the previous 20 bars at each of these positions."""
    if not len(at):
        return at
    extremes: Index = sliding_window_view(low, LOOKBACK)[at - LOOKBACK].min(axis=1)
    return extremes
