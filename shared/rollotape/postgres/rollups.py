"""What closed trades earned per day, month and year: marks are taken, and their days added up again."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar

import asyncpg

from rollotape.domain.rollups import (
    BREAKEVEN,
    PLACES,
    Columns,
    Heading,
    Kind,
    Measures,
    Rolled,
    decimal,
    join_days,
    packed,
    roll_columns,
    units,
)
from rollotape.postgres.pool import OUTAGES
from rollotape.postgres.sql import queries

LOCK = 0x726F6C6C7570
"""Advisory lock of the one who rolls: "rollup" in ASCII."""
BUDGET_S = 1.5
"""So long one run goes on with further days: others wait for its commit to see what it has done."""
MOST_TRADES = 50_000
"""After a day that makes them so many a run goes on with no further one, however fast it was."""
ALIVE_S = 1.0
"""While it computes, so often a run lets PostgreSQL know that its transaction is not forgotten."""
MOST_REMEMBERED = 12
"""Periods whose rows are known: a run is of today, and of the days of patterns that changed."""
PATIENCE_S = 3_600.0
"""To mark everything every trade is looked at."""

_MEASURES = Measures._fields
_KINDS = ("day", *Kind._fields, *_MEASURES)
_HEADED = ("grain", "period", *Heading._fields, *_MEASURES, "last_r", "last_wins", "last_sum")
_EPOCH = date(1970, 1, 1).toordinal()
T = TypeVar("T")
K = TypeVar("K", Kind, Heading)

Parts = Mapping[int, Mapping[Heading, Measures]]
"""Headings of days or of months, by their first days."""


class Defective(Exception):
    """A day that we cannot roll though nothing is away: a bug of ours. Its marks are where they were."""

    def __init__(self, day: int) -> None:
        super().__init__(date.fromordinal(day + _EPOCH).isoformat())
        self.day = day


class Waiting(NamedTuple):
    days: int
    oldest_s: float


class Run(NamedTuple):
    """What one run did."""

    days: int
    left: int
    """Days that are still due."""
    generation: int


@dataclass(slots=True)
class Whole:
    """A month or year: its parts (days or months) before `until` joined, and each of the others."""

    first: int = 0
    until: int = 0
    joined: Mapping[Heading, Measures] = field(default_factory=dict)
    rest: "Parts" = field(default_factory=dict)
    headings: Mapping[Heading, Measures] = field(default_factory=dict)
    """All of it joined."""


@dataclass(frozen=True, slots=True)
class Written(Generic[K]):
    """Rows as they are stored."""

    rows: Mapping[K, Measures]
    last: Mapping[K, Sequence[int]]
    """R of the last trades, where they are told."""

    def others(self, before: "Written[K]") -> dict[K, Measures]:
        """Of these rows those that were not there before, or were other ones."""
        return {
            key: measures
            for key, measures in self.rows.items()
            if before.rows.get(key) != measures or before.last.get(key) != self.last.get(key)
        }


@dataclass(slots=True)
class Memory:
    """What the last run has seen, good until somebody else rolls; the next one is mostly of the same day."""

    standing: tuple[str, int] = ("", 0)
    wholes: Mapping[str, Whole] = field(default_factory=dict)
    """By grain."""
    kinds: Mapping[int, Written[Kind]] = field(default_factory=dict)
    """Of the last days rolled."""
    headlines: Mapping[tuple[str, int], Written[Heading]] = field(default_factory=dict)
    """Likewise, by grain and period."""


class Rollups:
    """Needs a pool opened with `raw_times`: times are integer microseconds, days integers."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._sql = queries("rollups")
        self._memory = Memory()

    async def waiting(self) -> Waiting:
        return Waiting._make(await self._pool.fetchrow(self._sql["waiting"]) or ())

    async def mark_everything(self) -> int:
        """Have every day rolled anew, also by those who remember it; the last mark, for `left`."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
            await connection.execute(self._sql["mark_everything"], timeout=PATIENCE_S)
            await connection.execute(self._sql["count_up"])
            last: int = await connection.fetchval(self._sql["last_mark"])
        return last

    async def left(self, last: int) -> int:
        """Days that are still due by marks up to this one: others may go on to be marked."""
        return int(await self._pool.fetchval(self._sql["left"], last))

    async def run(self, budget_s: float = BUDGET_S, *, without: Collection[int] = ()) -> Run | None:
        """Roll what is due, at least one day of it; None when nothing is, or somebody else is at it.

        All or nothing: whatever happens before the commit leaves the marks, and the rows as they were. The
        days of `without` stay due.

        Raises:
            Defective: one of the days cannot be rolled though nothing is away.
        """
        if not await self._pool.fetchval(self._sql["any"]):
            return None
        # One snapshot: a trade that goes from one day to another is in exactly one of them.
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            if not await connection.fetchval(self._sql["lock"], LOCK):
                return None
            running = _Running(connection, self._sql, replace(self._memory))
            run = await running.work(budget_s, without)
        self._memory = running.memory
        return run


class _Running:
    """One run, inside its transaction."""

    def __init__(self, connection: Any, sql: Mapping[str, str], memory: Memory) -> None:
        self._connection = connection
        self._sql = sql
        self.memory = memory

    async def work(self, budget_s: float, without: Collection[int]) -> Run | None:
        began = monotonic()
        epoch, generation = await self._connection.fetchrow(self._sql["standing"])
        if self.memory.standing != (epoch, generation):
            self.memory = Memory()
        resolved = await self._connection.fetchval(self._sql["resolve"])
        due = dict(await self._connection.fetch(self._sql["due"]))
        marks = due.pop(None, [])
        if marks:
            await self._connection.execute(self._sql["standings"])
        due = {day: of_day for day, of_day in due.items() if day not in without}
        if not (due or marks or resolved):
            return None
        days: dict[int, Mapping[Heading, Measures]] = {}
        trades = 0
        for day in sorted(due, key=_turn):
            if days and (monotonic() - began > budget_s or trades > MOST_TRADES):
                break
            try:
                rolled = await self._roll(day)
            except OUTAGES:
                raise
            except Exception as error:
                raise Defective(day) from error
            days[day] = rolled.headings
            trades += sum(measures.trades for measures in rolled.kinds.values())
            marks += due[day]
        months = await self._join("month", days)
        await self._join("year", months)
        await self._connection.execute(self._sql["unmark"], marks)
        generation = await self._connection.fetchval(self._sql["count_up"])
        self.memory.standing = (epoch, generation)
        return Run(len(days), len(due) - len(days), generation)

    async def _roll(self, day: int) -> Rolled:
        trades = await self._connection.fetchrow(self._sql["trades"], day)
        rolled = await self._computed(lambda: roll_columns(_columns(*trades)))
        await self._write_kinds(day, rolled.kinds)
        await self._write_headlines("day", day, rolled.headings, rolled.last)
        return rolled

    async def _computed(self, work: Callable[[], T]) -> T:
        """Work of a thread. PostgreSQL ends a transaction in which nothing happens for long."""
        working = asyncio.ensure_future(asyncio.to_thread(work))
        while not working.done():
            await asyncio.wait([working], timeout=ALIVE_S)
            if not working.done():
                await self._connection.execute("SELECT")
        return working.result()

    async def _write_kinds(self, day: int, kinds: Mapping[Kind, Measures]) -> None:
        """Only those that are others now, where that is known: of a busy day few are, from run to run."""
        now = Written(kinds, {})
        changed = await self._forget("kinds", self.memory.kinds.get(day), now, day)
        rows = ((day, *kind, *_row(measures)) for kind, measures in changed.items())
        await self._connection.copy_records_to_table("performance_days", records=rows, columns=_KINDS)
        self.memory.kinds = _remembering(self.memory.kinds, day, now)

    async def _forget(
        self, what: str, before: Written[K] | None, now: Written[K], *of: Any
    ) -> Mapping[K, Measures]:
        """Take away rows that are not as they are to be; those that are to be put in their places.

        An index leads to the rows of a day; of those few are looked at more closely than by their keys.
        """
        if before is None:
            await self._connection.execute(self._sql[f"forget_{what}"], *of)
            return now.rows
        changed = now.others(before)
        old = [key for key in before.rows if key in changed or key not in now.rows]
        if old:
            keys = map(list, zip(*old, strict=True))
            await self._connection.execute(self._sql[f"forget_some_{what}"], *of, *keys)
        return changed

    async def _join(self, grain: str, changed: Parts) -> Parts:
        """The months of some days anew, or the years of some months."""
        wholes: dict[int, dict[int, Mapping[Heading, Measures]]] = {}
        for first, headings in changed.items():
            wholes.setdefault(_first(grain, first), {})[first] = headings
        newest_first = sorted(wholes, reverse=True)  # in the last one the next run goes on
        return {whole: await self._join_one(grain, whole, wholes[whole]) for whole in newest_first}

    async def _join_one(self, grain: str, whole: int, changed: Parts) -> Mapping[Heading, Measures]:
        """From its parts in their order; those before the last one that changed are joined only once."""
        known = self.memory.wholes.get(grain)
        if known is None or known.first != whole or known.until > min(changed):
            found = await self._connection.fetch(
                self._sql["headlines"], whole, _after(grain, whole), _PARTS[grain], list(changed)
            )
            known = Whole(whole, whole, {}, await self._computed(lambda: _stored(found)))
        so_far = known
        grown = await self._computed(lambda: _grown(so_far, changed, _APART[grain]))
        self.memory.wholes = {**self.memory.wholes, grain: grown}
        await self._write_headlines(grain, whole, grown.headings, {})
        return grown.headings

    async def _write_headlines(
        self,
        grain: str,
        period: int,
        headings: Mapping[Heading, Measures],
        last: Mapping[Heading, Sequence[int]],
    ) -> None:
        """As with kinds."""
        of, now = (grain, period), Written(headings, last)
        changed = await self._forget("headlines", self.memory.headlines.get(of), now, period, grain)
        rows = (
            (grain, period, *heading, *_row(measures), *_last(last.get(heading)))
            for heading, measures in changed.items()
        )
        await self._connection.copy_records_to_table("performance_headlines", records=rows, columns=_HEADED)
        self.memory.headlines = _remembering(self.memory.headlines, of, now)


def _remembering(known: Mapping[T, Written[K]], of: T, now: Written[K]) -> Mapping[T, Written[K]]:
    others = [(other, written) for other, written in known.items() if other != of]
    return {**dict(others[1 - MOST_REMEMBERED :]), of: now}


def _stored(rows: Sequence[Any]) -> dict[int, Mapping[Heading, Measures]]:
    found: dict[int, dict[Heading, Measures]] = {}
    for first, *row in rows:
        found.setdefault(first, {})[Heading._make(row[:6])] = _measures(row[6:])
    return dict(found)


def _columns(*columns: list[Any] | None) -> Columns:
    exits, earned, *rest, large = (column or [] for column in columns)
    wide = map(units, large)
    return Columns(exits, [next(wide) if r is None else r for r in earned] if large else earned, *rest)


def _last(found: Sequence[int] | None) -> tuple[Any, ...]:
    """Of the last trades R, how many were won, and what they earned."""
    if found is None:
        return None, None, None
    return packed(found), len([r for r in found if r > BREAKEVEN]), decimal(sum(found))


def _row(m: Measures) -> tuple[Any, ...]:
    return (
        *m[:3], *map(decimal, m[3:6]), decimal(m.r_squares, 2 * PLACES), *map(decimal, m[7:10]),
        m.held, m.last_exit,
    )  # fmt: skip


def _measures(row: Sequence[Any]) -> Measures:
    *counts, r_sum, r_won, r_lost, squares, high, low, fall, held, last_exit = row
    sums = (*map(units, (r_sum, r_won, r_lost)), units(squares, 2 * PLACES), *map(units, (high, low, fall)))
    return Measures._make([*counts, *sums, held, last_exit])


def _grown(known: Whole, changed: Parts, apart: int) -> Whole:
    """With parts that changed, none of them before `until`, and everything joined.

    The last ones stay apart: a pattern that is told to have had its test changes days before today.
    """
    parts = {**known.rest, **changed}
    ordered = sorted(parts)
    before, rest = ordered[:-apart], ordered[-apart:]
    joined = join_days([known.joined, *(parts[first] for first in before)]) if before else known.joined
    pieces = [joined, *(parts[first] for first in rest)]
    again = known.headings and not before
    headings = _joined_again(known, changed, pieces) if again else join_days(pieces)
    return Whole(known.first, rest[0], joined, {first: parts[first] for first in rest}, headings)


def _joined_again(
    known: Whole, changed: Parts, pieces: Sequence[Mapping[Heading, Measures]]
) -> dict[Heading, Measures]:
    """Only what is under headings that have changed: of a day that goes on few have."""
    touched = {
        heading
        for first, now in changed.items()
        for before in [known.rest.get(first, {})]
        for heading in before.keys() | now.keys()
        if before.get(heading) != now.get(heading)
    }
    again = join_days({h: piece[h] for h in touched if h in piece} for piece in pieces)
    return {h: m for h, m in known.headings.items() if h not in touched} | again


def _turn(day: int) -> tuple[int, int]:
    """The newest month first: today must not wait for a long past. In it the days follow each other."""
    return -_first("month", day), day


_PARTS = {"month": "day", "year": "month"}
"""Of what each grain is joined."""
_APART = {"month": 5, "year": 2}
"""So many of its last parts may change without those before being read and joined again."""


def _first(grain: str, day: int) -> int:
    """Of its month or year."""
    found = date.fromordinal(day + _EPOCH).replace(day=1)
    return (found.replace(month=1) if grain == "year" else found).toordinal() - _EPOCH


def _after(grain: str, first: int) -> int:
    """The first day after a month or year."""
    return _first(grain, first + (366 if grain == "year" else 31))
