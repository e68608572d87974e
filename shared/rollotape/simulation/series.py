"""One symbol's bars with what is known about them: kind, and labels in a market that was drawn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rollotape.domain import bars as domain
from rollotape.domain.sessions import DAY_US, Sessions
from rollotape.simulation.chance import Floats

ACCUMULATION, DISTRIBUTION = "accumulation", "distribution"
MIRROR = {"PS": "PSY", "SC": "BC", "AR": "AR", "ST": "ST", "SPRING": "UTAD", "TEST": "TEST", "SOS": "SOW",
          "LPS": "LPSY"}  # fmt: skip
"""What an event of an accumulation is called in a distribution."""
SCHEMATIC = "schematic"
EVENT_FREE = ("trend", "range", "news")

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Label:
    """What an analyst would write on a bar, who knows how it went on."""

    symbol: str
    timeframe: str
    side: str
    kind: str
    event_us: int
    schematic: str
    variant: str


@dataclass(frozen=True, slots=True)
class Series:
    """Bars of one symbol, oldest first; `ts` are starts in microseconds since 1970, prices linear."""

    symbol: str
    timeframe: str
    kind: str
    ts: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    labels: tuple[Label, ...] = ()

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def is_event_free(self) -> bool:
        return self.kind in EVENT_FREE


def rows(series: Series, sessions: Sessions) -> domain.Rows:
    """The bars as the domain takes them: valid, complete, revision 0, arrived when they ended.

    Raises:
        ValueError: a bar is not valid; the message has every reason.
    """
    frame = domain.TIMEFRAMES[series.timeframe]
    ends = domain.end_ts(frame, series.ts, sessions)
    numbers = {name: getattr(series, name).tolist() for name in domain.NUMBERS}
    count = len(series)
    found = domain.candidates(
        series.timeframe, [series.symbol] * count, (series.ts / 1e6).tolist(), numbers, [0] * count,
        [False] * count, (ends // 1_000).tolist(),
    )  # fmt: skip
    for i in np.flatnonzero(~domain.valid(found, sessions)).tolist():
        reasons = domain.faults(found.row(i), sessions)
        raise ValueError(f"{series.symbol}, bar {i}: {'; '.join(map(str, reasons))}")
    return domain.complete(found, sessions)


def starts(sessions: Sessions, timeframe: str, first_day: int, count: int) -> Times:
    """Starts of so many bars from a day (days since 1970) on, in regular hours; fewer where the calendar
    ends before."""
    frame = domain.TIMEFRAMES[timeframe]
    begin = int(np.searchsorted(sessions.days, first_day))
    if timeframe == "1w":
        mondays = (sessions.days[begin : begin + 5 * count + 5] + 3) // 7 * 7 - 3
        found = np.unique(mondays[mondays >= first_day]) * DAY_US
    elif timeframe == "1d":
        found = sessions.days[begin : begin + count] * DAY_US
    else:
        found = _intraday(sessions, frame.length_us, begin, count)
    return found[:count].astype(np.int64)


def _intraday(sessions: Sessions, length_us: int, begin: int, count: int) -> Times:
    """Bars cut from the open of each session on; the last one of a day may reach beyond the close."""
    parts, have = [], 0
    for at in range(begin, len(sessions.days)):
        parts.append(np.arange(sessions.opens[at], sessions.closes[at], length_us))
        have += len(parts[-1])
        if have >= count:
            break
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
