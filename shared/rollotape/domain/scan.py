"""Active patterns as columns: filtered and sorted without looking at one after the other."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SORTS = ("confidence", "detected_at", "symbol", "rs", "volume")
_SORT_COLUMNS = {"rs": "rs_ratio", "volume": "vol_ratio"}
_NUMBERS = ("confidence", "rs_ratio", "rs_excess", "vol_ratio", "rsi")
_WORDS = ("symbol", "pattern_type", "timeframe", "side", "phase", "sector")
_TIMES = ("detected_at", "expires_at")
_UNKNOWN = -1
_FEW_WORDS = 6
"""So many comparisons cost less than looking up the word of every row."""
_FEW_ROWS = 2_000
"""So many rows are sorted faster than they are picked out of all rows in order."""
_AT_FIRST = 1_024

Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Row(NamedTuple):
    """What of a pattern is filtered and sorted by; times in microseconds since 1970."""

    id: str
    symbol: str
    pattern_type: str
    timeframe: str
    side: str | None
    phase: str | None
    sector: str | None
    confidence: float
    rs_ratio: float | None
    rs_excess: float | None
    vol_ratio: float | None
    rsi: float | None
    test_confirmed: bool | None
    detected_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Filters:
    """What a pattern must be; None asks for nothing. A value that is unknown fails a filter on it.

    Words are compared as they are stored: symbols and types in upper case. All bounds are inclusive.
    """

    pattern_types: Collection[str] | None = None
    symbols: Collection[str] | None = None
    sectors: Collection[str] | None = None
    timeframes: Collection[str] | None = None
    phases: Collection[str] | None = None
    sides: Collection[str] | None = None
    confidence_min: float | None = None
    rs_min: float | None = None
    rs_excess_min: float | None = None
    vol_min: float | None = None
    rsi_range: tuple[float, float] | None = None
    test_confirmed: bool | None = None
    detected_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """A column of words: sorted names, and for each row the place of its name, or -1."""

    names: tuple[str, ...]
    codes: NDArray[np.int32]
    _places: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {name: i for i, name in enumerate(self.names)})

    @classmethod
    def of(cls, values: Sequence[str | None]) -> "Words":
        names = tuple(sorted({v for v in values if v is not None}))
        return cls(names, _coded(names, values))

    def among(self, wanted: Collection[str]) -> Mask:
        """Which rows have one of these words."""
        codes = [self._places[word] for word in set(wanted) if word in self._places]
        found: Mask
        if len(codes) > _FEW_WORDS:
            hit = np.zeros(len(self.names) + 1, np.bool_)  # the last one is for unknown: -1
            hit[codes] = True
            found = hit.take(self.codes)
        elif codes:
            found = self.codes == codes[0]
            for code in codes[1:]:
                found |= self.codes == code
        else:
            found = np.zeros(len(self.codes), np.bool_)
        return found

    def edited(self, kept: Mask, places: Indices, values: Sequence[str | None]) -> "Words":
        """Rows that are kept, with values put in at places among them."""
        names, codes = self.names, self.codes[kept]
        if new := {v for v in values if v is not None}.difference(names):
            names = tuple(sorted(new.union(names)))
            place = {name: i for i, name in enumerate(names)}
            moved = np.array([place[name] for name in self.names] + [_UNKNOWN], np.int32)
            codes = moved[codes]
        return Words(names, np.insert(codes, places, _coded(names, values)))


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Every active pattern, by id. Never changes: `edited` makes another one."""

    ids: NDArray[np.bytes_]
    items: NDArray[np.object_]
    """What a reader is to be shown of each pattern."""
    symbol: Words
    pattern_type: Words
    timeframe: Words
    side: Words
    phase: Words
    sector: Words
    confidence: NDArray[np.float64]
    rs_ratio: NDArray[np.float64]
    rs_excess: NDArray[np.float64]
    vol_ratio: NDArray[np.float64]
    rsi: NDArray[np.float64]
    test_confirmed: NDArray[np.int8]
    """1, 0, or -1 for unknown."""
    detected_at: NDArray[np.int64]
    expires_at: NDArray[np.int64]
    _orders: dict[tuple[str, bool], Indices] = field(default_factory=dict, repr=False)
    _ranks: dict[tuple[str, bool], Indices] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, rows: Sequence[Row], items: Sequence[bytes]) -> "Table":
        """Rows in any order, each id once."""
        order = sorted(range(len(rows)), key=lambda i: rows[i].id)
        return cls(**_columns([rows[i] for i in order], [items[i] for i in order]))

    def __len__(self) -> int:
        return len(self.ids)

    def edited(self, rows: Sequence[Row], items: Sequence[bytes], removed: Collection[str] = ()) -> "Table":
        """With these rows new or in place of the ones with their ids, and without the removed ids."""
        order = sorted(range(len(rows)), key=lambda i: rows[i].id)
        rows, items = [rows[i] for i in order], [items[i] for i in order]
        kept = np.ones(len(self), np.bool_)
        gone = [i for i in map(self.index, {row.id for row in rows}.union(removed)) if i is not None]
        kept[gone] = False
        new = _columns(rows, items)
        places = np.searchsorted(self.ids[kept], new["ids"])
        columns: dict[str, Any] = {}
        for name, added in new.items():
            old = getattr(self, name)
            if isinstance(old, Words):
                columns[name] = old.edited(kept, places, [getattr(row, name) for row in rows])
            else:
                columns[name] = np.insert(old[kept], places, added)
        return Table(**columns)

    def index(self, pattern_id: str) -> int | None:
        """Where a pattern is."""
        wanted = pattern_id.encode()
        place = int(np.searchsorted(self.ids, np.array(wanted, self.ids.dtype)))
        return place if place < len(self) and self.ids[place] == wanted else None

    def select(
        self, filters: Filters, sort_by: str = "confidence", *, descending: bool = True, now_us: int
    ) -> Indices:
        """Rows that pass and have not expired, sorted; unknown values last, equal ones by id."""
        order = self._order(sort_by, descending)
        chosen: Indices = order[self._passing(filters, now_us)[order]]
        return chosen

    def page(
        self,
        filters: Filters,
        sort_by: str = "confidence",
        *,
        descending: bool = True,
        now_us: int,
        first: int,
        count: int,
    ) -> tuple[int, Indices]:
        """How many rows `select` would find, and `count` of them after the `first` ones.

        Costs less than finding all of them: most pages are among the first.
        """
        passing = self._passing(filters, now_us)
        total, end = int(np.count_nonzero(passing)), first + count
        if total <= first:
            return total, np.empty(0, np.intp)
        order = self._order(sort_by, descending)
        if total <= _FEW_ROWS:
            rows = np.flatnonzero(passing)
            return total, rows[np.argsort(self._rank(sort_by, descending)[rows])[first:end]]
        looked_at = _AT_FIRST
        while True:
            some = order[:looked_at]
            found = np.flatnonzero(passing.take(some))
            if len(found) >= min(end, total):
                return total, some[found[first:end]]
            looked_at *= 4

    def _rank(self, sort_by: str, descending: bool) -> Indices:
        """Where each row stands in an order."""
        if (sort_by, descending) not in self._ranks:
            order = self._order(sort_by, descending)
            rank = np.empty(len(order), np.intp)
            rank[order] = np.arange(len(order))
            self._ranks[sort_by, descending] = rank
        return self._ranks[sort_by, descending]

    def _order(self, sort_by: str, descending: bool) -> Indices:
        if (sort_by, descending) not in self._orders:
            column = getattr(self, _SORT_COLUMNS.get(sort_by, sort_by))
            values = column.codes if isinstance(column, Words) else column
            # NaN goes last either way, and the rows stand in the order of their ids.
            order = np.argsort(-values if descending else values, kind="stable")
            self._orders[sort_by, descending] = order
        return self._orders[sort_by, descending]

    def _passing(self, filters: Filters, now_us: int) -> Mask:
        mask: Mask = self.expires_at > now_us
        for column, words in (
            (self.pattern_type, filters.pattern_types),
            (self.symbol, filters.symbols),
            (self.sector, filters.sectors),
            (self.timeframe, filters.timeframes),
            (self.phase, filters.phases),
            (self.side, filters.sides),
        ):
            if words is not None:
                mask &= column.among(words)
        low, high = filters.rsi_range or (None, None)
        for numbers, least in (
            (self.confidence, filters.confidence_min),
            (self.rs_ratio, filters.rs_min),
            (self.rs_excess, filters.rs_excess_min),
            (self.vol_ratio, filters.vol_min),
            (self.rsi, low),
            (self.detected_at, filters.detected_since_us),
        ):
            if least is not None:
                mask &= numbers >= least
        if high is not None:
            mask &= self.rsi <= high
        if filters.test_confirmed is not None:
            mask &= self.test_confirmed == int(filters.test_confirmed)
        return mask


def _columns(rows: Sequence[Row], items: Sequence[bytes]) -> dict[str, Any]:
    """Columns of a table by name; rows in the order of their ids."""
    held: dict[str, list[Any]] = {name: [row[i] for row in rows] for i, name in enumerate(Row._fields)}
    shown = np.empty(len(items), np.object_)
    shown[:] = items
    columns: dict[str, Any] = {
        "ids": np.array([i.encode() for i in held["id"]], "S36"),
        "items": shown,
        "test_confirmed": np.array([_UNKNOWN if v is None else v for v in held["test_confirmed"]], np.int8),
    }
    columns |= {name: Words.of(held[name]) for name in _WORDS}
    columns |= {name: np.array(held[name], np.float64) for name in _NUMBERS}  # None becomes NaN
    columns |= {name: np.array(held[name], np.int64) for name in _TIMES}
    return columns


def _coded(names: Sequence[str], values: Sequence[str | None]) -> NDArray[np.int32]:
    place: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    return np.array([place.get(value, _UNKNOWN) for value in values], np.int32)


assert {f.name for f in fields(Table)} - {"items", "ids", "_orders", "_ranks"} == set(Row._fields) - {"id"}
