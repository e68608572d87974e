"""Figures of closed trades: the worked examples, the edges, and a plain reference in decimals."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollotape import calendars
from rollotape.domain.performance import (
    NOTHING,
    Closed,
    Performance,
    by_test,
    exact_r,
    held,
    measure,
    performance,
    told,
    wilson,
)
from rollotape.domain.trades import realized_r
from support import performance_reference as reference
from support.bars import MONDAY
from support.performance_reference import Traded


def closed(earned: Iterable[float], sessions: Iterable[int] = ()) -> list[Closed]:
    """Trades that ended one after the other."""
    lasted = iter(sessions)
    return [Closed(UUID(int=i), r, i, next(lasted, 1)) for i, r in enumerate(earned)]


def of(*earned: float) -> Performance:
    return performance(closed(earned))


def test_three_lost_after_two_won() -> None:
    found = of(3, 2, -1, -1, -1)
    assert (found.win_rate, found.max_drawdown_r) == (Decimal(40), Decimal(3))
    assert found.avg_r_multiple == Decimal("0.4")
    assert found.profit_factor == Decimal("1.666667")
    assert found.profit_factor_state is None
    assert found.expectancy == found.avg_r_multiple


def test_without_a_loss_there_is_no_factor() -> None:
    assert (of(2, 1).profit_factor, of(2, 1).profit_factor_state) == (None, "no_losses")


def test_without_a_win_the_factor_is_0() -> None:
    assert (of(-1).profit_factor, of(-1).profit_factor_state) == (Decimal(0), None)


def test_breakeven_is_neither() -> None:
    found = of(0)
    assert (found.wins, found.losses, found.breakeven) == (0, 0, 1)
    assert (found.win_rate, found.win_rate_ex_breakeven, found.profit_factor_state) == (
        Decimal(0),
        None,
        "no_losses",
    )


@pytest.mark.parametrize(
    ("r", "counts"), [(1e-9, (0, 1, 0)), (-1e-9, (0, 1, 0)), (2e-9, (1, 0, 0)), (-2e-9, (0, 0, 1))]
)
def test_breakeven_is_within_a_billionth(r: float, counts: tuple[int, int, int]) -> None:
    assert (of(r).wins, of(r).breakeven, of(r).losses) == counts


def test_a_short_from_100_to_90_with_its_stop_at_105_earned_two() -> None:
    assert realized_r(100, 105, 90) == 2


def test_of_nothing_every_figure_is_null() -> None:
    found = performance([])
    assert (found.trade_count, found.profit_factor_state, found.low_sample) == (0, "no_trades", True)
    assert found.max_drawdown_state == "no_trades"
    said = {"trade_count", "wins", "losses", "breakeven", "low_sample"}
    said |= {"profit_factor_state", "max_drawdown_state"}
    assert all(value is None for name, value in asdict(found).items() if name not in said)


def test_thirty_trades_are_no_low_sample() -> None:
    assert of(*[1.0] * 29).low_sample
    assert not of(*[1.0] * 30).low_sample


def test_sqn_needs_two_trades_that_differ() -> None:
    assert of(1).sqn is None
    assert of(0.1, 0.1, 0.1).sqn is None
    assert of(1, -0.5).sqn == Decimal("0.333333")


def test_a_fall_is_measured_from_the_highest_so_far_and_from_0_at_first() -> None:
    assert of(-1, -1, 5, -1).max_drawdown_r == 2
    assert of(1, 2).max_drawdown_r == 0


def test_the_order_is_that_of_exits_then_that_of_ids_as_bytes() -> None:
    trades = [
        Closed(UUID(int=1 << 120), -1.0, 5, 1),
        Closed(UUID(int=255), 1.0, 5, 1),
        Closed(UUID(int=0), -1.0, 9, 1),
    ]
    assert performance(trades).max_drawdown_r == performance(reversed(trades)).max_drawdown_r == 2


def test_the_interval_is_wilsons() -> None:
    assert wilson(0, 0) is None
    assert wilson(4, 10) == (Decimal("16.818033"), Decimal("68.732623"))
    assert wilson(0, 10) == (Decimal(0), Decimal("27.753280"))
    assert wilson(10, 10) == (Decimal("72.246720"), Decimal(100))


@pytest.mark.parametrize(
    ("entry", "last", "sessions"),
    [(0, 0, 0), (0, 1, 1), (0, 7, 5), (4, 7, 1), (5, 7, 1), (7, 15, 5)],
)
def test_holding_counts_sessions_after_the_day_of_entry(entry: int, last: int, sessions: int) -> None:
    """From Monday 2016-01-04; the 18th is a holiday."""
    assert held(calendars.sessions(), MONDAY + entry, MONDAY + last) == sessions


def test_patterns_without_a_test_are_in_neither_part() -> None:
    flags = [True, True, False, None]
    trades = [t._replace(test_confirmed=flag) for t, flag in zip(closed([1, 2, -1, 9]), flags, strict=True)]
    confirmed, unconfirmed = by_test(trades)
    assert confirmed is not None and unconfirmed is not None
    assert (confirmed.trade_count, confirmed.avg_r_multiple) == (2, Decimal("1.5"))
    assert (unconfirmed.trade_count, unconfirmed.avg_r_multiple) == (1, Decimal(-1))
    assert by_test(trades[3:]) == (None, None)


R = st.one_of(
    st.sampled_from(
        ["-1", "0", "2", "1e-9", "-1e-9", "1.000000000001e-9", "-1.000000000001e-9", "0.333333333333"]
    ),
    st.decimals("-5", "30", places=12).map(str),
).map(Decimal)
TRADES = st.lists(
    st.builds(Closed, st.uuids(), R, st.integers(0, 5), st.integers(0, 9)), unique_by=lambda trade: trade.id
)


@given(TRADES)
def test_figures_agree_with_the_definitions_digit_by_digit(trades: list[Closed]) -> None:
    assert performance(trades) == reference.performance(ordered(trades))


@given(TRADES, st.integers(0, 5), st.integers(0, 5))
def test_a_long_time_follows_from_short_ones(trades: list[Closed], first: int, second: int) -> None:
    early, late = sorted((first, second))
    parts = [
        measure(t for t in trades if t.exit_date < early),
        measure(t for t in trades if early <= t.exit_date < late),
        measure(t for t in trades if late <= t.exit_date),
    ]
    one, two, three = parts
    whole = measure(trades)
    assert one.then(two).then(three) == one.then(two.then(three)) == whole
    assert NOTHING.then(whole) == whole.then(NOTHING) == whole


@given(st.floats(-1e6, 1e6))
def test_r_is_a_decimal_of_twelve_places_as_postgresql_rounds_it(r: float) -> None:
    exact = Fraction(r) * 10**12
    nearest = int(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
    assert Fraction(exact_r(r)) * 10**12 == nearest


def test_json_has_the_digits_that_were_answered() -> None:
    figures = performance(closed([3, 2, -1, -1, -1]))
    said = told(figures)
    assert said["profit_factor"] == 1.666667
    assert said["win_rate_ci95"] == [float(part) for part in figures.win_rate_ci95 or ()]
    assert said["expectancy"] == said["avg_r_multiple"] == 0.4
    assert str(performance(closed([-1e-9, 0])).avg_r_multiple) == "0.000000"


def ordered(trades: Sequence[Closed]) -> list[Traded]:
    """As the reference takes them: from 100 with a stop at 99, R is what was won above the entry."""
    found = sorted(trades, key=lambda trade: (trade.exit_date, trade.id.bytes))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Traded(
            trade.id, "AAA", "1d", "paper", "CLOSED", start, "SOS", Decimal(100), Decimal(99),
            Decimal(100) + Decimal(trade.realized_r), start, trade.sessions,
        )
        for trade in found
    ]  # fmt: skip
