"""Sessions of the New York Stock Exchange: closes, early closes, and what lies inside."""

from datetime import date

import numpy as np
import pytest

from rollotape import calendars
from rollotape.domain.sessions import DAY_US, Sessions
from support.bars import us

NEW_YORK = calendars.sessions()


def day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("session", "close"),
    [
        pytest.param("2018-02-07", "2018-02-07T21:00Z", id="winter"),
        pytest.param("2018-07-05", "2018-07-05T20:00Z", id="summer"),
        pytest.param("2013-11-29", "2013-11-29T18:00Z", id="the Friday after Thanksgiving"),
        pytest.param("2018-12-24", "2018-12-24T18:00Z", id="Christmas Eve"),
        pytest.param("2018-03-09", "2018-03-09T21:00Z", id="Friday before the clocks go forward"),
        pytest.param("2018-03-12", "2018-03-12T20:00Z", id="Monday after"),
        pytest.param("2018-07-04", "2018-07-05T00:00Z", id="a holiday: 24 hours"),
        pytest.param("2018-02-10", "2018-02-11T00:00Z", id="a Saturday: 24 hours"),
        pytest.param("1950-01-03", "1950-01-04T00:00Z", id="before the calendar begins"),
        pytest.param("2099-01-05", "2099-01-06T00:00Z", id="after it ends"),
    ],
)
def test_a_day_closes_when_its_session_does(session: str, close: str) -> None:
    assert NEW_YORK.close_of(np.array([day(session)])).tolist() == [us(close)]


@pytest.mark.parametrize(
    ("at", "inside"),
    [
        ("2018-02-07T14:29:59.999999Z", False),
        ("2018-02-07T14:30Z", True),
        ("2018-02-07T20:59Z", True),
        ("2018-02-07T20:59:59.999999Z", True),
        ("2018-02-07T21:00Z", False),
        ("2018-02-10T15:00Z", False),
        ("2013-11-29T17:59Z", True),
        ("2013-11-29T18:00Z", False),
        ("2018-03-09T13:30Z", False),
        ("2018-03-12T13:30Z", True),
        ("2018-11-02T13:30Z", True),
        ("2018-11-05T13:30Z", False),
        ("1950-01-03T15:00Z", False),
        ("2099-01-05T15:00Z", False),
    ],
)
def test_a_session_holds_its_open_and_not_its_close(at: str, inside: bool) -> None:
    _, found = NEW_YORK.around(np.array([us(at)]))
    assert found.tolist() == [inside]


def test_the_last_session_opened_is_found_for_times_between() -> None:
    times = [us(t) for t in ("2018-02-07T14:30Z", "2018-02-08T14:29Z", "2018-02-11T00:00Z")]
    at, _ = NEW_YORK.around(np.array(times))
    assert NEW_YORK.days[at].tolist() == [day("2018-02-07"), day("2018-02-07"), day("2018-02-09")]


def test_sessions_are_in_order_and_do_not_overlap() -> None:
    assert (np.diff(NEW_YORK.days) > 0).all()
    assert (NEW_YORK.opens < NEW_YORK.closes).all()
    assert (NEW_YORK.closes[:-1] <= NEW_YORK.opens[1:]).all()
    assert (NEW_YORK.opens // DAY_US == NEW_YORK.days).all()


def test_a_calendar_is_read_once() -> None:
    assert calendars.sessions() is NEW_YORK


def test_an_empty_question_has_an_empty_answer() -> None:
    nothing = np.empty(0, np.int64)
    assert NEW_YORK.close_of(nothing).tolist() == []
    assert NEW_YORK.around(nothing)[1].tolist() == []


def test_one_session_is_enough_of_a_calendar() -> None:
    one = Sessions(np.array([10]), np.array([10 * DAY_US + 5]), np.array([10 * DAY_US + 9]))
    assert one.close_of(np.array([9, 10, 11])).tolist() == [10 * DAY_US, 10 * DAY_US + 9, 12 * DAY_US]
    assert one.around(np.array([10 * DAY_US + t for t in (4, 5, 8, 9)]))[1].tolist() == [
        False,
        True,
        True,
        False,
    ]
