"""What holds of the Wyckoff fold whatever the bars: causality, any batches, scales, dates, the mirror."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from rollotape.domain.bars import Rows
from rollotape.domain.wyckoff.facts import Event, Pattern
from rollotape.domain.wyckoff.rules import KINDS, MIRRORED, RULE_SETS, Rules
from support.bars import read_daily
from support.wyckoff import PROPERTIES, Property, drawn, fold, walk

CASES = int(os.environ.get("ROLLO_TEST_WYCKOFF_CASES", "240"))
"""On walks, simulated schematics and real symbols; the full run is in tests/chaos/test_wyckoff_cases.py."""
EACH = CASES // (3 * len(PROPERTIES))


@pytest.fixture(scope="module")
def market(shared_data: Path) -> Iterator[list[Rows]]:
    """Five years of every symbol with at least 300 bars, ends filled in."""
    histories = [b for b in read_daily([shared_data / "bars_daily_sp500.csv.gz"]).values() if len(b) >= 300]
    for bars in histories:
        bars["end_ts"] = bars["ts"] + 21 * 3_600_000_000
    yield histories


@pytest.mark.parametrize("rules", RULE_SETS, ids=lambda r: r.name)
def test_the_tapes_show_every_kind_of_fact(rules: Rules) -> None:
    """Or the properties below would say little."""
    seen: Counter[str] = Counter()
    for bars in (*map(walk, range(150)), *map(drawn, range(30))):
        for fact in fold(bars, rules):
            if isinstance(fact, Event):
                seen[fact.kind] += 1
            elif not isinstance(fact, Pattern):
                seen[fact.status] += 1
    expected = {*KINDS, *MIRRORED.values(), "confirmed", "test_passed", "open", "completed", "failed"}
    if not rules.climax_proven:
        expected |= {"expired", "superseded", "abandoned"}
    assert {kind for kind in expected if seen[kind] < 3} == set()


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda p: p.__name__)
def test_on_walks(holds: Property) -> None:
    for seed in range(EACH):
        holds(walk(1_000 + seed), Random(seed), RULE_SETS[seed % 2])


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda p: p.__name__)
def test_on_simulated_schematics(holds: Property) -> None:
    for seed in range(EACH):
        holds(drawn(1_000 + seed), Random(seed), RULE_SETS[seed % 2])


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda p: p.__name__)
def test_on_real_symbols(holds: Property, market: list[Rows]) -> None:
    for seed in range(EACH):
        random = Random(seed)
        bars = random.choice(market)
        start = random.randrange(0, len(bars) - 299)
        holds(bars[start : start + 700], random, RULE_SETS[seed % 2])
