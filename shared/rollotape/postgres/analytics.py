"""Which patterns work: six questions about closed trades, answered from what was rolled up. Reads only."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from rollotape.domain.performance import (
    NOTHING,
    Measure,
    Performance,
    added,
    figures,
    mean,
    percent,
)
from rollotape.domain.rollups import ALL, BREAKEVEN, HELD_BASE, LAST, decimal, unpacked
from rollotape.domain.wyckoff.preliminary import COUNTED, LOOKBACK_DAYS
from rollotape.domain.wyckoff.rules import CURRENT
from rollotape.postgres.pages import Page, Position, Sort, Status, Trades, trade, trades
from rollotape.postgres.questions import (
    ANY,
    GRAINS,
    MOST_TRADES,
    Filters,
    Grouping,
    Periods,
    Plan,
    Window,
    periods,
    plan,
)
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

    from rollotape.postgres.market import Connection

__all__ = [
    "Analytics", "Filters", "Page", "PatternPerformance", "Position", "Preliminary", "SectorBreakdown",
    "Trades", "Trend", "Vsa", "Window", "generation", "pattern_performance", "preliminary_events",
    "sector_breakdown", "trade", "trades", "trend", "vsa",
]  # fmt: skip

_SQL = queries("analytics")

AT_ONCE = 50
"""Days of a trend that are worked out before whoever else is ready has a turn."""

UNKNOWN = "unknown"
"""The phase of a trade whose pattern is not stored, or has none."""


class _Key(NamedTuple):
    """A group of trades: all of them, or those of one name; of any test, or of one outcome of it."""

    total: bool
    name: str | None
    test: str


@dataclass(frozen=True, slots=True)
class Split:
    """Figures of some trades, and of those whose test had come by their exit and those whose had not."""

    performance: Performance
    test_confirmed: Performance | None
    test_unconfirmed: Performance | None


@dataclass(frozen=True, slots=True)
class OfType:
    pattern_type: str | None
    split: Split
    phases: Mapping[str, int]
    """Trades by phase; none of `unknown` is not there."""


@dataclass(frozen=True, slots=True)
class PatternPerformance:
    """By type in the order of their names, trades of no type last; `as_of` is the newest exit."""

    rows: Sequence[OfType]
    total: Split
    phases: Mapping[str, int]
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class OfSector:
    sector: str | None
    split: Split
    leader_count: int
    median_rs: Decimal | None
    etf: str | None


@dataclass(frozen=True, slots=True)
class SectorBreakdown:
    """By sector in the order of their names, stocks of no sector last; a sector may have no trades."""

    rows: Sequence[OfSector]
    total: Split
    leader_count: int
    as_of: datetime | None


class TrendDay(NamedTuple):
    """A day with trades; `rolling` figures are of the last trades up to its end, twenty at most."""

    date: date
    trades: int
    wins: int
    win_rate: Decimal
    avg_r: Decimal
    rolling_trades: int | None
    rolling_win_rate: Decimal | None
    rolling_avg_r: Decimal | None


@dataclass(frozen=True, slots=True)
class Trend:
    """`rolling_state` says why there is no rolling line: `too_many_trades`."""

    pattern_type: str
    rows: Sequence[TrendDay]
    rolling_state: str | None
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class VsaCount:
    rule_set: str
    kind: str
    direction: str
    count: int


@dataclass(frozen=True, slots=True)
class VsaOfType:
    """Of patterns of one type; counts are None where none of them could be judged."""

    pattern_type: str
    rule_set: str
    patterns: int
    judged: int
    no_demand: int | None
    no_supply: int | None
    stopping_volume: int | None


@dataclass(frozen=True, slots=True)
class Vsa:
    events: Sequence[VsaCount]
    patterns: Sequence[VsaOfType]


@dataclass(frozen=True, slots=True)
class Preliminary:
    """Counts are None where the side of a pattern is not known."""

    pattern_id: UUID
    lookback_days: int
    rule_set: str | None
    side: str | None
    counts: Mapping[str, int] | None
    counts_in_range: Mapping[str, int] | None
    events: "Sequence[Record]"


class Generation(NamedTuple):
    """What kept answers are known by."""

    epoch: UUID
    generation: int
    changed_at: datetime


async def pattern_performance(
    connection: "Connection",
    window: Window,
    filters: Filters = ANY,
    *,
    most_trades: int = MOST_TRADES,
    by: Plan | None = None,
) -> PatternPerformance:
    """By pattern type; `by` is a plan to be compared with the one that would be chosen."""
    groups = await _groups(connection, "type", window, filters, most_trades, by)
    rows = [OfType(name, groups.split(False, name), groups.phases(name)) for name in groups.names]
    total = dict.fromkeys("ABCDE", 0) | {UNKNOWN: 0}
    for row in rows:
        for phase, count in row.phases.items():
            total[phase] += count
    kept = {phase: count for phase, count in total.items() if count}
    return PatternPerformance(rows, groups.split(True, None), kept, groups.as_of)


async def sector_breakdown(
    connection: "Connection",
    window: Window,
    filters: Filters = ANY,
    *,
    most_trades: int = MOST_TRADES,
    by: Plan | None = None,
) -> SectorBreakdown:
    """By sector, those with trades and those with stocks."""
    groups = await _groups(connection, "sector", window, filters, most_trades, by)
    found = {row["sector"]: row for row in await connection.fetch(_SQL["leaders"], _any(filters.sectors))}
    names = sorted({*groups.names, *found}, key=_unnamed_last)
    rows = [_of_sector(name, groups, found.get(name)) for name in names]
    leaders = sum(row.leader_count for row in rows)
    return SectorBreakdown(rows, groups.split(True, None), leaders, groups.as_of)


def _of_sector(name: str | None, groups: "_Groups", found: "Record | None") -> OfSector:
    split = groups.split(False, name)
    if found is None:
        return OfSector(name, split, 0, None, None)
    scores = [Decimal(repr(score)) for score in found["middle"] or () if score is not None]
    middle = mean(added(scores), len(scores))
    return OfSector(name, split, found["leader_count"], middle, found["etf"])


async def trend(
    connection: "Connection",
    pattern_type: str,
    window: Window,
    filters: Filters = ANY,
    *,
    most_trades: int = MOST_TRADES,
    by: Plan | None = None,
) -> Trend:
    """Days with trades of one type, oldest first, with the line over the last twenty trades."""
    filters = replace(filters, pattern_types=(pattern_type,))
    chosen = by or plan("type", filters)
    if chosen == "headlines":
        rows = await _trend_of_headlines(connection, window, filters)
        return await _trend(pattern_type, rows, None)
    rows, few = await _trend_of_trades(connection, window, filters, most_trades)
    return await _trend(pattern_type, rows, None if few else "too_many_trades")


class _Rolling(NamedTuple):
    """The last trades up to the end of a day."""

    trades: int
    wins: int
    r_sum: Decimal


_TrendRow = tuple["Record", _Rolling | None]


async def _trend(pattern_type: str, rows: Sequence[_TrendRow], state: str | None) -> Trend:
    """Of five years of days others do not wait until all are worked out."""
    days = []
    for number, (row, line) in enumerate(rows):
        if number % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
        trades, wins = int(row["trades"]), int(row["wins"])
        win_rate, avg_r = percent(wins, trades), mean(row["r_sum"], trades)
        assert win_rate is not None and avg_r is not None, "a day has a trade at least"
        last = line.trades if line else None
        last_win_rate = percent(line.wins, line.trades) if line else None
        last_avg_r = mean(line.r_sum, line.trades) if line else None
        days.append(TrendDay(row["day"], trades, wins, win_rate, avg_r, last, last_win_rate, last_avg_r))
    return Trend(pattern_type, days, state, rows[-1][0]["last_exit"] if rows else None)


async def _trend_of_headlines(connection: "Connection", window: Window, filters: Filters) -> list[_TrendRow]:
    """Rows of days, or of today trade by trade, should one of its trades end after now."""
    rows = await connection.fetch(
        _SQL["trend_of_headlines"], filters.pattern_types[0], filters.phase or ALL, filters.timeframe or ALL,
        filters.origin or ALL, window.first_day, window.last_day + timedelta(1),
    )  # fmt: skip
    days: list[_TrendRow] = [(row, line) for row, line in _lines(rows) if row["day"] >= window.first_day]
    if not rows or rows[-1]["last_exit"] <= window.now:
        return days
    today, _ = await _trend_of_trades(connection, window.today, filters, MOST_TRADES)
    return [*(day for day in days if day[0]["day"] < window.last_day), *today]


def _lines(rows: "Iterable[Record]") -> Iterator[tuple["Record", _Rolling]]:
    last = deque[int](maxlen=LAST)
    for row in rows:
        if row["last_r"]:
            last.extend(unpacked(row["last_r"]))
        if row["trades"] >= LAST:
            yield row, _Rolling(LAST, row["last_wins"], row["last_sum"])
        else:
            yield row, _Rolling(len(last), len([r for r in last if r > BREAKEVEN]), decimal(sum(last)))


async def _trend_of_trades(
    connection: "Connection", window: Window, filters: Filters, most: int
) -> tuple[list[_TrendRow], bool]:
    """Trade by trade, if they are few; of a few symbols all trades are read, whenever they were."""
    chosen, before, first = "trades_of_window", "trades_before", window.first
    if filters.symbols:
        chosen, before, first = "trades_of_symbols", "none_before", window._replace(days=None).first
    where = _where(first, window.now, filters)
    if await _few(connection, chosen, where, most):
        query = f"{_SQL[chosen]} {_SQL[before]} {_SQL['trend_of_trades']}"
        rows = await connection.fetch(query, *where, window.first_day)
        return [(r, _Rolling(r["last_trades"], r["last_wins"], r["last_sum"])) for r in rows], True
    return [(row, None) for row in await _trend_of_many(connection, window, filters, where)], False


async def _trend_of_many(
    connection: "Connection", window: Window, filters: Filters, where: tuple[Any, ...]
) -> "list[Record]":
    """Days without the rolling line, of all symbols from what was rolled up."""
    if not filters.symbols:
        end = window.last_day + timedelta(1)
        rows = await connection.fetch(_SQL["trend_of_days"], *_where(window.first_day, end, filters)[:-1])
        if not rows or rows[-1]["last_exit"] <= window.now:
            return rows
        rows = [row for row in rows if row["day"] != window.last_day]
        window, where = window.today, _where(window.today.first, window.now, filters)
    else:
        rows = []
    chosen = "trades_of_symbols" if filters.symbols else "trades_of_window"
    query = f"{_SQL[chosen].rstrip(',')} {_SQL['trend_of_many']}"
    return [*rows, *await connection.fetch(query, *where, window.first_day)]


async def vsa(connection: "Connection", window: Window, filters: Filters = ANY) -> Vsa:
    """Events that became known in the window, and those counted on the patterns detected in it."""
    where = (window.first, window.now, filters.timeframe, _any(filters.symbols), _any(filters.sectors))
    events = await connection.fetch(_SQL["vsa_counts"], *where)
    own = None if filters.origin is None else filters.origin == "paper"
    of_types = await connection.fetch(
        _SQL["vsa_of_patterns"], *where, filters.phase, own, _any(filters.pattern_types)
    )
    return Vsa([VsaCount(**row) for row in events], [VsaOfType(**row) for row in of_types])


async def preliminary_events(
    connection: "Connection", pattern_id: UUID, lookback_days: int = LOOKBACK_DAYS
) -> Preliminary | None:
    """What was read in the tape before a pattern; None for an id that nobody knows."""
    found = await connection.fetchrow(_SQL["pattern_asked"], pattern_id, CURRENT.name)
    if found is None:
        return None
    kinds = COUNTED.get(found["side"])
    if kinds is None:
        return Preliminary(pattern_id, lookback_days, None, None, None, None, [])
    events = await connection.fetch(
        _SQL["preliminary"], found["symbol"], found["timeframe"], found["rule_set"], found["side"],
        found["detected_at"], found["range_id"], lookback_days, list(kinds),
    )  # fmt: skip
    recent, within = (
        {kind: sum(e[part] for e in events if e["kind"] == kind) for kind in kinds}
        for part in ("recent", "within")
    )
    in_range = within if found["range_id"] else None
    return Preliminary(pattern_id, lookback_days, found["rule_set"], found["side"], recent, in_range, events)


async def generation(connection: "Connection") -> Generation | None:
    """None before the database was installed."""
    found = await connection.fetchrow(_SQL["generation"])
    return Generation(*found) if found else None


class Analytics:
    """The repository of the six questions, over one connection: whoever asks several in a transaction asks of
    one state.
    """

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def pattern_performance(self, window: Window, filters: Filters = ANY) -> PatternPerformance:
        return await pattern_performance(self._connection, window, filters)

    async def sector_breakdown(self, window: Window, filters: Filters = ANY) -> SectorBreakdown:
        return await sector_breakdown(self._connection, window, filters)

    async def trend(self, pattern_type: str, window: Window, filters: Filters = ANY) -> Trend:
        return await trend(self._connection, pattern_type, window, filters)

    async def trades(
        self, window: Window, filters: Filters = ANY, *, status: Status, sort: Sort, page: Page
    ) -> Trades:
        return await trades(self._connection, window, filters, status=status, sort=sort, page=page)

    async def trade(self, trade_id: UUID) -> "Record | None":
        return await trade(self._connection, trade_id)

    async def vsa(self, window: Window, filters: Filters = ANY) -> Vsa:
        return await vsa(self._connection, window, filters)

    async def preliminary_events(
        self, pattern_id: UUID, lookback_days: int = LOOKBACK_DAYS
    ) -> Preliminary | None:
        return await preliminary_events(self._connection, pattern_id, lookback_days)


@dataclass(frozen=True, slots=True)
class _Groups:
    """Measures by group, and trades of each name by phase."""

    measures: Mapping[_Key, Measure]
    by_phase: Mapping[str | None, Mapping[str, int]]
    as_of: datetime | None

    @property
    def trades(self) -> int:
        return self.measures.get(_Key(True, None, ALL), NOTHING).trades

    @property
    def names(self) -> list[str | None]:
        return sorted({k.name for k in self.measures if not k.total}, key=_unnamed_last)

    def reaches_beyond(self, window: Window) -> bool:
        """Whether today's rows count a trade that ends after now."""
        return self.as_of is not None and self.as_of > window.now

    def then(self, later: "_Groups") -> "_Groups":
        measures = {
            key: self.measures.get(key, NOTHING).then(later.measures.get(key, NOTHING))
            for key in {**self.measures, **later.measures}
        }
        by_phase = {
            name: Counter(self.by_phase.get(name, {})) + Counter(later.by_phase.get(name, {}))
            for name in {**self.by_phase, **later.by_phase}
        }
        return _Groups(measures, by_phase, later.as_of or self.as_of)

    def split(self, total: bool, name: str | None) -> Split:
        found = [self.measures.get(_Key(total, name, test)) for test in ("yes", "no")]
        confirmed, unconfirmed = (figures(m) if m else None for m in found)
        return Split(figures(self.measures.get(_Key(total, name, ALL), NOTHING)), confirmed, unconfirmed)

    def phases(self, name: str | None) -> dict[str, int]:
        """By phase in the order of letters; the rest is unknown."""
        found = dict(sorted(self.by_phase.get(name, {}).items()))
        known = sum(count for phase, count in found.items() if phase != UNKNOWN)
        rest = self.measures[_Key(False, name, ALL)].trades - known
        return {k: n for k, n in found.items() if k != UNKNOWN} | ({UNKNOWN: rest} if rest else {})


async def _groups(
    connection: "Connection",
    grouping: Grouping,
    window: Window,
    filters: Filters,
    most: int,
    by: Plan | None = None,
) -> _Groups:
    chosen = by or plan(grouping, filters)
    if chosen == "headlines":
        return await _by_headlines(connection, grouping, window, filters)
    if chosen == "days":
        return await _by_days(connection, grouping, window, filters, most)
    return await _by_trades(connection, grouping, window, filters, most)


async def _by_headlines(
    connection: "Connection", grouping: Grouping, window: Window, filters: Filters
) -> _Groups:
    names = filters.pattern_types if grouping == "type" else filters.sectors
    only = names[0] if names else None
    splits = grouping == "type" and filters.phase is None
    query = _SQL["headline_cells"] + _SQL["headline_phases" if splits else "no_phases"] + _SQL["joined"]
    heading = (filters.phase or ALL, filters.timeframe or ALL, filters.origin or ALL, grouping, only)

    async def read(cut: Periods) -> _Groups:
        rows = await connection.fetch(query, *heading, GRAINS, cut.firsts, cut.ends)
        return _grouped(rows, filters, only)

    cut = periods(window)
    found = await read(cut)
    if not found.reaches_beyond(window):
        return found
    before = await read(cut._replace(tail=(cut.tail[0], window.last_day)))
    return before.then(await _by_trades(connection, grouping, window.today, filters, MOST_TRADES))


async def _by_days(
    connection: "Connection", grouping: Grouping, window: Window, filters: Filters, most: int
) -> _Groups:
    query = _SQL["day_cells"] + _SQL["summed"]

    async def read(end: date) -> _Groups:
        where = _where(window.first_day, end, filters)[:-1]
        return _grouped(await connection.fetch(query, *where, grouping), filters)

    found = await read(window.last_day + timedelta(1))
    if found.trades <= most:
        return await _by_trades(connection, grouping, window, filters, most)
    if not found.reaches_beyond(window):
        return found
    today = await _by_trades(connection, grouping, window.today, filters, most)
    return (await read(window.last_day)).then(today)


async def _by_trades(
    connection: "Connection", grouping: Grouping, window: Window, filters: Filters, most: int
) -> _Groups:
    """Trade by trade; what depends on their order only if they are few."""
    chosen = "trades_of_symbols" if filters.symbols else "trades_of_window"
    where = _where(window.first, window.now, filters)
    end = "joined" if await _few(connection, chosen, where, most) else "summed"
    query = _SQL[chosen] + _SQL["trade_cells"] + _SQL[end]
    return _grouped(await connection.fetch(query, *where, grouping), filters)


async def _few(connection: "Connection", chosen: str, where: tuple[Any, ...], most: int) -> bool:
    return bool(await connection.fetchval(_SQL[chosen].rstrip(",") + _SQL["few"], *where, most + 1))


def _where(first: Any, last: Any, filters: Filters) -> tuple[Any, ...]:
    return (
        first, last, filters.phase, filters.timeframe, filters.origin, _any(filters.pattern_types),
        _any(filters.sectors), _any(filters.symbols),
    )  # fmt: skip


def _grouped(rows: "Iterable[Record]", filters: Filters, only: str | None = None) -> _Groups:
    """Where there is one name only, all trades are those of it."""
    measures: dict[_Key, Measure] = {}
    by_phase: dict[str | None, dict[str, int]] = {}
    newest = None
    for row in rows:
        kind, _, phase = row["test"].partition(" ")
        if kind == "phase":
            by_phase.setdefault(row["name"], {})[phase] = int(row["trades"])
            continue
        measures[_Key(row["total"], row["name"], row["test"])] = _measure(row)
        newest = max(filter(None, (newest, row["last_exit"])), default=None)
    if only is not None:
        measures |= {key._replace(total=True, name=None): m for key, m in measures.items()}
    if filters.phase is not None:
        by_phase = {
            k.name: {filters.phase: m.trades} for k, m in measures.items() if k.test == ALL and not k.total
        }
    return _Groups(measures, by_phase, newest)


def _measure(row: "Record") -> Measure:
    return Measure(
        trades=int(row["trades"]),
        wins=int(row["wins"]),
        losses=int(row["losses"]),
        r_sum=row["r_sum"],
        r_won=row["r_won"],
        r_lost=row["r_lost"],
        r_squares=row["r_squares"],
        r_high=row["r_high"] or Decimal(0),
        r_low=row["r_low"] or Decimal(0),
        r_fall=row["r_fall"],
        held=_unpacked(int(row["held"])),
    )


def _unpacked(number: int) -> dict[int, int]:
    """Trades by sessions held."""
    held, sessions = {}, 0
    while number:
        number, trades = divmod(number, HELD_BASE)
        if trades:
            held[sessions] = trades
        sessions += 1
    return held


def _any(values: Sequence[str]) -> list[str] | None:
    """Null lets everything through."""
    return list(values) or None


def _unnamed_last(name: str | None) -> tuple[bool, str]:
    return name is None, name or ""
