"""Relative strength by hand: what each number is, when it is unknown, and who leads."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from rollotape.domain import sectors
from rollotape.domain.strength import (
    INSUFFICIENT,
    NO_BENCHMARK,
    OK,
    STALE,
    Closes,
    Market,
    Scores,
    as_of,
    lacking,
    rows,
    score,
)
from rollotape.domain.strength.standings import leaders, ranks, ratings, standings
from support import markets
from support.markets import MONDAY, closes, weekdays

FLAT = closes(weekdays(300), [400.0] * 300)
TECH = "Information Technology"


def alone(stock: Closes, spy: Closes, fund: Closes | None = None, sector: str | None = TECH) -> Market:
    benchmarks = {"SPY": spy} | ({"XLK": fund} if fund else {})
    return Market.of({"A": stock}, {"A": sector}, benchmarks)


def rising(days: Sequence[int], first: float, last: float) -> Closes:
    """Flat, and then the last close."""
    return closes(days, [first] * (len(days) - 1) + [last])


def test_a_stock_from_100_to_110_against_spy_from_400_to_420_is_five_points_ahead() -> None:
    days = weekdays(40)
    found = as_of(alone(rising(days, 100, 110), rising(days, 400, 420)), days[-1])
    assert found.rs_score[0, 0] == pytest.approx(5.0, abs=1e-9)
    assert found.ratio[0, 0, 0] == pytest.approx(1.1 / 1.05, abs=1e-9)


def test_a_stock_that_gained_less_than_the_market_is_behind_by_so_many_points() -> None:
    days = weekdays(40)
    found = as_of(alone(rising(days, 100, 98), rising(days, 400, 420)), days[-1])
    assert found.rs_score[0, 0] == pytest.approx(-7.0, abs=1e-9)


def test_the_sector_has_its_own_measure() -> None:
    days = weekdays(40)
    found = as_of(alone(rising(days, 100, 110), rising(days, 400, 420), rising(days, 50, 56)), days[-1])
    assert found.excess[1, 0, 0, 0] == pytest.approx(-2.0, abs=1e-9)


@pytest.mark.parametrize(("period", "sessions"), [(1, 21), (2, 63), (3, 126), (4, 252)])
def test_a_period_looks_back_so_many_common_dates_and_no_fewer(period: int, sessions: int) -> None:
    days = weekdays(sessions + 1)
    stock = closes(days, [50.0, *[100.0] * sessions])
    whole = as_of(alone(stock, closes(days, [400.0] * len(days))), days[-1])
    assert whole.excess[0, period, 0, 0] == pytest.approx(100.0, abs=1e-9)
    short = as_of(alone(closes(days[1:], [100.0] * sessions), FLAT), days[-1])
    assert np.isnan(short.excess[0, period, 0, 0])
    assert short.status[0, period, 0, 0] == INSUFFICIENT


@pytest.mark.parametrize(
    ("ago", "known"),
    [
        pytest.param([40, 30], True, id="exactly 30 days ago"),
        pytest.param([40, 25], True, id="the first one is 25 days ago"),
        pytest.param([40, 24], False, id="the first one is 24 days ago"),
        pytest.param([29, 26], False, id="history does not reach back 30 days"),
        pytest.param([31], False, id="the only earlier one is 31 days ago"),
        pytest.param([30], True, id="history begins 30 days ago"),
    ],
)
def test_a_month_begins_at_the_first_common_date_within_30_days(ago: list[int], known: bool) -> None:
    days = [MONDAY - n for n in ago] + [MONDAY]
    stock = closes(days, [100.0] * len(ago) + [110.0])
    found = as_of(alone(stock, closes(days, [400.0] * len(days))), MONDAY)
    assert (found.status[0, 0, 0, 0] == OK) == known
    assert np.isnan(found.rs_score[0, 0]) != known


def test_only_dates_that_both_have_count() -> None:
    days = weekdays(60)
    spy = closes([d for d in days if d != days[38]], [400.0] * 59)
    stock = closes(days, [*[100.0] * 38, 55.0, *[100.0] * 20, 110.0])
    found = as_of(alone(stock, spy), days[-1])
    assert found.excess[0, 1, 0, 0] == pytest.approx(10.0, abs=1e-9)  # 21 common dates back, not day 38


def test_t_is_the_last_common_date_and_five_calendar_days_are_still_fresh() -> None:
    days = weekdays(60)
    spy = closes(days[:-5], [400.0] * 55)  # ends seven days before the last bar of the stock
    stock = closes(days, [100.0] * 60)
    five, six = days[-6] + 5, days[-6] + 6
    found = score(alone(stock, spy), [five, six])
    assert found.status[0, 0, :, 0].tolist() == [OK, STALE]
    assert np.isnan(found.rs_score[1, 0])


def test_stale_is_decided_before_a_short_history() -> None:
    spy = closes([MONDAY], [400.0])
    stock = closes([MONDAY, MONDAY + 7], [100.0, 100.0])
    assert as_of(alone(stock, spy), MONDAY + 7).status[0, :, 0, 0].tolist() == [STALE] * 5


def test_without_any_common_date_history_is_insufficient() -> None:
    stock = closes([MONDAY], [100.0])
    assert as_of(alone(stock, closes([], [])), MONDAY).status[0, :, 0, 0].tolist() == [INSUFFICIENT] * 5


@pytest.mark.parametrize("sector", [None, "Telecommunication Services"])
def test_a_sector_without_a_fund_has_no_benchmark(sector: str | None) -> None:
    found = as_of(alone(closes(weekdays(300), [1.0] * 300), FLAT, FLAT, sector), weekdays(300)[-1])
    assert found.status[1, :, 0, 0].tolist() == [NO_BENCHMARK] * 5
    assert found.status[0, :, 0, 0].tolist() == [OK] * 5


def test_a_fund_that_began_late_leaves_the_long_periods_unknown() -> None:
    days = weekdays(300)
    late = closes(days[-100:], [50.0] * 100)
    found = as_of(alone(closes(days, [1.0] * 300), FLAT, late), days[-1])
    assert found.status[1, :, 0, 0].tolist() == [OK, OK, OK, INSUFFICIENT, INSUFFICIENT]


def test_mansfield_measures_the_line_against_its_mean_of_200() -> None:
    days = weekdays(200)
    stock = rising(days, 100, 300)  # RP is 0.25 for 199 days, then 0.75; the mean is 0.2525
    spy = closes(days, [400.0] * 200)
    assert as_of(alone(stock, spy), days[-1]).mansfield[0, 0] == pytest.approx(100 * (0.75 / 0.2525 - 1))
    assert np.isnan(as_of(alone(stock, spy), days[-2]).mansfield[0, 0])


def test_a_rating_is_a_place_among_those_that_have_a_year() -> None:
    days = weekdays(253)
    stocks = {name: rising(days, 100, last) for name, last in zip("ABCD", (90, 100, 100, 120), strict=True)}
    stocks["SHORT"] = closes(days[1:], [100.0] * 252)
    found = as_of(Market.of(stocks, {}, {"SPY": FLAT}), days[-1])
    # ceil(99 (below + equal / 2) / 4): 12.375, 49.5, 49.5, 86.625
    assert dict(zip(found.symbols, found.rating[0].tolist(), strict=True)) == {
        "A": 13, "B": 50, "C": 50, "D": 87, "SHORT": 0,
    }  # fmt: skip


def test_a_year_is_weighed_towards_its_last_quarter() -> None:
    days = weekdays(253)
    p = [100.0] * 253
    p[-253], p[-190], p[-127], p[-64] = 50.0, 80.0, 100.0, 125.0  # strengths 2, 1.25, 1, 0.8
    stock = closes(days, p)
    exact = 0.4 * 0.8 + 0.2 * 1 + 0.2 * 1.25 + 0.2 * 2
    below, above = (rising(days, 100, 100 * (exact + d)) for d in (-1e-6, 1e-6))
    found = as_of(Market.of({"A": below, "B": stock, "C": above}, {}, {"SPY": FLAT}), days[-1])
    assert found.rating[0].tolist() == [17, 50, 83]


@pytest.mark.parametrize(("n", "led"), [(4, 0), (5, 1), (6, 2), (10, 2), (11, 3), (15, 3), (16, 4)])
def test_leaders_are_the_best_fifth_rounded_up(n: int, led: int) -> None:
    standing = standings(np.arange(n, dtype=float), np.zeros(n, np.int64))
    assert leaders(ranks(standing), standing.members).tolist() == [i >= n - led for i in range(n)]


def test_equals_share_a_rank_and_may_lead_together() -> None:
    standing = standings(np.array([3.0, 5.0, 5.0, 1.0, 2.0]), np.zeros(5, np.int64))
    assert ranks(standing).tolist() == [3, 1, 1, 5, 4]
    assert leaders(ranks(standing), standing.members).tolist() == [False, True, True, False, False]


def test_numbers_are_compared_after_rounding_to_a_billionth() -> None:
    values = np.array([1.0, 1.0 + 4e-10, 1.0 + 2e-9])
    assert ranks(standings(values, np.zeros(3, np.int64))).tolist() == [2, 2, 1]


def test_groups_are_compared_apart() -> None:
    values, group = np.array([1.0, 9.0, 2.0, 8.0]), np.array([7, 3, 7, 3])
    assert ranks(standings(values, group)).tolist() == [2, 1, 1, 2]
    assert ratings(standings(values, group)).tolist() == [25, 75, 75, 25]


def test_a_stock_without_a_bar_that_day_is_ranked_and_rated_but_has_no_row() -> None:
    days = weekdays(260)
    stocks = {n: closes(days, [100.0] * 259 + [100.0 + i]) for i, n in enumerate("ABCD")}
    stocks["E"] = closes(days[:-1], [100.0] * 258 + [200.0])  # no bar on the last day; the strongest
    market = Market.of(stocks, dict.fromkeys("ABCDE", TECH), {"SPY": FLAT})
    found = as_of(market, days[-1])
    assert found.rank[0].tolist() == [5, 4, 3, 2, 1]
    assert found.leader[0].tolist() == [False, False, False, False, True]
    assert found.rating[0].tolist() == [10, 30, 50, 70, 90]
    assert [row[1] for row in rows.rows(found)] == ["A", "B", "C", "D"]
    later = as_of(market, days[-2] + 6)
    assert later.rank[0, 4] == 0, "a stale stock is ranked"


def test_a_stock_without_a_sector_is_scored_and_rated_but_not_ranked() -> None:
    days = weekdays(260)
    found = as_of(alone(closes(days, [1.0] * 260), FLAT, sector=None), days[-1])
    assert (found.rank[0, 0], found.leader[0, 0], found.rating[0, 0]) == (0, False, 50)
    assert found.rs_score[0, 0] == 0.0


def test_a_ratio_that_no_double_holds_is_unknown() -> None:
    days = weekdays(300)
    tiny = closes(days, [5e-324] * 299 + [1e7])
    found = as_of(alone(tiny, FLAT), days[-1])
    assert np.isnan(found.excess[0]).all()
    assert np.isnan(found.mansfield[0, 0]) or np.isfinite(found.mansfield[0, 0])
    assert found.rating[0, 0] == 0


def test_nothing_is_no_error() -> None:
    nobody = Market.of({}, {}, {})
    assert score(nobody, [MONDAY]).symbols == []
    assert rows.rows(score(nobody, [MONDAY])) == []
    assert rows.rows(score(alone(closes([MONDAY], [1.0]), FLAT), [])) == []
    assert lacking(nobody, [MONDAY]) == []


def test_a_history_that_was_cut_too_short_is_noticed() -> None:
    days = weekdays(300)
    stock = closes(days[48:], [1.0] * 252, cut=True)
    assert lacking(alone(stock, FLAT), [days[-1]]) == ["A"]
    assert lacking(alone(closes(days[47:], [1.0] * 253, cut=True), FLAT), [days[-1]]) == []
    assert lacking(alone(closes(days[48:], [1.0] * 252), FLAT), [days[-1]]) == []
    newer = closes(days[48:], [400.0] * 252)
    assert lacking(alone(stock, newer), [days[-1]]) == [], "nothing older can be shared"


def test_chrw_and_luv_both_rank_twelfth_of_industrials(shared_data: Path) -> None:
    found = _real(shared_data, date(2014, 5, 16))
    for symbol in ("CHRW", "LUV"):
        at = found.symbols.index(symbol)
        assert found.rank[0, at] == 12
        assert found.leader[0, at]
        assert found.rs_score[0, at] == pytest.approx(3.5139174, abs=1e-6)


def _real(folder: Path, day: date) -> Scores:
    stocks = {s: markets.packed(d) for s, d in markets.read(folder / "bars_daily_sp500.csv.gz").items()}
    funds = {s: markets.packed(d) for s, d in markets.read(folder / "bars_daily_etf.csv.gz").items()}
    of = markets.sectors_of(folder / "sectors.csv")
    return as_of(Market.of(stocks, of, funds), markets.number(day))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Technology", "Information Technology"),
        ("Healthcare", "Health Care"),
        ("health  care", "Health Care"),
        ("Telecommunication Services", "Telecommunication Services"),
        ("Tech stuff", None),
        ("", None),
    ],
)
def test_sectors_are_known_by_name_and_alias(said: str, meant: str | None) -> None:
    assert sectors.sector(said) == meant


def test_there_are_eleven_funds_and_the_old_sector_has_none() -> None:
    assert len(sectors.FUNDS) == 11
    assert sectors.benchmarks("Telecommunication Services") == ("SPY", None)
    assert sectors.benchmarks("Energy") == ("SPY", "XLE")
