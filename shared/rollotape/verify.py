"""Proof that what is stored follows from what came in: everything recomputed, cold, one bar at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np

from rollotape import calendars
from rollotape.domain import bars as domain
from rollotape.domain.analysis import VsaEvent
from rollotape.domain.bars import BAR, Rows
from rollotape.domain.vsa import single
from rollotape.domain.vsa.rules import REACH, RULE_SETS
from rollotape.postgres.sql import queries
from rollotape.verification import Difference, strength

Progress = Callable[[int, int], None]
"""Called with (symbols checked, symbols in all)."""

DATES_OF_A_SAMPLE = 5
"""When only some symbols are asked for, strength is checked on so many dates: a rank needs all symbols."""
_FOLLOWS_FROM_THE_BAR = ("hash", "end_ts", "session", "regular")


@dataclass(slots=True)
class Report:
    symbols_checked: int = 0
    bars_checked: int = 0
    events_checked: int = 0
    scores_checked: int = 0
    dates_checked: int = 0
    dates_pending: int = 0
    """Dates whose scores are due; they were not compared."""
    differences: list[Difference] = field(default_factory=list)
    pending: int = 0
    """Commits that have not been said yet; no difference, only not yet told."""


async def verify(
    pool: "asyncpg.Pool[Any]",
    *,
    symbols: Sequence[str] | None = None,
    progress: Progress = lambda _checked, _total: None,
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
        for symbol in names:
            for [timeframe] in await connection.fetch(sql["keys"], symbol):
                stored = await connection.fetch(sql["bars"], symbol, timeframe)
                bars = np.array([(*r[:-1], -1 if r[-1] is None else r[-1]) for r in map(tuple, stored)], BAR)
                events = [VsaEvent(*r) for r in await connection.fetch(sql["events"], symbol, timeframe)]
                report.differences += _differences((symbol, timeframe), bars, events)
                report.bars_checked += len(bars)
                report.events_checked += len(events)
            report.symbols_checked += 1
            progress(report.symbols_checked, len(names))
        await _check_strength(connection, report, None if symbols is None else DATES_OF_A_SAMPLE, progress)
    return report


async def _check_strength(connection: Any, report: Report, dates: int | None, progress: Progress) -> None:
    found = await strength.check(connection, dates=dates, progress=progress)
    report.scores_checked, report.dates_checked = found.scores_checked, found.dates_checked
    report.dates_pending = found.dates_pending
    report.differences += found.differences


def _differences(key: tuple[str, str], bars: Rows, events: Sequence[VsaEvent]) -> Iterator[Difference]:
    yield from _bar_differences(key, bars)
    evaluable, expected = recompute(key, bars)
    for i in np.flatnonzero(evaluable != bars["evaluable"]).tolist():
        where = _name(*key, bars["ts"][i])
        yield Difference("bars", where, f"evaluable {bars['evaluable'][i]}", str(evaluable[i]))
    stored = {e.key: e for e in events}
    follows = {e.key: e for e in expected}
    for k in sorted(stored.keys() | follows.keys()):
        if stored.get(k) != follows.get(k):
            yield Difference("vsa_events", _name(*k), str(stored.get(k, "")), str(follows.get(k, "")))


def _bar_differences(key: tuple[str, str], bars: Rows) -> Iterator[Difference]:
    """What follows from each bar alone, computed again from what its sender said."""
    symbol, timeframe = key
    said = domain.Candidates(timeframe, [symbol] * len(bars), bars.copy())
    fresh = domain.complete(said, calendars.sessions())
    for name in _FOLLOWS_FROM_THE_BAR:
        for i in np.flatnonzero(fresh[name] != bars[name]).tolist():
            where = _name(*key, bars["ts"][i])
            yield Difference("bars", where, f"{name} {bars[name][i]}", str(fresh[name][i]))


def recompute(key: tuple[str, str], bars: Rows) -> tuple[Any, list[VsaEvent]]:
    """Judgement (1, 0, -1) of every bar and all events of one key, from each bar's own cold window."""
    evaluable = np.full(len(bars), -1, np.int8)
    [analysed] = np.nonzero(domain.analysed(bars))
    found: list[VsaEvent] = []
    columns = _columns(bars[analysed])
    ts, end_ts = bars["ts"][analysed].tolist(), bars["end_ts"][analysed].tolist()
    for i, at in enumerate(analysed.tolist()):
        window = single.Window(columns.window(max(0, i - REACH), i + 1), daily=key[1] == "1d")
        evaluable[at] = window.evaluable()
        for rule_set in RULE_SETS:
            for rule in window.events(rule_set):
                assert rule.direction is not None
                kind, direction, described = rule.kind, rule.direction, ts[i + rule.described]
                event = VsaEvent(*key, rule_set.name, kind, described, ts[i], end_ts[i], direction)
                found.append(event)
    return evaluable, found


def _columns(bars: Rows) -> single.Columns:
    count = len(bars)
    prices = single.whole(np.concatenate([bars[n] for n in ("open", "high", "low", "close")]).tolist())
    o, h, low, c = (prices[i * count : (i + 1) * count] for i in range(4))
    return single.Columns(o, h, low, c, single.whole(bars["volume"].tolist()), bars["session"].tolist())


def _name(*parts: Any) -> str:
    return " ".join(str(np.datetime64(int(p), "us")) if isinstance(p, int | np.integer) else p for p in parts)
