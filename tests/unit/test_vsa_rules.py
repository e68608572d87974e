"""Rule sets are data: what their notation means, how far they look back, and what a trend is."""

from itertools import pairwise

import numpy as np
import pytest

from rollotape.domain.vsa import arrays
from rollotape.domain.vsa.rules import (
    CLASSIC_1,
    LOOKBACK,
    REACH,
    RULE_SETS,
    SEED_1,
    TREND_LOOKBACK,
    Among,
    Comparison,
    InTrend,
    Rule,
    RuleSet,
    Term,
)
from support.bars import Event, Ohlcv, by_arrays, by_reference, by_windows, rows

FLAT: Ohlcv = (100, 101, 99, 100, 1000)


def only(condition: str) -> object:
    [[parsed]] = Rule("any", "bullish", (condition,)).conditions
    return parsed


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("v > 1.5 V20", Comparison(Term("v"), ">", 3, 2, Term("V20"))),
        ("s[-1] > S20", Comparison(Term("s", 1), ">", 1, 1, Term("S20"))),
        ("v[-1] > 2 V20[-1]", Comparison(Term("v", 1), ">", 2, 1, Term("V20", 1))),
        ("clv >= 0.4", Comparison(Term("clv"), ">=", 2, 5, None)),
        ("l[-1] < low20[-1]", Comparison(Term("l", 1), "<", 1, 1, Term("low20", 1))),
        ("c <= o", Comparison(Term("c"), "<=", 1, 1, Term("o"))),
        ("trend up", InTrend("up")),
        ("demand in 20", Among("demand", 20)),
    ],
)
def test_a_condition_reads_as_traders_write_it(text: str, meaning: object) -> None:
    assert only(text) == meaning


def test_or_joins_alternatives() -> None:
    [anyof] = Rule("any", "bullish", ("trend down or demand in 10",)).conditions
    assert anyof == (InTrend("down"), Among("demand", 10))


@pytest.mark.parametrize(
    "text", ["v >", "v > 1.5V20", "x > 1", "trend none", "v[1] > v", "v == V20", "", "c > c[+1]"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a condition"):
        only(text)


LOOKBACKS = {
    ("seed-1", "no_demand"): 20,
    ("seed-1", "no_supply"): 20,
    ("seed-1", "stopping_volume"): 20,
    ("classic-1", "supply"): 20,
    ("classic-1", "demand"): 20,
    ("classic-1", "no_demand"): 30,
    ("classic-1", "no_supply"): 30,
    ("classic-1", "stopping_volume"): 21,
    ("classic-1", "test"): 40,
    ("classic-1", "upthrust"): 20,
    ("classic-1", "selling_climax"): 20,
    ("classic-1", "buying_climax"): 20,
}


def test_a_rule_needs_the_bars_of_the_rules_it_names() -> None:
    found = {(rs.name, rule.kind): rs.lookback(rule) for rs in RULE_SETS for rule in rs.rules}
    assert found == LOOKBACKS


def test_no_rule_set_reaches_further_than_a_change_does() -> None:
    assert max(rule_set.reach for rule_set in RULE_SETS) <= REACH
    assert max(*LOOKBACKS.values(), TREND_LOOKBACK) <= REACH


@pytest.mark.parametrize("rule_set", RULE_SETS, ids=lambda rs: rs.name)
def test_what_rules_name_is_there(rule_set: RuleSet) -> None:
    named = {
        c.name
        for rule in rule_set.rules
        for anyof in rule.conditions
        for c in anyof
        if isinstance(c, Among)
    }
    assert named <= {rule.kind for rule in rule_set.rules}


def test_events_of_one_kind_and_bar_cannot_have_two_directions() -> None:
    kinds = [rule.kind for rule in CLASSIC_1.rules]
    assert len(kinds) == len(set(kinds))
    bullish, bearish = SEED_1.named("stopping_volume")
    assert {bullish.direction, bearish.direction} == {"bullish", "bearish"}
    assert "c > o" in bullish.when
    assert "c < o" in bearish.when


# The trend is asked by rules of its own. From the previous 25 closes x0..x24, SMA20(t-1) > SMA20(t-6) is
# x20 + ... + x24 > x0 + ... + x4.

PROBE = RuleSet(
    "probe-1", (Rule("up", "bullish", ("trend up",)), Rule("down", "bearish", ("trend down",)))
)


def with_closes(**closes: float) -> list[Ohlcv]:
    """25 bars that close at 100, those named (`x24=101`) elsewhere, and the bar that asks."""
    bars = [FLAT] * 26
    for name, close in closes.items():
        bars[int(name[1:])] = (100, 103, 97, close, 1000)
    return bars


@pytest.mark.parametrize(
    ("bars", "trend"),
    [
        pytest.param(with_closes(x24=100.01), "up", id="one higher close is enough"),
        pytest.param(with_closes(x24=99.99), "down", id="one lower close is enough"),
        pytest.param(with_closes(), None, id="nothing moved"),
        pytest.param(with_closes(x20=101), None, id="mean rose, close below it"),
        pytest.param(with_closes(x20=99), None, id="mean fell, close above it"),
        pytest.param(with_closes(x0=99), None, id="mean rose, close equals it"),
        pytest.param(with_closes(x0=101), None, id="mean fell, close equals it"),
        pytest.param(with_closes(x0=101, x24=101), None, id="close above, mean unchanged"),
        pytest.param(with_closes(x0=99, x24=99), None, id="close below, mean unchanged"),
        pytest.param(with_closes(x0=100.99, x24=101), "up", id="just risen"),
        pytest.param(with_closes(x0=99.01, x24=99), "down", id="just fallen"),
        pytest.param(with_closes(x24=100.01)[1:], None, id="24 bars are too few"),
        pytest.param([FLAT, *with_closes(x24=100.01)], "up", id="more bars say no more"),
    ],
)
def test_a_trend_is_a_mean_that_moves_and_a_close_beyond_it(bars: list[Ohlcv], trend: str | None) -> None:
    at = len(bars) - 1
    for found in (by_arrays(rows(bars), rule_sets=[PROBE])[1], by_windows(rows(bars), rule_sets=[PROBE])[1]):
        assert [kind for _, kind, _, _, t in found if t == at] == ([trend] if trend else [])


# Evaluable

READINGS = {"arrays": by_arrays, "windows": by_windows, "reference": by_reference}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("gap", [40, 41])
@pytest.mark.parametrize("daily", [True, False])
def test_a_daily_mean_reaches_back_60_days_at_most(reading: str, gap: int, daily: bool) -> None:
    days = [*range(20), 20 + gap]
    bars = rows([FLAT] * 21, days)
    evaluable, _ = READINGS[reading](bars, daily=daily)
    assert evaluable == [False] * 20 + [gap == 40 or not daily]


@pytest.mark.parametrize("reading", READINGS)
def test_a_bar_that_the_rule_names_counts_only_where_it_is_evaluable_itself(reading: str) -> None:
    """A demand bar right after a long gap is none, though the bar that looks back at it is evaluable."""
    demand: Ohlcv = (100, 100.4, 99, 99.9, 1501)
    test: Ohlcv = (99.5, 100.5, 98.9, 100.1, 999)
    values = [*[FLAT] * 21, demand, *[FLAT] * 19, test]
    near, far = list(range(42)), [*range(10), *range(70, 102)]
    for days, expected in ((near, {("classic-1", "test", "bullish", 41, 41)}), (far, set[Event]())):
        evaluable, found = READINGS[reading](rows(values, days), trend="none")
        assert evaluable[-1]
        assert found == expected


@pytest.mark.parametrize("count", range(23))
@pytest.mark.parametrize("daily", [True, False])
def test_a_history_of_any_length_can_be_judged(count: int, daily: bool) -> None:
    bars = rows([FLAT] * count) if count else rows([FLAT])[:0]
    evaluable = [at >= LOOKBACK for at in range(count)]
    for reading in READINGS.values():
        assert reading(bars, daily=daily) == (evaluable, set())


def test_series_of_several_symbols_do_not_see_each_other() -> None:
    """Joined end to end, each gives what it gives alone, where means would spill over, too."""
    quiet = rows([FLAT] * 45)
    loud = rows([(100, 105, 95, 104, 1e9), (100, 105, 95, 96, 2e9)] * 15)
    demand = rows([*[FLAT] * 20, (100, 100.4, 99, 99.9, 1501), *[FLAT] * 19, (99.5, 100.5, 98.9, 100.1, 999)])
    parts = [quiet, loud, quiet[:3], demand, loud, demand[20:], demand]
    daily = [True, False, True, True, True, False, False]
    joined = arrays.series(parts, daily)
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    found = {
        (f.rule_set, f.rule.kind, str(f.rule.direction), at + f.rule.described, at)
        for rule_set in RULE_SETS
        for f in joined.find(rule_set)
        for at in f.confirmed.tolist()
    }
    for (start, end), part, d in zip(pairwise(starts), parts, daily, strict=True):
        evaluable, events = by_arrays(part, daily=d)
        assert joined.evaluable[start:end].tolist() == evaluable
        inside = {(*e[:3], e[3] - start, e[4] - start) for e in found if start <= e[4] < end}
        assert inside == events
