"""What holds of the rules whatever the bars: agreement of all readings, causality, locality, scaling."""

from collections import Counter
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rollotape.domain.bars import NUMBERS, Rows
from rollotape.domain.vsa import arrays
from rollotape.domain.vsa.rules import REACH, RULE_SETS
from support.bars import Event, by_arrays, by_reference, by_windows, rows
from support.tapes import ANY, GOOD, SEEDS, Flavour, examples, tape

LENGTHS = st.integers(1, 110)


def shifted(events: set[Event], by: int) -> set[Event]:
    return {(*e[:3], e[3] + by, e[4] + by) for e in events}


def test_the_tapes_show_every_rule() -> None:
    """Or the properties below would say little."""
    kinds: Counter[tuple[str, str, str]] = Counter()
    for seed in range(150):
        _, events = by_arrays(rows(tape(seed, 110)))
        kinds.update(e[:3] for e in events)
    expected = {(rs.name, r.kind, r.direction) for rs in RULE_SETS for r in rs.rules if r.direction}
    assert {kind for kind, count in kinds.items() if count >= 3} == expected


@examples(60)
@given(SEEDS, LENGTHS, ANY, st.booleans())
def test_all_readings_agree(seed: int, count: int, flavour: Flavour, daily: bool) -> None:
    bars = rows(tape(seed, count, flavour))
    expected = by_reference(bars, daily=daily)
    assert by_arrays(bars, daily=daily) == expected
    assert by_windows(bars, daily=daily) == expected


@examples(40)
@given(st.lists(st.tuples(SEEDS, st.integers(1, 60), ANY, st.booleans()), min_size=2, max_size=5))
def test_symbols_analysed_together_do_not_see_each_other(
    tapes: list[tuple[int, int, Flavour, bool]],
) -> None:
    parts = [rows(tape(seed, count, flavour)) for seed, count, flavour, _ in tapes]
    daily = [d for *_, d in tapes]
    joined = arrays.series(parts, daily)
    together = {
        (f.rule_set, f.rule.kind, str(f.rule.direction), at + f.rule.described, at)
        for rs in RULE_SETS
        for f in joined.find(rs)
        for at in f.confirmed.tolist()
    }
    alone: set[Event] = set()
    evaluable: list[bool] = []
    for part, d in zip(parts, daily, strict=True):
        answers, events = by_arrays(part, daily=d)
        alone |= shifted(events, len(evaluable))
        evaluable += answers
    assert together == alone
    assert joined.evaluable.tolist() == evaluable


@examples(60)
@given(SEEDS, ANY, st.integers(0, 99))
def test_cutting_the_history_leaves_what_was_knowable(seed: int, flavour: Flavour, last: int) -> None:
    bars = rows(tape(seed, 100, flavour))
    evaluable, events = by_arrays(bars)
    cut = by_arrays(bars[: last + 1])
    assert cut == (evaluable[: last + 1], {e for e in events if e[4] <= last})


@examples(60)
@given(SEEDS, ANY, st.integers(0, 60))
def test_nothing_depends_on_bars_further_back_than_the_reach(seed: int, flavour: Flavour, cut: int) -> None:
    bars = rows(tape(seed, 110, flavour))
    _, events = by_arrays(bars)
    _, later = by_arrays(bars[cut:])
    judged = cut + REACH
    assert {e for e in shifted(later, cut) if e[4] >= judged} == {e for e in events if e[4] >= judged}


def scaled(bars: Rows, names: tuple[str, ...], factor: int) -> Rows:
    """Every decimal times the factor; the double of the product, not the product of doubles."""
    out = bars.copy()
    for name in names:
        out[name] = [float(Decimal(repr(x)) * factor) for x in bars[name].tolist()]
    return out


@examples(60)
@given(SEEDS, GOOD, st.sampled_from([2, 10]), st.sampled_from([NUMBERS[:4], NUMBERS[4:]]))
def test_scaling_prices_or_volumes_changes_nothing(
    seed: int, flavour: Flavour, factor: int, names: tuple[str, ...]
) -> None:
    bars = rows(tape(seed, 100, flavour))
    assert by_arrays(scaled(bars, names, factor)) == by_arrays(bars)


@examples(30)
@given(SEEDS, st.integers(-100, 100))
def test_shifting_days_changes_nothing(seed: int, weeks: int) -> None:
    """Holes and a gap of more than 60 days included."""
    days = np.cumsum(np.random.default_rng(seed).choice([1, 1, 1, 3, 8, 45], 100)) + 16_804
    values = tape(seed, 100)
    assert by_arrays(rows(values, (days + 7 * weeks).tolist())) == by_arrays(rows(values, days.tolist()))


@examples(30)
@given(SEEDS)
def test_holes_are_judged_alike_by_all_readings(seed: int) -> None:
    days = np.cumsum(np.random.default_rng(seed).choice([1, 1, 1, 1, 4, 35], 100)) + 16_804
    bars = rows(tape(seed, 100), days.tolist())
    expected = by_reference(bars)
    assert by_arrays(bars) == expected
    assert by_windows(bars) == expected


def test_means_of_prices_near_their_bounds_are_exact() -> None:
    """Prices just below 1e8 with eight decimals and volumes just below 1e15 leave 64-bit integers."""
    values = [
        (o * 499_999.87654321, h * 499_999.87654321, low * 499_999.87654321, c * 499_999.87654321, v * 2.4e11)
        for o, h, low, c, v in tape(5, 100)
    ]
    bars = rows([(min(max(o, low), h), h, low, min(max(c, low), h), v) for o, h, low, c, v in values])
    assert bars["high"].max() > 5e7
    assert bars["volume"].max() > 9e14
    assert by_arrays(bars) == by_reference(bars)
    assert by_windows(bars) == by_reference(bars)
