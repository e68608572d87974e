"""Which bars are missing: those that the calendar expects, against those that are stored.

A bar that is not there is no error in itself: where nothing traded there is none. So a run of missing bars is
a gap only where the series itself says that it is unusual; the rules are in docs/domain.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rollotape.domain.bars import TIMEFRAMES, Timeframe
from rollotape.domain.sessions import DAY_US, Sessions, Times

NEAR = 100
"""So many expected bars before a run tell how often the series has one."""
YOUNG = 20
"""With fewer, nobody knows its habits yet."""
USUAL_PERCENT, USUAL_PERCENT_OF_DAYS = 95, 50
"""A series that has so many of its bars is missed at once; days and weeks more readily."""
ONE_IN = 1_000_000
"""Of the others a run is a gap that is as unlikely as this, if each bar is there by chance."""
PAUSE_SESSIONS = 20
"""Nobody follows a series for longer, and then goes on: a pause, which is no loss."""
ENDED_SESSIONS = 5
"""After so many without a bar a series is not followed any more, or not traded."""
WEEK_DAYS = 5
ALIGNED = ("1h", "4h")

Kind = Literal["gap", "pause"]


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """A run of missing bars of one series; times in microseconds since 1970."""

    first: int
    """Start of the first one."""
    last: int
    bars: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Slots:
    """Where bars are expected: their starts, and the number of the session that each belongs to."""

    starts: Times
    sessions: Times

    def __len__(self) -> int:
        return len(self.starts)


def slots(frame: Timeframe, sessions: Sessions, first: int, until: int) -> Slots:
    """Those that start at `first` or later and are over by `until`.

    A day is over at its close, a week on Saturday 00:00 UTC; shorter bars start within a session, and their
    last one is over after its close where the session is no multiple of them.
    """
    if frame.intraday:
        return _intraday(frame, sessions, first, until)
    begin = int(np.searchsorted(sessions.days, first // DAY_US - 7))
    number = np.arange(begin, int(np.searchsorted(sessions.opens, until)))
    days = sessions.days[number]
    if frame.name == "1w":
        mondays, at = np.unique(days - (days + 3) % 7, return_index=True)
        starts, number, ends = mondays * DAY_US, number[at], (mondays + WEEK_DAYS) * DAY_US
    else:
        starts, ends = days * DAY_US, sessions.closes[number]
    wanted = (starts >= first) & (ends <= until)
    return Slots(starts[wanted], number[wanted])


def _intraday(frame: Timeframe, sessions: Sessions, first: int, until: int) -> Slots:
    begin = int(np.searchsorted(sessions.closes, first, side="right"))
    number = np.arange(begin, int(np.searchsorted(sessions.opens, until)))
    opens, closes, length = sessions.opens[number], sessions.closes[number], frame.length_us
    if frame.name in ALIGNED:
        on_grid = opens % frame.grid_us == 0  # no such bar could be stored, nor any other be regular
        number, opens, closes = number[on_grid], opens[on_grid], closes[on_grid]
    else:
        opens = -(-opens // length) * length
    counts = np.maximum(0, -(-(closes - opens) // length))
    offsets = np.arange(int(np.add.reduce(counts))) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(opens, counts) + offsets * length
    wanted = (starts >= first) & (starts + length <= until)
    return Slots(starts[wanted], np.repeat(number, counts)[wanted])


def gaps(frame: Timeframe, sessions: Sessions, stored: Times, until: int) -> list[Gap]:
    """What is missing of a series, of which these bars are stored (starts, in order), up to `until`.

    Nothing is expected before its first bar. The bars may begin anywhere in the series: what is said of a run
    is the same, if `NEAR` expected bars before it are among them and the bar before these is the first.
    """
    if not len(stored):
        return []
    expected = slots(frame, sessions, int(stored[0]), until)
    has = np.isin(expected.starts, stored)
    there = np.flatnonzero(has)
    if not len(there):
        return []
    return list(_judged(frame, expected, has, int(there[0])))


def followed(frame: Timeframe, sessions: Sessions, stored: Times, until: int) -> bool:
    """Whether the series has a bar within the last sessions before `until`, or a later one."""
    if not len(stored):
        return False
    missing = slots(frame, sessions, int(stored[-1]) + 1, until).sessions
    return not len(missing) or int(missing[-1] - missing[0]) < ENDED_SESSIONS


def _judged(frame: Timeframe, expected: Slots, has: NDArray[np.bool_], since: int) -> Iterator[Gap]:
    counted = np.concatenate(([0], np.cumsum(has)))
    for begin, end in _runs(has, since):
        sessions = int(expected.sessions[end - 1] - expected.sessions[begin]) + 1
        if end == len(has) and sessions > ENDED_SESSIONS:
            return
        kind: Kind = "gap"
        if sessions > PAUSE_SESSIONS:
            kind, since = "pause", end
        else:
            near = max(since, begin - NEAR)
            if not _is_unusual(frame, end - begin, begin - near, int(counted[begin] - counted[near])):
                continue
        yield Gap(int(expected.starts[begin]), int(expected.starts[end - 1]), end - begin, kind)


def _runs(has: NDArray[np.bool_], since: int) -> list[tuple[int, int]]:
    """Begin and end of each run of missing bars."""
    edges = np.flatnonzero(np.diff(np.concatenate(([True], has[since:], [True])).astype(np.int8))) + since
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _is_unusual(frame: Timeframe, missing: int, expected: int, stored: int) -> bool:
    """Of a run, by how many of the bars expected just before it are stored."""
    if expected < YOUNG:
        return False
    usual = USUAL_PERCENT if frame.intraday else USUAL_PERCENT_OF_DAYS
    if 100 * stored >= usual * expected:
        return True
    return stored > 0 and ONE_IN * (expected - stored) ** missing <= expected**missing


WHOLE = frozenset(name for name, frame in TIMEFRAMES.items() if not frame.intraday)
"""Series of these are few bars: they are looked at from the first to the last each time."""


def before(frame: Timeframe, sessions: Sessions, start: int) -> int:
    """A time with at least `NEAR` expected bars between it and `start`."""
    at = int(np.searchsorted(sessions.opens, start, side="right"))
    back = 2
    while True:
        first = int(sessions.opens[max(0, at - back)])
        starts = slots(frame, sessions, first, start + frame.length_us - 1).starts
        if len(starts) > NEAR:
            return int(starts[-NEAR - 1])
        if back >= at:
            return first
        back *= 2


def after(frame: Timeframe, sessions: Sessions, start: int) -> int:
    """The same to the other side: the bar of `start` bears on no run that starts later."""
    at, number = int(np.searchsorted(sessions.opens, start, side="right")), len(sessions.opens)
    on = 2
    while True:
        last = int(sessions.closes[min(number, at + on) - 1])
        starts = slots(frame, sessions, start + 1, last + frame.length_us).starts
        if len(starts) > NEAR:
            return int(starts[NEAR])
        if at + on >= number:
            return last
        on *= 2
