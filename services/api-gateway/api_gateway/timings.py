"""How long answers took in the last minutes, by route: counted as they leave, in memory that has a bound."""

import math
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW_S = 300
SLOT_S = 15
_OCTAVE = 16
"""Steps from a duration to its double: a percentile is at most 4.5 % above what it stands for."""
_MOST = 30 * _OCTAVE
"""2^30 microseconds, a quarter of an hour: nothing takes longer."""
MOST_ROUTES = 200


_AT_ONCE = 512
"""So many are sorted into steps together: one by one it would cost every answer as much as its log line."""


class Name(NamedTuple):
    """What is counted apart."""

    route: str
    cached: bool | None = None
    """Whether the answer was found ready; None where the route does not tell."""


class Durations:
    """Durations of some seconds, or of a window."""

    __slots__ = ("_count", "_fresh", "_seconds", "_steps", "failed")

    def __init__(self) -> None:
        self.failed = 0
        """Of them answers with a status of 5xx, and broken connections."""
        self._fresh: list[float] = []
        self._count = 0
        self._seconds = 0.0
        self._steps: NDArray[np.int64] = np.zeros(_MOST + 1, np.int64)

    def note(self, seconds: float, *, failed: bool) -> None:
        self.failed += failed
        self._fresh.append(seconds)
        if len(self._fresh) >= _AT_ONCE:
            self._sort()

    def add(self, others: Iterable["Durations"]) -> "Durations":
        for other in others:
            other._sort()
            self.failed += other.failed
            self._count += other._count
            self._seconds += other._seconds
            self._steps += other._steps
        return self

    @property
    def count(self) -> int:
        return self._count + len(self._fresh)

    @property
    def mean_ms(self) -> float | None:
        self._sort()
        return self._seconds / self._count * 1e3 if self._count else None

    def percentile_ms(self, share: float) -> float | None:
        """So long took `share` of all, at most; None without any."""
        self._sort()
        if not self._count:
            return None
        due = math.ceil(share * self._count)
        step = int(np.searchsorted(np.cumsum(self._steps), due))
        return float(2 ** ((step + 1) / _OCTAVE) / 1e3)

    def _sort(self) -> None:
        if not self._fresh:
            return
        took = np.fromiter(self._fresh, np.float64, len(self._fresh))
        steps = (np.log2(np.maximum(took * 1e6, 1.0)) * _OCTAVE).astype(np.int64)
        self._steps += np.bincount(np.minimum(steps, _MOST), minlength=_MOST + 1)
        self._count += len(took)
        self._seconds += math.fsum(self._fresh)
        self._fresh.clear()


class Timings:
    """One per process. Slots that are older than the window are gone when the next one begins."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: dict[int, dict[Name, Durations]] = {}
        self._began = clock()
        self._number = -1
        self._now: dict[Name, Durations] = {}

    def note(self, name: Name, seconds: float, *, failed: bool) -> None:
        """An answer has left."""
        number = int(self._clock()) // SLOT_S
        if number != self._number:
            self._turn(number)
        found = self._now.get(name)
        if found is None:
            if len(self._now) >= MOST_ROUTES:
                return  # routes are few: whoever makes more of them has found a hole, and fills no memory
            found = self._now[name] = Durations()
        found.note(seconds, failed=failed)

    def window(self) -> tuple[float, dict[Name, Durations]]:
        """Seconds that it goes back, and what was counted in them: whole slots and the one that is open."""
        now = self._clock()
        first = int(now) // SLOT_S - WINDOW_S // SLOT_S
        slots = [slot for number, slot in self._slots.items() if number >= first]
        names = dict.fromkeys(name for slot in slots for name in slot)
        found = {name: Durations().add(s[name] for s in slots if name in s) for name in names}
        return now - max(self._began, first * SLOT_S), found

    def _turn(self, number: int) -> None:
        first = number - WINDOW_S // SLOT_S
        self._slots = {n: slot for n, slot in self._slots.items() if n >= first}
        self._number = number
        self._now = self._slots.setdefault(number, {})
