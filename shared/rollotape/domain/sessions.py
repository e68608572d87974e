"""Trading sessions of an exchange, as plain arrays: which bars are regular and when a day's bar is known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY_US = 86_400_000_000
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions of one calendar, oldest first.

    `days` are days since 1970; `opens` and `closes` are microseconds since 1970, one per day, the close
    exclusive.
    """

    days: Times
    opens: Times
    closes: Times

    def close_of(self, days: Times) -> Times:
        """Close of each day's session; 24 h after midnight UTC where the day has no session."""
        at = np.minimum(np.searchsorted(self.days, days), len(self.days) - 1)
        return np.where(self.days[at] == days, self.closes[at], (days + 1) * DAY_US)

    def around(self, ts: Times) -> tuple[Times, NDArray[np.bool_]]:
        """Index of the last session opened at or before each time, and whether the time lies in it."""
        at = np.searchsorted(self.opens, ts, side="right") - 1
        inside = (at >= 0) & (ts < self.closes[at])
        return at, inside
