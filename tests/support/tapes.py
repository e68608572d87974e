"""Seeded tapes of awkward bars: thresholds hit exactly, ties, flat bars, no volume, many digits."""

from decimal import Decimal
from random import Random
from typing import NamedTuple

from hypothesis import Phase, settings
from hypothesis import strategies as st

from support.bars import Ohlcv


def _decimals(text: str) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, text.split()))


SPREADS = _decimals("0 0.5 0.9 1 1.3 1.4 2 2 2 2 2 2 2.6 2.7 3 3.1 4")
PLACES = _decimals("0 0.2 0.3 0.4 0.5 0.6 0.7 0.8 1")
"""Where in its spread a bar closes."""
VOLUMES = _decimals("0 400 800 900 999 1000 1000 1000 1000 1300 1500 1501 2000 2500 2600 4000")
GOOD_UNITS = ("1", "0.01", "0.0001", "12.5", "0.00000001", "100000")
"""Few digits: the doubles are these decimals."""
ODD_UNITS = ("0.30000000000000004", "0.123456789012345", "1e-300", "0.3333333333333333", "99999.87654321")


class Flavour(NamedTuple):
    price_unit: str = "1"
    volume_unit: str = "1"
    quiet: float = 0.4
    """Share of bars that repeat the bar before: ties."""


share_of_examples = 1 / 3
"""Of those that a test asks for; `make chaos` has all of them."""


def examples(count: int, *, shrink: bool = False) -> settings:
    """The same examples on every run, and no deadline: machines differ. A seed has nothing to shrink."""
    count = max(10, round(count * share_of_examples))
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])]
    return settings(max_examples=count, derandomize=True, deadline=None, database=None, phases=phases)


GOOD = st.builds(
    Flavour, st.sampled_from(GOOD_UNITS), st.sampled_from(GOOD_UNITS), st.sampled_from([0.0, 0.3, 0.6])
)
ANY = st.builds(
    Flavour,
    st.sampled_from(GOOD_UNITS + ODD_UNITS),
    st.sampled_from(GOOD_UNITS + ODD_UNITS),
    st.sampled_from([0.0, 0.3, 0.6]),
)
SEEDS = st.integers(0, 2**32)


def tape(seed: int, count: int, flavour: Flavour = Flavour()) -> list[Ohlcv]:  # noqa: B008 - immutable
    """`count` bars that wander around 100 units, up and down for some ten bars each."""
    random = Random(seed)
    price_unit, volume_unit = Decimal(flavour.price_unit), Decimal(flavour.volume_unit)
    close, drift = Decimal(100), 0
    shape: tuple[Decimal, Decimal, Decimal, Decimal] | None = None
    bars = []
    for _ in range(count):
        if random.random() < 0.1:
            drift = random.choice((-1, 0, 1))
        if shape is None or random.random() >= flavour.quiet:
            shape = _shape(random, drift)
        step, spread, place, volume = shape
        close = min(max(close + step, Decimal(50)), Decimal(200))
        low = close - place * spread
        opening = low + random.choice(PLACES) * spread
        bars.append(_doubles(price_unit, volume_unit, opening, low + spread, low, close, volume))
    return bars


def _shape(random: Random, drift: int) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    step = random.choice((-2, -1, -1, 0, 0, 1, 1, 2)) + drift
    return Decimal(step) / 2, random.choice(SPREADS), random.choice(PLACES), random.choice(VOLUMES)


def _doubles(price_unit: Decimal, volume_unit: Decimal, *numbers: Decimal) -> Ohlcv:
    *prices, volume = numbers
    o, h, low, c = (float(p * price_unit) for p in prices)
    return o, h, low, c, float(volume * volume_unit)
