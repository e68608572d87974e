"""Exchange calendars, read from exchange_calendars into the plain arrays that the domain takes."""

from functools import cache

from rollotape.domain.sessions import DAY_US, Sessions

DEFAULT = "XNYS"
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
