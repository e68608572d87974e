"""What is missing: the rules one by one, and against a plain reference."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollotape import calendars
from rollotape.domain import gaps
from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.gaps import Gap
from rollotape.verification.gaps import missing
from support.bars import us
from support.tapes import SEEDS, examples

SESSIONS = calendars.sessions()
UNTIL = us("2024-12-28T00:00Z")
FIRST = {"1m": "2024-11-20", "5m": "2024-10-01", "15m": "2024-07-01", "30m": "2024-03-01"}
"""Two early closes and two holidays are in the shortest."""


def slots(timeframe: str, first: str | None = None, until: int = UNTIL) -> list[int]:
    since = us(f"{first or FIRST.get(timeframe, '2020-01-01')}T00:00Z")
    starts: list[int] = gaps.slots(TIMEFRAMES[timeframe], SESSIONS, since, until).starts.tolist()
    return starts


def found(timeframe: str, starts: Sequence[int], until: int = UNTIL) -> list[Gap]:
    return gaps.gaps(TIMEFRAMES[timeframe], SESSIONS, np.array(sorted(starts), np.int64), until)


def without(starts: Sequence[int], *places: int) -> list[int]:
    return [start for i, start in enumerate(starts) if i not in places]


# ---- where bars are expected


@pytest.mark.parametrize(
    ("timeframe", "day", "count"),
    [
        ("1m", "2024-11-27", 390),
        ("1m", "2024-11-29", 210),
        ("15m", "2024-11-29", 14),
        ("1h", "2024-11-27", 7),
        ("1h", "2024-11-29", 4),
        ("4h", "2024-11-29", 1),
        ("1d", "2024-11-27", 1),
        ("1m", "2024-11-28", 0),
        ("1d", "2024-11-28", 0),
        ("1m", "2024-11-30", 0),
    ],
    ids=lambda x: str(x),
)
def test_a_session_has_so_many_bars(timeframe: str, day: str, count: int) -> None:
    """The 28th is Thanksgiving, the 29th closes at one o'clock, the 30th is a Saturday."""
    found = gaps.slots(TIMEFRAMES[timeframe], SESSIONS, us(f"{day}T00:00Z"), us(f"{day}T23:59Z"))
    assert len(found) == count


def test_a_week_has_a_bar_where_any_day_is_a_session() -> None:
    """New York was closed from the 11th of September 2001 on, until the 17th; both weeks had days."""
    starts = slots("1w", "2001-09-03", us("2001-09-29T00:00Z"))
    assert [str(np.datetime64(start, "us"))[:10] for start in starts] == [
        "2001-09-03", "2001-09-10", "2001-09-17", "2001-09-24"
    ]  # fmt: skip


def test_a_bar_is_expected_when_it_is_over() -> None:
    closes = us("2024-11-29T18:00Z")
    assert slots("1d", "2024-11-29", closes - 1) == []
    assert len(slots("1d", "2024-11-29", closes)) == 1
    assert slots("1m", "2024-11-29", us("2024-11-29T14:31:59Z")) == [us("2024-11-29T14:30Z")]


# ---- what is missed


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_whole_series_misses_nothing_and_each_bar_is_missed(timeframe: str) -> None:
    expected = slots(timeframe)
    assert found(timeframe, expected) == []
    hole = expected[150]
    assert found(timeframe, without(expected, 150)) == [Gap(hole, hole, 1, "gap")]


def test_nothing_is_missed_before_the_first_bar_nor_while_the_series_is_young() -> None:
    expected = slots("1d")
    assert found("1d", expected[300:]) == []
    assert found("1d", without(expected, 19)) == []
    assert len(found("1d", without(expected, 20))) == 1
    assert found("1d", []) == []


def test_who_seldom_trades_is_missed_after_a_long_silence_only() -> None:
    """A bar in two: nineteen in a row are missing once in half a million, twenty in a million."""
    expected = slots("1m")
    often = [start for i, start in enumerate(expected[:200]) if i % 2 == 0]
    for silence, is_gap in ((19, False), (20, True)):
        starts = [*often, *expected[199 + silence :]]
        first = expected[199]
        gap = Gap(first, expected[198 + silence], silence, "gap")
        assert found("1m", starts) == ([gap] if is_gap else []), silence


def test_nineteen_bars_of_twenty_are_as_good_as_all() -> None:
    expected = slots("1m")[:201]
    until = expected[-1] + 60_000_000
    for lost, count in ((5, 1), (6, 0)):
        holes = [*range(110, 110 + 10 * lost, 10), 199]
        runs = [gap.first for gap in found("1m", without(expected, *holes), until)]
        assert runs.count(expected[199]) == count, lost


def test_a_long_absence_is_a_pause_and_the_series_is_young_again() -> None:
    days = slots("1d")
    for absent, kind in ((20, "gap"), (21, "pause")):
        [gap] = found("1d", [*days[:100], *days[100 + absent :]])
        assert (gap.bars, gap.kind) == (absent, kind)
    again = [*days[:100], *days[121:130], *days[131:]]
    assert [gap.kind for gap in found("1d", again)] == ["pause"]


@pytest.mark.parametrize(("timeframe", "slots_of_a_session"), [("1d", 1), ("1h", 7)])
def test_a_series_that_ends_is_missed_for_five_sessions(timeframe: str, slots_of_a_session: int) -> None:
    until = us("2024-11-27T22:00Z")
    expected = slots(timeframe, until=until)
    for sessions in (1, 5, 6):
        missed = found(timeframe, expected[: -sessions * slots_of_a_session], until)
        assert [gap.bars for gap in missed] == ([sessions * slots_of_a_session] if sessions < 6 else [])


def test_bars_that_nobody_expects_change_nothing() -> None:
    """Of nights and weekends, or of half hours off the half hour."""
    expected = slots("30m")
    odd = [start + 900_000_000 for start in expected[::3]] + [expected[5] + 12 * 3_600_000_000]
    starts = without(expected, 200)
    assert found("30m", [*starts, *odd]) == found("30m", starts) != []


def test_the_known_holes_of_real_days_are_found(shared_data: Path) -> None:
    """Five years of the S&P 500: what its notes name, and nothing else of these symbols."""
    wanted = ("AAPL", "BMY", "DHR", "ES", "ICE", "ORCL")
    series: dict[str, list[int]] = {symbol: [] for symbol in wanted}
    with gzip.open(shared_data / "bars_daily_sp500.csv.gz", "rt") as file:
        for line in file:
            symbol, day, *numbers = line.rstrip().split(",")
            if symbol in series and all(numbers):
                series[symbol].append(us(f"{day}T00:00Z"))
    holes = {
        symbol: [(str(np.datetime64(g.first, "us"))[:10], g.bars) for g in found("1d", starts, starts[-1])]
        for symbol, starts in series.items()
    }
    assert holes == {
        "AAPL": [],
        "BMY": [("2013-04-26", 1), ("2013-06-07", 1)],
        "DHR": [
            ("2013-04-26", 1), ("2013-09-09", 3), ("2014-06-10", 1), ("2015-03-09", 10),
            ("2015-07-17", 1), ("2016-01-12", 1), ("2016-04-04", 1),
        ],
        "ES": [("2015-03-09", 10), ("2015-07-17", 1)],
        "ICE": [("2013-04-26", 1), ("2013-09-09", 3), ("2014-06-10", 1)],
        "ORCL": [("2013-07-15", 2)],
    }  # fmt: skip


# ---- the whole, and parts of it


def broken(seed: int, expected: Sequence[int]) -> list[int]:
    random = Random(seed)
    rate = random.choice([1.0, 0.99, 0.95, 0.9, 0.5, 0.2, 0.02])
    kept = np.array([random.random() < rate for _ in expected])
    for _ in range(random.randrange(6)):
        begin = random.randrange(len(expected))
        kept[begin : begin + random.choice([1, 3, 20, 110, 400, 9_000])] = False
    return [start for start, keep in zip(expected, kept.tolist(), strict=True) if keep]


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@examples(30)
@given(SEEDS, st.floats(0.3, 1.2))
def test_the_rules_are_those_of_the_reference(timeframe: str, seed: int, share: float) -> None:
    expected = slots(timeframe)
    starts = broken(seed, expected)
    until = int(expected[0] + share * (expected[-1] - expected[0]))
    plain = missing(TIMEFRAMES[timeframe], SESSIONS, starts, until)
    assert [(g.first, g.last, g.bars, g.kind) for g in found(timeframe, starts, until)] == plain


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@examples(30)
@given(SEEDS, st.floats(0, 1))
def test_a_run_is_judged_by_the_bars_near_it_alone(timeframe: str, seed: int, share: float) -> None:
    frame, starts = TIMEFRAMES[timeframe], broken(seed, slots(timeframe))
    if len(starts) < 3:
        return
    at = 1 + int(share * (len(starts) - 3))
    since, last = gaps.before(frame, SESSIONS, starts[at]), gaps.after(frame, SESSIONS, starts[at + 1])
    first = max(0, int(np.searchsorted(starts, since)) - 1)
    near = found(timeframe, starts[first:])
    assert [g for g in near if g.first > starts[at]] == [
        g for g in found(timeframe, starts) if g.first > starts[at]
    ]
    other = [*starts[:at], *starts[at + 1 :]]
    assert [g for g in found(timeframe, other) if g.first > last] == [
        g for g in found(timeframe, starts) if g.first > last
    ], "a bar bears on nothing that is further away"
