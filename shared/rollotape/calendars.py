"""Exchange calendars, read from exchange_calendars into the plain arrays that the domain takes."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from rollotape.domain.performance import held
from rollotape.domain.sessions import DAY_US, Sessions

DEFAULT = "XNYS"
NEW_YORK = ZoneInfo("America/New_York")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = "1962-01-02", "2050-12-30"  # fixed, so that an answer never depends on the day it is asked


@cache
def sessions(name: str = DEFAULT) -> Sessions:
    """Sessions of calendar `name` (an ISO 10383 market code)."""
    import exchange_calendars  # a second and 60 MB: only for those who ask

    calendar = exchange_calendars.get_calendar(name, start=_FIRST, end=_LAST)
    return Sessions(
        days=calendar.sessions_nanos // (DAY_US * 1_000),
        opens=calendar.opens_nanos // 1_000,
        closes=calendar.closes_nanos // 1_000,
    )


def new_york_day(us: int) -> int:
    """Day since 1970, in New York, of an instant in microseconds since 1970."""
    return ((_EPOCH + timedelta(microseconds=us)).astimezone(NEW_YORK).date() - _EPOCH.date()).days


def sessions_held(entry_day: int, exit_day: int) -> int:
    """Sessions after the day of the entry up to that of the exit, days since 1970."""
    return held(sessions(), entry_day, exit_day)
