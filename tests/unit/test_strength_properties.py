"""What holds for every market: each number follows from its own window, bit for bit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollotape.domain import strength
from rollotape.domain.sectors import SECTORS
from rollotape.domain.strength import Closes, Market, Scores, lacking, score
from rollotape.domain.strength.pairs import DEEPEST
from rollotape.domain.strength.rows import changes, mapping, rows
from rollotape.domain.strength.sums import LONGEST, window_sums
from support.markets import MONDAY, closes

FIELDS = ("excess", "status", "ratio", "mansfield", "rating", "rank", "leader", "has_bar")


@dataclass(frozen=True)
class World:
    """Stocks and funds with holes, as a random number decides."""

    stocks: Mapping[str, Closes]
    sectors: Mapping[str, str | None]
    funds: Mapping[str, Closes]

    @property
    def market(self) -> Market:
        return Market.of(self.stocks, self.sectors, self.funds)


def world(seed: int, length: int = 420) -> World:
    rng = np.random.default_rng(seed)
    span = np.arange(MONDAY, MONDAY + length)
    span = span[(span - MONDAY) % 7 < 5]

    def series(holes: float) -> Closes:
        first, last = sorted(rng.integers(0, len(span), 2)) if rng.random() < 0.3 else (0, len(span))
        days = span[first:last]
        days = days[rng.random(len(days)) >= holes]
        prices = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.02, len(days)))), 2)
        return closes(days.tolist(), np.maximum(prices, 0.01).tolist())

    stocks = {f"S{i}": series(rng.choice([0, 0, 0.02, 0.3])) for i in range(14)}
    names = [None, *SECTORS[:2], SECTORS[-1]]
    sectors = {s: names[rng.integers(len(names))] for s in stocks}
    return World(stocks, sectors, {"SPY": series(0.01), "XLK": series(0), "XLV": series(0.1)})


def same(ours: Scores, theirs: Scores, days: slice = slice(None)) -> bool:
    return all(
        np.array_equal(getattr(ours, name)[..., days, :], getattr(theirs, name)[..., days, :], equal_nan=True)
        for name in FIELDS
    )


def days_of(world: World) -> list[int]:
    return [int(d) for d in np.unique(world.market.day)]


@pytest.mark.parametrize("seed", range(8))
def test_scores_have_the_same_bits_however_days_are_cut_into_blocks(seed: int) -> None:
    made = world(seed)
    days = days_of(made)
    whole = score(made.market, days)
    rng = np.random.default_rng(seed)
    for cut in sorted(rng.integers(0, len(days), 4).tolist()):
        for part in (slice(None, cut), slice(cut, cut + 1), slice(cut, None)):
            assert same(score(made.market, days[part]), _part(whole, part))


def _part(scores: Scores, part: slice) -> Scores:
    cut = {name: getattr(scores, name)[..., part, :] for name in FIELDS}
    return Scores(symbols=scores.symbols, days=scores.days[part], **cut)


@pytest.mark.parametrize("closes", [1, 300, 1_000])
def test_scores_have_the_same_bits_however_many_stocks_are_computed_together(
    closes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world(9)
    days = days_of(made)
    whole = score(made.market, days)
    monkeypatch.setattr(strength, "_CLOSES_AT_ONCE", closes)
    assert same(score(made.market, days), whole)


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_stocks_and_days_changes_nothing(seed: int) -> None:
    made = world(seed)
    days = days_of(made)
    turned = World(dict(reversed(list(made.stocks.items()))), made.sectors, made.funds)
    back = score(turned.market, days[::-1])
    assert same(score(made.market, days), _part(back, slice(None, None, -1)))


@pytest.mark.parametrize("seed", range(8))
def test_closes_of_later_days_change_nothing(seed: int) -> None:
    made = world(seed)
    days = days_of(made)
    until = days[len(days) * 3 // 4]

    def cut(series: Closes) -> Closes:
        keep = series.day <= until
        return Closes(series.day[keep], series.close[keep])

    earlier = World(
        {s: cut(c) for s, c in made.stocks.items()}, made.sectors, {f: cut(c) for f, c in made.funds.items()}
    )
    asked = [d for d in days if d <= until]
    known = _of(score(made.market, asked), earlier.market.symbols)
    assert same(score(earlier.market, asked), known)


def _of(scores: Scores, symbols: Sequence[str]) -> Scores:
    at = [scores.symbols.index(s) for s in symbols]
    return Scores(
        symbols=list(symbols), days=scores.days, **{n: getattr(scores, n)[..., at] for n in FIELDS}
    )


@pytest.mark.parametrize("seed", range(12))
def test_a_history_cut_at_the_deepest_window_is_enough_or_says_that_it_is_not(seed: int) -> None:
    made = world(seed, length=1_200)
    days = days_of(made)[-20:]
    rng = np.random.default_rng(seed)

    def cut(series: Closes) -> Closes:
        first = int(rng.integers(days[0] - 500, days[0] - 300))
        keep = series.day >= first
        return Closes(series.day[keep], series.close[keep], cut=bool((~keep).any()))

    short = World({s: cut(c) for s, c in made.stocks.items()}, made.sectors, made.funds)
    needed = lacking(short.market, days)
    enough = [s for s in short.market.symbols if s not in needed]
    whole, part = score(made.market, days), score(short.market, days)
    ours, theirs = _of(whole, enough), _of(part, enough)
    for name in ("excess", "ratio", "mansfield"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name), equal_nan=True)
    asked = ours.has_bar[None, None] & np.ones_like(ours.status, bool)
    assert (ours.status[asked] == theirs.status[asked]).all()


def test_some_cut_histories_are_not_enough() -> None:
    made = world(3, length=1_200)
    days = days_of(made)[-5:]
    keep = {s: c.day >= days[0] - 200 for s, c in made.stocks.items()}
    short = {s: Closes(c.day[keep[s]], c.close[keep[s]], cut=True) for s, c in made.stocks.items()}
    assert lacking(World(short, made.sectors, made.funds).market, days)


@pytest.mark.parametrize("factor", [2.0, 0.25])
def test_prices_in_another_unit_change_no_bit(factor: float) -> None:
    made = world(5)
    days = days_of(made)
    stocks = {s: Closes(c.day, c.close * factor) for s, c in made.stocks.items()}
    assert same(score(World(stocks, made.sectors, made.funds).market, days), score(made.market, days))


def test_prices_ten_times_as_high_change_nothing_within_a_billionth() -> None:
    made = world(6)
    days = days_of(made)
    stocks = {s: Closes(c.day, c.close * 10) for s, c in made.stocks.items()}
    ten, one = score(World(stocks, made.sectors, made.funds).market, days), score(made.market, days)
    for name in ("excess", "ratio", "mansfield"):
        assert np.allclose(getattr(ten, name), getattr(one, name), rtol=0, atol=1e-9, equal_nan=True)


def test_changes_make_any_stored_rows_right_and_touch_no_other() -> None:
    made = world(1)
    scores = score(made.market, days_of(made)[-30:])
    wanted = rows(scores)
    rng = np.random.default_rng(1)
    stored = [row for row in wanted if rng.random() < 0.7]
    spoiled = [(*row[:2], -1.0, *row[3:]) if rng.random() < 0.3 else row for row in stored]
    stranger = (wanted[0][0], "GONE", *wanted[0][2:])
    found = changes(scores, [*spoiled, stranger])
    kept = {row[:2]: row for row in [*spoiled, stranger] if row[:2] not in found.removed}
    assert sorted([*kept.values(), *found.written], key=lambda r: r[:2]) == wanted
    assert not {row[:2] for row in found.written} & kept.keys()
    assert stranger[:2] in found.removed
    assert found.by_day.total() == len({*found.removed, *(row[:2] for row in found.written)})
    assert changes(scores, wanted).by_day == {}


def test_the_mapping_names_every_stock_and_only_scores_those_that_have_one() -> None:
    made = world(2)
    newest = days_of(made)[-1]
    scores = score(made.market, [newest])
    mapped = mapping({**{s: made.sectors[s] for s in made.stocks}, "UNSEEN": "Energy"}, scores)
    assert [row[0] for row in mapped] == [*made.stocks, "UNSEEN"]
    assert mapped[-1] == ("UNSEEN", "Energy", "XLE", newest, None, None, False)
    assert mapping({"UNSEEN": None}, None) == [("UNSEEN", None, None, None, None, None, False)]
    known = {row[0]: row[4] for row in mapped if row[4] is not None}
    assert known == {
        s: x for s, x in zip(scores.symbols, scores.rs_score[0].tolist(), strict=True) if not math.isnan(x)
    }


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(st.floats(0, 1e300, allow_subnormal=True), min_size=0, max_size=30), max_size=5),
    st.integers(1, 12),
)
@example([[5e-324, 1e300, 0.0, math.inf], [1.0] * 5], 3)
def test_window_sums_are_those_of_fsum_to_the_last_bit(series: list[list[float]], length: int) -> None:
    start = np.cumsum([0, *map(len, series)])
    last = np.array(
        [i for s, e in pairwise(start.tolist()) for i in range(s + length - 1, e)], np.int64
    )
    values = np.array([x for part in series for x in part], float)
    expected = [math.fsum(values[i - length + 1 : i + 1].tolist()) for i in last.tolist()]
    assert window_sums(values, start, last, length).tolist() == expected


@pytest.mark.parametrize("spread", [0.01, 1, 5, 40])
def test_window_sums_of_long_series_are_those_of_fsum(spread: float) -> None:
    rng = np.random.default_rng(4)
    values = np.exp(np.clip(rng.normal(0, spread, 2_000), -600, 600))
    start = np.array([0, 0, 700, 700, 2_000, 2_000])
    last = np.array([*range(199, 700), *range(899, 2_000)])
    expected = [math.fsum(values[i - 199 : i + 1].tolist()) for i in last.tolist()]
    assert window_sums(values, start, last, 200).tolist() == expected


def test_windows_are_as_deep_as_the_sums_allow() -> None:
    assert DEEPEST < LONGEST
