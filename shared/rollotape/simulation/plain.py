"""What has no schematic: trends, ranges that no climax opens, and news on either."""

from itertools import accumulate

import numpy as np

from rollotape.simulation.chance import Chance, Floats
from rollotape.simulation.drawing import Mark, Noise, Path, free

BETWEEN_NEWS = (25, 70)
"""Bars from one news day to the next."""


def trend(chance: Chance, noise: Noise, *, up: bool) -> Path:
    """A drift with all the noise there is; nothing stops it and nothing begins it."""
    drift = chance.between(0.06, 0.18) * (1 if up else -1)
    return free(np.cumsum(drift + noise.moves * noise.heat))


def sideways(chance: Chance, noise: Noise) -> Path:
    """A price that is drawn back to where it was, without a climax that would have opened the range."""
    memory = chance.between(0.88, 0.96)
    moves = (0.9 * noise.moves * noise.heat).tolist()
    path = free(np.array(list(accumulate(moves, lambda last, move: memory * last + move))))
    path.busy -= 0.1
    return path


def with_news(chance: Chance, noise: Noise, path: Path) -> Path:
    """Days on which something is published: huge volume and range, and the price is elsewhere afterwards,
    or where it was. No range follows from it, and no test of it."""
    at, change = chance.whole(*BETWEEN_NEWS), np.zeros(len(noise))
    while at < len(noise):
        _publish(chance, path, at, change)
        at += chance.whole(*BETWEEN_NEWS)
    path.close = path.close + np.cumsum(change)
    return path


def _publish(chance: Chance, path: Path, at: int, change: Floats) -> None:
    volume = chance.times(2.8, 7.0)
    if chance.happens(0.2):  # much ado, and it closes where it opened
        path.marks[at] = Mark(volume, chance.between(2.0, 3.2))
    else:
        jump = chance.between(2.5, 6.0) * (1 if chance.happens(0.5) else -1)
        overnight = chance.between(0.5, 0.95) if chance.happens(0.6) else 0.0
        change[at] += jump
        change[at + 1 : at + 1 + chance.whole(5, 15)] += 0.012 * jump  # the news is digested
        left = abs(jump) * (1 - overnight) / 1.7
        path.marks[at] = Mark(volume, max(1.3, left + chance.between(0.2, 0.8)), jump * overnight)
    for later, share in enumerate((0.45, 0.25, 0.15), 1):
        if at + later < len(change):
            path.busy[at + later] += share * np.log(volume)
