"""When bars are over, and when it is worth looking for new ones."""

from collections.abc import Sequence

import numpy as np

from rollotape.domain.bars import TIMEFRAMES, end_ts
from rollotape.domain.sessions import Sessions

HOUR_US = 3_600_000_000
BEFORE_OPEN_US, AFTER_CLOSE_US = 11 * HOUR_US // 2, 4 * HOUR_US
"""Extended hours of New York: from 4 in the morning, to 8 in the evening."""
DELAYED_US = HOUR_US // 3
"""Some quotes come a quarter of an hour late: after a close it is worth looking for that long."""
SETTLED_US = HOUR_US
"""After a close its auction and late reports are counted: a day is asked for once more."""
DAY_US = 24 * HOUR_US


def end_us(timeframe: str, ts_us: int, sessions: Sessions) -> int:
    """When the bar that starts then is over."""
    return ends_us(timeframe, [ts_us], sessions)[0]


def ends_us(timeframe: str, ts_us: Sequence[int], sessions: Sessions) -> list[int]:
    """When each of these bars is over."""
    found: list[int] = end_ts(TIMEFRAMES[timeframe], np.array(ts_us, np.int64), sessions).tolist()
    return found


def overlap_us(timeframe: str) -> int:
    """How far before the newest bar to ask again, for what was restated since: some bars of it."""
    length = TIMEFRAMES[timeframe].length_us
    return 5 * length if TIMEFRAMES[timeframe].intraday else max(5 * DAY_US, 2 * length)


def next_look_us(
    timeframe: str, now_us: int, sessions: Sessions, *, extended: bool = False, every_us: int = 0
) -> int:
    """The first moment after now at which a bar may be newly over.

    Intraday that is a step of the grid, or of `every_us`, within a session; for a day the close of its
    session and an hour later; for a week its end.
    """
    frame = TIMEFRAMES[timeframe]
    if timeframe == "1d":
        looks = np.sort(np.concatenate([sessions.closes, sessions.closes + SETTLED_US]))
        return int(looks[np.searchsorted(looks, now_us, side="right")])
    if not frame.intraday:
        monday = (now_us // DAY_US + 3) // 7 * 7 - 3
        return next(end for end in ((monday + 5 + 7 * i) * DAY_US for i in range(3)) if end > now_us)
    step = every_us or frame.grid_us
    look = (now_us // step + 1) * step
    before, after = (BEFORE_OPEN_US, AFTER_CLOSE_US) if extended else (0, 0)
    last = sessions.closes + after + DELAYED_US
    at = int(np.searchsorted(last, look - step))
    first = int(sessions.opens[at]) - before
    return max(look, (first // step + 1) * step)
