"""Bars worked out by hand: what each rule says about them, and about their neighbours just off a threshold.

Every case is judged by all three readings of the rules. The histories are flat bars of open 100, high 101,
low 99, close 100 and volume 1000, so V20 = 1000 and S20 = 2 unless a case says otherwise; the trend is given.
"""

from typing import NamedTuple

import pytest

from rollotape.domain.bars import Rows
from rollotape.domain.vsa.rules import Trend
from support.bars import Event, Ohlcv, by_arrays, by_reference, by_windows, rows

FLAT: Ohlcv = (100, 101, 99, 100, 1000)
ANY: tuple[Trend, ...] = ("up", "down", "none")
NONE: tuple[Trend, ...] = ("none",)
READINGS = {"arrays": by_arrays, "windows": by_windows, "reference": by_reference}


def flat(count: int) -> list[Ohlcv]:
    return [FLAT] * count


class Case(NamedTuple):
    id: str
    bars: list[Ohlcv]
    trends: tuple[Trend, ...]
    expected: list[Event]
    evaluable: bool = True


def judged(reading: str, rule_set: str, case: Case, trend: Trend) -> tuple[bool, list[Event]]:
    """Whether the newest bar is evaluable, and every event of the whole history."""
    bars: Rows = rows(case.bars)
    evaluable, found = READINGS[reading](bars, trend=trend)
    return evaluable[-1], sorted(e for e in found if e[0] == rule_set)


def params(cases: list[Case]) -> list[object]:
    return [
        pytest.param(case, trend, id=f"{case.id}, trend {trend}") for case in cases for trend in case.trends
    ]


# seed-1, the vectors of the specification. Position 20 is the first bar after a base of 20.

V1: Ohlcv = (100, 100.5, 99.51, 99.9, 1501)
V6B: list[Ohlcv] = [(101, 101.5, 98, 98.5, 2715), (98.6, 100, 98.4, 99.8, 1200)]


def seed(kind: str, direction: str, described: int, confirmed: int) -> list[Event]:
    return [("seed-1", kind, direction, described, confirmed)]


SPECIFIED = [
    Case("V1", [*flat(20), V1], ("up",), seed("no_demand", "bearish", 20, 20)),
    Case("V1d", [*flat(20), V1], ("down", "none"), []),
    Case("V2", [*flat(20), (100, 100.5, 99.51, 99.9, 1500)], ("up",), []),
    Case("V3", [*flat(20), (100, 100.5, 99.5, 99.9, 1501)], ("up",), []),
    Case("V4", [*flat(20), (100, 100.5, 99.51, 100, 1501)], ("up",), []),
    Case(
        "V5", [*flat(20), (99.9, 100.5, 99.51, 100, 1501)], ("down",), seed("no_supply", "bullish", 20, 20)
    ),
    Case("V5", [*flat(20), (99.9, 100.5, 99.51, 100, 1501)], ("up", "none"), []),
    # V20(t) = (19 * 1000 + v) / 20, so v > 2.5 V20 when 0.875 v > 2375: above 2714.28...
    Case("V6a", [*flat(20), (101, 101.5, 98, 98.5, 2714), V6B[1]], ANY, []),
    Case("V6b", [*flat(20), *V6B], ANY, seed("stopping_volume", "bullish", 20, 21)),
    Case("V7", [*flat(20), (101, 101.5, 98, 98.5, 2600), V6B[1]], ANY, []),
    Case(
        "V8",
        [*flat(20), (98.5, 101.5, 98, 101, 3000), (101, 101.2, 99.5, 99.8, 1200)],
        ANY,
        seed("stopping_volume", "bearish", 20, 21),
    ),
    Case("V9", [*flat(20), (101, 101.5, 98, 98.5, 3000), (98.6, 101.5, 98, 99.8, 1200)], ANY, []),
    Case("V10", [*flat(19), *V6B], ANY, seed("stopping_volume", "bullish", 19, 20)),
    Case("V11", [*flat(20), V6B[0]], ANY, []),
    Case("V12", [*flat(19), V1], ANY, [], evaluable=False),
    Case("V13", [*[(100.0, 101.0, 99.0, 100.0, 0.0)] * 20, V1], ANY, [], evaluable=False),
    Case("V14", [*[(100.0, 100.0, 100.0, 100.0, 1000.0)] * 20, V1], ANY, [], evaluable=False),
]

# seed-1, what the vectors above leave open.

SEED = [
    Case("no_supply at v = 1.5 V20", [*flat(20), (99.9, 100.5, 99.51, 100, 1500)], ("down",), []),
    Case("no_supply at s = 0.5 S20", [*flat(20), (99.9, 100.5, 99.5, 100, 1501)], ("down",), []),
    Case("no_supply at c = o", [*flat(20), (100, 100.5, 99.51, 100, 1501)], ("down",), []),
    # S20(t) holds bar t-1: (19 * 2 + s) / 20 < s exactly when s > 2.
    Case("climax at s = S20", [*flat(20), (101, 101, 99, 99.5, 3000), (99.5, 100, 99, 99.8, 1200)], ANY, []),
    Case(
        "climax just over S20",
        [*flat(20), (101, 101.01, 99, 99.5, 3000), (99.5, 100, 99, 99.8, 1200)],
        ANY,
        seed("stopping_volume", "bullish", 20, 21),
    ),
    Case("climax without a body", [*flat(20), (98.5, 101.5, 98, 98.5, 3000), V6B[1]], ANY, []),
    Case("answer without a body", [*flat(20), V6B[0], (99.8, 100, 98.4, 99.8, 1200)], ANY, []),
    Case("down bar, then a down bar", [*flat(20), V6B[0], (99.8, 100, 98.4, 98.6, 1200)], ANY, []),
    Case(
        "up bar, then an up bar",
        [*flat(20), (98.5, 101.5, 98, 101, 3000), (99.8, 101.2, 99.5, 101, 1200)],
        ANY,
        [],
    ),
    Case("answer as the 20th bar", [*flat(18), *V6B], ANY, [], evaluable=False),
]

# classic-1. `X` are bars that fire, the newest of their history; what follows them in the list are the same
# bars with one condition just not met.


def classic(kind: str, direction: str, described: int, confirmed: int | None = None) -> Event:
    return "classic-1", kind, direction, described, described if confirmed is None else confirmed


# s = 1.3 < 0.7 S20 = 1.4; clv = 0.7 / 1.3 = 0.54; closes above 100 on less than 1000.
NO_DEMAND: Ohlcv = (100, 100.9, 99.6, 100.3, 999)
# Closes above 100 on more than 1500, clv = 0.5 / 1.4 = 0.36. S20 ten bars later: (19 * 2 + 1.4) / 20 = 1.97,
# so 0.7 S20 = 1.379.
SUPPLY: Ohlcv = (100, 101, 99.6, 100.1, 1501)
# The mirror: clv = 0.6 / 1.3 = 0.46, below 100; a demand bar closes below 100 with clv = 0.9 / 1.4 = 0.64.
NO_SUPPLY: Ohlcv = (100, 100.4, 99.1, 99.7, 999)
DEMAND: Ohlcv = (100, 100.4, 99, 99.9, 1501)


def no_demand(at: int) -> list[Event]:
    return [classic("no_demand", "bearish", at)]


def no_supply(at: int) -> list[Event]:
    return [classic("no_supply", "bullish", at)]


def followed(bar: Ohlcv, between: int, last: Ohlcv, before: int = 20) -> list[Ohlcv]:
    """`before` flat bars, `bar`, `between` flat bars, `last`."""
    return [*flat(before), bar, *flat(between), last]


QUIET: Ohlcv = (100, 101, 99, 100, 999)
# After them V20 = (18 * 1000 + 2 * 2000) / 20 = 1100: 1701 is more than 1.5 V20 and still less than both.
LOUD: list[Ohlcv] = [(100, 101, 99, 100, 2000)] * 2

NO_DEMAND_CASES = [
    Case("fires", [*flat(30), NO_DEMAND], ("up",), no_demand(30)),
    Case("without a trend", [*flat(30), NO_DEMAND], ("down", "none"), []),
    Case("29 bars before it", [*flat(29), NO_DEMAND], ("up",), []),
    Case("c = c[-1]", [*flat(30), (100, 100.9, 99.6, 100, 999)], ("up",), []),
    Case("s = 0.7 S20", [*flat(30), (100, 101, 99.6, 100.3, 999)], ("up",), []),
    Case("v = v[-1]", [*flat(29), QUIET, NO_DEMAND], ("up",), []),
    Case("v = v[-2]", [*flat(28), QUIET, FLAT, NO_DEMAND], ("up",), []),
    Case("v = v[-3]", [*flat(27), QUIET, *flat(2), NO_DEMAND], ("up",), no_demand(30)),
    Case("clv = 0.6 = 0.75 / 1.25", [*flat(30), (100, 100.85, 99.6, 100.35, 999)], ("up",), no_demand(30)),
    Case("clv = 0.79 / 1.3", [*flat(30), (100, 100.9, 99.6, 100.39, 999)], ("up",), []),
    Case("after supply at t-10", followed(SUPPLY, 9, NO_DEMAND), ("down", "none"), no_demand(30)),
    Case("after supply at t-1", followed(SUPPLY, 0, (100, 101, 99.8, 100.2, 999), 30), NONE, no_demand(31)),
    Case("supply at t itself", [*flat(28), *LOUD, (100, 100.9, 99.6, 100.1, 1701)], NONE, []),
    Case("after supply at t-11", followed(SUPPLY, 10, NO_DEMAND), NONE, []),
    Case("after supply that is not evaluable", followed(SUPPLY, 9, NO_DEMAND, 19), NONE, []),
    Case("after supply, 29 bars before it", followed(SUPPLY, 8, NO_DEMAND), NONE, []),
    Case("supply at c = c[-1]", followed((100, 101, 99.6, 100, 1501), 9, NO_DEMAND), NONE, []),
    Case("supply at v = 1.5 V20", followed((100, 101, 99.6, 100.1, 1500), 9, NO_DEMAND), NONE, []),
    Case("supply at clv = 0.4 = 0.6 / 1.5", followed((100, 101, 99.5, 100.1, 1501), 9, NO_DEMAND), NONE, []),
]

NO_SUPPLY_CASES = [
    Case("fires", [*flat(30), NO_SUPPLY], ("down",), no_supply(30)),
    Case("without a trend", [*flat(30), NO_SUPPLY], ("up", "none"), []),
    Case("29 bars before it", [*flat(29), NO_SUPPLY], ("down",), []),
    Case("c = c[-1]", [*flat(30), (100, 100.4, 99.1, 100, 999)], ("down",), []),
    Case("s = 0.7 S20", [*flat(30), (100, 100.5, 99.1, 99.7, 999)], ("down",), []),
    Case("v = v[-1]", [*flat(29), QUIET, NO_SUPPLY], ("down",), []),
    Case("v = v[-2]", [*flat(28), QUIET, FLAT, NO_SUPPLY], ("down",), []),
    Case("clv = 0.4 = 0.5 / 1.25", [*flat(30), (100, 100.35, 99.1, 99.6, 999)], ("down",), no_supply(30)),
    Case("clv = 0.5 / 1.3", [*flat(30), (100, 100.4, 99.1, 99.6, 999)], ("down",), []),
    Case("h = l, clv 0.5", [*flat(30), (99.7, 99.7, 99.7, 99.7, 999)], ("down",), no_supply(30)),
    Case("after demand at t-10", followed(DEMAND, 9, NO_SUPPLY), ("up", "none"), no_supply(30)),
    Case("demand at t itself", [*flat(28), *LOUD, (100, 100.4, 99.1, 99.9, 1701)], NONE, []),
    Case("after demand at t-11", followed(DEMAND, 10, NO_SUPPLY), NONE, []),
    Case("after demand that is not evaluable", followed(DEMAND, 9, NO_SUPPLY, 19), NONE, []),
    Case("demand at c = c[-1]", followed((100, 100.4, 99, 100, 1501), 9, NO_SUPPLY), NONE, []),
    Case("demand at v = 1.5 V20", followed((100, 100.4, 99, 99.9, 1500), 9, NO_SUPPLY), NONE, []),
    Case("demand at clv = 0.6 = 0.9 / 1.5", followed((100, 100.5, 99, 99.9, 1501), 9, NO_SUPPLY), NONE, []),
]

# v > 2 V20(t-1) = 2000, where V20(t) = (19 * 1000 + 2001) / 20 = 1050.05 would ask for more; clv = 1 / 2;
# s = 2, so no climax. The flat bar after it closes higher.
STOPPING: Ohlcv = (99.5, 100, 98, 99, 2001)


def stopping(at: int) -> list[Event]:
    return [classic("stopping_volume", "bullish", at, at + 1)]


STOPPING_CASES = [
    Case("fires", [*flat(20), STOPPING, FLAT], ANY, stopping(20)),
    Case("19 bars before it", [*flat(19), STOPPING, FLAT], ANY, []),
    Case("the newest bar", [*flat(20), STOPPING], ANY, []),
    Case("c[-1] = c[-2]", [*flat(20), (99.5, 100.5, 98, 100, 2001), (100, 101, 99, 100.5, 1000)], ANY, []),
    Case("v[-1] = 2 V20", [*flat(20), (99.5, 100, 98, 99, 2000), FLAT], ANY, []),
    Case("clv[-1] = 0.4 = 0.8 / 2", [*flat(20), (99.5, 100, 98, 98.8, 2001), FLAT], ANY, stopping(20)),
    Case("clv[-1] = 0.79 / 2", [*flat(20), (99.5, 100, 98, 98.79, 2001), FLAT], ANY, []),
    Case("l[-1] = lowest low", [*flat(20), (99.5, 101, 99, 99.9, 2001), FLAT], ANY, []),
    Case("a lower low 20 bars before", [(98.5, 100, 98, 99, 1000), *flat(19), STOPPING, FLAT], ANY, []),
    Case(
        "a lower low 21 bars before",
        [(98.5, 100, 90, 99, 1000), *flat(20), STOPPING, FLAT],
        ANY,
        stopping(21),
    ),
    Case("c = c[-1]", [*flat(20), STOPPING, (99.5, 100.5, 98.5, 99, 1000)], ANY, []),
    Case("c just over c[-1]", [*flat(20), STOPPING, (99.5, 100.5, 98.5, 99.01, 1000)], ANY, stopping(20)),
    # Evaluable at t-1 is what counts: there V20 = 0, though at t it is 10 / 20.
    Case(
        "no volume before it",
        [*[(100.0, 101.0, 99.0, 100.0, 0.0)] * 20, (99.5, 100, 98, 99, 10), (100, 101, 99, 100, 5)],
        ANY,
        [],
    ),
]

# clv = 1.2 / 1.6 = 0.75, a low below 99 on less than 1000; closes above 100, so it is no no_supply.
TEST: Ohlcv = (99.5, 100.5, 98.9, 100.1, 999)
# s = 3.1 > 1.5 S20 = 3; clv = 1.24 / 3.1 = 0.4; its low is new. The bar after it closes lower, so that it is
# no stopping volume as well.
SELLING: Ohlcv = (99.5, 100.1, 97, 98.24, 2501)
LOWER: Ohlcv = (98.5, 101, 97.5, 98.2, 1000)


def trial(at: int) -> list[Event]:
    return [classic("test", "bullish", at)]


TEST_CASES = [
    Case("demand at t-20", followed(DEMAND, 19, TEST), NONE, trial(40)),
    Case("demand at t-21", followed(DEMAND, 20, TEST), NONE, []),
    Case("demand at t-1", followed(DEMAND, 0, TEST, 39), NONE, trial(40)),
    Case("demand at t-19, 39 bars before it", followed(DEMAND, 18, TEST), NONE, []),
    Case("demand that is not evaluable", followed(DEMAND, 19, TEST, 19), NONE, []),
    Case("nothing before it", [*flat(40), TEST], NONE, []),
    Case("demand at t itself", [*flat(38), *LOUD, (99.5, 100.1, 98.9, 99.9, 1701)], NONE, []),
    Case("l = l[-1]", followed(DEMAND, 19, (99.5, 100.5, 99, 100.1, 999)), NONE, []),
    Case("clv = 0.7 = 1.12 / 1.6", followed(DEMAND, 19, (99.5, 100.5, 98.9, 100.02, 999)), NONE, trial(40)),
    Case("clv = 1.11 / 1.6", followed(DEMAND, 19, (99.5, 100.5, 98.9, 100.01, 999)), NONE, []),
    Case("v = v[-1]", [*flat(20), DEMAND, *flat(18), QUIET, TEST], NONE, []),
    Case("v = v[-2]", [*flat(20), DEMAND, *flat(17), QUIET, FLAT, TEST], NONE, []),
    Case(
        "selling climax at t-20",
        [*flat(20), SELLING, LOWER, *flat(18), TEST],
        NONE,
        [classic("selling_climax", "bullish", 20), *trial(40)],
    ),
    Case(
        "selling climax at t-21",
        [*flat(20), SELLING, LOWER, *flat(19), TEST],
        NONE,
        [classic("selling_climax", "bullish", 20)],
    ),
    Case("no climax at v = 2.5 V20", [*flat(20), (*SELLING[:4], 2500), LOWER, *flat(18), TEST], NONE, []),
    Case("stopping volume at t-20", followed(STOPPING, 19, TEST), NONE, [*stopping(20), *trial(40)]),
    Case("stopping volume at t-21", followed(STOPPING, 20, TEST), NONE, stopping(20)),
    # The test itself closes higher and so confirms the bar before it; clv = 1.6 / 2.1 = 0.76.
    Case(
        "stopping volume at t-1",
        [*flat(39), STOPPING, (98, 100, 97.9, 99.5, 999)],
        NONE,
        [*stopping(39), *trial(40)],
    ),
]

# s = 2.7 > 1.3 S20 = 2.6; clv = 0.7 / 2.7 = 0.26.
UPTHRUST: Ohlcv = (101, 102, 99.3, 100, 1301)


def thrust(at: int) -> list[Event]:
    return [classic("upthrust", "bearish", at)]


UPTHRUST_CASES = [
    Case("fires", [*flat(20), UPTHRUST], ANY, thrust(20)),
    Case("19 bars before it", [*flat(19), UPTHRUST], ANY, [], evaluable=False),
    Case("h = highest high", [*flat(20), (100, 101, 98.3, 99, 1301)], ANY, []),
    Case("as high 20 bars before", [(101, 102, 100, 101, 1000), *flat(19), UPTHRUST], ANY, []),
    Case("higher 21 bars before", [(101, 105, 100, 101, 1000), *flat(20), UPTHRUST], ANY, thrust(21)),
    Case("clv = 0.3 = 0.81 / 2.7", [*flat(20), (101, 102, 99.3, 100.11, 1301)], ANY, thrust(20)),
    Case("clv = 0.82 / 2.7", [*flat(20), (101, 102, 99.3, 100.12, 1301)], ANY, []),
    Case("s = 1.3 S20", [*flat(20), (101, 102, 99.4, 100, 1301)], ANY, []),
    Case("v = 1.3 V20", [*flat(20), (101, 102, 99.3, 100, 1300)], ANY, []),
]


def selling(at: int) -> list[Event]:
    return [classic("selling_climax", "bullish", at)]


SELLING_CASES = [
    Case("fires at clv = 0.4", [*flat(20), SELLING], ANY, selling(20)),
    Case("19 bars before it", [*flat(19), SELLING], ANY, [], evaluable=False),
    Case("clv = 1.23 / 3.1", [*flat(20), (99.5, 100.1, 97, 98.23, 2501)], ANY, []),
    Case("v = 2.5 V20", [*flat(20), (99.5, 100.1, 97, 98.24, 2500)], ANY, []),
    Case("s = 1.5 S20", [*flat(20), (99.5, 100, 97, 98.2, 2501)], ANY, []),
    Case("c = c[-1]", [*flat(20), (99.5, 100.1, 97, 100, 2501)], ANY, []),
    Case("as low 20 bars before", [(98, 99, 97, 98, 1000), *flat(19), SELLING], ANY, []),
    Case("lower 21 bars before", [(98, 99, 90, 98, 1000), *flat(20), SELLING], ANY, selling(21)),
]

# The mirror: clv = 1.86 / 3.1 = 0.6.
BUYING: Ohlcv = (100.5, 103, 99.9, 101.76, 2501)


def buying(at: int) -> list[Event]:
    return [classic("buying_climax", "bearish", at)]


BUYING_CASES = [
    Case("fires at clv = 0.6", [*flat(20), BUYING], ANY, buying(20)),
    Case("19 bars before it", [*flat(19), BUYING], ANY, [], evaluable=False),
    Case("clv = 1.87 / 3.1", [*flat(20), (100.5, 103, 99.9, 101.77, 2501)], ANY, []),
    Case("v = 2.5 V20", [*flat(20), (100.5, 103, 99.9, 101.76, 2500)], ANY, []),
    Case("s = 1.5 S20", [*flat(20), (100.5, 103, 100, 101.8, 2501)], ANY, []),
    Case("c = c[-1]", [*flat(19), (100, 101, 99, 101, 1000), (100.5, 103, 99.9, 101, 2501)], ANY, []),
    Case("as high 20 bars before", [(102, 103, 101, 102, 1000), *flat(19), BUYING], ANY, []),
    Case("higher 21 bars before", [(102, 110, 101, 102, 1000), *flat(20), BUYING], ANY, buying(21)),
    # clv = 0.3 = 0.93 / 3.1 is an upthrust as well.
    Case(
        "an upthrust as well",
        [*flat(20), (100.5, 103.0, 99.9, 100.83, 2501)],
        ANY,
        [*buying(20), *thrust(20)],
    ),
]

CLASSIC = {
    "no_demand": NO_DEMAND_CASES,
    "no_supply": NO_SUPPLY_CASES,
    "stopping_volume": STOPPING_CASES,
    "test": TEST_CASES,
    "upthrust": UPTHRUST_CASES,
    "selling_climax": SELLING_CASES,
    "buying_climax": BUYING_CASES,
}
CLASSIC_CASES = [c._replace(id=f"{kind}: {c.id}") for kind, cases in CLASSIC.items() for c in cases]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(("case", "trend"), params(SPECIFIED + SEED))
def test_seed_1_says_of_bars_worked_out_by_hand(reading: str, case: Case, trend: Trend) -> None:
    assert judged(reading, "seed-1", case, trend) == (case.evaluable, case.expected)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(("case", "trend"), params(CLASSIC_CASES))
def test_classic_1_says_of_bars_worked_out_by_hand(reading: str, case: Case, trend: Trend) -> None:
    assert judged(reading, "classic-1", case, trend) == (case.evaluable, sorted(case.expected))
