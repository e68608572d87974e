"""Relative strength once more, one stock and one day at a time, in plain Python.

It shares with the worker the names of sectors and nothing else, and reads every symbol's whole history.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Any, NamedTuple

from rollotape.domain.sectors import BENCHMARKS, benchmarks
from rollotape.postgres.sql import queries
from rollotape.verification import Difference

Progress = Callable[[int, int], None]
Closes = list[tuple[int, float]]
"""(day since 1970, close), oldest first."""

_SESSIONS = (21, 63, 126, 252)
_NEWEST = 2**31 - 1 + 10_957
"""The date infinity: the mapping is due."""
_FIELDS = (
    "rs_score", "excess_21", "excess_63", "excess_126", "excess_252",
    "sector_excess_30d", "sector_excess_21", "sector_excess_63", "sector_excess_126", "sector_excess_252",
    "rs_ratio", "rs_ratio_21", "rs_ratio_63", "rs_ratio_126", "rs_ratio_252", "mansfield",
    "market_status", "sector_status",
)  # fmt: skip
"""What follows from a stock and its benchmarks alone."""
_PLACES = ("rating", "sector_rank", "is_sector_leader")
"""What follows from the others, too."""


@dataclass(slots=True)
class Outcome:
    """What was compared, and what was found."""

    scores_checked: int = 0
    dates_checked: int = 0
    dates_pending: int = 0
    """Dates that are due in this very snapshot; they were not compared."""
    differences: list[Difference] = field(default_factory=list)


class Standing(NamedTuple):
    """What a stock brings into the cross-section of a day; None where it has nothing to bring."""

    score: float | None
    strength: float | None


class Pair:
    """A stock beside a benchmark on the days that both have."""

    def __init__(self, stock: Closes, benchmark: Mapping[int, float]) -> None:
        common = [(day, close, benchmark[day]) for day, close in stock if day in benchmark]
        self.days = [day for day, _, _ in common]
        self.stock = [close for _, close, _ in common]
        self.benchmark = [close for _, _, close in common]
        self.ratio = [p / b for _, p, b in common]

    def fresh(self, day: int) -> int | None:
        """Position of the last common day as of a day, if there is one and it is not too old."""
        at = bisect_right(self.days, day) - 1
        return at if at >= 0 and self.days[at] >= day - 5 else None

    def is_stale(self, day: int) -> bool:
        return self.fresh(day) is None and bisect_right(self.days, day) > 0

    def before(self, at: int) -> list[int | None]:
        """Positions of a month ago and of 21, 63, 126 and 252 sessions ago."""
        month = bisect_left(self.days, self.days[at] - 30)
        good = self.days[month] <= self.days[at] - 25 and self.days[0] <= self.days[at] - 30
        return [month if good else None, *(at - n if at >= n else None for n in _SESSIONS)]

    def excess(self, at: int, since: int) -> float:
        """How much more than the benchmark the stock gained, in percentage points."""
        stock, benchmark = self._gains(at, since)
        return 100.0 * ((stock - 1.0) - (benchmark - 1.0))

    def quotient(self, at: int, since: int) -> float:
        stock, benchmark = self._gains(at, since)
        return stock / benchmark

    def mansfield(self, at: int) -> float | None:
        if at < 199:
            return None
        return (self.ratio[at] / (math.fsum(self.ratio[at - 199 : at + 1]) / 200) - 1.0) * 100.0

    def strength(self, at: int) -> float | None:
        if at < 252:
            return None
        now, p = self.stock[at], self.stock
        return 0.4 * (now / p[at - 63]) + 0.2 * (now / p[at - 126]) + 0.2 * (now / p[at - 189]) + 0.2 * (
            now / p[at - 252]
        )  # fmt: skip

    def _gains(self, at: int, since: int) -> tuple[float, float]:
        return self.stock[at] / self.stock[since], self.benchmark[at] / self.benchmark[since]


async def check(connection: Any, *, dates: int | None = None, progress: Progress) -> Outcome:
    """Compare all stored scores, or those of so many dates, and the mapping.

    The connection is inside a snapshot and has raw times: days are integers.
    """
    found, sql = Outcome(), queries("verify_strength")
    sectors = dict(await connection.fetch(sql["stocks"], list(BENCHMARKS)))
    every_day = [day for [day] in await connection.fetch(sql["days"], list(sectors))]
    due = {day for [day] in await connection.fetch(sql["due"])}
    marked = await connection.fetchval(sql["marked_from"])
    mapping_is_due = marked is not None or _NEWEST in due
    days = [d for d in every_day if d not in due and (marked is None or d < marked)]
    found.dates_pending = len(every_day) - len(days)
    if dates is not None:
        days = _chosen(days, dates)
    found.dates_checked = len(days)

    levels = {name: dict(await connection.fetch(sql["closes"], name)) for name in BENCHMARKS}
    newest = await connection.fetchval(sql["newest"], list(sectors))
    market = _Market(days if newest is None or mapping_is_due else sorted({*days, newest}))
    for n, (symbol, sector) in enumerate(sectors.items(), 1):
        closes: Closes = [tuple(r) for r in await connection.fetch(sql["closes"], symbol)]
        stored = {r["as_of"]: r for r in await connection.fetch(sql["scores"], symbol, days)}
        found.scores_checked += len(stored)
        found.differences += market.add(symbol, sector, closes, levels, stored, set(days))
        progress(n, len(sectors))
    found.differences += market.places()
    found.differences += [
        Difference("rs_scores", f"{symbol} {_day(day)}", "a row", "")
        for day, symbol in await connection.fetch(sql["strangers"], list(sectors))
    ]
    if not mapping_is_due:
        mapped = dict(await connection.fetch(sql["mapped_stocks"], list(BENCHMARKS)))
        stored = {r["symbol"]: tuple(r) for r in await connection.fetch(sql["mapping"])}
        found.differences += market.mapping(mapped, newest, stored)
    return found


def _chosen(days: list[int], count: int) -> list[int]:
    """The newest day and others by chance."""
    others = days[:-1]
    return sorted([*Random().sample(others, min(count - 1, len(others))), *days[-1:]])


class _Market:
    """Remembers, day by day, who stands where, until all stocks were seen."""

    def __init__(self, days: Sequence[int]) -> None:
        self._days = days
        self._sectors: dict[str, str | None] = {}
        self._standings: dict[int, dict[str, Standing]] = {day: {} for day in days}
        self._stored: dict[int, dict[str, tuple[Any, ...]]] = {day: {} for day in days}

    def add(
        self,
        symbol: str,
        sector: str | None,
        closes: Closes,
        levels: Mapping[str, Mapping[int, float]],
        stored: Mapping[int, Any],
        compared: set[int],
    ) -> Iterator[Difference]:
        """Take in one stock; what is wrong with its rows, apart from its place among the others."""
        market, fund = benchmarks(sector)
        own, other = Pair(closes, levels[market]), Pair(closes, levels[fund]) if fund else None
        self._sectors[symbol] = sector
        traded = {day for day, _ in closes}
        for day in self._days:
            standing = _standing(own, day)
            if standing != (None, None):
                self._standings[day][symbol] = standing
            if day not in compared or (day not in traded and day not in stored):
                continue
            row = stored.get(day)
            expected = _fields(own, other, day) if day in traded else None
            if row is None or expected is None:
                yield Difference("rs_scores", f"{symbol} {_day(day)}", str(row or ""), str(expected or ""))
                continue
            self._stored[day][symbol] = tuple(row[name] for name in _PLACES)
            yield from _compared(symbol, day, _FIELDS, tuple(row[n] for n in _FIELDS), expected)

    def places(self) -> Iterator[Difference]:
        """What is wrong with ratings, ranks and leaders."""
        for day, rows in self._stored.items():
            ratings, ranks = self._ratings(day), self._ranks(day)
            for symbol, row in rows.items():
                rank, leads = ranks.get(symbol, (None, False))
                yield from _compared(symbol, day, _PLACES, row, (ratings.get(symbol), rank, leads))

    def mapping(
        self, mapped: Mapping[str, str | None], newest: int | None, stored: Mapping[str, tuple[Any, ...]]
    ) -> Iterator[Difference]:
        """What is wrong with the mapping as of the newest day."""
        standings = {} if newest is None else self._standings[newest]
        ranks = {} if newest is None else self._ranks(newest)
        for symbol in sorted(mapped.keys() | stored.keys()):
            expected: tuple[Any, ...] = ()
            if symbol in mapped:
                score = standings[symbol].score if symbol in standings else None
                sector = mapped[symbol]
                place = ranks.get(symbol, (None, False))
                expected = (symbol, sector, benchmarks(sector)[1], newest, score, *place)
            row = stored.get(symbol, ())
            if row != expected:
                yield Difference("sector_mapping", symbol, str(row or ""), str(expected or ""))

    def _ratings(self, day: int) -> dict[str, int]:
        rated = {s: _key(at.strength) for s, at in self._standings[day].items() if at.strength is not None}
        ordered, found = sorted(rated.values()), {}
        for symbol, key in rated.items():
            below = bisect_left(ordered, key)
            equal = bisect_right(ordered, key) - below
            found[symbol] = -(-99 * (2 * below + equal) // (2 * len(ordered)))
        return found

    def _ranks(self, day: int) -> dict[str, tuple[int, bool]]:
        members: dict[str, dict[str, float]] = {}
        for symbol, at in self._standings[day].items():
            sector = self._sectors[symbol]
            if sector is not None and at.score is not None:
                members.setdefault(sector, {})[symbol] = _key(at.score)
        found = {}
        for scores in members.values():
            ordered = sorted(scores.values())
            fifth = -(-len(ordered) // 5) if len(ordered) >= 5 else 0
            for symbol, key in scores.items():
                rank = 1 + len(ordered) - bisect_right(ordered, key)
                found[symbol] = rank, rank <= fifth
        return found


def _key(value: float) -> float:
    """Numbers are compared after rounding to 1e-9."""
    scaled = value * 1e9
    return float(round(scaled)) if math.isfinite(scaled) else scaled


def _standing(pair: Pair, day: int) -> Standing:
    at = pair.fresh(day)
    if at is None:
        return Standing(None, None)
    month = pair.before(at)[0]
    score = None if month is None else _finite(pair.excess(at, month), pair.quotient(at, month))
    strength = pair.strength(at)
    return Standing(score, None if strength is None else _finite(strength))


def _finite(value: float, *others: float) -> float | None:
    return value if all(map(math.isfinite, (value, *others))) else None


def _fields(own: Pair, fund: Pair | None, day: int) -> tuple[Any, ...]:
    """What a row says of a stock that traded on this day."""
    excess, ratio, status = _against(own, day)
    other, _, other_status = _against(fund, day) if fund else ([None] * 5, None, "n" * 5)
    at = own.fresh(day)
    line = None if at is None else own.mansfield(at)
    return (*excess, *other, *ratio, None if line is None else _finite(line), status, other_status)


def _against(pair: Pair, day: int) -> tuple[list[float | None], list[float | None], str]:
    at = pair.fresh(day)
    if at is None:
        return [None] * 5, [None] * 5, ("s" if pair.is_stale(day) else "i") * 5
    excess: list[float | None] = [None] * 5
    ratio: list[float | None] = [None] * 5
    for period, since in enumerate(pair.before(at)):
        if since is not None:
            gained, quotient = pair.excess(at, since), pair.quotient(at, since)
            excess[period], ratio[period] = _finite(gained, quotient), _finite(quotient, gained)
    return excess, ratio, "".join("i" if e is None else "o" for e in excess)


def _compared(
    symbol: str, day: int, names: Iterable[str], stored: tuple[Any, ...], expected: tuple[Any, ...]
) -> Iterator[Difference]:
    if stored != expected:
        for name, was, should in zip(names, stored, expected, strict=True):
            if was != should:
                yield Difference("rs_scores", f"{symbol} {_day(day)}", f"{name} {was}", str(should))


def _day(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)
