"""Prices and volumes as whole numbers, so that no threshold is ever decided by a rounding error."""

from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollotape.domain.bars import Rows

Numbers = NDArray[Any]
"""int64 where the numbers fit, else Python's integers in an object array: the same code serves both."""

_DIGITS = (0, 2, 4, 6, 8)
_SAFE = 2**62 // 20_000
"""Sums of 20, times the denominators and tenths of a rule, stay below 2**62."""


def ticks(columns: NDArray[np.float64]) -> Numbers:
    """The decimal values of finite doubles, all multiplied by one power of ten that makes them whole.

    A double means the shortest decimal that reads back as it. Dividing a whole number below 10**15 by a
    power of ten is rounded correctly, so getting the double back proves that the decimal is the right one.
    """
    for digits in _DIGITS:
        scale = 10.0**digits
        whole = np.rint(columns * scale)
        if np.abs(whole).max(initial=0) >= min(_SAFE, 10**15):
            break
        if (whole / scale == columns).all():
            return whole.astype(np.int64)
    return _any_ticks(columns)


def _any_ticks(columns: NDArray[np.float64]) -> Numbers:
    decimals = [Decimal(repr(x)) for x in columns.ravel().tolist()]
    places = max((-int(d.as_tuple().exponent) for d in decimals), default=0)
    out = np.empty(len(decimals), object)
    out[:] = [int(d.scaleb(max(places, 0))) for d in decimals]
    return out.reshape(columns.shape)


def prices(bars: Rows) -> Numbers:
    """Open, high, low, close as whole numbers of one scale: shape (4, n)."""
    return ticks(np.stack([bars[name] for name in ("open", "high", "low", "close")]))


def volumes(bars: Rows) -> Numbers:
    """Volume as whole numbers: shape (n,)."""
    return ticks(np.ascontiguousarray(bars["volume"]))
