"""Rollups added up once more: in decimals, one trade after the other, every period from its trades."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from itertools import groupby, product
from random import Random
from typing import Any

from rollotape import calendars
from rollotape.domain.rollups import LAST, Trade, packed, units
from rollotape.postgres.sql import queries
from rollotape.verification import Difference

_EXACT = Context(prec=1_000)
_BREAKEVEN = Decimal("1e-9")
_ZERO = Decimal(0)
_TWELVE = Decimal("1e-12")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Key = tuple[Any, ...]
Row = tuple[Any, ...]
"""The columns of a table behind its key."""
Totals = dict[Key, "Sum"]


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
        held = Decimal(sum(trades * 10 ** (8 * sessions) for sessions, trades in self.held.items()))
        return (
            self.trades, self.wins, self.losses, self.total, self.won, self.lost, self.squares,
            self.highest, self.lowest, self.fall, held, self.last_exit,
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


Days = date | int


@dataclass(slots=True)
class Outcome:
    """What was compared, and what was found."""

    rows_checked: int = 0
    days_checked: int = 0
    days_pending: int = 0
    """Days that are due in this very snapshot; they and their months and years were not compared."""
    differences: list[Difference] = field(default_factory=list)


async def check(connection: Any, *, days: int | None = None, progress: Callable[[int, int], None]) -> Outcome:
    """Compare all rows, or those of so many days.

    The connection is inside a snapshot and has raw times: days are integers.
    """
    found, sql = Outcome(), queries("verify_analytics")
    due = {day for [day] in await connection.fetch(sql["due"])}
    answers_due = None in due
    chosen = [day for [day] in await connection.fetch(sql["days"])]
    whole = days is None or len(chosen) <= days
    if not whole:
        chosen = sorted(Random().sample(chosen, days or 0))
    if not answers_due:
        await _compare_standings(connection, found)
    done = 0
    for year, of_year in groupby(chosen, _year):
        of_a_year, pending_in_year = Totals(), False
        for month, of_month in groupby(of_year, _month):
            of_a_month, pending = Totals(), False
            for day in of_month:
                trades = await _trades(connection, day, found)
                pending = pending or day in due
                if day in due:
                    found.days_pending += 1
                else:
                    found.days_checked += 1
                    await _compare(connection, day, trades, found)
                add(of_a_month, "month", month, trades)
                add(of_a_year, "year", year, trades)
                done += 1
                progress(done, len(chosen))
            if whole and not pending:
                await _compare_total(connection, "month", month, of_a_month, found)
            pending_in_year = pending_in_year or pending
        if whole and not pending_in_year:
            await _compare_total(connection, "year", year, of_a_year, found)
    return found


async def _compare_total(connection: Any, grain: str, first: int, total: Totals, found: Outcome) -> None:
    stored = await _stored(connection, "headlines", 8, first, grain)
    _note(found, "performance_headlines", stored, _rows(total))


async def _compare_standings(connection: Any, found: Outcome) -> None:
    """Sectors by their stocks, one after the other."""
    members: dict[Key, list[Any]] = {}
    for row in await connection.fetch(queries("verify_analytics")["stocks"]):
        members.setdefault((row["sector"],), []).append(row)
    expected = {
        sector: (
            len([row for row in rows if row["is_sector_leader"]]),
            max((row["etf"] for row in rows if row["etf"] is not None), default=None),
            _middle(sorted(row["rs_score"] for row in rows if row["rs_score"] is not None)),
        )
        for sector, rows in members.items()
    }
    _note(found, "sector_standings", await _stored(connection, "standings", 1), expected)


def _middle(scores: Sequence[float]) -> list[float] | None:
    """The two in the middle, which are one where they are of an odd number."""
    return [scores[(len(scores) - 1) // 2], scores[len(scores) // 2]] if scores else None


async def _compare(connection: Any, day: int, trades: Sequence[Trade], found: Outcome) -> None:
    _note(found, "performance_days", await _stored(connection, "kinds", 8, day), kinds_of(day, trades))
    stored = await _stored(connection, "headlines", 8, day, "day")
    _note(found, "performance_headlines", stored, headlines("day", day, trades))


async def _stored(connection: Any, query: str, keys: int, *asked: Any) -> dict[Key, Row]:
    rows = await connection.fetch(queries("verify_analytics")[query], *asked)
    return {tuple(row[:keys]): tuple(row[keys:]) for row in rows}


def _note(found: Outcome, table: str, stored: Mapping[Key, Row], expected: Mapping[Key, Row]) -> None:
    found.rows_checked += len(stored)
    for key in sorted(stored.keys() | expected.keys(), key=repr):
        if stored.get(key) != expected.get(key):
            where = " ".join(map(str, key))
            found.differences.append(
                Difference(table, where, _said(stored.get(key)), _said(expected.get(key)))
            )


def _said(row: Row | None) -> str:
    return "" if row is None else " ".join(map(str, row))


async def _trades(connection: Any, day: int, found: Outcome) -> list[Trade]:
    """Trades that ended on a day, in their order; what is stored of each alone is compared on the way."""
    rows = await connection.fetch(queries("verify_analytics")["trades"], _midnight(day), _midnight(day + 1))
    trades = []
    for row in rows:
        trade = _trade(row)
        for column, stored, expected in (
            ("r", row["r"], trade.r),
            ("sessions_held", row["sessions_held"], trade.sessions),
        ):
            if stored != expected:
                found.differences.append(
                    Difference("signals", f"{row['id']} {column}", str(stored), str(expected))
                )
        trades.append(trade)
    return in_order(trades)


def _trade(row: Mapping[str, Any]) -> Trade:
    gained, risked = row["exit_price"] - row["entry_price"], row["entry_price"] - row["stop"]
    return Trade(
        id=row["id"],
        exit_us=row["exit_date"],
        r=_EXACT.divide(gained, risked).quantize(_TWELVE, ROUND_HALF_UP, _EXACT),
        sessions=_sessions(_day_of(row, "exit")) - _sessions(_day_of(row, "entry")),
        pattern_type=row["pattern_type"],
        phase=row["phase"],
        direction=row["direction"],
        sector=row["sector"] if row["kind"] == "stock" else None,
        timeframe=row["timeframe"],
        origin=row["origin"],
        test_confirmed=_tested(row),
    )


def _day_of(row: Mapping[str, Any], end: str) -> int:
    """The session of a paper trade, the day in New York of any other."""
    session: int | None = row[f"{end}_session"]
    if session is not None:
        return session
    at = _instant(row[f"{end}_date"])
    return at.astimezone(calendars.NEW_YORK).date().toordinal() - _EPOCH.toordinal()


def _sessions(day: int) -> int:
    """How many sessions there were up to a day."""
    return bisect_right(_session_days(), day)


@cache
def _session_days() -> list[int]:
    found: list[int] = calendars.sessions().days.tolist()
    return found


def _tested(row: Mapping[str, Any]) -> bool | None:
    if not row["test_confirmed"] or row["confirmed_at"] is None:
        found: bool | None = row["test_confirmed"]
        return found
    return bool(row["confirmed_at"] <= row["exit_date"])


def _instant(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def _midnight(day: int) -> int:
    """When a day begins in New York, in microseconds since 1970."""
    at = datetime.combine(_date(day), time(), calendars.NEW_YORK)
    return (at - _EPOCH) // timedelta(microseconds=1)


def _date(day: int) -> date:
    return _EPOCH.date() + timedelta(days=day)


def _month(day: int) -> int:
    return (_date(day).replace(day=1) - _EPOCH.date()).days


def _year(day: int) -> int:
    return (_date(day).replace(month=1, day=1) - _EPOCH.date()).days


def kinds_of(day: Days, trades: Iterable[Trade]) -> dict[Key, Row]:
    """Rows of performance_days, from the trades of a day by exit instant, then id."""
    found: dict[Key, Sum] = {}
    for trade in trades:
        found.setdefault((day, *kind(trade)), Sum()).add(trade)
    return {key: total.row() for key, total in found.items()}


def headlines(grain: str, period: Days, trades: Iterable[Trade]) -> dict[Key, Row]:
    """Rows of performance_headlines, from the trades of a period by exit instant, then id."""
    found: dict[Key, Sum] = {}
    add(found, grain, period, trades)
    return _rows(found)


def add(found: dict[Key, Sum], grain: str, period: Days, trades: Iterable[Trade]) -> None:
    """Trades more, later than those before them."""
    for trade in trades:
        for heading in headings(trade):
            found.setdefault((grain, period, *heading), Sum()).add(trade)


def _rows(found: Mapping[Key, Sum]) -> dict[Key, Row]:
    return {key: (*total.row(), *_last(key, total)) for key, total in found.items()}


def _last(key: Key, total: Sum) -> Row:
    if key[0] != "day" or key[2] != "type" or key[-1] != "all":
        return None, None, None
    earned = _ZERO
    for r in total.last:
        earned = _EXACT.add(earned, r)
    last = packed([units(r) for r in total.last])
    return last, len([r for r in total.last if r > _BREAKEVEN]), earned


def in_order(trades: Iterable[Trade]) -> list[Trade]:
    return sorted(trades, key=lambda trade: (trade.exit_us, trade.id.bytes))
