"""Paper trades: from the open after detection to stop, target or the 20th close, in any batches."""

from dataclasses import replace
from random import Random
from uuid import UUID

import pytest

from rollotape.domain.reading import own_patterns, planned
from rollotape.domain.sessions import DAY_US
from rollotape.domain.trades import MOST_BARS, Reason, Trade, follow, realized_r, sound
from support.bars import MONDAY, Ohlcv, rows, stored
from support.wyckoff import fold, walk

LONG = Trade(UUID(int=1), "A", "1d", "SPRING", 1, 95.0, 110.0, 2.0, detected_ts=0, changed_at=0)
SHORT = replace(LONG, kind="UTAD", sign=-1, stop=105.0, target=90.0)
FLAT: Ohlcv = (100, 101, 99, 100, 1)


def after(trade: Trade, *bars: Ohlcv) -> Trade:
    return follow(trade, rows(bars))


def test_a_trade_is_pending_until_the_next_bar_and_open_from_its_open_on() -> None:
    assert after(LONG) == LONG
    trade = after(LONG, (100, 101, 99, 100.5, 1))
    assert (trade.status, trade.entry_price, trade.bars) == ("OPEN", 100, 1)
    assert (trade.exit_date, trade.exit_price, trade.realized_r) == (None, None, None)


@pytest.mark.parametrize(
    ("trade", "opening"), [(LONG, 95), (LONG, 94), (LONG, 110), (SHORT, 105), (SHORT, 90), (SHORT, 80)]
)
def test_an_open_at_or_beyond_stop_or_target_cancels(trade: Trade, opening: float) -> None:
    cancelled = after(trade, (opening, opening, opening, opening, 1), FLAT)
    assert cancelled.status == "CANCELLED"
    assert (cancelled.entry_price, cancelled.exit_price, cancelled.exit_date) == (None, None, None)


@pytest.mark.parametrize(
    ("trade", "bar", "price", "reason"),
    [
        (LONG, (100, 101, 95, 96, 1), 95, "stop"),
        (LONG, (100, 110, 99, 105, 1), 110, "target"),
        (LONG, (100, 111, 94, 105, 1), 95, "stop"),
        (LONG, (94, 96, 93, 96, 1), 94, "stop"),
        (LONG, (112, 113, 94, 112, 1), 112, "target"),
        (SHORT, (100, 105, 99, 104, 1), 105, "stop"),
        (SHORT, (100, 101, 90, 95, 1), 90, "target"),
        (SHORT, (100, 106, 89, 95, 1), 105, "stop"),
        (SHORT, (107, 108, 106, 107, 1), 107, "stop"),
        (SHORT, (88, 106, 87, 89, 1), 88, "target"),
    ],
)
def test_levels_are_touched_exactly_the_stop_first_and_gaps_exit_at_the_open(
    trade: Trade, bar: Ohlcv, price: float, reason: Reason
) -> None:
    closed = after(trade, FLAT, bar, FLAT)
    assert (closed.status, closed.exit_price, closed.reason) == ("CLOSED", price, reason)
    assert closed.realized_r == realized_r(100, trade.stop, price)
    assert closed.bars == 2


def test_the_entry_bar_may_be_the_last() -> None:
    assert after(LONG, (100, 111, 94, 105, 1)).exit_price == 95


def test_time_is_up_at_the_close_of_the_20th_bar() -> None:
    bars = [(100.0, 101.0, 99.0, 100 + i / 100, 1.0) for i in range(25)]
    assert after(LONG, *bars[:19]).status == "OPEN"
    closed = after(LONG, *bars)
    assert (closed.bars, closed.exit_price, closed.reason) == (MOST_BARS, bars[19][3], "time")
    assert closed.realized_r == pytest.approx(0.19 / 5)


def test_a_daily_exit_has_the_instant_of_the_end_even_at_the_open() -> None:
    closed = after(LONG, FLAT, (94, 96, 93, 96, 1))
    ends = rows([FLAT, FLAT])["end_ts"]
    assert closed.exit_date == ends[1]
    assert (closed.entry_session, closed.exit_session) == (MONDAY, MONDAY + 1)


@pytest.mark.parametrize(("bar", "at_open"), [((94, 96, 93, 96, 1), True), ((96, 97, 95, 96, 1), False)])
def test_an_intraday_exit_at_the_open_has_the_instant_of_the_start(bar: Ohlcv, at_open: bool) -> None:
    start = MONDAY * DAY_US + 15 * 3_600_000_000
    bars = stored([(start + i * 60_000_000, *b, 0, False) for i, b in enumerate((FLAT, bar))], "1m")
    closed = follow(replace(LONG, timeframe="1m"), bars)
    assert closed.exit_date == bars["ts" if at_open else "end_ts"][1]
    assert closed.changed_at == bars["end_ts"][1]


def test_r_counts_the_risk_taken_long_and_short() -> None:
    assert realized_r(100, 95, 110) == 2
    assert realized_r(100, 105, 90) == 2
    assert [sound(1, 100, 95), sound(1, 100, 100), sound(-1, 100, 95), sound(-1, 100, 105)] == [
        True, False, False, True,
    ]  # fmt: skip


def test_bars_one_at_a_time_and_all_at_once_end_alike() -> None:
    seen = set()
    for seed in range(40):
        bars, random = walk(seed), Random(seed)
        for pattern in own_patterns(fold(bars), bars["ts"]):
            later = bars[bars["ts"] > pattern.confirmed_ts]
            whole = follow(planned(pattern), later)
            trade, at = planned(pattern), 0
            while at < len(later):
                size = random.choice((1, 1, 1, 7))
                trade, at = follow(trade, later[at : at + size]), at + size
            assert trade == whole
            assert (whole.exit_date is None) == (whole.exit_price is None) == (whole.status != "CLOSED")
            if whole.entry_price is not None:
                assert sound(whole.sign, whole.entry_price, whole.stop)
            seen.add((whole.kind, whole.status))
    assert {"CLOSED", "CANCELLED"} <= {status for _, status in seen}
