"""Relative strength: every stock beside the market and beside its sector, as of any day.

A value at t depends on the dates of its own window only, so it has the same bits whichever days were asked
for together. NaN and 0 stand for "unknown" inside these arrays and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rollotape.domain import sectors
from rollotape.domain.strength import standings as compare
from rollotape.domain.strength.market import Closes, Flags, Floats, Ints, Market, owners
from rollotape.domain.strength.pairs import At, Pairs
from rollotape.domain.strength.sums import window_sums

__all__ = ("PERIODS", "STATUSES", "Closes", "Market", "Scores", "as_of", "lacking", "score")

PERIODS = ("30d", "21", "63", "126", "252")
"""A month of calendar days, and numbers of sessions."""
_SESSIONS = (21, 63, 126, 252)
_RATED = ((63, 0.4), (126, 0.2), (189, 0.2), (252, 0.2))
"""Sessions and weight of what a rating is made of."""
_MEAN = 200
"""Sessions of the mean that Mansfield's line is measured against."""

_CLOSES_AT_ONCE = 200_000
"""For speed only: stocks are independent until they are ranked."""

OK, INSUFFICIENT, STALE, NO_BENCHMARK = range(4)
STATUSES = ("ok", "insufficient_history", "stale", "no_benchmark")


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Of every day and stock, shape (days, stocks) behind what is named.

    `excess` and `status`: (market or sector, period, day, stock); `ratio`: (period, day, stock).
    """

    symbols: list[str]
    days: Ints
    has_bar: Flags
    excess: Floats
    status: NDArray[np.int8]
    ratio: Floats
    mansfield: Floats
    rating: Ints
    """0 where unknown."""
    rank: Ints
    """Within the sector, by the month against the market; 0 where unknown."""
    leader: Flags

    @property
    def rs_score(self) -> Floats:
        """The month against the market."""
        score: Floats = self.excess[0, 0]
        return score


def as_of(market: Market, day: int) -> Scores:
    """One cross-section, whatever the day; closes of later days change nothing."""
    return score(market, [day])


def score(market: Market, days: Sequence[int]) -> Scores:
    """Cross-sections of all stocks as of each of the days (since 1970).

    A stock without a bar that day is part of the cross-section while its last common date is fresh.
    """
    asked = np.asarray(days, np.int64)
    shape = len(asked), len(market)
    scores = Scores(
        symbols=market.symbols,
        days=asked,
        has_bar=_has_bar(market, asked),
        excess=np.full((2, len(PERIODS), *shape), np.nan),
        status=np.full((2, len(PERIODS), *shape), NO_BENCHMARK, np.int8),
        ratio=np.full((len(PERIODS), *shape), np.nan),
        mansfield=np.full(shape, np.nan),
        rating=np.zeros(shape, np.int64),
        rank=np.zeros(shape, np.int64),
        leader=np.zeros(shape, bool),
    )
    if not len(market) or not len(asked):
        return scores
    strength = np.full(shape, np.nan)
    for here, part in market.parts(_CLOSES_AT_ONCE):
        for which, pairs in enumerate(_pairs(part)):
            at = pairs.at(asked)
            ratio = scores.ratio[:, :, here] if which == 0 else None
            _compare(pairs, at, scores.excess[which, :, :, here], scores.status[which, :, :, here], ratio)
            if which == 0:
                _look_back(pairs, at, scores.mansfield[:, here], strength[:, here])
    _rate(strength, scores.rating)
    _rank(market.sectors, scores)
    return scores


def lacking(market: Market, days: Sequence[int]) -> list[str]:
    """Stocks of which more history must be read before they can be scored on these days."""
    asked = np.asarray(days, np.int64)
    if not market.cut.any() or not len(asked):
        return []
    has_bar = _has_bar(market, asked)
    found = np.zeros(len(market), bool)
    for pairs in _pairs(market):
        found |= pairs.lacking(pairs.at(asked), has_bar)
    return [market.symbols[i] for i in np.flatnonzero(found).tolist()]


def _pairs(market: Market) -> tuple[Pairs, Pairs]:
    own, fund = zip(*map(sectors.benchmarks, market.sectors), strict=True)
    return Pairs.of(market, own), Pairs.of(market, fund)


def _has_bar(market: Market, days: Ints) -> Flags:
    has_bar = np.zeros((len(days), len(market)), bool)
    if len(days) == 1:
        has_bar[0, owners(market.start)[market.day == days[0]]] = True
    elif len(days):
        order = np.argsort(days)
        place = np.minimum(np.searchsorted(days[order], market.day), len(days) - 1)
        hit = days[order][place] == market.day
        has_bar[order[place[hit]], owners(market.start)[hit]] = True
    return has_bar


def _compare(
    pairs: Pairs, at: At, excess: Floats, status: NDArray[np.int8], ratio: Floats | None
) -> None:
    """Fill in what one benchmark says about every period."""
    status[:, :, pairs.listed] = INSUFFICIENT
    status[:, at.exists & ~at.fresh] = STALE
    t = at.position[at.fresh]
    for period in range(len(PERIODS)):
        before, known = pairs.month(t) if period == 0 else pairs.back(t, _SESSIONS[period - 1])
        now, before = t[known], before[known]
        with np.errstate(over="ignore", invalid="ignore"):
            stock = pairs.stock[now] / pairs.stock[before]
            benchmark = pairs.benchmark[now] / pairs.benchmark[before]
            value = 100.0 * ((stock - 1.0) - (benchmark - 1.0))
            quotient = stock / benchmark
        finite = np.isfinite(value) & np.isfinite(quotient)
        cells = _cells(at.fresh, known, finite)
        excess[period][cells] = value[finite]
        status[period][cells] = OK
        if ratio is not None:
            ratio[period][cells] = quotient[finite]


def _look_back(pairs: Pairs, at: At, mansfield: Floats, strength: Floats) -> None:
    """Fill in Mansfield's line, and the strength that ratings compare."""
    t = at.position[at.fresh]
    _, known = pairs.back(t, _MEAN - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = window_sums(pairs.ratio, pairs.start, t[known], _MEAN) / _MEAN
        line = (pairs.ratio[t[known]] / mean - 1.0) * 100.0
    mansfield[_cells(at.fresh, known, np.isfinite(line))] = line[np.isfinite(line)]

    _, known = pairs.back(t, _RATED[-1][0])
    now = t[known]
    total = np.zeros(len(now))
    with np.errstate(over="ignore"):
        for sessions, weight in _RATED:
            total = total + weight * (pairs.stock[now] / pairs.stock[now - sessions])
    strength[_cells(at.fresh, known, np.isfinite(total))] = total[np.isfinite(total)]


def _cells(fresh: Flags, known: Flags, finite: Flags) -> tuple[Ints, Ints]:
    """(day, stock) of those among the fresh ones that are known and finite."""
    day, stock = np.nonzero(fresh)
    return day[known][finite], stock[known][finite]


def _rate(strength: Floats, rating: Ints) -> None:
    day, stock = np.nonzero(~np.isnan(strength))
    rating[day, stock] = compare.ratings(compare.standings(strength[day, stock], day))


def _rank(of_stock: Sequence[str | None], scores: Scores) -> None:
    number = np.array([sectors.SECTORS.index(s) if s else -1 for s in of_stock], np.int64)
    day, stock = np.nonzero(~np.isnan(scores.rs_score) & (number >= 0))
    group = day * len(sectors.SECTORS) + number[stock]
    standing = compare.standings(scores.rs_score[day, stock], group)
    rank = compare.ranks(standing)
    scores.rank[day, stock] = rank
    scores.leader[day, stock] = compare.leaders(rank, standing.members)
