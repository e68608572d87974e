"""Which saved scans a symbol is in: many scans held against one pattern at once.

A scan looks at many patterns with one set of filters, column by column. Here it is the other way round: a
pattern that has changed is held against every saved scan, so the columns are those of the scans.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollotape.domain.scan import Filters, Row, Table

CONFIDENCE_MIN = 0.5
"""What a scan asks for that says nothing of it."""
_LONG_AGO_US = -(2**62)
_WORDS = ("pattern_type", "timeframe", "side", "phase", "sector")
_NUMBERS = ("confidence", "rs_ratio", "rs_excess", "vol_ratio", "rsi")
_LEAST = ("confidence_min", "rs_min", "rs_excess_min", "vol_min")
"""Of each number but the last one, which has a range."""
_NOTHING: frozenset[str] = frozenset()

Mask = NDArray[np.bool_]
Found = dict[tuple[Any, str], Row]
"""By id of the scan and symbol its surest pattern that the scan shows; of equal ones that of the first id."""
Memberships = Mapping[str, Collection[str]]
"""Keys of the universes that a symbol is in."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a saved scan asks for. None of its filters names symbols; `symbols` does."""

    filters: Filters
    symbols: frozenset[str] | None = None
    """Those that are named and on the watchlist, where it has one."""
    universe: str | None = None

    def has(self, symbol: str, memberships: Memberships) -> bool:
        """Whether it may show this symbol at all."""
        if self.symbols is not None and symbol not in self.symbols:
            return False
        return self.universe is None or self.universe in memberships.get(symbol, _NOTHING)


def criteria(said: Mapping[str, Any], watchlist: Collection[str] | None) -> Criteria:
    """Of the parameters of a saved scan as they are stored, and the symbols of its watchlist."""
    named = said.get("symbols")
    symbols = None if named is None else frozenset(named)
    if watchlist is not None:
        symbols = frozenset(watchlist) if symbols is None else symbols.intersection(watchlist)
    low_high = said.get("rsi_range")
    filters = Filters(
        pattern_types=said.get("pattern_types"),
        sectors=said.get("sectors"),
        timeframes=said.get("timeframes"),
        phases=said.get("phase"),
        sides=said.get("side"),
        confidence_min=said.get("confidence_min", CONFIDENCE_MIN),
        rs_min=said.get("rs_min"),
        rs_excess_min=said.get("rs_excess_min"),
        vol_min=said.get("vol_min"),
        rsi_range=None if low_high is None else (low_high[0], low_high[1]),
        test_confirmed=said.get("test_confirmed"),
    )
    return Criteria(filters, symbols, said.get("universe"))


class _Bounds(NamedTuple):
    """Those of every scan on one number, and which of them have none."""

    least: NDArray[np.float64]
    most: NDArray[np.float64]
    free: Mask

    def passing(self, value: float | None) -> Mask:
        if value is None:
            return self.free
        passing: Mask = (self.least <= value) & (value <= self.most)
        return passing


class _Among(NamedTuple):
    """For every word that a scan asks for, the scans that let it through; and those that let through any."""

    by_word: dict[str, Mask]
    free: Mask

    def passing(self, value: str | None) -> Mask:
        return self.free if value is None else self.by_word.get(value, self.free)


class Book:
    """Saved scans as columns. Never changes."""

    def __init__(self, scans: Mapping[Any, Criteria]) -> None:
        self.ids = list(scans)
        self._criteria = list(scans.values())
        asked = [c.filters for c in self._criteria]
        self._words = [
            _among([getattr(f, name) for f in asked])
            for name in ("pattern_types", "timeframes", "sides", "phases", "sectors")
        ]
        self._numbers = [
            *(_bounds([(getattr(f, name), None) for f in asked]) for name in _LEAST),
            _bounds([f.rsi_range or (None, None) for f in asked]),
        ]
        self._tests = np.array(
            [-1 if f.test_confirmed is None else int(f.test_confirmed) for f in asked], np.int8
        )
        self._narrow = [i for i, c in enumerate(self._criteria) if c.symbols is not None or c.universe]

    @property
    def names_universes(self) -> bool:
        return any(c.universe is not None for c in self._criteria)

    def find(self, rows: Iterable[Row], memberships: Memberships, *, without: Collection[Any] = ()) -> Found:
        """Which scans these patterns are in, by scan and symbol; those of `without` are not looked at."""
        found: Found = {}
        looked_at = np.array([i not in without for i in self.ids], np.bool_)
        ordered = sorted(rows, key=lambda row: (row.symbol, -row.confidence, row.id))
        for symbol, of_symbol in groupby(ordered, key=attrgetter("symbol")):
            left = looked_at & self._open_to(symbol, memberships)
            for row in of_symbol:
                passing = left & self._passing(row)
                for i in np.flatnonzero(passing):
                    found[self.ids[i], symbol] = row
                left &= ~passing
        return found

    def _open_to(self, symbol: str, memberships: Memberships) -> Mask:
        mask = np.ones(len(self.ids), np.bool_)
        shut = [i for i in self._narrow if not self._criteria[i].has(symbol, memberships)]
        mask[shut] = False
        return mask

    def _passing(self, row: Row) -> Mask:
        mask: Mask = self._tests == -1
        if row.test_confirmed is not None:
            mask |= self._tests == int(row.test_confirmed)
        for words, name in zip(self._words, _WORDS, strict=True):
            mask &= words.passing(getattr(row, name))
        for numbers, name in zip(self._numbers, _NUMBERS, strict=True):
            mask &= numbers.passing(getattr(row, name))
        return mask


def _among(wanted: Sequence[Collection[str] | None]) -> _Among:
    free = np.array([words is None for words in wanted], np.bool_)
    by_word: dict[str, Mask] = {}
    for i, words in enumerate(wanted):
        for word in words or ():
            by_word.setdefault(word, free.copy())[i] = True
    return _Among(by_word, free)


def _bounds(pairs: Sequence[tuple[float | None, float | None]]) -> _Bounds:
    least = np.array([-np.inf if low is None else low for low, _ in pairs], np.float64)
    most = np.array([np.inf if high is None else high for _, high in pairs], np.float64)
    return _Bounds(least, most, np.array([pair == (None, None) for pair in pairs], np.bool_))


def fill(scans: Mapping[Any, Criteria], rows: Sequence[Row], memberships: Memberships) -> Found:
    """The same of few scans and every pattern there is."""
    table = Table.of(rows, [b""] * len(rows))
    by_id = {row.id: row for row in rows}
    found: Found = {}
    for scan_id, asked in scans.items():
        filters = replace(asked.filters, symbols=asked.symbols)
        chosen = table.select(filters, now_us=_LONG_AGO_US)  # the surest first, equal ones by id
        _, first = np.unique(table.symbol.codes[chosen], return_index=True)
        for i in chosen[first]:
            row = by_id[table.ids[i].decode()]
            if asked.universe is None or asked.has(row.symbol, memberships):
                found[scan_id, row.symbol] = row
    return found
