"""Bars for tests of the domain, made from a few numbers or read from market data, and how to judge them."""

import csv
import gzip
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np

from rollotape import calendars
from rollotape.domain import bars as domain
from rollotape.domain.analysis import VsaEvent
from rollotape.domain.bars import BAR, NUMBERS, Candidates, Rows
from rollotape.domain.sessions import DAY_US
from rollotape.domain.vsa import arrays, single
from rollotape.domain.vsa.rules import REACH, RULE_SETS, RuleSet, Trend
from support import vsa_reference

Ohlcv = tuple[float, float, float, float, float]
Event = vsa_reference.Event

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONDAY = 16_804
"""Days since 1970 of 2016-01-04, the first day of the bars made here."""
LATER_MS = 1_790_000_000_000
"""An arrival after everything that tests send."""


def us(text: str) -> int:
    """`2018-02-07T21:00Z` as microseconds since 1970."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def rows(values: Sequence[Ohlcv], days: Sequence[int] | None = None) -> Rows:
    """Daily bars as they stand in a window, one a day from MONDAY on unless `days` says otherwise."""
    days = range(MONDAY, MONDAY + len(values)) if days is None else days
    return stored([(day * DAY_US, *v, 0, False) for day, v in zip(days, values, strict=True)], "1d")


def stored(said: Sequence[tuple[int, float, float, float, float, float, int, bool]], timeframe: str) -> Rows:
    """Bars (ts, o, h, l, c, v, revision, synthetic) with everything that follows from them filled in."""
    bars = np.zeros(len(said), BAR)
    for name, column in zip(("ts", *NUMBERS, "revision", "synthetic"), zip(*said, strict=True), strict=False):
        bars[name] = column
    bars["arrived"] = LATER_MS * 1_000
    return domain.complete(Candidates(timeframe, ["A"] * len(bars), bars), calendars.sessions())


def by_arrays(
    bars: Rows, *, daily: bool = True, trend: Trend | None = None, rule_sets: Sequence[RuleSet] = RULE_SETS
) -> tuple[list[bool], set[Event]]:
    """`evaluable` of every bar, and every event, by the vectorised rules."""
    series = arrays.series([bars], [daily])
    series.trend = trend
    found = {
        (f.rule_set, f.rule.kind, str(f.rule.direction), at + f.rule.described, at)
        for rule_set in rule_sets
        for f in series.find(rule_set)
        for at in f.confirmed.tolist()
    }
    return series.evaluable.tolist(), found


def by_windows(
    bars: Rows,
    *,
    daily: bool = True,
    trend: Trend | None = None,
    rule_sets: Sequence[RuleSet] = RULE_SETS,
    window: int = REACH + 1,
) -> tuple[list[bool], set[Event]]:
    """The same, bar by bar, each judged by the last `window` bars alone."""
    numbers = {name: bars[name].tolist() for name in NUMBERS}
    prices = iter(single.whole([x for name in NUMBERS[:4] for x in numbers[name]]))  # of one scale
    o, h, low, c = (list(islice(prices, len(bars))) for _ in range(4))
    columns = single.Columns(o, h, low, c, single.whole(numbers["volume"]), bars["session"].tolist())
    evaluable, found = [], set[Event]()
    for at in range(len(bars)):
        one = single.Window(columns.window(max(0, at + 1 - window), at + 1), daily=daily, trend=trend)
        evaluable.append(one.evaluable())
        for rule_set in rule_sets:
            for rule in one.events(rule_set):
                found.add((rule_set.name, rule.kind, str(rule.direction), at + rule.described, at))
    return evaluable, found


def by_reference(
    bars: Rows, *, daily: bool = True, trend: Trend | None = None
) -> tuple[list[bool], set[Event]]:
    """The same by the plain reading of the rules."""
    numbers = zip(*(bars[name].tolist() for name in NUMBERS), bars["session"].tolist(), strict=True)
    return vsa_reference.judge([vsa_reference.bar(*n) for n in numbers], daily=daily, trend=trend)


def events_of(symbol: str, timeframe: str, bars: Rows) -> set[VsaEvent]:
    """Every event of one key by the plain reading of the rules: `bars` are all of them, analysed or not."""
    judged = bars[domain.analysed(bars)]
    _, found = by_reference(judged, daily=timeframe == "1d")
    ts, ends = judged["ts"].tolist(), judged["end_ts"].tolist()
    return {
        VsaEvent(symbol, timeframe, rule_set, kind, ts[described], ts[confirmed], ends[confirmed], direction)
        for rule_set, kind, direction, described, confirmed in found
    }


def evaluable_of(timeframe: str, bars: Rows) -> list[int]:
    """`evaluable` as it is stored: 1, 0, or -1 where a bar is not analysed."""
    analysed = domain.analysed(bars)
    out = np.full(len(bars), -1)
    out[analysed], _ = by_reference(bars[analysed], daily=timeframe == "1d")
    return [int(x) for x in out.tolist()]


def read_daily(files: Iterable[Path]) -> dict[str, Rows]:
    """The valid daily bars of CSV files by symbol, oldest first; without hash and end, which take long."""
    symbols: list[str] = []
    seconds: list[float] = []
    numbers: dict[str, list[float | None]] = {name: [] for name in NUMBERS}
    for file in files:
        with gzip.open(file, "rt", newline="") as lines:
            _, *read = csv.reader(lines)
        symbol, date, *columns = zip(*read, strict=True)
        symbols += symbol
        seconds += np.array(date, "M8[s]").astype(float).tolist()
        for name, column in zip(NUMBERS, columns, strict=True):
            numbers[name] += [float(x) if x else None for x in column]
    count = len(symbols)
    sent = domain.candidates(
        "1d", symbols, seconds, numbers, [0] * count, [False] * count, [LATER_MS] * count
    )
    good = sent.only(domain.valid(sent, calendars.sessions()))
    bars, names = good.bars, np.array(good.symbols)
    bars["session"], bars["regular"] = bars["ts"] // DAY_US, True
    order = np.lexsort((bars["ts"], names))
    bars, names = bars[order], names[order]
    starts = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    return dict(zip(names[starts].tolist(), np.split(bars, starts[1:]), strict=True))
