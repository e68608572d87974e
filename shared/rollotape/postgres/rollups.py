"""What closed trades earned per day and month: marks are taken, and their days added up again as a whole."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from time import monotonic
from typing import Any, NamedTuple

import asyncpg

from rollotape.domain.rollups import (
    PLACES,
    Columns,
    Heading,
    Kind,
    Measures,
    Rolled,
    decimal,
    join_days,
    roll_columns,
    units,
)
from rollotape.postgres.pool import OUTAGES
from rollotape.postgres.sql import queries

LOCK = 0x726F6C6C7570
"""Advisory lock of the one who rolls: "rollup" in ASCII."""
BUDGET_S = 1.5
"""So long one run goes on with further days: others wait for its commit to see what it has done."""
PATIENCE_S = 3_600.0
"""To mark everything every trade is looked at."""

_MEASURES = Measures._fields
_KINDS = ("day", *Kind._fields, *_MEASURES)
_PLACES = ", ".join(f"${i + 1}" for i in range(len(_KINDS)))
_STORE_KIND = f"""
INSERT INTO performance_days ({", ".join(_KINDS)}) VALUES ({_PLACES})
ON CONFLICT ON CONSTRAINT uq_performance_days
DO UPDATE SET {", ".join(f"{measure} = EXCLUDED.{measure}" for measure in _MEASURES)}
"""  # noqa: S608 - names of our own columns only
_EPOCH = date(1970, 1, 1).toordinal()


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
class Memory:
    """What the last run has seen, good until somebody else rolls; the next one is mostly of the same day."""

    standing: tuple[str, int] = ("", 0)
    month: int = 0
    until: int = 0
    joined: Mapping[Heading, Measures] = field(default_factory=dict)
    """Headings of the days of a month before `until`, joined."""
    day: int | None = None
    kinds: Mapping[Kind, Measures] = field(default_factory=dict)
    """Rows of a day as they are stored."""


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
        due = {day: of_day for day, of_day in due.items() if day not in without}
        if not (due or marks or resolved):
            return None
        days: dict[int, Rolled] = {}
        for day in sorted(due, key=_turn):
            if days and monotonic() - began > budget_s:
                break
            try:
                days[day] = await self._roll(day)
            except OUTAGES:
                raise
            except Exception as error:
                raise Defective(day) from error
            marks += due[day]
        for month in sorted({_month(day) for day in days}):
            await self._join(month, {day: rolled for day, rolled in days.items() if _month(day) == month})
        await self._connection.execute(self._sql["unmark"], marks)
        generation = await self._connection.fetchval(self._sql["count_up"])
        self.memory.standing = (epoch, generation)
        return Run(len(days), len(due) - len(days), generation)

    async def _roll(self, day: int) -> Rolled:
        trades = await self._connection.fetchrow(self._sql["trades"], day)
        rolled = await asyncio.to_thread(roll_columns, _columns(*trades))
        await self._write_kinds(day, rolled.kinds)
        await self._replace("day", day, rolled.headings, rolled.last)
        return rolled

    async def _write_kinds(self, day: int, kinds: Mapping[Kind, Measures]) -> None:
        """Only those that are others now, where that is known: of a busy day few are, from run to run."""
        known = self.memory.kinds if self.memory.day == day else None
        if known is None or known.keys() - kinds.keys():
            await self._connection.execute(self._sql["forget_kinds"], day)
            rows = _kinds(day, kinds)
            await self._connection.copy_records_to_table("performance_days", records=rows, columns=_KINDS)
        else:
            changed = {kind: measures for kind, measures in kinds.items() if known.get(kind) != measures}
            await self._connection.executemany(_STORE_KIND, list(_kinds(day, changed)))
        self.memory.day, self.memory.kinds = day, kinds

    async def _join(self, month: int, days: Mapping[int, Rolled]) -> None:
        """The month anew, from its days in order; those before the first of `days` are joined only once."""
        first, last, end = min(days), max(days), _next(month)
        since, before = month, dict[Heading, Measures]()
        if self.memory.month == month and self.memory.until <= first:
            since, before = self.memory.until, dict(self.memory.joined)
        parts: dict[int, Mapping[Heading, Measures]] = {d: rolled.headings for d, rolled in days.items()}
        parts |= await self._stored(since, end, list(days))
        before = _joined(before, [parts[day] for day in sorted(parts) if day < last])
        self.memory.month, self.memory.until, self.memory.joined = month, last, before
        await self._replace("month", month, _joined(before, [parts[d] for d in sorted(parts) if d >= last]))

    async def _stored(
        self, first: int, end: int, without: Sequence[int]
    ) -> dict[int, dict[Heading, Measures]]:
        found: dict[int, dict[Heading, Measures]] = {}
        for day, *row in await self._connection.fetch(self._sql["headlines"], first, end, without):
            found.setdefault(day, {})[Heading._make(row[:6])] = _measures(row[6:])
        return found

    async def _replace(
        self,
        grain: str,
        period: int,
        headings: Mapping[Heading, Measures],
        last: Mapping[Heading, Sequence[int]] | None = None,
    ) -> None:
        await self._connection.execute(self._sql["forget_headlines"], period, grain)
        rows = (
            (grain, period, *heading, *_row(measures), _last(heading, last))
            for heading, measures in headings.items()
        )
        columns = ("grain", "period", *Heading._fields, *_MEASURES, "last_r")
        await self._connection.copy_records_to_table("performance_headlines", records=rows, columns=columns)


def _columns(*columns: list[Any] | None) -> Columns:
    exits, earned, *rest, large = (column or [] for column in columns)
    wide = map(units, large)
    return Columns(exits, [next(wide) if r is None else r for r in earned] if large else earned, *rest)


def _kinds(day: int, kinds: Mapping[Kind, Measures]) -> Iterator[tuple[Any, ...]]:
    return ((day, *kind, *_row(measures)) for kind, measures in kinds.items())


def _last(heading: Heading, last: Mapping[Heading, Sequence[int]] | None) -> list[Any] | None:
    return [decimal(r) for r in last[heading]] if last is not None and heading in last else None


def _row(m: Measures) -> tuple[Any, ...]:
    return (
        *m[:3], *map(decimal, m[3:6]), decimal(m.r_squares, 2 * PLACES), *map(decimal, m[7:10]),
        m.held, m.held_trades, m.last_exit,
    )  # fmt: skip


def _measures(row: Sequence[Any]) -> Measures:
    *counts, r_sum, r_won, r_lost, squares, high, low, fall, held, held_trades, last_exit = row
    sums = (*map(units, (r_sum, r_won, r_lost)), units(squares, 2 * PLACES), *map(units, (high, low, fall)))
    return Measures._make([*counts, *sums, tuple(held), tuple(held_trades), last_exit])


def _joined(
    before: Mapping[Heading, Measures], days: Sequence[Mapping[Heading, Measures]]
) -> dict[Heading, Measures]:
    return join_days([before, *days]) if days else dict(before)


def _turn(day: int) -> tuple[int, int]:
    """The newest month first: today must not wait for a long past. In it the days follow each other."""
    return -_month(day), day


def _month(day: int) -> int:
    return date.fromordinal(day + _EPOCH).replace(day=1).toordinal() - _EPOCH


def _next(month: int) -> int:
    return _month(month + 31)
