"""How far the newest bars are behind, in the time in which the market was open: a weekend is no delay."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.sessions import DAY_US, Sessions

MINUTE_US = 60_000_000
GRACE_US = 15 * MINUTE_US
"""So late may a bar be: feeds of fifteen minutes' delay are common."""
SESSION_US = 390 * MINUTE_US
"""A whole session of New York; shorter ones give a little more time."""
_WEEK_US = 5 * SESSION_US

State = Literal["fresh", "late", "ended"]


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest bar of a timeframe against the market; all spans are of open market, in microseconds."""

    timeframe: str
    newest_us: int
    """When it was complete."""
    behind_us: int
    allowed_us: int

    @property
    def state(self) -> State:
        """`ended`: nobody sends this timeframe any more; five sessions have passed since the next was due."""
        if self.behind_us <= self.allowed_us:
            return "fresh"
        return "late" if self.behind_us <= self.allowed_us + _WEEK_US else "ended"


@dataclass(frozen=True, slots=True)
class Market:
    """Where a moment lies among the sessions; instants in microseconds since 1970."""

    is_open: bool
    opened_us: int | None
    """Of the session that is open, or was the last one."""
    closes_us: int | None
    next_open_us: int | None


def newest(timeframe: str, newest_us: int, now_us: int, sessions: Sessions) -> Newest:
    """A bar may be one bar behind, as the next one is not complete before, and the grace."""
    behind = open_us(sessions, newest_us, now_us)
    return Newest(timeframe, newest_us, behind, _length_us(timeframe) + GRACE_US)


def open_us(sessions: Sessions, first_us: int, last_us: int) -> int:
    """For how long the market was open between two instants; 0 where they are reversed."""
    if last_us <= first_us:
        return 0
    begin = int(np.searchsorted(sessions.closes, first_us, side="right"))
    end = int(np.searchsorted(sessions.opens, last_us, side="left"))
    opens = np.maximum(sessions.opens[begin:end], first_us)
    closes = np.minimum(sessions.closes[begin:end], last_us)
    return int(np.add.reduce(closes - opens))


def market(sessions: Sessions, now_us: int) -> Market:
    at = int(np.searchsorted(sessions.opens, now_us, side="right")) - 1
    last = at >= 0
    following = at + 1 < len(sessions.opens)
    return Market(
        is_open=last and now_us < int(sessions.closes[at]),
        opened_us=int(sessions.opens[at]) if last else None,
        closes_us=int(sessions.closes[at]) if last else None,
        next_open_us=int(sessions.opens[at + 1]) if following else None,
    )


def _length_us(timeframe: str) -> int:
    """Of one bar, in open market: a day is a session, a week are five."""
    length = TIMEFRAMES[timeframe].length_us
    if length < DAY_US:
        return length
    return SESSION_US if length == DAY_US else _WEEK_US
