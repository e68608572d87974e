"""What may be asked of trades, and from where each question is answered: nothing here reads anything."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

MOST_TRADES = 200_000
"""Of more trades than this, one by one, no drawdown and no rolling line is computed."""

NEW_YORK = ZoneInfo("America/New_York")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVER = date(1, 1, 2)

NOBODY = ("",)
"""Symbols that let nothing through: no symbol is empty, and an empty tuple asks for none."""

Origin = Literal["external", "paper"]
Grouping = Literal["type", "sector"]
Plan = Literal["headlines", "days", "trades"]


class Window(NamedTuple):
    """Whole days in New York: from the start of the day `days` days before now's day, up to now.

    Without `days`, everything up to now.
    """

    days: int | None
    now_us: int

    @property
    def now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.now_us)

    @property
    def last_day(self) -> date:
        """Now's day in New York."""
        return self.now.astimezone(NEW_YORK).date()

    @property
    def first_day(self) -> date:
        return _EVER if self.days is None else self.last_day - timedelta(self.days)

    @property
    def first(self) -> datetime:
        """The instant at which the first day starts."""
        return start_of(self.first_day)

    @property
    def today(self) -> "Window":
        """Now's day up to now."""
        return self._replace(days=0)


@dataclass(frozen=True, slots=True)
class Filters:
    """What of all trades counts; an empty tuple and None let everything through."""

    phase: str | None = None
    timeframe: str | None = None
    origin: Origin | None = None
    pattern_types: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()


ANY = Filters()


class Periods(NamedTuple):
    """A window cut into whole years, months before and after them, and days; every end is exclusive."""

    head: tuple[date, date]
    months_before: tuple[date, date]
    years: tuple[date, date]
    months: tuple[date, date]
    tail: tuple[date, date]

    @property
    def firsts(self) -> list[date]:
        return [first for first, _ in self]

    @property
    def ends(self) -> list[date]:
        return [end for _, end in self]


GRAINS = ["day", "month", "year", "month", "day"]
"""Of the periods of a window."""


def plan(grouping: Grouping, filters: Filters) -> Plan:
    """From where figures by type or by sector come.

    `headlines`: rows that are kept for just this question, one per month and day. `days`: rows of all
    combinations, which add up; what depends on the order of trades comes from the trades if they are few.
    `trades`: what of a few symbols is read is bounded by their trades.
    """
    if filters.symbols:
        return "trades"
    if grouping == "type":
        return "headlines" if not filters.sectors and len(filters.pattern_types) <= 1 else "days"
    whole = not filters.pattern_types and not filters.phase and len(filters.sectors) <= 1
    return "headlines" if whole else "days"


def counting(filters: Filters) -> tuple[Plan, Grouping]:
    """From where the number of trades comes: counts add up, whatever headings they are of."""
    if filters.symbols:
        return "trades", "type"
    if not filters.sectors:
        return "headlines", "type"
    whole = not filters.pattern_types and not filters.phase
    return ("headlines", "sector") if whole else ("days", "type")


def periods(window: Window) -> Periods:
    """Years and months wholly within the window and before now's; days elsewhere."""
    first, end = window.first_day, window.last_day + timedelta(1)
    current = window.last_day.replace(day=1)
    month = first if first.day == 1 or first == _EVER else _next_month(first)
    if month >= current:
        none = (current, current)
        return Periods((first, first), none, none, none, (first, end))
    last_year = current.replace(month=1)
    year = month if month == _EVER or month.month == 1 else date(month.year + 1, 1, 1)
    if year >= last_year:
        none = (month, month)
        return Periods((first, month), none, none, (month, current), (current, end))
    return Periods((first, month), (month, year), (year, last_year), (last_year, current), (current, end))


def start_of(day: date) -> datetime:
    """Midnight in New York: on no day do clocks change at that hour."""
    if day == _EVER:
        return datetime.combine(day, time(), UTC)
    return datetime.combine(day, time(), NEW_YORK).astimezone(UTC)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(32)).replace(day=1)
