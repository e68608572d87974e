"""Trades one by one, in pages: a deep page finds its day by counts, and skips no more than one day's."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

from rollotape.postgres.questions import (
    ANY,
    GRAINS,
    NEW_YORK,
    Filters,
    Plan,
    Window,
    counting,
    periods,
    start_of,
)
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

    from rollotape.postgres.market import Connection

_SQL = queries("analytics")

Status = Literal["closed", "open", "pending", "cancelled", "all"]
Sort = Literal["desc", "asc"]

MOST_COUNTED = 200_000
"""Of more trades than this that are not closed no total is told: nothing rolls them up."""

_CLOSED, _GOING = "s.exit_date", "s.generated_at"
"""What a trade is sorted by: when it ended, or else when it came."""
_FILTERS: Mapping[str, str] = {
    "phase": "p.phase = {}",
    "timeframe": "s.timeframe = {}",
    "origin": "s.origin = {}",
    "pattern_types": "s.pattern_type = ANY ({}::text[])",
    "symbols": "s.symbol = ANY ({}::text[])",
    "sectors": "x.sector = ANY ({}::text[])",
}


class TooFar(Exception):
    """A page behind so many trades that nobody has counted: only positions lead there."""


class Position(NamedTuple):
    """Of the last trade of a page: what it is sorted by, and its id."""

    at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """The next `size` trades after a position, or page `number`, counted from 1, with the total."""

    size: int
    number: int | None = None
    after: Position | None = None


FIRST_PAGE = Page(100)


@dataclass(frozen=True, slots=True)
class Trades:
    """`total` is None unless a numbered page was asked for, and where too many trades are not closed;
    `next` is None on the last page.
    """

    rows: "Sequence[Record]"
    total: int | None
    next: Position | None


async def trades(
    connection: "Connection",
    window: Window,
    filters: Filters = ANY,
    *,
    status: Status = "closed",
    sort: Sort = "desc",
    page: Page = FIRST_PAGE,
    by: Plan | None = None,
) -> Trades:
    """Trades that ended in the window, or for those that go on or never began: that came in it.

    Raises:
        TooFar: too many trades of the filter are not closed, and the page is not among the first of them.
    """
    asked = _Asked(window, filters, status, sort)
    if page.number is None:
        return await _read(connection, asked, page.size, page.after)
    skip = (page.number - 1) * page.size
    if status != "closed" and not await _few_going(connection, asked):
        if skip + page.size > MOST_COUNTED:
            raise TooFar(f"of more than {MOST_COUNTED:,} trades that are not closed")
        found = await _read(connection, asked, page.size, None, None, skip)
        return Trades(found.rows, None, found.next)
    counts = await _counts(connection, asked, by)
    total = sum(n for _, _, n in counts)
    if skip >= total:
        return Trades([], total, None)
    start, skip = await _jump(connection, asked, counts, skip, by)
    found = await _read(connection, asked, page.size, None, start, skip)
    return Trades(found.rows, total, found.next)


async def trade(connection: "Connection", trade_id: UUID) -> "Record | None":
    """None for an id that nobody knows."""
    at = f"coalesce({_CLOSED}, {_GOING})"
    return await connection.fetchrow(f"{_select(at)} WHERE s.id = $1", trade_id)


class _Asked(NamedTuple):
    window: Window
    filters: Filters
    status: Status
    sort: Sort


_Count = tuple[str, date, int]
"""Grain (year, month, day), its first day, and trades in it."""


async def _counts(connection: "Connection", asked: _Asked, by: Plan | None) -> list[_Count]:
    """Of every year, month or day with trades, oldest first."""
    found: Counter[tuple[str, date]] = Counter()
    if asked.status in ("closed", "all"):
        for grain, period, count in await _closed(connection, asked, by):
            found[grain, period] += count
    if asked.status != "closed":
        closed = frozenset(found)
        for _, day, count, _ in await _one_by_one(connection, asked, _GOING, asked.window):
            periods_of = ("year", day.replace(month=1, day=1)), ("month", day.replace(day=1))
            found[next((period for period in periods_of if period in closed), ("day", day))] += count
    ordered = sorted(found.items(), key=lambda item: item[0][1])
    return [(grain, period, count) for (grain, period), count in ordered]


async def _closed(connection: "Connection", asked: _Asked, by: Plan | None) -> list[_Count]:
    """From what was rolled up; of a day with an exit after now trade by trade."""
    window, (chosen, grouping) = asked.window, counting(asked.filters)
    chosen = by or chosen
    if chosen == "trades":
        return [(g, d, n) for g, d, n, _ in await _one_by_one(connection, asked, _CLOSED, window)]
    rows = await _rolled_up(connection, asked.filters, chosen, grouping, window)
    if any(row["last_exit"] > window.now for row in rows):
        rows = [row for row in rows if row["period"] != window.last_day]
        today = await _one_by_one(connection, asked, _CLOSED, window.today)
        return [
            *((r["grain"], r["period"], int(r["trades"])) for r in rows),
            *((g, d, n) for g, d, n, _ in today),
        ]
    return [(row["grain"], row["period"], int(row["trades"])) for row in rows]


async def _rolled_up(
    connection: "Connection", filters: Filters, chosen: Plan, grouping: str, window: Window
) -> "list[Record]":
    if chosen == "headlines":
        cut = periods(window)
        names = filters.pattern_types if grouping == "type" else filters.sectors
        return await connection.fetch(
            _SQL["headline_counts"], grouping if names else "all", filters.phase or "all",
            filters.timeframe or "all", filters.origin or "all", list(names) or None,
            GRAINS, cut.firsts, cut.ends,
        )  # fmt: skip
    return await connection.fetch(
        _SQL["day_counts"], window.first_day, window.last_day + timedelta(1), filters.phase,
        filters.timeframe, filters.origin, list(filters.pattern_types) or None, list(filters.sectors) or None,
    )  # fmt: skip


async def _few_going(connection: "Connection", asked: _Asked) -> bool:
    """Whether those that are not closed may be counted one by one."""
    where = _Where()
    where.window(asked, _GOING)
    some = f"SELECT {_SQL['trades_joined']} {where} LIMIT {where.add(MOST_COUNTED + 1)}"
    query = f"SELECT count(*) FROM ({some}) t"  # noqa: S608 - our own parts only
    counted: int = await connection.fetchval(query, *where.arguments)
    return counted <= MOST_COUNTED


async def _one_by_one(
    connection: "Connection", asked: _Asked, at: str, window: Window
) -> list[tuple[str, date, int, datetime]]:
    where = _Where()
    where.window(asked._replace(window=window), at)
    query = f"{_SQL['counted'].format(at=at)} {_SQL['trades_joined']} {where} GROUP BY 2 ORDER BY 2"
    return [tuple(row) for row in await connection.fetch(query, *where.arguments)]


async def _jump(
    connection: "Connection", asked: _Asked, counts: list[_Count], skip: int, by: Plan | None
) -> tuple[date, int]:
    """The day in which a page starts, and how many trades of it come before."""
    found = _found(counts, skip, asked.sort)
    assert found, "a page behind the last one was turned away"
    grain, period, skip = found
    while grain != "day":
        # Now its parts, counted as a window of their own that ends before the next month or year.
        after = date(period.year + 1, 1, 1) if grain == "year" else (period + timedelta(32)).replace(day=1)
        end = start_of(after) - timedelta(microseconds=1)
        last = end.astimezone(NEW_YORK).date()
        window = Window((last - period).days, int(end.timestamp()) * 1_000_000 + end.microsecond)
        parts = await _counts(connection, asked._replace(window=window), by)
        found = _found(parts, skip, asked.sort)
        if found is None:  # trades went away between two questions
            return (last if asked.sort == "desc" else period), skip
        grain, period, skip = found
    return period, skip


def _found(counts: Sequence[_Count], skip: int, sort: Sort) -> tuple[str, date, int] | None:
    for grain, period, count in reversed(counts) if sort == "desc" else counts:
        if skip < count:
            return grain, period, skip
        skip -= count
    return None


async def _read(
    connection: "Connection",
    asked: _Asked,
    size: int,
    after: Position | None,
    start: date | None = None,
    skip: int = 0,
) -> Trades:
    """From a position, or from a day on without its first trades; one more tells of a next page.

    Those that are skipped are passed over in an index; what belongs to a trade is read for the page alone.
    """
    way = "DESC" if asked.sort == "desc" else "ASC"
    where = _Where()
    limit = where.add(skip + size + 1)
    parts = []
    for at in _sorted_by(asked.status):
        where.conditions.clear()
        where.window(asked, at)
        where.position(asked.sort, at, after, start)
        found = f"SELECT {at} AS at, s.id {_from(asked.filters)} {where}"
        parts.append(f"({found} ORDER BY {at} {way}, s.id {way} LIMIT {limit})")
    order = f"ORDER BY t.at {way}, t.id {way}"
    some = f"{' UNION ALL '.join(parts)}) t {order} LIMIT {where.add(size + 1)} OFFSET {where.add(skip)}"
    query = f"{_select('t.at')} JOIN (SELECT * FROM ({some}) t ON t.id = s.id {order}"  # noqa: S608 - our own parts only
    rows = await connection.fetch(query, *where.arguments)
    last = rows[size - 1] if len(rows) > size else None
    return Trades(rows[:size], None, Position(last["at"], last["id"]) if last else None)


def _sorted_by(status: Status) -> Iterator[str]:
    if status in ("closed", "all"):
        yield _CLOSED
    if status != "closed":
        yield _GOING


def _from(filters: Filters) -> str:
    """Only what is asked for: a trade is one row, with and without what belongs to it."""
    return _SQL["trades_joined"] if filters.phase or filters.sectors else "FROM signals s"


def _select(at: str) -> str:
    return f"{_SQL['trade_columns'].format(at=at)} {_SQL['trades_joined']}"


class _Where:
    """Conditions of a query with their arguments: only those asked for, so that each finds its index."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.arguments: list[Any] = []

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self.conditions)}"

    def add(self, value: object) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def window(self, asked: _Asked, at: str) -> None:
        window = asked.window
        self.conditions.append(f"{at} BETWEEN {self.add(window.first)} AND {self.add(window.now)}")
        if at == _CLOSED:
            self.conditions.append("s.status = 'CLOSED'")
        elif asked.status == "all":
            self.conditions.append("s.status <> 'CLOSED'")
        else:
            self.conditions.append(f"s.status = '{asked.status.upper()}'")
        for name, condition in _FILTERS.items():
            value = getattr(asked.filters, name)
            if name == "pattern_types" and len(value) == 1:
                self.conditions.append(f"s.pattern_type = {self.add(value[0])}")
            elif value:
                self.conditions.append(condition.format(self.add(value)))

    def position(self, sort: Sort, at: str, after: Position | None, start: date | None) -> None:
        if after:
            compared = "<" if sort == "desc" else ">"
            self.conditions.append(f"({at}, s.id) {compared} ({self.add(after.at)}, {self.add(after.id)})")
        if start and sort == "desc":
            self.conditions.append(f"{at} < {self.add(start_of(start + timedelta(1)))}")
        elif start:
            self.conditions.append(f"{at} >= {self.add(start_of(start))}")
