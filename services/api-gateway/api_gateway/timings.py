"""How long answers took in the last minutes, by route: counted as they leave, in memory that has a bound."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

WINDOW_S = 300
SLOT_S = 15
_OCTAVE = 16
"""Steps from a duration to its double: a percentile is at most 4.5 % above what it stands for."""
_MOST = 30 * _OCTAVE
"""2^30 microseconds, a quarter of an hour: nothing takes longer."""
MOST_ROUTES = 500


class Name(NamedTuple):
    """What is counted apart."""

    route: str
    cached: bool | None = None
    """Whether the answer was found ready; None where the route does not tell."""


@dataclass(slots=True)
class Durations:
    """Durations of some seconds, or of a window."""

    count: int = 0
    seconds: float = 0.0
    failed: int = 0
    """Of them answers with a status of 5xx, and broken connections."""
    steps: dict[int, int] = field(default_factory=dict)

    def note(self, seconds: float, *, failed: bool) -> None:
        self.count += 1
        self.seconds += seconds
        self.failed += failed
        step = _step(seconds)
        self.steps[step] = self.steps.get(step, 0) + 1

    def add(self, others: Iterable["Durations"]) -> "Durations":
        for other in others:
            self.count += other.count
            self.seconds += other.seconds
            self.failed += other.failed
            for step, count in other.steps.items():
                self.steps[step] = self.steps.get(step, 0) + count
        return self

    @property
    def mean_ms(self) -> float | None:
        return self.seconds / self.count * 1e3 if self.count else None

    def percentile_ms(self, share: float) -> float | None:
        """So long took `share` of all, at most; None without any."""
        due = math.ceil(share * self.count)
        for step in sorted(self.steps):
            due -= self.steps[step]
            if due <= 0:
                return float(2 ** ((step + 1) / _OCTAVE) / 1e3)
        return None


def _step(seconds: float) -> int:
    return min(_MOST, int(math.log2(max(seconds * 1e6, 1.0)) * _OCTAVE))


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
