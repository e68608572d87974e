"""Scores of detections: what counts as right, and what each figure is a share of."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from rollotape.domain.sessions import DAY_US
from rollotape.simulation.scoring import (
    BOTH,
    Detection,
    KindScore,
    Misplaced,
    Score,
    Scoring,
    matches,
    score,
)
from rollotape.simulation.series import ACCUMULATION, DISTRIBUTION, Label, Series


def series(
    *labels: tuple[str, str, int], kind: str = "schematic", bars: int = 100, symbol: str = "S"
) -> Series:
    ts = np.arange(bars) * DAY_US
    ones = np.ones(bars)
    told = tuple(Label(symbol, "1d", side, what, at * DAY_US, "S-1", "spring") for side, what, at in labels)
    return Series(symbol, "1d", kind, ts, ones, ones, ones, ones, ones, told)


def seen(side: str, kind: str, event: int, confirmed: int | None = None) -> Detection:
    return Detection(side, kind, event * DAY_US, (event if confirmed is None else confirmed) * DAY_US)


def row(result: Score, side: str, kind: str) -> KindScore:
    [found] = [k for k in result.kinds if (k.side, k.kind) == (side, kind)]
    return found


@pytest.mark.parametrize(
    ("labels", "detections", "pairs"),
    [
        ([], [], []),
        ([10], [], []),
        ([], [10], []),
        ([10], [13], [(0, 0)]),
        ([10], [14], []),
        ([10], [7, 10, 13], [(0, 1)]),
        ([10, 11], [10], [(0, 0)]),
        ([10, 13], [12], [(1, 0)]),
        ([10, 13], [13, 16], [(0, 0), (1, 1)]),  # the nearest alone would leave one label without
        ([10, 10], [10, 10], [(0, 0), (1, 1)]),
        ([5, 50, 90], [6, 49, 70], [(0, 0), (1, 1)]),
    ],
    ids=str,
)
def test_pairs_are_as_many_as_there_can_be_and_then_as_near(
    labels: list[int], detections: list[int], pairs: list[tuple[int, int]]
) -> None:
    assert matches(labels, detections, 3) == pairs


def test_no_other_pairing_is_better() -> None:
    random = np.random.RandomState(5)
    for _ in range(200):
        labels = sorted(random.randint(0, 14, random.randint(0, 5)).tolist())
        detections = sorted(random.randint(0, 14, random.randint(0, 5)).tolist())
        found = matches(labels, detections, 3)
        gaps = [abs(labels[i] - detections[j]) for i, j in found]
        assert all(gap <= 3 for gap in gaps)
        assert (len(found), -sum(gaps)) == best_by_trying_all(labels, detections)


def best_by_trying_all(labels: list[int], detections: list[int]) -> tuple[int, int]:
    few, many = sorted((labels, detections), key=len)
    best = (0, 0)
    for order in permutations(many, len(few)):
        gaps = [abs(a - b) for a, b in zip(few, order, strict=True)]
        gaps = [gap for gap in gaps if gap <= 3]
        best = max(best, (len(gaps), -sum(gaps)))
    return best


def test_precision_recall_and_delay_of_a_hand_made_case() -> None:
    """Three of four detections are right, three of five labels found."""
    there = series(*[(ACCUMULATION, "ST", at) for at in (10, 20, 30, 40, 50)])
    found = [
        seen(ACCUMULATION, "ST", 11, 13),
        seen(ACCUMULATION, "ST", 23, 24),
        seen(ACCUMULATION, "ST", 34, 35),
        seen(ACCUMULATION, "ST", 50, 59),
    ]
    result = score([there], lambda _: found)
    assert row(result, ACCUMULATION, "ST") == KindScore(
        ACCUMULATION, "ST", 5, 4, 3, precision=0.75, recall=0.6, f1=2 * 3 / 9,
        delay_median_bars=2.0, delay_p90_bars=9,
    )  # fmt: skip


def test_side_and_kind_must_agree() -> None:
    there = series((ACCUMULATION, "AR", 10), (ACCUMULATION, "SC", 20))
    found = [seen(DISTRIBUTION, "AR", 10), seen(ACCUMULATION, "ST", 20)]
    result = score([there], lambda _: found)
    assert all(k.matched == 0 for k in result.kinds)
    assert row(result, DISTRIBUTION, "AR").precision == 0
    assert row(result, ACCUMULATION, "AR").recall == 0


def test_what_both_sides_call_alike_is_also_counted_together() -> None:
    there = series((ACCUMULATION, "AR", 10), (DISTRIBUTION, "AR", 60))
    result = score([there], lambda _: [seen(ACCUMULATION, "AR", 10, 12), seen(DISTRIBUTION, "AR", 80)])
    both = row(result, BOTH, "AR")
    assert (both.labels, both.detections, both.matched, both.f1) == (2, 2, 1, 0.5)
    assert [k.kind for k in result.kinds if k.side == BOTH] == ["AR", "ST", "TEST"]


def test_shares_of_nothing_are_unknown_and_not_zero() -> None:
    result = score([series()], lambda _: [])
    spring = row(result, ACCUMULATION, "SPRING")
    assert (spring.precision, spring.recall, spring.f1, spring.delay_median_bars) == (None,) * 4
    assert result.false_alarms.per_1000_bars is None


def test_false_alarms_are_patterns_on_series_without_events() -> None:
    market = [series(bars=400, symbol="A"), series(kind="news", bars=300, symbol="B"),
              series(kind="trend", bars=200, symbol="C")]  # fmt: skip
    kinds = [(ACCUMULATION, "SPRING"), (DISTRIBUTION, "UTAD"), (ACCUMULATION, "SC"), (ACCUMULATION, "TEST")]
    result = score(market, lambda one: [seen(*kind, 50) for kind in kinds])
    assert result.false_alarms.series == 2
    assert result.false_alarms.bars == 500
    assert result.false_alarms.alarms == 4  # SC and TEST are no patterns, and A may have them all
    assert result.false_alarms.per_1000_bars == 8
    assert result.false_alarms_by_series_kind["news"].by_kind["UTAD"] == 1
    assert row(result, ACCUMULATION, "SPRING").precision == 0


def test_the_order_of_series_and_detections_does_not_matter() -> None:
    market = [series((ACCUMULATION, "ST", 10), (ACCUMULATION, "ST", 13), symbol=s) for s in "ABC"]
    found = [seen(ACCUMULATION, "ST", at, at + 2) for at in (16, 9, 12)]
    forth = score(market, lambda _: found)
    assert score(reversed(market), lambda _: reversed(found)) == forth


def test_a_wider_tolerance_never_finds_less() -> None:
    there = series((ACCUMULATION, "LPS", 10))
    found = [seen(ACCUMULATION, "LPS", 14)]
    right = [row(score([there], lambda _: found, t), ACCUMULATION, "LPS").matched for t in range(6)]
    assert right == [0, 0, 0, 0, 1, 1]


def test_a_detection_on_a_bar_that_there_is_not_is_an_error() -> None:
    with pytest.raises(Misplaced, match="S has no 1d bar"):
        Scoring().add(series(), [replace(seen(ACCUMULATION, "SC", 5), event_us=7)])
