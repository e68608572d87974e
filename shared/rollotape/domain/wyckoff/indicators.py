"""Plain indicators of linear prices at one bar, as they stand on a pattern; unknown is None."""

from collections.abc import Sequence
from itertools import pairwise
from math import fsum

from rollotape.domain.bars import Rows
from rollotape.domain.wyckoff.facts import Indicators

RSI_BARS = 14


def indicators(bars: Rows, at: int, volume_ratio: float | None) -> Indicators:
    """At position `at`; `bars` holds the 50 bars up to it, or the whole history."""
    closes = bars["close"][max(0, at - 49) : at + 1].tolist()
    change = 100 * (closes[-1] / closes[-2] - 1) if len(closes) > 1 else None
    return Indicators(volume_ratio, change, rsi(closes), mean(closes, 20), mean(closes, 50))


def mean(closes: Sequence[float], bars: int) -> float | None:
    return fsum(closes[-bars:]) / bars if len(closes) >= bars else None


def rsi(closes: Sequence[float]) -> float | None:
    """Cutler's: plain means of the last 14 gains and losses; None where nothing changed."""
    if len(closes) <= RSI_BARS:
        return None
    last = closes[-RSI_BARS - 1 :]
    changes = [after - before for before, after in pairwise(last)]
    gains, losses = fsum(c for c in changes if c > 0), fsum(-c for c in changes if c < 0)
    return 100 * gains / (gains + losses) if gains + losses > 0 else None
