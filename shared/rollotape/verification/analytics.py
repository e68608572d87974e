"""Rollups added up once more: in decimals, one trade after the other, days and months from the trades."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal
from itertools import product
from typing import Any

from rollotape.domain.rollups import LAST, Trade

_EXACT = Context(prec=1_000)
_BREAKEVEN = Decimal("1e-9")
_ZERO = Decimal(0)

Key = tuple[Any, ...]
Row = tuple[Any, ...]
"""The columns of a table behind its key."""


@dataclass(slots=True)
class Sum:
    """What trades have earned so far."""

    trades: int = 0
    wins: int = 0
    losses: int = 0
    total: Decimal = _ZERO
    won: Decimal = _ZERO
    lost: Decimal = _ZERO
    squares: Decimal = _ZERO
    highest: Decimal = _ZERO
    lowest: Decimal = _ZERO
    fall: Decimal = _ZERO
    held: Counter[int] = field(default_factory=Counter)
    last_exit: int = 0
    last: list[Decimal] = field(default_factory=list)

    def add(self, trade: Trade) -> None:
        """One trade more, later than those before it."""
        self.trades += 1
        if trade.r > _BREAKEVEN:
            self.wins += 1
            self.won = _EXACT.add(self.won, trade.r)
        elif trade.r < -_BREAKEVEN:
            self.losses += 1
            self.lost = _EXACT.add(self.lost, trade.r)
        self.total = _EXACT.add(self.total, trade.r)
        self.squares = _EXACT.add(self.squares, _EXACT.multiply(trade.r, trade.r))
        self.highest = max(self.highest, self.total)
        self.lowest = min(self.lowest, self.total)
        self.fall = max(self.fall, _EXACT.subtract(self.highest, self.total))
        self.held[trade.sessions] += 1
        self.last_exit = trade.exit_us
        self.last = [*self.last, trade.r][-LAST:]

    def row(self) -> Row:
        sessions = sorted(self.held)
        return (
            self.trades, self.wins, self.losses, self.total, self.won, self.lost, self.squares,
            self.highest, self.lowest, self.fall, sessions, [self.held[n] for n in sessions], self.last_exit,
        )  # fmt: skip


def kind(trade: Trade) -> Key:
    """The key of performance_days, but for the day."""
    return tuple(trade[4:])


def headings(trade: Trade) -> Iterator[Key]:
    """Everything under which a trade counts: the key of performance_headlines, but for grain and period."""
    phases = ("all", trade.phase) if trade.phase else ("all",)
    tests = ("all",) if trade.test_confirmed is None else ("all", "yes" if trade.test_confirmed else "no")
    rest = list(product(("all", trade.timeframe), ("all", trade.origin), tests))
    for phase, others in product(phases, rest):
        yield "all", None, phase, *others
        yield "type", trade.pattern_type, phase, *others
    for others in rest:
        yield "sector", trade.sector, "all", *others


def days(day: date, trades: Iterable[Trade]) -> dict[Key, Row]:
    """Rows of performance_days, from the trades of a day by exit instant, then id."""
    found: dict[Key, Sum] = {}
    for trade in trades:
        found.setdefault((day, *kind(trade)), Sum()).add(trade)
    return {key: total.row() for key, total in found.items()}


def headlines(grain: str, period: date, trades: Iterable[Trade]) -> dict[Key, Row]:
    """Rows of performance_headlines, from the trades of a day or month by exit instant, then id."""
    found: dict[Key, Sum] = {}
    for trade in trades:
        for heading in headings(trade):
            found.setdefault((grain, period, *heading), Sum()).add(trade)
    return {key: (*total.row(), _last(key, total)) for key, total in found.items()}


def _last(key: Key, total: Sum) -> list[Decimal] | None:
    return total.last if key[0] == "day" and key[-1] == "all" else None


def in_order(trades: Iterable[Trade]) -> list[Trade]:
    return sorted(trades, key=lambda trade: (trade.exit_us, trade.id.bytes))


def missing(stored: Mapping[Key, Row], expected: Mapping[Key, Row]) -> Iterator[Key]:
    """Keys whose rows differ, or that only one side has."""
    for key in stored.keys() | expected.keys():
        if stored.get(key) != expected.get(key):
            yield key
