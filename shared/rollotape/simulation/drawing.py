"""From a path of closes to bars: opens, wicks and volumes, and what a plan asks of single bars.

Everything is in units of a symbol: prices are logarithms in standard deviations of a usual day, from the
close before the first bar; volume is in usual days. Up is the direction of a finished accumulation, so the
bars of a distribution are these bars turned over.
"""

from dataclasses import dataclass, field

import numpy as np

from rollotape.simulation.chance import Chance, Floats
from rollotape.simulation.difficulty import Difficulty

USUAL_SPREAD = 1.7
"""What the spread of a usual bar comes to."""
HEAT_MEMORY, HEAT_SIZE = 0.97, 0.22
BUSY_MEMORY = 0.75


@dataclass(frozen=True, slots=True)
class Noise:
    """What chance does to the bars of one chapter; equal lengths."""

    moves: Floats
    """Variance 1, fat tails."""
    heat: Floats
    """Volatility in usual ones: quiet and wild weeks come in clusters."""
    busy: Floats
    """Logarithm of volume, in clusters too."""
    above: Floats
    below: Floats
    """Wicks, mean 1."""
    gaps: Floats
    inside: Floats
    """Even in (0, 1)."""

    def cut(self, first: int, last: int) -> "Noise":
        part = slice(first, last)
        return Noise(*(getattr(self, name)[part] for name in self.__slots__))

    def __len__(self) -> int:
        return len(self.moves)


def noise(chance: Chance, count: int, difficulty: Difficulty) -> Noise:
    heat = np.exp(HEAT_SIZE * chance.clustered(count, HEAT_MEMORY))
    return Noise(
        moves=np.clip(chance.students(count, difficulty.half_freedom), -6, 6),
        heat=heat,
        busy=difficulty.busy * chance.clustered(count, BUSY_MEMORY),
        above=chance.gammas(count, 2),
        below=chance.gammas(count, 2),
        gaps=chance.students(count, difficulty.half_freedom),
        inside=chance.evens(count),
    )


@dataclass(frozen=True, slots=True)
class Mark:
    """What is asked of one bar."""

    volume: float | None = None
    """In usual days."""
    spread: float | None = None
    """At least this much from low to high, in usual spreads."""
    gap: float = 0.0
    """From the close before to the open, beside the usual one."""


@dataclass(slots=True)
class Path:
    """Closes, and what bounds the bars around them; one value per bar."""

    close: Floats
    floor: Floats
    """No low below this, and exactly this where `bottom`."""
    ceiling: Floats
    bottom: Floats
    """The low of a bar that must be exactly so, else NaN."""
    top: Floats
    quiet: Floats
    """Factor of the wicks."""
    busy: Floats
    """Logarithm of the volume that the chapter has in mind."""
    marks: dict[int, Mark] = field(default_factory=dict)


def free(close: Floats) -> Path:
    """A path that nothing bounds."""
    count = len(close)
    nowhere, unset = np.full(count, np.inf), np.full(count, np.nan)
    return Path(close, -nowhere, nowhere, unset, unset.copy(), np.ones(count), np.zeros(count))


@dataclass(frozen=True, slots=True)
class Drawn:
    """Bars in the units of a symbol."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.close)


def draw(path: Path, chance: Noise) -> Drawn:
    close, room = path.close, 0.02
    before = np.concatenate(([0.0], close[:-1]))
    gaps = 0.12 * chance.gaps * chance.heat
    for at, mark in path.marks.items():
        gaps[at] += mark.gap
    opened = np.clip(before + gaps, path.floor + room, path.ceiling - room)
    upper, lower = np.maximum(opened, close), np.minimum(opened, close)
    wick = 0.4 * chance.heat * path.quiet
    high, low = upper + wick * chance.above, lower - wick * chance.below
    for at, mark in path.marks.items():
        if mark.spread:
            high[at], low[at] = _stretched(high[at], low[at], mark.spread * USUAL_SPREAD, path, at)
    high, low = _inside(high, low, upper, lower, path, chance)
    return Drawn(opened, high, low, close, _volume(path, chance, high - low))


def _stretched(high: float, low: float, spread: float, path: Path, at: int) -> tuple[float, float]:
    """A bar of at least that spread: away from the extreme that it makes, or to both sides."""
    missing = spread - (high - low)
    if missing <= 0:
        return high, low
    if path.bottom[at] == path.bottom[at]:
        return max(high, float(path.bottom[at]) + spread), low
    if path.top[at] == path.top[at]:
        return high, min(low, float(path.top[at]) - spread)
    return high + missing / 2, low - missing / 2


def _inside(
    high: Floats, low: Floats, upper: Floats, lower: Floats, path: Path, chance: Noise
) -> tuple[Floats, Floats]:
    """Wicks that would pass the extreme of their leg end somewhere before it."""
    share = 0.1 + 0.8 * chance.inside
    with np.errstate(invalid="ignore"):  # where nothing bounds, infinity is multiplied and not chosen
        high = np.where(high >= path.ceiling, upper + (path.ceiling - upper) * share, high)
        low = np.where(low <= path.floor, lower - (lower - path.floor) * share, low)
    high = np.where(np.isnan(path.top), high, path.top)
    low = np.where(np.isnan(path.bottom), low, path.bottom)
    return np.maximum(high, upper), np.minimum(low, lower)


def _volume(path: Path, chance: Noise, spread: Floats) -> Floats:
    effort = 0.62 + 0.38 * np.minimum(spread / USUAL_SPREAD, 3.0)
    volume = np.exp(path.busy + chance.busy) * effort
    for at, mark in path.marks.items():
        if mark.volume:  # what a plan says of a bar is said of all its volume; some chance stays
            volume[at] = mark.volume * np.exp(0.4 * chance.busy[at])
    return volume
