"""On real market data all readings of the rules agree, and find as many events as were counted by hand."""

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from rollotape.domain.bars import Rows
from rollotape.domain.vsa import arrays
from rollotape.domain.vsa.arrays import Series
from rollotape.domain.vsa.rules import CLASSIC_1, LOOKBACK, RULE_SETS, SEED_1, Rule, RuleSet
from support.bars import by_arrays, by_reference, by_windows, read_daily

SEED = 20_180_207
SAMPLE = 25
ALL = bool(os.environ.get("ROLLO_TEST_ALL_SYMBOLS"))
"""Compare every symbol (some minutes) and not just a sample."""

HOLES = ("BMY", "DHR", "O", "BHF", "XLRE")
"""Symbols with missing days, refused rows or flat bars without volume: always in the sample."""


@cache
def load(folder: Path) -> dict[str, Rows]:
    return read_daily(folder / f"bars_daily_{name}.csv.gz" for name in ("etf", "sp500"))


@pytest.fixture(scope="module")
def market(shared_data: Path) -> Iterator[Mapping[str, Rows]]:
    """All daily bars of the test data; let go afterwards, they are many."""
    yield load(shared_data)
    load.cache_clear()


@pytest.fixture(scope="module")
def joined(market: Mapping[str, Rows]) -> Series:
    return arrays.series(list(market.values()), [True] * len(market))


def counted(series: Series, rule_set: RuleSet) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for found in series.find(rule_set):
        kinds[found.rule.kind] += len(found.confirmed)
    return kinds


def test_the_data_are_as_they_were_counted(market: Mapping[str, Rows]) -> None:
    """619,040 + 30,380 rows, of which 23 cannot be stored."""
    assert len(market) == 520
    assert sum(map(len, market.values())) == 619_040 + 30_380 - 23


def test_seed_1_is_as_rare_as_it_is_said_to_be(joined: Series) -> None:
    found = counted(joined, SEED_1)
    assert found["no_demand"] == 78
    assert found["no_supply"] == 94


def test_classic_1_finds_as_many_as_its_whole_look_back_allows(joined: Series) -> None:
    assert counted(joined, CLASSIC_1).total() == 22_931


class OwnMeansOnly(RuleSet):
    """Judges with the 20 bars of an event's own means, whatever the rules it names would need."""

    def lookback(self, rule: Rule) -> int:  # type: ignore[override]
        return LOOKBACK - rule.judged


def test_half_the_evidence_would_find_more(joined: Series) -> None:
    """domain.md speaks of 23,036 `classic-1` events: those are without the look-back of the rules named."""
    assert counted(joined, OwnMeansOnly("classic-1 on half the evidence", CLASSIC_1.rules)).total() == 23_036


def sample(market: Mapping[str, Rows]) -> list[str]:
    if ALL:
        return sorted(market)
    others = sorted(market.keys() - set(HOLES))
    return [*HOLES, *random.Random(SEED).sample(others, SAMPLE - len(HOLES))]


def test_all_readings_agree_on_real_bars(market: Mapping[str, Rows]) -> None:
    kinds: Counter[str] = Counter()
    for symbol in sample(market):
        expected = by_reference(market[symbol])
        assert by_arrays(market[symbol]) == expected, symbol
        assert by_windows(market[symbol]) == expected, symbol
        kinds.update(kind for _, kind, *_ in expected[1])
    assert set(kinds) == {rule.kind for rs in RULE_SETS for rule in rs.rules if rule.direction}


def test_joined_symbols_give_what_each_gives_alone(market: Mapping[str, Rows], joined: Series) -> None:
    starts = dict(zip(market, np.cumsum([0, *map(len, market.values())])[:-1].tolist(), strict=True))
    found = [
        (f.rule_set, f.rule.kind, str(f.rule.direction), f.rule.described, f.confirmed)
        for rs in RULE_SETS
        for f in joined.find(rs)
    ]
    for symbol in random.Random(SEED).sample(sorted(market), 50):
        start, count = starts[symbol], len(market[symbol])
        evaluable, expected = by_arrays(market[symbol])
        assert joined.evaluable[start : start + count].tolist() == evaluable, symbol
        here = {
            (rule_set, kind, direction, at + described - start, at - start)
            for rule_set, kind, direction, described, confirmed in found
            for at in confirmed[(confirmed >= start) & (confirmed < start + count)].tolist()
        }
        assert here == expected, symbol
