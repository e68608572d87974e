"""Patterns in linear prices, what came before them, the second rule set, tapes read together, checkpoints."""

from itertools import pairwise
from math import exp

import numpy as np
import pytest

from rollotape.domain.sessions import DAY_US
from rollotape.domain.wyckoff import checkpoints, tape
from rollotape.domain.wyckoff.facts import Event, Pattern, Range, Status
from rollotape.domain.wyckoff.fold import advance
from rollotape.domain.wyckoff.indicators import indicators, rsi
from rollotape.domain.wyckoff.preliminary import preliminary
from rollotape.domain.wyckoff.rules import KINDS, RULE_SETS, WYCKOFF_1, WYCKOFF_2, Rules
from rollotape.domain.wyckoff.state import EMPTY, dump, load
from support.wyckoff import KEY, Bar, drawn, fold, kinds, read, script, walk

SC: Bar = (-0.5, -5, -3, 3000)
TO_ST: list[Bar] = [
    SC, (-1, -3, -1.2, 1500), (1, -1.2, 0.5, 1200), (0.6, -0.6, -0.5, 900), (-0.4, -1.6, -1.5, 900),
    (-1.5, -3.2, -3, 900), (-3, -4.5, -4.2, 800), (-2, -4.2, -2.2, 900), (-1, -2.4, -1.2, 900),
]  # fmt: skip
"""AR at 1, support at -5."""
IDLE: Bar = (-2, -3, -2.5, 900)
SPRING: list[Bar] = [*TO_ST, (-1.1, -3.6, -3.5, 900), (-3.4, -6, -4, 900)]
SOS: list[Bar] = [*TO_ST, IDLE, IDLE, IDLE, (2.2, -1.2, 2, 3000)]
LPS: list[Bar] = [*SOS, (2, 1.2, 1.4, 900), (1.6, 0.8, 1.2, 900), (1.9, 1.1, 1.7, 1500)]


def at(units: float) -> float:
    return 100 * exp(0.01 * units)


def pattern(*bars: Bar) -> Pattern:
    return [f for f in fold(script(*bars)) if isinstance(f, Pattern)][-1]


@pytest.mark.parametrize(
    ("bars", "kind", "entry", "stop", "target", "test"),
    [
        (SPRING, "SPRING", -4, -6, 1, False),
        ([*SPRING[:-1], (1.4, -6, 1.2, 900)], "SPRING", 1.2, -6, 7, False),
        (SOS, "SOS", 2, 0, 7, None),
        (LPS, "LPS", 1.7, 0.8, 7, None),
    ],
    ids=["spring", "spring above the creek", "sos", "lps"],
)
def test_a_pattern_proposes_a_trade(
    bars: list[Bar], kind: str, entry: float, stop: float, target: float, test: bool | None
) -> None:
    p = pattern(*bars)
    assert (p.kind, p.test_confirmed) == (kind, test)
    assert (p.entry, p.stop, p.target_1) == pytest.approx((at(entry), at(stop), at(target)))
    assert p.target_2 == pytest.approx(p.entry + 3 * (p.entry - p.stop))
    assert p.planned_r == pytest.approx((p.target_1 - p.entry) / (p.entry - p.stop))
    assert p.expires_at == p.knowable_at + 28 * DAY_US


def test_levels_of_a_pattern_are_prices_of_bars_to_the_last_bit() -> None:
    bars = script(*SPRING)
    p = pattern(*SPRING)
    assert p.stop == bars["low"][70]
    assert p.target_1 == bars["high"][62]
    assert p.entry == bars["close"][70]


def test_indicators_of_linear_prices() -> None:
    bars = script(*SPRING)
    closes = bars["close"].tolist()
    told = pattern(*SPRING).indicators
    assert told.sma_20 == pytest.approx(np.mean(closes[-20:]))
    assert told.sma_50 == pytest.approx(np.mean(closes[-50:]))
    assert told.change_pct == pytest.approx(100 * (closes[-1] / closes[-2] - 1))
    assert told.vol_ratio == pytest.approx(bars["volume"][-1] / bars["volume"][-21:-1].mean())
    changes = [b - a for a, b in pairwise(closes[-15:])]
    gains, losses = sum(c for c in changes if c > 0), sum(-c for c in changes if c < 0)
    assert told.rsi == pytest.approx(100 - 100 / (1 + gains / losses))


def test_what_cannot_be_computed_is_none() -> None:
    assert rsi([5.0] * 20) is None
    assert rsi([1.0] * 14) is None
    assert rsi([1.0, *[2.0] * 14]) == 100
    few = indicators(script(*TO_ST)[:10], 9, None)
    assert (few.vol_ratio, few.rsi, few.sma_20, few.sma_50) == (None, None, None, None)
    assert few.change_pct is not None


def test_preliminary_events_are_counted_as_they_were_known() -> None:
    support: Bar = (0, -1, -0.6, 1300)
    wait: list[Bar] = [(-0.4 - i / 10, -1.4 - i / 10, -1 - i / 10, 900) for i in range(10)]
    low = -2
    rest = [(h + low, lo + low, c + low, v) for h, lo, c, v in SPRING]
    facts = fold(script(support, *wait, *rest))
    [spring] = [f for f in facts if isinstance(f, Pattern)]
    recent, within = preliminary(facts, spring)
    assert recent == within == {"PS": 1, "SC": 1, "AR": 1, "ST": 1}
    later = [f for f in facts if not isinstance(f, Status)]
    assert preliminary(later, spring)[1]["PS"] == 0, "nothing names the range of this PS"
    assert preliminary(facts, spring, lookback_days=8)[0] == {"PS": 0, "SC": 0, "AR": 1, "ST": 1}


def test_superseded_and_expired_events_are_not_counted() -> None:
    shift = 4
    second = [(h - shift, lo - shift, c - shift, v * 2) for h, lo, c, v in SPRING]
    facts = fold(script(SC, *second))
    springs = [f for f in facts if isinstance(f, Pattern)]
    assert any(isinstance(f, Status) and f.status == "superseded" for f in facts)
    assert [preliminary(facts, spring)[1]["SC"] for spring in springs] == [1] * len(springs)


STEEP: Bar = (-0.5, -7, -4.5, 3000)
"""Low enough below the mean of 50 closes for wyckoff-2."""


def second(*bars: Bar) -> list[tuple[str, int, int]]:
    return kinds(fold(script(*bars), WYCKOFF_2))


def test_the_second_rule_set_writes_a_climax_once_its_rally_has_risen() -> None:
    up: list[Bar] = [(-4, -5.5, -4.2, 1500), (-3.501, -4.5, -3.8, 1200), (-3.499, -4, -3.6, 900)]
    assert second(STEEP, *up[:2]) == []
    assert second(STEEP, *up) == [("SC", 60, 63)]
    assert second(STEEP, (-5, -7.4, -5.2, 900), *up) == [("SC", 60, 64)]
    assert second(STEEP, (-5, -7.6, -5.2, 900), *up) == []


def test_the_second_rule_set_writes_preliminary_support_with_its_climax() -> None:
    seen = 0
    for seed in range(12):
        facts = fold(drawn(seed), WYCKOFF_2)
        events = [f for f in facts if isinstance(f, Event)]
        climaxes = {(f.side, f.confirmed_ts) for f in events if f.kind in ("SC", "BC")}
        for fact in events:
            if fact.kind in ("PS", "PSY"):
                seen += 1
                assert (fact.side, fact.confirmed_ts) in climaxes
                assert any(isinstance(s, Status) and s.key == fact.key for s in facts)
    assert seen > 3


@pytest.mark.parametrize("rules", RULE_SETS, ids=lambda r: r.name)
def test_a_range_is_told_once_a_bar_and_ends_once(rules: Rules) -> None:
    for bars in (*map(walk, range(20)), *map(drawn, range(10))):
        ranges = [f for f in fold(bars, rules) if isinstance(f, Range)]
        moments = [(f.range_id, f.confirmed_ts) for f in ranges]
        assert len(moments) == len(set(moments))
        ended = [f.range_id for f in ranges if f.status != "open"]
        assert len(ended) == len(set(ended))
        opened = {f.range_id for f in ranges}
        assert {f.range_id for f in fold(bars, rules) if isinstance(f, Pattern)} <= opened


@pytest.mark.parametrize("rules", RULE_SETS, ids=lambda r: r.name)
def test_keys_of_events_and_patterns_are_unique(rules: Rules) -> None:
    for bars in (*map(walk, range(20)), *map(drawn, range(10))):
        for kind in (Event, Pattern):
            keys = [f.key for f in fold(bars, rules) if isinstance(f, kind)]
            assert len(keys) == len(set(keys))


def test_confidence_spreads_and_is_not_clipped() -> None:
    seen: dict[str, list[float]] = {}
    for seed in range(30):
        for fact in fold(drawn(seed), WYCKOFF_2):
            if isinstance(fact, Event):
                seen.setdefault(fact.kind, []).append(fact.confidence)
    assert len(seen) >= len(KINDS)
    assert all(0 < min(values) < max(values) < 1 for values in seen.values())
    assert all(len(set(values)) > 0.95 * len(values) for values in seen.values())


def test_tapes_read_together_are_the_tapes_read_alone() -> None:
    parts, starts = [walk(seed, 300) for seed in range(6)], [0, 60, 100, 0, 250, 299]
    for part, start, joined in zip(
        parts, starts, tape.read(parts, starts, [True] * 6, WYCKOFF_1), strict=True
    ):
        alone = read(part, WYCKOFF_1, start)
        assert advance(KEY, EMPTY, joined) == advance(KEY, EMPTY, alone)


def test_a_state_survives_its_storage_and_is_small() -> None:
    for seed in range(20):
        one = read(walk(seed))
        for checkpoint in advance(KEY, EMPTY, one, keep=list(range(0, len(one), 7))).checkpoints:
            for position in (0, -17, 4_000):
                assert dump(load(checkpoint.state, position), position) == checkpoint.state
            assert len(checkpoint.state) < 4_000


def test_checkpoints_stand_where_the_bars_say_and_not_how_they_came() -> None:
    bars = walk(3)
    whole = [bars["ts"][i].item() for i in checkpoints.due("1d", read(bars))]
    single = [
        bars["ts"][i].item() for i in range(len(bars)) if checkpoints.due("1d", read(bars[: i + 1], start=i))
    ]
    assert single == whole
    assert len(whole) == pytest.approx(len(bars) / checkpoints.BLOCK_BARS, abs=2)


def test_no_rule_looks_further_back_than_the_reach() -> None:
    assert all(rules.ps_bars <= 60 for rules in RULE_SETS)


def test_nothing_is_found_in_nothing() -> None:
    assert fold(script()[:0]) == []
    flat = script()
    for name in ("open", "high", "low", "close"):
        flat[name] = 10.0
    assert fold(flat) == []
    flat["volume"] = 0
    assert fold(flat, WYCKOFF_2) == []
