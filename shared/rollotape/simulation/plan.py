"""A chapter as a plan: turning points one after the other, with noise between them that respects them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rollotape.simulation.chance import Floats
from rollotape.simulation.drawing import Mark, Noise, Path

MARGIN = 0.12
"""Closes stay this far inside the extremes of their leg."""


@dataclass(frozen=True, slots=True)
class Point:
    """A bar whose close is planned; where `turn` is not 0, its high (1) or low (-1) is an extreme."""

    at: int
    close: float
    turn: int
    price: float
    volume: float
    quiet: float
    noise: float
    least: float
    most: float
    """Bounds of the bars since the point before, beside those of the turns."""


class Plan:
    """Points in the order of time, marks on single bars, and the events that they are."""

    def __init__(self) -> None:
        self._points = [Point(-1, 0.0, 0, 0.0, 1.0, 1.0, 1.0, -math.inf, math.inf)]
        self.marks: dict[int, Mark] = {}
        self.events: list[tuple[str, int]] = []

    @property
    def last(self) -> Point:
        return self._points[-1]

    def __len__(self) -> int:
        return self.last.at + 1

    def low(self, bars: int, price: float, *, off: float = 0.5, **looks: float) -> int:
        """After so many bars a low at `price`, with a close `off` above it."""
        return self._add(bars, price + off, -1, price, **looks)

    def high(self, bars: int, price: float, *, off: float = 0.5, **looks: float) -> int:
        return self._add(bars, price - off, 1, price, **looks)

    def close(self, bars: int, price: float, **looks: float) -> int:
        """After so many bars a close there, which need not be an extreme."""
        return self._add(bars, price, 0, price, **looks)

    def lowest(self) -> float:
        return min(p.price for p in self._points if p.turn < 0)

    def last_low(self) -> float:
        return next(p.price for p in reversed(self._points) if p.turn < 0)

    def event(self, kind: str, at: int) -> None:
        self.events.append((kind, at))

    def mark(self, at: int, *, volume: float | None = None, spread: float | None = None) -> None:
        self.marks[at] = Mark(volume, spread)

    def _add(
        self, bars: int, close: float, turn: int, price: float,
        *, volume: float = 1.0, quiet: float = 1.0, noise: float = 1.0,
        least: float = -math.inf, most: float = math.inf,
    ) -> int:  # fmt: skip
        at = self.last.at + max(1, bars)
        self._points.append(Point(at, close, turn, price, volume, quiet, noise, least, most))
        return at

    def path(self, chance: Noise, noisiness: float) -> Path:
        """The plan with noise: closes wander between the points and keep the extremes of their legs."""
        at = _column(p.at for p in self._points)
        when = np.arange(len(self), dtype=float)
        scale = np.empty(len(self))
        for before, point in pairwise(self._points):
            scale[before.at + 1 : point.at + 1] = point.noise * noisiness
        # A range is never so quiet that its swings are straight lines, hence the root.
        walk = np.concatenate(([0.0], np.cumsum(chance.moves * np.sqrt(chance.heat) * scale)))
        bridge = walk[1:] - np.interp(when, at, walk[at.astype(int) + 1])
        close = np.interp(when, at, _column(p.close for p in self._points)) + bridge
        floor, ceiling, bottom, top = self._bounds()
        close = _folded(close, floor, ceiling)
        for point in self._points[1:]:
            close[point.at] = point.close
        quiet = np.interp(when, at, _column(p.quiet for p in self._points))
        busy = np.interp(when, at, np.log(_column(p.volume for p in self._points)))
        return Path(close, floor, ceiling, bottom, top, quiet, busy, dict(self.marks))

    def _bounds(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Of every bar the extremes between which it lies, as far as they are planned."""
        count = len(self)
        floor, ceiling = np.full(count, -np.inf), np.full(count, np.inf)
        bottom, top = np.full(count, np.nan), np.full(count, np.nan)
        turns = [p for p in self._points if p.turn]
        for i, point in enumerate(turns):
            first = turns[i - 1].at + 1 if i else 0
            last = turns[i + 1].at if i + 1 < len(turns) else count
            beside = [p.price for p in turns[max(0, i - 1) : i + 2] if p.turn != point.turn]
            if point.turn > 0:
                ceiling[first:last] = top[point.at] = point.price
                floor[point.at] = min(beside, default=-np.inf)
            else:
                floor[first:last] = bottom[point.at] = point.price
                ceiling[point.at] = max(beside, default=np.inf)
        for before, point in pairwise(self._points):
            leg = slice(before.at + 1, point.at + 1)
            floor[leg] = np.maximum(floor[leg], point.least)
            ceiling[leg] = np.minimum(ceiling[leg], point.most)
        return floor, ceiling, bottom, top


def _column(values: Iterable[float]) -> Floats:
    return np.array(list(values), dtype=np.float64)


def _folded(close: Floats, floor: Floats, ceiling: Floats) -> Floats:
    """What passes a bound is thrown back by as much, again and again where it is bounded on both sides."""
    least, most = floor + MARGIN, ceiling - MARGIN
    between = np.isfinite(least) & np.isfinite(most)
    width = np.where(between, np.maximum(most - least, MARGIN), 1.0)
    base = np.where(between, least, 0.0)
    there = np.mod(close - base, 2 * width)
    to_and_fro = base + np.minimum(there, 2 * width - there)
    once = np.where(close < least, 2 * least - close, np.where(close > most, 2 * most - close, close))
    return np.where(between, to_and_fro, once)
