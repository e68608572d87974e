"""How good an example of its kind an event is: a weighted sum of terms from 0 to 1, kept with the event.

A term runs straight from 0 at one value to 1 at another; docs/wyckoff.md says why each counts.
"""

from math import fsum

from rollotape.domain.wyckoff.facts import Terms
from rollotape.domain.wyckoff.rules import Rules
from rollotape.domain.wyckoff.state import Mark

Values = tuple[float, ...]
"""In the order of the rules' weights for the kind."""


def weigh(rules: Rules, kind: str, values: Values) -> tuple[float, Terms]:
    weights = dict(rules.weights)[kind]
    terms = tuple((name, value) for (name, _), value in zip(weights, values, strict=True))
    return fsum(share * value for (_, share), value in zip(weights, values, strict=True)), terms


def ramp(value: float, none: float, full: float) -> float:
    """0 at `none` or beyond, 1 at `full` or beyond, straight between; `full` may be the smaller one."""
    return min(1.0, max(0.0, (value - none) / (full - none)))


def preliminary_support(bar: Mark) -> Values:
    return (
        ramp(bar.volume_ratio, 1, 4),
        ramp(bar.range_ratio, 0.6, 3),
        ramp(bar.place, 0, 1),
        ramp(bar.decline, 0, 8),
    )


def climax(bar: Mark) -> Values:
    return (
        ramp(bar.volume_ratio, 1.5, 8),
        ramp(bar.spread_ratio, 1, 5),
        ramp(bar.place, 0, 1),
        ramp(bar.decline, 0, 10),
    )


def reaction(rise: float, bars: int, most_bars: int, given_back: float) -> Values:
    """`rise` in U; `given_back` as a share of the rise."""
    return ramp(rise, 1, 9), ramp(bars, most_bars + 1, 0), ramp(given_back, 0, 1)


def secondary_test(low: Mark, climax: Mark, distance: float) -> Values:
    """`distance` of the lows in U, whichever is lower."""
    return (
        ramp(low.volume / climax.volume, 1, 0),
        ramp(distance, 1.5, 0),
        ramp(low.spread / climax.spread, 1, 0),
        ramp(low.place, 0, 1),
    )


def spring(low: Mark, under: float, bars: int, most_bars: int, tests: int) -> Values:
    """`under` support in U; `bars` from the first undercut to the close above; `tests` known before."""
    return (
        ramp(low.volume_ratio, 2.5, 0.3),
        ramp(under, 3.25, 0),
        ramp(bars, most_bars + 1, 0),
        ramp(tests, -1, 3),
    )


def test(low: Mark, above_spring: float) -> Values:
    """`above_spring`: height of the low above the spring's, in U."""
    return ramp(low.volume_ratio, 1, 0), ramp(above_spring, -0.25, 3), ramp(low.spread_ratio, 2, 0)


def strength(bar: Mark, over: float) -> Values:
    """`over` the creek in U."""
    return (
        ramp(bar.volume_ratio, 1, 5),
        ramp(bar.spread_ratio, 1, 4),
        ramp(over, 0, 4),
        ramp(bar.place, 0, 1),
    )


def last_support(volume: float, spread: float, over: float, sos_confidence: float) -> Values:
    """Means of the pullback as shares of SOS's; `over`: the low above the creek, in U."""
    return ramp(volume, 1, 0), ramp(spread, 1, 0), ramp(over, -0.75, 3), sos_confidence
