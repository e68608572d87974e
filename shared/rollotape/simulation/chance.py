"""Chance that is the same on every machine: Mersenne Twister from `random`, everything else spelled out here.

Python keeps `Random.random` and `Random.randbytes` for equal seeds; numpy does not keep its distributions. So
distributions are made of uniform numbers by formulas of our own. What remains are last bits of `exp`, `log`
and `cos`, which rounding to cents and whole shares takes away.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Item = TypeVar("Item")


class Chance:
    """A source of chance of its own for every key, so that one draw more in one place moves no other."""

    def __init__(self, *key: object) -> None:
        self._random = Random(" ".join(map(str, key)))

    def between(self, least: float, most: float) -> float:
        """Evenly."""
        return least + (most - least) * self._random.random()

    def about(self, least: float, most: float) -> float:
        """Rather in the middle: the mean of two even draws."""
        return least + (most - least) * (self._random.random() + self._random.random()) / 2

    def times(self, least: float, most: float) -> float:
        """Factors: evenly in logarithms."""
        return math.exp(self.between(math.log(least), math.log(most)))

    def whole(self, least: int, most: int) -> int:
        """Evenly, both ends included."""
        return least + int(self._random.random() * (most - least + 1))

    def happens(self, probability: float) -> bool:
        return self._random.random() < probability

    def one_of(self, items: Sequence[Item]) -> Item:
        return items[self.whole(0, len(items) - 1)]

    def evens(self, count: int) -> Floats:
        """Even numbers in (0, 1): never 0, for logarithms follow."""
        raw = np.frombuffer(self._random.randbytes(8 * count), "<u8")
        return ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normals(self, count: int) -> Floats:
        """Standard normal, by Box and Muller."""
        radius: Floats = np.sqrt(-2 * np.log(self.evens(count)))
        return radius * np.cos(2 * math.pi * self.evens(count))

    def students(self, count: int, half_freedom: int) -> Floats:
        """Student's t with an even number of degrees of freedom, scaled to a variance of 1."""
        freedom = 2 * half_freedom
        squares = np.zeros(count)
        for _ in range(half_freedom):
            squares -= 2 * np.log(self.evens(count))
        spread: Floats = np.sqrt(squares / freedom)
        return self.normals(count) / spread * math.sqrt((freedom - 2) / freedom)

    def gammas(self, count: int, shape: int) -> Floats:
        """Gamma with a whole shape and a mean of 1."""
        sums = np.zeros(count)
        for _ in range(shape):
            sums -= np.log(self.evens(count))
        return sums / shape

    def clustered(self, count: int, memory: float) -> Floats:
        """Standard normal, each remembering a share of the one before."""
        news = self.normals(count)
        news[1:] *= math.sqrt(1 - memory * memory)
        return np.array(list(accumulate(news.tolist(), lambda last, new: memory * last + new)))
