"""What the closed trades of a day have earned, added up by kind and under headings; and days joined.

R is a whole number of 1e-12 here, its square one of 1e-24: sums are exact in any order, so what is added up
anew is equal, digit for digit, to what was stored. One pass adds up a whole day per heading: a trade counts
under up to forty of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, localcontext
from itertools import accumulate, compress, pairwise, product, repeat
from math import fsum
from struct import Struct
from typing import Any, Literal, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

PLACES = 12
"""Decimals of R."""
BREAKEVEN = 10 ** (PLACES - 9)
"""This much R, 1e-9, either way is neither won nor lost."""
LAST = 20
"""So many trades the rolling line of a trend looks back on."""
ALL = "all"
_HELD_DIGITS = 8
HELD_BASE = 10**_HELD_DIGITS
"""So many trades of one number of sessions there are not."""
_Q = Struct(">q")

_EXACT = Context(prec=140_000, traps=[Inexact])
"""With more digits than the number of `Measures.held` has of a trade of sixty years."""
_SMALL, _FEW = 2**62, 2**19
"""Sums of R of so few trades, if below this, and of the products of its parts fit 64 bits."""
_ROWS = 2**16
"""Groupings of a small day are worked out together until they have so many rows."""
_CELLS = 2**18
"""So many groups times numbers of sessions are counted in a table."""
_PART_BITS = 21
assert _SMALL >= _FEW * 2 * 2 ** (2 * _PART_BITS)

Numbers = NDArray[Any]
"""int64 where the numbers fit, else Python's integers in an object array: the same code serves both."""
Codes = NDArray[np.int64]


Name = Literal["all", "type", "sector"]


class Trade(NamedTuple):
    """A closed trade, as the view closed_trades has it."""

    id: UUID
    exit_us: int
    r: Decimal
    sessions: int
    """Sessions held."""
    pattern_type: str | None
    phase: str | None
    direction: str
    sector: str | None
    timeframe: str
    origin: str
    test_confirmed: bool | None


class Columns(NamedTuple):
    """Trades by exit instant, then id, column by column; `r` in whole numbers."""

    exit_us: Sequence[int]
    r: Sequence[int]
    sessions: Sequence[int]
    pattern_type: Sequence[str | None]
    phase: Sequence[str | None]
    direction: Sequence[str]
    sector: Sequence[str | None]
    timeframe: Sequence[str]
    origin: Sequence[str]
    test_confirmed: Sequence[bool | None]


class Kind(NamedTuple):
    """A full combination of dimensions: with the day the key of performance_days."""

    pattern_type: str | None
    phase: str | None
    direction: str
    sector: str | None
    timeframe: str
    origin: str
    test_confirmed: bool | None


class Heading(NamedTuple):
    """With grain and period the key of performance_headlines."""

    heading: Name
    name: str | None
    phase: str
    timeframe: str
    origin: str
    test: Literal["all", "yes", "no"]


class Measures(NamedTuple):
    """What trades have earned, in whole numbers."""

    trades: int
    wins: int
    losses: int
    r_sum: int
    r_won: int
    r_lost: int
    r_squares: int
    r_high: int
    """Highest of R added up, from 0 at the start."""
    r_low: int
    r_fall: int
    """Largest fall of R added up from its highest so far, which is at first 0."""
    held: Decimal
    """How many trades were held for how many sessions: one number, in which those held for n sessions count
    `HELD_BASE` to the power of n each. Such numbers add up. A decimal, as it is stored: an integer of so many
    digits takes long to be turned into one."""
    last_exit: int


@dataclass(frozen=True, slots=True)
class Rolled:
    """A day added up."""

    kinds: Mapping[Kind, Measures]
    headings: Mapping[Heading, Measures]
    last: Mapping[Heading, tuple[int, ...]]
    """R of the last twenty trades, oldest first, of types and all tests."""


_SUMS = 7
"""So many of the first measures simply add up."""
_TOTAL = Measures._fields.index("r_sum")


def units(r: Decimal, places: int = PLACES) -> int:
    """R as a whole number of 1e-12, and its square with twice the places; it must have no more decimals."""
    return int(_EXACT.to_integral_exact(_EXACT.scaleb(r, places)))


def decimal(number: int, places: int = PLACES) -> Decimal:
    """The other way round, with every digit."""
    return _EXACT.scaleb(Decimal(number), -places)


def packed(last: Sequence[int]) -> bytes:
    """Whole numbers of 1e-12 R in their order, so that a thousand of them are read in no time.

    The first byte says how many each of the others takes, the highest first: eight, more where one needs it.
    """
    width = max([8, *(number.bit_length() // 8 + 1 for number in last)])
    return bytes([width]) + b"".join(number.to_bytes(width, "big", signed=True) for number in last)


def unpacked(last: bytes) -> Sequence[int]:
    """The other way round."""
    width, numbers = last[0], last[1:]
    if width == _Q.size:
        return [number for (number,) in _Q.iter_unpack(numbers)]
    return [
        int.from_bytes(numbers[at : at + width], "big", signed=True) for at in range(0, len(numbers), width)
    ]


def roll(trades: Iterable[Trade]) -> Rolled:
    """Trades of one day, in whatever order."""
    return roll_ordered(sorted(trades, key=lambda trade: (trade.exit_us, trade.id.bytes)))


def roll_ordered(trades: Sequence[Trade]) -> Rolled:
    """Trades of one day by exit instant, then id."""
    _, exits, earned, *rest = zip(*trades, strict=True) if trades else [()] * len(Trade._fields)
    return roll_columns(Columns._make([exits, [units(r) for r in earned], *rest]))


def roll_columns(trades: Columns) -> Rolled:
    """Trades of one day."""
    kinds: dict[Kind, Measures] = {}
    headings: dict[Heading, Measures] = {}
    last: dict[Heading, tuple[int, ...]] = {}
    day = _Day(trades) if trades.r else None
    for grouping, groups in day.groups() if day else ():
        keys = grouping.keys(trades, groups)
        measured = [group.measures for group in groups]
        if grouping.heading is None:
            kinds |= zip(map(Kind._make, keys), measured, strict=True)
            continue
        named = [Heading._make(key) for key in keys]
        headings |= zip(named, measured, strict=True)
        if grouping.last:
            last |= zip(named, (group.last for group in groups), strict=True)
    return Rolled(kinds, headings, last)


def join(parts: Iterable[Measures]) -> Measures:
    """Of the trades of all parts, of which there is one at least, each later than the one before it."""
    added = [0] * _SUMS
    high = low = fall = last_exit = 0
    held = Decimal(0)
    for part in parts:
        total = added[_TOTAL]
        fall = max(fall, part.r_fall, high - (total + part.r_low))
        high, low = max(high, total + part.r_high), min(low, total + part.r_low)
        added = [mine + theirs for mine, theirs in zip(added, _sums(part), strict=True)]
        held = _EXACT.add(held, part.held)
        last_exit = part.last_exit
    assert held
    return Measures._make([*added, high, low, fall, held, last_exit])


def _sums(part: Measures) -> tuple[int, ...]:
    return part.trades, part.wins, part.losses, part.r_sum, part.r_won, part.r_lost, part.r_squares


def join_days(days: Iterable[Mapping[Heading, Measures]]) -> dict[Heading, Measures]:
    """Headings of a month or year, from those of its days or months in their order."""
    found: dict[Heading, list[Measures]] = {}
    for day in days:
        for heading, measures in day.items():
            found.setdefault(heading, []).append(measures)
    return {heading: join(parts) for heading, parts in found.items()}


class _Group(NamedTuple):
    first: int
    """One of its trades, for what all of them have in common."""
    measures: Measures
    last: tuple[int, ...]


class _Grouping(NamedTuple):
    """Trades alike in these columns are a group."""

    heading: Name | None
    """None: they are of one kind."""
    name: str | None
    columns: tuple[str, ...]

    @property
    def known(self) -> tuple[str, ...]:
        """Trades that have no value in one of these are in no group."""
        return () if self.heading is None else self.columns[self.name is not None :]

    @property
    def last(self) -> bool:
        """Whether the last trades of a group are asked for: a trend is of a type."""
        return self.heading == "type" and "test_confirmed" not in self.columns

    def keys(self, trades: Columns, groups: Sequence[_Group]) -> Iterator[tuple[Any, ...]]:
        """A Kind or a Heading of each group."""
        firsts = [group.first for group in groups]
        alike = {
            name: [column[i] for i in firsts] for name in self.columns for column in [getattr(trades, name)]
        }
        if self.heading is None:
            return zip(*alike.values(), strict=True)
        names = alike[self.name] if self.name else repeat(None, len(groups))
        rest = [alike.get(column) or repeat(ALL, len(groups)) for column in _GIVEN[:-1]]
        tests = [_TESTS[value] for value in alike.get("test_confirmed") or repeat(None, len(groups))]
        return zip(repeat(self.heading, len(groups)), names, *rest, tests, strict=True)


_GIVEN = ("phase", "timeframe", "origin", "test_confirmed")
_TESTS = {None: ALL, True: "yes", False: "no"}


_KINDS = _Grouping(None, None, Kind._fields)


def _groupings() -> Iterator[_Grouping]:
    yield _KINDS
    names: dict[Name, str | None] = {"all": None, "type": "pattern_type", "sector": "sector"}
    for heading, name in names.items():
        for given in product((False, True), repeat=len(_GIVEN)):
            if heading != "sector" or not given[0]:
                yield _Grouping(heading, name, (*([name] if name else []), *compress(_GIVEN, given)))


_GROUPINGS = tuple(_groupings())


class _Day:
    """The trades of a day as columns, in their order."""

    def __init__(self, trades: Columns) -> None:
        self._at_once = min(max(_ROWS // len(trades.r), 1), len(_GROUPINGS))
        self._codes = {name: _coded(getattr(trades, name)) for name in Kind._fields}
        self._sessions = _coded(trades.sessions)
        self._exits = np.array(trades.exit_us, np.int64)
        self._r = _numbers(trades.r, self._at_once)
        squares = _squares(self._r)
        self._weights = list(squares)
        won, lost = self._r > BREAKEVEN, self._r < -BREAKEVEN
        counts = [
            np.ones_like(self._r),
            *(flag.astype(np.int64).astype(self._r.dtype) for flag in (won, lost)),
        ]
        sums = np.stack([*counts, self._r, self._r * won, self._r * lost, *squares.values()])
        # Under every heading whole kinds come together: their sums are added, not those of their trades.
        code, _, _ = self._coded(_KINDS)
        which, starts, _ = _sorted([(np.arange(len(code)), code)], [0, int(code.max()) + 1])
        self._kinds = which[starts]
        self._sums = np.add.reduceat(sums[:, which], starts, axis=1)

    def groups(self) -> Iterator[tuple[_Grouping, list[_Group]]]:
        """Some groupings at a time: of a few trades a step costs no less than of many."""
        for first in range(0, len(_GROUPINGS), self._at_once):
            yield from self._some(_GROUPINGS[first : first + self._at_once])

    def _some(self, groupings: Sequence[_Grouping]) -> Iterator[tuple[_Grouping, list[_Group]]]:
        coded = [self._coded(grouping) for grouping in groupings]
        borders = list(accumulate((size for _, _, size in coded), initial=0))
        which, starts, cuts = _sorted([(np.flatnonzero(kept), code) for code, kept, _ in coded], borders)
        kinds, kinds_starts, _ = _sorted(
            [(np.flatnonzero(kept[self._kinds]), code[self._kinds]) for code, kept, _ in coded], borders
        )
        if not len(which):
            return
        ends = np.append(starts[1:], len(which))
        earned = self._r[which]
        found = zip(
            which[starts].tolist(),
            self._added(kinds, kinds_starts),
            _levels(earned, starts, ends),
            self._held(which, starts, ends),
            self._exits[which[ends - 1]].tolist(),
            _last(earned, starts, ends) if any(g.last for g in groupings) else repeat((), len(starts)),
            strict=True,
        )
        groups = [
            _Group(first, Measures._make((*sums, *levels, held, exit_us)), last)
            for first, sums, levels, held, exit_us, last in found
        ]
        for grouping, (begin, end) in zip(groupings, pairwise(cuts), strict=True):
            yield grouping, groups[begin:end]

    def _coded(self, grouping: _Grouping) -> tuple[Codes, NDArray[np.bool_], int]:
        """A number for the group of each trade, whether it is in it, and how many numbers there are."""
        code, size = np.zeros(len(self._r), np.int64), 1
        kept = np.ones(len(self._r), np.bool_)
        for column in grouping.columns:
            codes, values = self._codes[column]
            code, size = code * len(values) + codes, size * len(values)
            if column in grouping.known and None in values:
                kept &= codes != values.index(None)
        return code, kept, size

    def _added(self, kinds: Codes, starts: Codes) -> Iterator[tuple[int, ...]]:
        """Trades, wins, losses and the four sums of each group."""
        sums = np.add.reduceat(self._sums[:, kinds], starts, axis=1)
        plain, parts = sums[: _SUMS - 1].tolist(), sums[_SUMS - 1 :].astype(object)
        squares = (parts << np.array(self._weights, object)[:, None]).sum(axis=0).tolist()
        return zip(*plain, squares, strict=True)

    def _held(self, which: Codes, starts: Codes, ends: Codes) -> list[Decimal]:
        """Of each group how many trades were held for how many sessions."""
        codes, values = self._sessions
        cell = np.repeat(np.arange(len(starts)) * len(values), ends - starts) + codes[which]
        if len(starts) * len(values) <= _CELLS:
            counts = np.bincount(cell)
            found = np.flatnonzero(counts)
            counts = counts[found]
        else:
            found, counts = np.unique(cell, return_counts=True)
        borders = np.searchsorted(found, np.arange(len(starts)) * len(values))
        with localcontext(_EXACT):
            one = [Decimal(1).scaleb(_HELD_DIGITS * value) + 0 for value in values]
            parts = np.array(one, object)[found % len(values)] * counts
            whole: list[Decimal] = np.add.reduceat(parts, borders).tolist()
        return whole


def _sorted(parts: Sequence[tuple[Codes, Codes]], borders: Sequence[int]) -> tuple[Codes, Codes, list[int]]:
    """Of parts of several codes everything group by group, each in its order.

    Also where each group starts, and between which groups each part lies.
    """
    which = np.concatenate([kept for kept, _ in parts])
    code = np.concatenate([codes[kept] + b for (kept, codes), b in zip(parts, borders, strict=False)])
    # Numbers of 16 bits are sorted by counting, several times faster.
    order = np.argsort(code.astype(np.uint16) if borders[-1] <= 2**16 else code, kind="stable")
    which, code = which[order], code[order]
    starts = np.flatnonzero(np.append(True, code[1:] != code[:-1])[: len(code)])
    return which, starts, np.searchsorted(code[starts], borders).tolist()


def _last(earned: Numbers, starts: Codes, ends: Codes) -> Iterator[tuple[int, ...]]:
    whole = earned.tolist()
    for start, end in zip(np.maximum(starts, ends - LAST).tolist(), ends.tolist(), strict=True):
        yield tuple(whole[start:end])


def _levels(earned: Numbers, starts: Codes, ends: Codes) -> Iterator[tuple[int, ...]]:
    """Highest and lowest of R added up in each group, 0 at its start included, and its largest fall."""
    group = np.repeat(np.arange(len(starts)), ends - starts)
    level = np.cumsum(earned)
    level = level - (level - earned)[starts][group]
    high = np.maximum(np.maximum.reduceat(level, starts), 0)
    low = np.minimum(np.minimum.reduceat(level, starts), 0)
    # Each group is lifted above all before it, so that the highest so far forgets them by itself.
    lift = (np.cumsum(high - low) - high)[group]
    lifted = level + lift
    fall = np.maximum.reduceat(np.maximum(np.maximum.accumulate(lifted), lift) - lifted, starts)
    return zip(high.tolist(), low.tolist(), fall.tolist(), strict=True)


def _coded(column: Sequence[Any]) -> tuple[Codes, list[Any]]:
    """Which of the different values each one is, and these."""
    values = {value: i for i, value in enumerate(dict.fromkeys(column))}
    return np.fromiter(map(values.__getitem__, column), np.int64, len(column)), list(values)


def _numbers(whole: Sequence[int], times: int) -> Numbers:
    """So that even sums over so many groupings fit."""
    if len(whole) <= _FEW and fsum(map(abs, whole)) < _SMALL // times:
        return np.array(whole, np.int64)
    return np.array(whole, object)


def _squares(r: Numbers) -> dict[int, Numbers]:
    """Numbers whose sums, each shifted left by its key, are the sum of squares of R."""
    if r.dtype == object:
        return {0: r * r}
    # r = a * 2**42 + b * 2**21 + c
    size, bits, rest = np.abs(r), _PART_BITS, (1 << _PART_BITS) - 1
    a, b, c = size >> 2 * bits, (size >> bits) & rest, size & rest
    return {4 * bits: a * a, 3 * bits + 1: a * b, 2 * bits: 2 * a * c + b * b, bits + 1: b * c, 0: c * c}
