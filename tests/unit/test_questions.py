"""Windows of days in New York, their cut into months and days, and which plan answers what."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollotape.postgres.questions import Filters, Window, counting, periods, plan, start_of

NEW_YORK = ZoneInfo("America/New_York")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANTS = st.integers(631_152_000_000_000, 3_471_292_800_000_000).map(
    lambda us: EPOCH + timedelta(microseconds=us)
)
"""From 1990 to 2080."""


def window(days: int | None, now: datetime) -> Window:
    return Window(days, (now - EPOCH) // timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("now", "days", "last_day", "first"),
    [
        # Clocks go forward on 8 March and back on 1 November, at two in the morning.
        ("2026-03-09T03:59:59.999999", 1, "2026-03-08", "2026-03-07T05:00"),
        ("2026-03-09T04:00:00", 1, "2026-03-09", "2026-03-08T05:00"),
        ("2026-03-09T12:00:00", 0, "2026-03-09", "2026-03-09T04:00"),
        ("2026-11-02T04:59:59.999999", 0, "2026-11-01", "2026-11-01T04:00"),
        ("2026-11-02T05:00:00", 1, "2026-11-02", "2026-11-01T04:00"),
        ("2026-11-02T05:00:00", 0, "2026-11-02", "2026-11-02T05:00"),
    ],
)
def test_days_begin_at_midnight_in_new_york(now: str, days: int, last_day: str, first: str) -> None:
    asked = window(days, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert asked.last_day == date.fromisoformat(last_day)
    assert asked.first == datetime.fromisoformat(first).replace(tzinfo=UTC)


@given(INSTANTS, st.none() | st.integers(0, 3650))
def test_a_window_is_cut_without_gaps_into_years_months_and_days(now: datetime, days: int | None) -> None:
    asked = window(days, now)
    head, months_before, years, months, tail = cut = periods(asked)
    assert asked.now == now
    assert head[0] == asked.first_day
    assert tail[1] == asked.last_day + timedelta(1)
    parts = [part for part in cut if part[0] < part[1]]
    assert parts[0][0] == asked.first_day
    assert all(one[1] == two[0] for one, two in pairwise(parts))
    assert days is None or all(part[0].day == 1 for part in (months_before, months) if part in parts)
    assert months[1] <= asked.last_day.replace(day=1)
    assert years[1] <= asked.last_day.replace(month=1, day=1) or years not in parts
    assert years not in parts or years[1].timetuple().tm_yday == 1
    assert days is None or years not in parts or years[0].timetuple().tm_yday == 1
    assert (head[1] - head[0]).days < 31
    assert sum((part[1] - part[0]).days for part in (months_before, months) if part in parts) < 24 * 31
    assert days is None or days > 60 or (tail[1] - tail[0]).days < 62


@given(st.dates(date(1990, 1, 1), date(2080, 1, 1)))
def test_a_day_starts_when_its_date_begins_in_new_york(day: date) -> None:
    at = start_of(day)
    assert at.astimezone(NEW_YORK).date() == day
    assert (at - timedelta(microseconds=1)).astimezone(NEW_YORK).date() == day - timedelta(1)


@pytest.mark.parametrize(
    ("asked", "by_type", "by_sector", "count"),
    [
        (Filters(), "headlines", "headlines", ("headlines", "type")),
        (Filters(origin="paper", timeframe="1d"), "headlines", "headlines", ("headlines", "type")),
        (Filters(phase="C"), "headlines", "days", ("headlines", "type")),
        (Filters(pattern_types=("SOS",)), "headlines", "days", ("headlines", "type")),
        (Filters(pattern_types=("SOS", "LPS")), "days", "days", ("headlines", "type")),
        (Filters(sectors=("Energy",)), "days", "headlines", ("headlines", "sector")),
        (Filters(sectors=("Energy", "Materials")), "days", "days", ("headlines", "sector")),
        (Filters(sectors=("Energy",), phase="C"), "days", "days", ("days", "type")),
        (Filters(symbols=("AAPL",)), "trades", "trades", ("trades", "type")),
        (Filters(symbols=("AAPL",), sectors=("Energy",)), "trades", "trades", ("trades", "type")),
    ],
)
def test_the_plan_is_the_smallest_that_knows_enough(
    asked: Filters, by_type: str, by_sector: str, count: tuple[str, str]
) -> None:
    assert (plan("type", asked), plan("sector", asked), counting(asked)) == (by_type, by_sector, count)
