"""Waits until the reading of the tape, and relative strength, have followed the bars that were sent."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg

from rollotape.cli import stack
from rollotape.postgres import arrivals
from rollotape.postgres.arrivals import Due
from rollotape.postgres.pool import unavailable

POLL_S = 0.25
NOBODY_S = 3.0
"""After this long without movement, and with no rs-worker connected, nobody works on it."""
STUCK_S = 60.0
"""One that is connected gets longer: a block of many dates moves only when all of it is done."""

assert POLL_S < NOBODY_S < STUCK_S


@dataclass(frozen=True, slots=True)
class Scored:
    """Whether everything that was due at the start is done; `reason` says why not."""

    is_done: bool
    reason: str = ""


async def scored(
    pool: asyncpg.Pool,
    progress: Callable[[int, int], None],
    *,
    nobody_s: float = NOBODY_S,
    stuck_s: float = STUCK_S,
    clock: Callable[[], float] = time.monotonic,
) -> Scored:
    """Return when no mark that is there now is due any more, nor any date that came of one; or give up.

    `progress` hears how many dates are done, of how many. What others make due meanwhile is not waited for.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    with unavailable("postgres"):
        due = await arrivals.due(pool)
        marks, dates = due.newest_mark, None if due.marks else due.newest_date
        total, moved = due.dates, clock()
        while due.marks or due.dates:
            await asyncio.sleep(POLL_S)
            seen, due = due, await arrivals.due(pool, marks, dates)
            if dates is None and not due.marks:  # all are dates now, so later ones are none of ours
                dates, total = due.newest_date, due.dates
            progress(max(0, total - due.dates), total)
            if (due.marks, due.dates) != (seen.marks, seen.dates):
                moved = clock()
            elif clock() - moved >= (stuck_s if due.is_attended else nobody_s):
                return Scored(False, _why(due, stuck_s))
    return Scored(True)


async def read_out(
    pool: asyncpg.Pool,
    progress: Callable[[int, int], None],
    *,
    nobody_s: float = NOBODY_S,
    stuck_s: float = STUCK_S,
    clock: Callable[[], float] = time.monotonic,
) -> Scored:
    """Return when all bars that are marked now have been read for Wyckoff; or give up.

    `progress` hears how many symbols and timeframes are done, of how many.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    with unavailable("postgres"):
        left = await arrivals.unread(pool)
        until, total, moved = left.now, left.keys, clock()
        while left.keys:
            await asyncio.sleep(POLL_S)
            seen, left = left.keys, await arrivals.unread(pool, until)
            progress(max(0, total - left.keys), total)
            if left.keys != seen:
                moved = clock()
            elif clock() - moved >= (stuck_s if left.is_attended else nobody_s):
                if left.is_attended:
                    return Scored(False, f"nothing has moved for {stuck_s:g} s: see the log of the detector")
                return Scored(
                    False, f"no detector is at work.{stack.starts_one()} What is due waits in the database"
                )
    return Scored(True)


def _why(due: Due, stuck_s: float) -> str:
    if due.is_attended:
        return f"nothing has moved for {stuck_s:g} s although an rs-worker is connected: see its log"
    return f"no rs-worker is at work.{stack.starts_one()} What is due waits in the database"
