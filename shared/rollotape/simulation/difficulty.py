"""How hard a simulated market is to read, as numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What blurs a schematic; every number can be set on its own."""

    noise: float
    """Noise inside the legs of a schematic, in usual ones."""
    volume: float
    """How pronounced volumes are: factors far from 1 are raised to this power."""
    spread: float
    """How pronounced spreads are, likewise."""
    busy: float
    """Standard deviation of the logarithm of volume, apart from what price does."""
    half_freedom: int
    """Half the degrees of freedom of the noise: 2 is t(4), with fat tails."""
    pace: tuple[float, float]
    """Durations are multiplied by a number between these, one per schematic."""
    oddities: float
    """Probability of each thing that blurs the textbook: an undercut that is no spring, a high above the
    automatic rally inside the range, a climax of two days, a second last point of support."""


DIFFICULTIES = {
    "easy": Difficulty(0.7, 1.15, 1.1, 0.2, 4, (0.9, 1.15), 0.05),
    "middle": Difficulty(1.0, 1.0, 1.0, 0.3, 3, (0.75, 1.35), 0.15),
    "hard": Difficulty(1.3, 0.82, 0.88, 0.42, 2, (0.6, 1.6), 0.3),
}
