"""The market that does not exist: valid, repeatable, and lively enough to find something in."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from statistics import correlation, stdev
from typing import Any

import numpy as np
import pytest

from rollotape import calendars, intake
from rollotape.cli.score import detector
from rollotape.domain.sectors import FUNDS
from rollotape.producers.companies import STOCKS, funds_of, listings
from rollotape.producers.frames import Bars, Framer
from rollotape.producers.laying import Ohlcv, laid
from rollotape.producers.simulator import Market
from rollotape.producers.telling import InDays
from rollotape.simulation.scoring import PATTERNS, Detection, Score, Scoring
from rollotape.simulation.series import Series

COLUMNS = ("symbol", "ts", "open", "high", "low", "close", "volume", "revision")
NOW = datetime(2026, 3, 4, 15, 30, 12, tzinfo=UTC)  # a Wednesday, an hour after the opening


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(calendars.sessions())


def rows(bars: Bars) -> list[tuple[Any, ...]]:
    return list(bars.rows())


def refusals(*columns: Bars) -> list[intake.Refusal]:
    """What the detector would refuse if these bars arrived now."""
    framer = Framer(16)
    messages = [m for bars in columns for m in framer.add(bars)] + framer.flush()
    arrived_ms = int(NOW.timestamp() * 1000)
    return intake.read([intake.Message(p, arrived_ms) for _, p in messages], calendars.sessions).refused


def test_the_session_that_is_open_is_the_next_one_to_close(market: Market) -> None:
    assert market.opening(market.closed_before(NOW)) == datetime(2026, 3, 4, 14, 30, tzinfo=UTC)


def test_three_years_of_days_end_with_the_last_session_and_are_valid(market: Market) -> None:
    closed = market.closed_before(NOW)
    days = market.days(closed - 756, closed)

    assert len(days) == 756 * len(market.symbols)
    assert days.ts[-1] == "2026-03-03T00:00:00Z"
    assert refusals(days) == []
    for column in (days.open, days.high, days.low, days.close):
        assert all(price == round(price, 2) for price in column if price)
    assert all(volume and volume == int(volume) for volume in days.volume)


def test_the_minutes_of_a_session_add_up_to_its_day(market: Market) -> None:
    session = market.closed_before(NOW) - 1
    day = {row[0]: row for row in rows(market.days(session, session + 1))}
    minutes = defaultdict(list)
    for _, bars in market.minutes(session):
        for row in rows(bars):
            minutes[row[0]].append(row)

    assert refusals(*(bars for _, bars in market.minutes(session))) == []
    for symbol, (_, _, o, h, low, c, v, _) in day.items():
        of = minutes[symbol]
        assert len(of) == 390
        assert (of[0][2], max(r[3] for r in of), min(r[4] for r in of), of[-1][5]) == (o, h, low, c)
        assert sum(int(r[6]) for r in of) == v


def test_a_quarter_hour_is_what_its_minutes_come_to(market: Market) -> None:
    session = market.closed_before(NOW) - 1
    minutes = [bars for _, bars in market.minutes(session)]
    quarters = market.quarters(session)

    assert len(quarters) == 26
    assert refusals(*(bars for _, bars in quarters)) == []
    for number, (over, bars) in enumerate(quarters):
        assert f"{over - timedelta(minutes=15):%Y-%m-%dT%H:%M:%SZ}" == bars.ts[0]
        within = minutes[15 * number : 15 * number + 15]
        for at, (_, _, o, h, low, c, v, _) in enumerate(rows(bars)):
            of = [rows(part)[at] for part in within]
            assert (of[0][2], max(r[3] for r in of), min(r[4] for r in of), of[-1][5]) == (o, h, low, c)
            assert sum(int(r[6]) for r in of) == v


def test_a_short_session_has_fewer_minutes(market: Market) -> None:
    session = market.closed_before(datetime(2025, 11, 28, 16, 0, tzinfo=UTC))  # the day after Thanksgiving
    assert len(market.minutes(session)) == 210
    assert len(market.quarters(session)) == 14


def test_the_same_seed_tells_the_same_story_wherever_it_begins(market: Market) -> None:
    again = Market(calendars.sessions())
    assert again.minutes(905) == market.minutes(905)
    assert rows(again.days(900, 910)) == rows(market.days(900, 910))
    few, many = again.days(700, 710), market.days(700, 1_000)  # over several half-years
    assert rows(few) == [row for row in rows(many) if row[1] <= few.ts[-1]]
    assert again.quarters(999) == market.quarters(999)


def test_another_seed_tells_another_story(market: Market) -> None:
    other = Market(calendars.sessions(), seed=2)
    assert rows(other.days(900, 910)) != rows(market.days(900, 910))


@pytest.mark.parametrize("seed", range(20))
def test_minutes_fit_even_a_day_of_one_price(seed: int) -> None:
    flat, narrow, wide = (5.0, 5.0, 5.0, 5.0, 1_000), (5.0, 5.01, 5.0, 5.0, 391), (9.0, 30.0, 8.0, 8.0, 10**8)
    for day in (Ohlcv(*flat), Ohlcv(*narrow), Ohlcv(*wide)):
        made = list(laid(day, 390, Random(seed)))
        assert (made[0].open, made[-1].close) == (day.open, day.close)
        assert (max(m.high for m in made), min(m.low for m in made)) == (day.high, day.low)
        assert sum(m.volume for m in made) == day.volume
        assert all(m.low <= min(m.open, m.close) <= max(m.open, m.close) <= m.high for m in made)
        assert all(m.volume > 0 for m in made)


def test_no_price_wanders_off_in_twenty_years(market: Market) -> None:
    days = Market(calendars.sessions(), seed=3, stocks=STOCKS[:8]).days(0, 5_000)
    assert min(low for low in days.low if low) > 0.5
    assert max(high for high in days.high if high) < 50_000


def test_every_sector_has_leaders_and_its_fund_and_nothing_is_sold_as_real() -> None:
    assert set(Counter(s.sector for s in STOCKS).values()) == {6}, "a fifth of six, rounded up, are two"
    assert {fund.symbol for fund in funds_of(STOCKS)} == {"SPY", "QQQ", *FUNDS.values()}
    assert len({s.symbol for s in STOCKS}) == len(STOCKS)
    assert all("(simulated)" in (listing.name or "") for listing in listings())
    assert [fund.symbol for fund in funds_of(STOCKS[:1])] == ["SPY", "QQQ", "XLK"]


def test_stocks_move_with_the_market_and_a_fund_is_their_mean(market: Market) -> None:
    closed = market.closed_before(NOW)
    closes = defaultdict(list)
    for symbol, _, _, _, _, close, _, _ in rows(market.days(closed - 500, closed)):
        closes[symbol].append(close)
    changes = {symbol: [b / a - 1 for a, b in pairwise(of)] for symbol, of in closes.items()}
    mean = [sum(day) / len(STOCKS) for day in zip(*(changes[s.symbol] for s in STOCKS), strict=True)]
    with_the_sea = [symbol for symbol, of in market.stocks.items() if isinstance(of, InDays)]

    assert max(abs(a - b) for a, b in zip(changes["SPY"], mean, strict=True)) < 2e-3
    assert 0.002 < stdev(changes["SPY"]) < 0.015
    assert all(0.005 < stdev(changes[s.symbol]) < 0.05 for s in STOCKS)
    assert len(with_the_sea) == len(STOCKS) // 2
    assert all(correlation(changes[symbol], changes["SPY"]) > 0.1 for symbol in with_the_sea)


def series_of(market: Market, bars: Bars, first: int, last: int) -> Iterator[Series]:
    """With the labels of these sessions."""
    labels, found = market.labels(first, last), defaultdict(list)
    for row in rows(bars):
        found[row[0]].append(row[1:7])
    for symbol, of in found.items():
        ts, *numbers = zip(*of, strict=True)
        us = np.array([int(datetime.fromisoformat(t).timestamp()) * 1_000_000 for t in ts])
        told = tuple(x for x in labels if (x.symbol, x.timeframe) == (symbol, bars.timeframe))
        o, h, low, c, v = map(np.array, numbers)
        yield Series(symbol, bars.timeframe, "schematic", us, o, h, low, c, v, told)


def scored(market: Market, timeframe: str, first: int, last: int) -> tuple[Score, list[Detection]]:
    """What our own detector sees in the stocks that tell their story in this timeframe."""
    if timeframe == "1d":
        bars = [market.days(first, last)]
    else:
        bars = [part for session in range(first, last) for _, part in market.quarters(session)]
    whole = Bars(timeframe, *([x for b in bars for x in getattr(b, name)] for name in COLUMNS))
    detect, scoring, seen = detector(None), Scoring(), []
    for series in series_of(market, whole, first, last):
        if series.labels:
            detections = list(detect(series))
            scoring.add(series, detections)
            seen += detections
    return scoring.score(), seen


@pytest.mark.parametrize(("timeframe", "sessions"), [("1d", 756), ("15m", 30)])
def test_the_stories_that_are_told_are_found(market: Market, timeframe: str, sessions: int) -> None:
    closed = market.closed_before(NOW)
    score, seen = scored(market, timeframe, closed - sessions, closed)

    assert set(PATTERNS) <= {detection.kind for detection in seen}
    patterns = [kind for kind in score.kinds if kind.kind in PATTERNS]
    labels, right, found = (
        sum(getattr(kind, name) for kind in patterns) for name in ("labels", "matched", "detections")
    )
    assert right > 0.6 * labels  # some began before the first bar that is sent
    assert right > 0.7 * found


def test_patterns_come_every_other_hour(market: Market) -> None:
    """So that a demonstration that runs through five hours a minute has some to show in each."""
    closed = market.closed_before(NOW)
    _, seen = scored(market, "15m", closed - 20, closed)
    recent = 1_000_000 * int(market.opening(closed - 10).timestamp())
    came = [d for d in seen if d.kind in PATTERNS and d.confirmed_us >= recent]
    assert len(came) > 65 / 2  # ten sessions of six and a half hours: one every other hour at least


@pytest.mark.parametrize("timeframe", ["1m", "15m", "1d"])
@pytest.mark.parametrize("place", [0, -1])
def test_what_is_asked_for_again_is_what_was_told(market: Market, timeframe: str, place: int) -> None:
    """Of a stock and of a fund, over the end of a session."""
    symbol, closed = market.symbols[place], market.closed_before(NOW)
    parts: list[Bars] = [market.days(closed - 2, closed)]
    if timeframe != "1d":
        timed = market.minutes if timeframe == "1m" else market.quarters
        parts = [bars for session in (closed - 2, closed - 1) for _, bars in timed(session)]
    told = [row for bars in parts for row in rows(bars) if row[0] == symbol]
    wanted = told if timeframe == "1d" else told[3:-2]
    first, last = (round(datetime.fromisoformat(wanted[i][1]).timestamp() * 1e6) for i in (0, -1))
    assert rows(market.again(symbol, timeframe, first, last)) == wanted
