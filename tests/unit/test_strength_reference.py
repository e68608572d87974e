"""Forty symbols of real data, every date, against a plain reference in decimals that shares no code."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollotape.domain.strength import STATUSES, Market, Scores, score
from support import markets, strength_reference
from support.markets import day, number
from support.strength_reference import Answer

TOLERANCE = 1e-9
Judged = tuple[Scores, list[dict[str, Answer]]]


@pytest.fixture(scope="module")
def judged(shared_data: Path) -> Judged:
    """What we say and what the reference says of forty symbols, on every day any of them has a bar."""
    everything = markets.read(shared_data / "bars_daily_sp500.csv.gz")
    names = markets.forty(everything)
    stocks = {s: everything[s] for s in names}
    funds = markets.read(shared_data / "bars_daily_etf.csv.gz")
    of = markets.sectors_of(shared_data / "sectors.csv")
    levels = {s: markets.packed(d) for s, d in funds.items()}
    ours = Market.of({s: markets.packed(d) for s, d in stocks.items()}, of, levels)
    days = np.unique(ours.day)
    beside = strength_reference.beside(
        {s: strength_reference.decimals(d) for s, d in stocks.items()},
        {s: strength_reference.decimals(d) for s, d in funds.items()},
        of,
    )
    sector = {s: of.get(s) for s in names}
    theirs = [strength_reference.cross_section(day(d), beside, sector) for d in days.tolist()]
    return score(ours, days.tolist()), theirs


def cells(judged: Judged) -> Iterator[tuple[int, int, str, Answer]]:
    ours, theirs = judged
    for d, answers in enumerate(theirs):
        for i, symbol in enumerate(ours.symbols):
            yield d, i, f"{symbol} {day(int(ours.days[d]))}", answers[symbol]


def test_forty_symbols_and_all_their_days_are_compared(judged: Judged) -> None:
    ours, theirs = judged
    assert len(ours.symbols) == 40
    assert len(theirs) == 1_259
    assert ours.has_bar.sum() > 45_000
    assert number(day(int(ours.days[0]))) == ours.days[0]


def test_every_number_is_that_of_the_reference(judged: Judged) -> None:
    ours, _ = judged
    for d, i, where, answer in cells(judged):
        for p in range(5):
            assert close(ours.excess[0, p, d, i], answer.market[p]), where
            assert close(ours.excess[1, p, d, i], answer.sector[p]), where
            assert close(ours.ratio[p, d, i], answer.ratio[p]), where
        assert close(ours.mansfield[d, i], answer.mansfield), where


def test_every_status_is_that_of_the_reference(judged: Judged) -> None:
    ours, _ = judged
    seen = set()
    for d, i, where, answer in cells(judged):
        assert [STATUSES[c] for c in ours.status[0, :, d, i]] == answer.market_status, where
        assert [STATUSES[c] for c in ours.status[1, :, d, i]] == answer.sector_status, where
        seen |= {*answer.market_status, *answer.sector_status}
    assert seen == set(STATUSES), "the data do not show every status"


def test_every_place_is_that_of_the_reference(judged: Judged) -> None:
    ours, _ = judged
    leaders = rated = absent = 0
    for d, i, where, answer in cells(judged):
        assert (ours.rating[d, i] or None) == answer.rating, where
        assert (ours.rank[d, i] or None) == answer.rank, where
        assert ours.leader[d, i] == answer.leader, where
        leaders += answer.leader
        rated += answer.rating is not None
        absent += answer.rank is not None and not ours.has_bar[d, i]
    assert leaders > 1_000
    assert rated > 30_000
    assert absent > 10, "no stock was ranked on a day without a bar of it"


def close(ours: Any, theirs: Decimal | None) -> bool:
    """NaN stands for what is unknown."""
    if theirs is None:
        return bool(np.isnan(ours))
    return abs(float(ours) - float(theirs)) <= TOLERANCE * max(1.0, abs(float(theirs)))
