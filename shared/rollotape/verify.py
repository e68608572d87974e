"""Proof that what is stored follows from what came in: everything recomputed, cold, one bar at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from rollotape.domain.wyckoff.rules import CURRENT, Rules
from rollotape.postgres.sql import queries
from rollotape.verification import (
    Difference,
    analytics,
    entrants,
    gaps,
    patterns,
    signals,
    strength,
    tape,
    wyckoff,
)  # fmt: skip

Progress = Callable[[int, int], None]
"""Called with (symbols checked, symbols in all)."""

DATES_OF_A_SAMPLE = 5
"""When only some symbols are asked for, strength and rollups are checked on so many dates: a rank needs all
symbols, and so does a rollup."""


@dataclass(slots=True)
class Report:
    symbols_checked: int = 0
    bars_checked: int = 0
    events_checked: int = 0
    patterns_checked: int = 0
    wyckoff_checked: int = 0
    """Wyckoff events."""
    keys_unread: int = 0
    """Symbols and timeframes whose bars are still to be read; what Wyckoff says of them was not compared."""
    gaps_checked: int = 0
    keys_unaudited: int = 0
    """Symbols and timeframes whose bars are still to be looked at for gaps; theirs were not compared."""
    scores_checked: int = 0
    dates_checked: int = 0
    dates_pending: int = 0
    """Dates whose scores are due; they were not compared."""
    rollups_checked: int = 0
    days_pending: int = 0
    """Days whose rollups are due; they and their months were not compared."""
    entrants_checked: int = 0
    scans_pending: int = 0
    """Saved scans that are still to be looked at; nothing of them was compared."""
    symbols_pending: int = 0
    """Symbols that are still to be looked at for saved scans; nothing of them was compared."""
    differences: list[Difference] = field(default_factory=list)
    pending: int = 0
    """Commits that have not been said yet; no difference, only not yet told."""


async def verify(
    pool: "asyncpg.Pool[Any]",
    *,
    symbols: Sequence[str] | None = None,
    progress: Progress = lambda _checked, _total: None,
    rules: Rules = CURRENT,
) -> Report:
    """Compare the stored events and judgements of `symbols` (all when None) with their recomputation.

    One snapshot serves the whole check, so it may run beside working detectors. The pool must be opened
    with `raw_times`.
    """
    sql = queries("verify")
    report = Report()
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(sql["be_patient"])
        names = [r[0] for r in await connection.fetch(sql["symbols"], symbols)]
        report.pending = await connection.fetchval(sql["unsaid"])
        unread = {tuple(r) for r in await connection.fetch(sql["unread"], symbols)}
        unaudited = {tuple(r) for r in await connection.fetch(sql["unaudited"], symbols)}
        report.keys_unread, report.keys_unaudited = len(unread), len(unaudited)
        for symbol in names:
            for timeframe in await _timeframes(connection, symbol):
                read = await tape.read(connection, (symbol, timeframe))
                stored = await patterns.read(connection, (symbol, timeframe))
                if (symbol, timeframe) in unread:
                    stored = [p for p in stored if not p.own]
                trades = await signals.read(connection, (symbol, timeframe))
                report.differences += [
                    *tape.differences(read), *patterns.differences(read, stored), *signals.differences(trades)
                ]  # fmt: skip
                if (symbol, timeframe) not in unread:
                    reading = await wyckoff.read(connection, (symbol, timeframe))
                    report.differences += wyckoff.differences((symbol, timeframe), reading, read.bars, rules)
                    report.wyckoff_checked += reading.events
                if (symbol, timeframe) not in unaudited:
                    looked = await gaps.read(connection, (symbol, timeframe))
                    report.differences += gaps.differences((symbol, timeframe), looked, read.bars)
                    report.gaps_checked += len(looked.gaps)
                report.bars_checked += len(read.bars)
                report.events_checked += len(read.events)
                report.patterns_checked += len(stored)
            report.symbols_checked += 1
            progress(report.symbols_checked, len(names))
        dates = None if symbols is None else DATES_OF_A_SAMPLE
        await _check_strength(connection, report, dates, progress)
        await _check_rollups(connection, report, dates, progress)
        await _check_entrants(connection, report, symbols)
    return report


async def _timeframes(connection: Any, symbol: str) -> list[str]:
    """Every timeframe of a symbol of which anything is stored."""
    sql = queries("verify")
    found = set()
    for name in ("keys", "wyckoff_keys"):
        found |= {timeframe for [timeframe] in await connection.fetch(sql[name], symbol)}
    return sorted(found)


async def _check_strength(connection: Any, report: Report, dates: int | None, progress: Progress) -> None:
    found = await strength.check(connection, dates=dates, progress=progress)
    report.scores_checked, report.dates_checked = found.scores_checked, found.dates_checked
    report.dates_pending = found.dates_pending
    report.differences += found.differences


async def _check_rollups(connection: Any, report: Report, days: int | None, progress: Progress) -> None:
    found = await analytics.check(connection, days=days, progress=progress)
    report.rollups_checked, report.days_pending = found.rows_checked, found.days_pending
    report.differences += found.differences


async def _check_entrants(connection: Any, report: Report, symbols: Sequence[str] | None) -> None:
    found = await entrants.check(connection, symbols)
    report.entrants_checked, report.scans_pending = found.entrants_checked, found.scans_pending
    report.symbols_pending = found.symbols_pending
    report.differences += found.differences
