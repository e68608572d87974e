"""Closes of a market as flat arrays: one stock after the other, oldest first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Closes:
    """Closes of one symbol by day (days since 1970), oldest first, each day once."""

    day: Ints
    close: Floats
    cut: bool = False
    """Older ones exist that are not here."""


@dataclass(frozen=True, slots=True)
class Market:
    """Stocks with at least one close, by symbol, and the benchmarks they are measured by.

    The closes of stock i are those from `start[i]` up to `start[i + 1]`. Benchmarks are never cut.
    """

    symbols: list[str]
    sectors: list[str | None]
    start: Ints
    day: Ints
    close: Floats
    cut: Flags
    benchmarks: Mapping[str, Closes] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        stocks: Mapping[str, Closes],
        sectors: Mapping[str, str | None],
        benchmarks: Mapping[str, Closes],
    ) -> "Market":
        symbols = sorted(s for s, closes in stocks.items() if len(closes.day))
        series = [stocks[s] for s in symbols]
        return cls(
            symbols=symbols,
            sectors=[sectors.get(s) for s in symbols],
            start=np.cumsum([0, *(len(s.day) for s in series)]),
            day=np.concatenate([np.empty(0, np.int64), *(s.day for s in series)]),
            close=np.concatenate([np.empty(0), *(s.close for s in series)]),
            cut=np.array([s.cut for s in series], bool),
            benchmarks=benchmarks,
        )

    def __len__(self) -> int:
        return len(self.symbols)

    def parts(self, closes: int) -> "Iterator[tuple[slice, Market]]":
        """The same market, so many closes at a time or one stock: arrays that fit the processor's cache."""
        first = 0
        while first < len(self):
            end = int(np.searchsorted(self.start, self.start[first] + closes, side="right")) - 1
            end = max(first + 1, end)
            flat = slice(self.start[first], self.start[end])
            yield slice(first, end), Market(
                symbols=self.symbols[first:end],
                sectors=self.sectors[first:end],
                start=self.start[first : end + 1] - self.start[first],
                day=self.day[flat],
                close=self.close[flat],
                cut=self.cut[first:end],
                benchmarks=self.benchmarks,
            )
            first = end


def owners(start: Ints) -> Ints:
    """Of every element of flat arrays, the index of the series it belongs to."""
    return np.repeat(np.arange(len(start) - 1), np.diff(start))
