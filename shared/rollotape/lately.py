"""Metrics of what happens very often: noted in a step, and sorted in when somebody looks."""

import math
from typing import Any

import numpy as np
from prometheus_client import Counter, Histogram

_AT_ONCE = 512


class OftenCounted(Counter):
    """A counter that is counted up by one, from one thread."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._more = 0

    def one(self) -> None:
        self._more += 1

    def _child_samples(self) -> Any:
        more, self._more = self._more, 0
        self.inc(more)
        return super()._child_samples()


class OftenTimed(Histogram):
    """A histogram of what one thread notes."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._fresh: list[float] = []

    def note(self, seconds: float) -> None:
        self._fresh.append(seconds)
        if len(self._fresh) >= _AT_ONCE:
            self._sort()

    def _sort(self) -> None:
        fresh, self._fresh = self._fresh, []
        self._sum.inc(math.fsum(fresh))
        noted = np.fromiter(fresh, np.float64, len(fresh))
        places = np.searchsorted(self._upper_bounds, noted)  # of the first bound that is not below
        for place in np.flatnonzero(counts := np.bincount(places)):
            self._buckets[place].inc(int(counts[place]))

    def _child_samples(self) -> Any:
        self._sort()
        return super()._child_samples()
