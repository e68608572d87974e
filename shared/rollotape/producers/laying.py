"""Shorter bars inside a longer one."""

import math
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import NamedTuple


class Ohlcv(NamedTuple):
    open: float
    high: float
    low: float
    close: float
    volume: int


def laid(bar: Ohlcv, count: int, random: Random, *, is_day: bool = True) -> Iterator[Ohlcv]:
    """Shorter bars from its open to its close that touch its high and its low and add up to its volume.

    Of a day the beginning and the end are busier.
    """
    path = _path(bar, count, random)
    usual = max(0.01, math.fsum(abs(b - a) for a, b in pairwise(path)) / count)
    bars = [_wicked(a, b, usual, bar, random) for a, b in pairwise(path)]
    weights = [_interest(i / count if is_day else None, b, usual, random) for i, b in enumerate(bars)]
    share = (bar.volume - count) / math.fsum(weights)
    volumes = [1 + int(share * weight) for weight in weights]
    volumes[-1] += bar.volume - sum(volumes)
    for (o, h, low, c), volume in zip(bars, volumes, strict=True):
        yield Ohlcv(o, h, low, c, volume)


def _path(day: Ohlcv, count: int, random: Random) -> list[float]:
    """Prices at the ends of the shorter bars: bridges between open, the two extremes and close."""
    first, second = sorted(random.sample(range(1, count), 2))
    extremes = [day.high, day.low] if random.random() < 0.5 else [day.low, day.high]
    anchors = [(0, day.open), (first, extremes[0]), (second, extremes[1]), (count, day.close)]
    noise = (day.high - day.low) / math.sqrt(count) * 0.9
    path = [day.open]
    for (start, a), (end, b) in pairwise(anchors):
        price = a
        for left in range(end - start, 1, -1):
            price += (b - price) / left + random.gauss(0, noise) * math.sqrt((left - 1) / left)
            price = min(day.high, max(day.low, price))
            path.append(round(price, 2))
        path.append(b)
    return path


def _wicked(
    a: float, b: float, usual: float, day: Ohlcv, random: Random
) -> tuple[float, float, float, float]:
    """A bar from a to b with wicks, inside the day."""
    above, below = (usual * random.expovariate(1.6) for _ in range(2))
    return a, min(day.high, round(max(a, b) + above, 2)), max(day.low, round(min(a, b) - below, 2)), b


def _interest(
    when: float | None, bar: tuple[float, float, float, float], usual: float, random: Random
) -> float:
    """Volume follows the time of day and, a little, the spread: what is laid through a story adds no climaxes
    to it. Now and then much volume moves nothing."""
    _, high, low, _ = bar
    u_shape = 1.0 if when is None else 0.6 + 4.8 * (when - 0.5) ** 2
    spread = (high - low) / usual
    surprise = 3.0 if random.random() < 0.03 and spread < 0.7 else 1.0
    return u_shape * (0.6 + 0.15 * spread) * surprise * math.exp(random.gauss(0, 0.25))
