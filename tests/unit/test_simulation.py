"""The simulated market: always the same, always valid, and shaped like what analysts describe."""

import hashlib
from collections import defaultdict
from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np
import pytest

from rollotape import calendars
from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.sessions import DAY_US
from rollotape.simulation import plain
from rollotape.simulation.chance import Chance
from rollotape.simulation.difficulty import DIFFICULTIES
from rollotape.simulation.drawing import draw, noise
from rollotape.simulation.market import KINDS, Market
from rollotape.simulation.schematic import VARIANTS, schematic
from rollotape.simulation.series import ACCUMULATION, DISTRIBUTION, MIRROR, Label, Series, Times, rows, starts

FIRST_DAY = (date(2021, 1, 4) - date(1970, 1, 1)).days
FIVE_YEARS = 1260
ORDER = ("PS", "SC", "AR", "ST", "SPRING", "TEST", "SOS", "LPS")
NAMES = {mirrored: kind for kind, mirrored in MIRROR.items()}


def days(count: int = FIVE_YEARS, timeframe: str = "1d") -> Times:
    return starts(calendars.sessions(), timeframe, FIRST_DAY, count)


@cache
def market(difficulty: str = "middle", symbols: int = 60) -> list[Series]:
    return list(Market(seed=11, symbols=symbols, difficulty=DIFFICULTIES[difficulty]).series(days()))


def schematics(series: Series) -> dict[str, list[Label]]:
    found: dict[str, list[Label]] = defaultdict(list)
    for label in series.labels:
        found[label.schematic].append(label)
    return found


def at(series: Series, label: Label) -> int:
    return int(np.searchsorted(series.ts, label.event_us))


def upright(series: Series, label: Label) -> Series:
    """The series with a distribution turned over, so that one claim is made for both sides."""
    if label.side == ACCUMULATION:
        return series
    return replace(
        series, open=1 / series.open, high=1 / series.low, low=1 / series.high, close=1 / series.close
    )


def test_equal_options_give_equal_bars_on_every_python_and_machine() -> None:
    digest = hashlib.sha256()
    for series in Market(seed=7, symbols=10).series(days(600)):
        for name in ("open", "high", "low", "close", "volume"):
            digest.update(np.rint(getattr(series, name) * 100).astype("<i8").tobytes())
        digest.update(repr([(one.kind, one.event_us, one.variant) for one in series.labels]).encode())
    assert digest.hexdigest() == "86fb0e467fd0ab8301326b35bce3c8955c94d57303e344867f1618b71df58041"


def test_a_symbol_does_not_depend_on_how_many_others_there_are() -> None:
    few, many = Market(seed=3, symbols=2), Market(seed=3, symbols=40)
    assert (few.one(1, days()).close == many.one(1, days()).close).all()


def test_another_seed_is_another_market() -> None:
    one, other = (Market(seed=seed, symbols=1).one(0, days()) for seed in (1, 2))
    assert not np.allclose(one.close / one.close[0], other.close / other.close[0])


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_every_bar_is_valid(difficulty: str) -> None:
    for series in market(difficulty, 20):
        assert len(rows(series, calendars.sessions())) == FIVE_YEARS  # raises where one is not


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_every_timeframe_gives_valid_regular_bars(timeframe: str) -> None:
    series = Market(seed=5, symbols=1, timeframe=timeframe).one(0, days(500, timeframe))
    bars = rows(series, calendars.sessions())
    assert bars["regular"].all()
    assert (np.diff(bars["ts"]) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_market_may_consist_of_one_kind(kind: str) -> None:
    for series in Market(seed=2, symbols=3, kinds=[kind]).series(days()):
        assert series.is_event_free == (kind not in VARIANTS)
        assert {label.variant for label in series.labels} <= {kind}
        assert series.is_event_free or series.labels


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no kinds"):
        Market(kinds=["sprung"])


def test_seven_symbols_of_ten_have_schematics_and_the_others_no_label() -> None:
    kinds = [series.kind for series in market()]
    assert kinds.count("schematic") == 42
    assert {kinds.count(kind) for kind in ("trend", "range", "news")} == {6}
    assert all(bool(series.labels) != series.is_event_free for series in market())


def test_a_market_turned_over_is_the_mirror_image_with_the_mirrored_labels() -> None:
    source, when = Market(seed=4, symbols=3), days()
    for number in range(3):
        series, other = source.one(number, when), source.one(number, when, turned_over=True)
        home = series.high * other.low  # p * home^2 / p
        cent = 0.02 / series.low.min() + 0.02 / other.low.min()
        for ours, theirs in (("open", "open"), ("high", "low"), ("low", "high"), ("close", "close")):
            product = getattr(series, ours) * getattr(other, theirs)
            assert np.allclose(product, np.median(home), rtol=cent)
        assert (series.volume == other.volume).all()
        assert [label.event_us for label in series.labels] == [label.event_us for label in other.labels]
        for label, mirrored in zip(series.labels, other.labels, strict=True):
            assert label.side != mirrored.side
            names = MIRROR if label.side == ACCUMULATION else NAMES
            assert names[label.kind] == mirrored.kind


def test_both_sides_and_all_kinds_of_events_come() -> None:
    seen = {(label.side, label.kind) for series in market() for label in series.labels}
    assert seen == {(ACCUMULATION, k) for k in MIRROR} | {(DISTRIBUTION, k) for k in MIRROR.values()}


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_the_labels_of_a_schematic_come_in_the_order_of_the_book(difficulty: str) -> None:
    for series in market(difficulty):
        for labels in schematics(series).values():
            bars = [at(series, label) for label in labels]
            assert bars == sorted(set(bars)), "two events on one bar"
            kinds = [NAMES.get(label.kind, label.kind) for label in labels]
            assert [ORDER.index(kind) for kind in kinds] == sorted(map(ORDER.index, kinds))
            assert kinds.count("SC") == kinds.count("AR") == 1
            assert "ST" in kinds
            variant = labels[0].variant
            assert ("SPRING" in kinds) == (variant in ("spring", "failed_spring"))
            assert ("SOS" in kinds) == ("LPS" in kinds) == (variant in ("spring", "no_spring"))


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_labels_stand_at_the_extremes_that_they_name(difficulty: str) -> None:
    """A bar before to a bar after always, three bars where no turn of the price lies between."""
    near = far = 0
    for series in market(difficulty):
        for labels in schematics(series).values():
            seen = upright(series, labels[0])
            for label in labels:
                kind, bar = NAMES.get(label.kind, label.kind), at(series, label)
                side = -seen.high if kind == "AR" else seen.low
                if kind != "SOS":  # which is the bar that goes through the creek
                    assert side[bar] == side[bar - 1 : bar + 2].min()
                    far += side[bar] == side[bar - 3 : bar + 4].min()
                    near += 1
    assert far > 0.95 * near


def test_a_spring_undercuts_climax_and_tests_and_comes_back_within_days() -> None:
    count = 0
    for series in market():
        for labels in schematics(series).values():
            seen = upright(series, labels[0])
            named = [(NAMES.get(label.kind, label.kind), at(series, label)) for label in labels]
            support = min(seen.low[bar] for kind, bar in named if kind in ("SC", "ST"))
            for kind, bar in named:
                if kind == "SPRING":
                    assert seen.low[bar] < support
                    assert seen.close[bar : bar + 5].max() > support
                    count += 1
                if kind == "TEST":
                    assert seen.low[bar] > min(seen.low[b] for k, b in named if k == "SPRING")
    assert count > 30


def test_strength_goes_through_the_creek_on_volume_and_the_last_support_is_quiet() -> None:
    strong, quiet, above = [], [], []
    for series in market():
        for labels in schematics(series).values():
            seen = upright(series, labels[0])
            bars = {NAMES.get(label.kind, label.kind): at(series, label) for label in labels}
            if "SOS" in bars:
                sos, lps = bars["SOS"], bars["LPS"]
                creek = seen.high[bars["SC"] : sos - 1].max()
                above.append(seen.close[sos] > min(creek, seen.high[bars["AR"]]))
                usual = np.median(series.volume[sos - 30 : sos])
                strong.append(series.volume[sos] / usual)
                quiet.append(series.volume[lps] / series.volume[sos])
    assert all(above)
    assert np.median(strong) > 2
    assert np.quantile(quiet, 0.9) < 0.6


@pytest.mark.parametrize(("difficulty", "least"), [("easy", 3.0), ("middle", 2.4), ("hard", 1.5)])
def test_a_climax_stands_out_by_volume_and_spread_less_so_the_harder(difficulty: str, least: float) -> None:
    volumes, spreads = [], []
    for series in market(difficulty):
        for label in series.labels:
            if label.kind in ("SC", "BC"):
                bar = at(series, label)
                before = slice(bar - 20, bar)
                spread = np.log(series.high / series.low)
                volumes.append(series.volume[bar] / series.volume[before].mean())
                spreads.append(spread[bar] / spread[before].mean())
    assert np.quantile(volumes, 0.1) > least
    assert np.quantile(spreads, 0.1) > 1.3


def test_secondary_tests_show_less_volume_than_the_climax() -> None:
    for series in market():
        for labels in schematics(series).values():
            [climax] = [series.volume[at(series, one)] for one in labels if one.kind in ("SC", "BC")]
            tests = [series.volume[at(series, one)] for one in labels if one.kind == "ST"]
            assert np.mean(tests) < 0.7 * climax


def test_a_downtrend_comes_before_an_accumulation() -> None:
    for series in market():
        for labels in schematics(series).values():
            seen = upright(series, labels[0])
            [bar] = [at(series, one) for one in labels if one.kind in ("SC", "BC")]
            assert seen.close[bar] < 0.97 * seen.close[bar - 40]


def test_tails_are_fat_and_volume_and_volatility_come_in_clusters() -> None:
    for kind in ("trend", "range", "schematic"):
        tails, volumes, sizes = [], [], []
        for series in market():
            if series.kind == kind:
                moves = np.diff(np.log(series.close))
                tails.append(((moves - moves.mean()) ** 4).mean() / moves.var() ** 2)
                volumes.append(lagged(np.log(series.volume), 1))
                sizes.append(lagged(np.abs(moves), 1))
        assert np.median(tails) > 3.5, f"{kind}: a normal distribution has 3"
        assert min(volumes) > 0.2
        assert np.median(sizes) > 0.02


def test_spreads_are_in_proportion_to_moves_like_those_of_real_days() -> None:
    """The mean spread of a day is between one and two standard deviations of its change."""
    for series in market():
        moves = np.diff(np.log(series.close))
        assert 1 < np.log(series.high / series.low).mean() / moves.std() < 2.2


def test_news_bring_huge_volume_and_range_that_no_event_explains() -> None:
    for series in market():
        if series.kind == "news":
            volume = series.volume[50:] / np.convolve(series.volume, np.ones(50) / 50, "valid")[:-1]
            assert (volume > 2.5).sum() > 8


def test_prices_stay_in_sight_of_home() -> None:
    for series in market():
        assert series.low.min() > 1
        assert series.close.max() / series.close.min() < 30


def test_a_plan_keeps_the_extremes_of_its_legs_whatever_the_noise() -> None:
    wild = replace(DIFFICULTIES["hard"], noise=5.0)
    for number in range(100):
        chance = Chance("wild", number)
        plan = schematic(chance, wild, VARIANTS[number % 4])
        part = noise(chance, len(plan), wild)
        path = plan.path(part, wild.noise)
        bars = draw(path, part)
        assert (bars.low <= np.minimum(bars.open, bars.close)).all()
        assert (bars.high >= np.maximum(bars.open, bars.close)).all()
        assert np.isfinite(bars.close).all()
        assert (bars.low >= path.floor).all()
        assert (bars.high <= path.ceiling).all()
        [climax] = [bar for kind, bar in plan.events if kind == "SC"]
        assert bars.low[climax] == bars.low[: climax + 4].min()


def test_plain_series_end_where_chance_leads_them() -> None:
    ends = []
    for number in range(200):
        chance = Chance("plain", number)
        part = noise(chance, 150, DIFFICULTIES["middle"])
        ends.append(plain.sideways(chance, part).close[-1])
    assert abs(np.mean(ends)) < 0.6


@pytest.mark.parametrize("half_freedom", [2, 3, 4])
def test_chance_has_the_moments_that_it_says(half_freedom: int) -> None:
    chance = Chance("moments", half_freedom)
    assert chance.evens(20_000).mean() == pytest.approx(0.5, abs=0.01)
    assert chance.normals(20_000).std() == pytest.approx(1, abs=0.02)
    assert chance.students(50_000, half_freedom).std() == pytest.approx(1, abs=0.12)
    assert chance.gammas(20_000, 2).mean() == pytest.approx(1, abs=0.02)
    clustered = chance.clustered(20_000, 0.75)
    assert clustered.std() == pytest.approx(1, abs=0.06)
    assert lagged(clustered, 1) == pytest.approx(0.75, abs=0.03)


def test_weeks_begin_on_mondays_even_where_monday_was_a_holiday() -> None:
    weeks = days(60, "1w") // DAY_US
    assert ((weeks + 3) % 7 == 0).all()
    assert (np.diff(weeks) == 7).all()


def lagged(values: np.ndarray[tuple[int], np.dtype[np.float64]], by: int) -> float:
    return float(np.corrcoef(values[:-by], values[by:])[0, 1])
