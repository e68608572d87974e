"""Every stock beside one benchmark, on the dates that both have."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rollotape.domain.strength.market import Closes, Flags, Floats, Ints, Market, owners

FRESH_DAYS = 5
"""The last common date may be this many calendar days before the day that is asked about."""
MONTH_DAYS, LEAST_DAYS = 30, 25
"""A month goes back to the first common date within 30 days, which must be 25 days back at least."""
DEEPEST = 252
"""Common dates before t that any value may look at."""

_STRIDE = 1 << 32
"""More than there are days: (stock, day) becomes one number that sorts like the pair."""


@dataclass(frozen=True, slots=True, eq=False)
class At:
    """Where each (day asked, stock) stands: the position of its last common date, and what may be said of it.

    All are of shape (days, stocks); `position` means nothing where there is no common date.
    """

    position: Ints
    exists: Flags
    fresh: Flags


@dataclass(eq=False)
class Pairs:
    """Common dates of stock i and its benchmark: those from `start[i]` up to `start[i + 1]`."""

    start: Ints
    day: Ints
    stock: Floats
    benchmark: Floats
    listed: Flags
    """Of every stock, whether it has a benchmark of this kind at all."""
    suspect: Flags
    """Of every stock, whether older common dates may exist that are not here."""

    @classmethod
    def of(cls, market: Market, benchmarks: Sequence[str | None]) -> "Pairs":
        """`benchmarks` names the one of each stock."""
        names = sorted({b for b in benchmarks if b is not None})
        place = {name: i for i, name in enumerate(names)}
        which = np.array([place.get(b, -1) if b else -1 for b in benchmarks], np.int64)
        nothing = Closes(np.empty(0, np.int64), np.empty(0))
        series = [market.benchmarks.get(name, nothing) for name in names]
        owner = owners(market.start)
        close = _closes_on(series, which[owner], market.day)
        common = ~np.isnan(close)
        return cls(
            start=np.concatenate([[0], np.cumsum(common)])[market.start],
            day=market.day[common],
            stock=market.close[common],
            benchmark=close[common],
            listed=which >= 0,
            suspect=market.cut & _begins_earlier(series, which, market),
        )

    @cached_property
    def owner(self) -> Ints:
        return owners(self.start)

    @cached_property
    def ratio(self) -> Floats:
        """Price of the stock in units of its benchmark."""
        return self.stock / self.benchmark

    @cached_property
    def _key(self) -> Ints:
        return self.owner * _STRIDE + self.day

    def at(self, days: Ints) -> At:
        """The last common date of every stock as of every day."""
        first = self.start[:-1]
        asked = np.arange(len(first))[None, :] * _STRIDE + days[:, None]
        position = np.searchsorted(self._key, asked, side="right") - 1
        exists = position >= first
        last_day = np.append(self.day, 0)[np.where(exists, position, 0)]
        return At(position, exists, exists & (last_day >= days[:, None] - FRESH_DAYS))

    def back(self, position: Ints, count: int) -> tuple[Ints, Flags]:
        """Positions of the dates `count` common dates before, and which of them exist."""
        found = position - count
        return found, found >= self.start[self.owner[position]]

    def month(self, position: Ints) -> tuple[Ints, Flags]:
        """Positions of the dates a month before, and which of them will do."""
        t = self.day[position]
        found = np.searchsorted(self._key, self._key[position] - MONTH_DAYS)
        reaches_back = self.day[self.start[self.owner[position]]] <= t - MONTH_DAYS
        return found, (self.day[found] <= t - LEAST_DAYS) & reaches_back

    def lacking(self, at: At, asked: Flags) -> Flags:
        """Stocks whose history must be read further back to answer for the (day, stock) that are asked."""
        deep = at.exists & (at.position - self.start[:-1] >= DEEPEST)
        unsure = self.suspect & ~deep & (at.fresh | (asked & ~at.exists))
        return np.asarray(unsure.any(axis=0))


def _closes_on(series: Sequence[Closes], which: Ints, day: Ints) -> Floats:
    """Close of the benchmark that `which` names on each day, NaN where there is none."""
    if not len(day) or not series:
        return np.full(len(day), np.nan)
    first, last = int(day.min()), int(day.max())
    table = np.full((len(series) + 1, last - first + 1), np.nan)  # the last row, for -1, stays empty
    for row, closes in zip(table, series, strict=False):
        inside = (closes.day >= first) & (closes.day <= last)
        row[closes.day[inside] - first] = closes.close[inside]
    found: Floats = table[which, day - first]
    return found


def _begins_earlier(series: Sequence[Closes], which: Ints, market: Market) -> Flags:
    """Whether the benchmark of each stock has dates before the first one that we hold of the stock."""
    begins = np.array([*(s.day[0] if len(s.day) else _STRIDE for s in series), _STRIDE])
    return np.asarray(begins[which] < np.append(market.day, 0)[market.start[:-1]])
