"""Sums over sliding windows, each rounded once: what `math.fsum` gives, for all windows together.

A running sum of doubles would depend on where it began. Here every value is a whole multiple of one unit of
its series, running sums of whole numbers are exact, and only the answer is rounded.
"""

import math

import numpy as np

from rollotape.domain.strength.market import Floats, Ints

_FRACTION, _BIAS = 52, 1_023
"""Of a double: bits after the leading one, which is not written, and the exponent that stands for 2**0."""
_LIMB = 32
"""Bits of the lower of two parts that a whole number is kept in."""
_SPREAD = 20
"""Powers of two between the smallest and the largest value of a series that whole numbers have room for."""
LONGEST = 256

# A sum of LONGEST upper parts must fit into 53 bits, else the answer would be rounded twice.
assert LONGEST << (_FRACTION + 1 + _SPREAD - _LIMB) <= 1 << (_FRACTION + 1)


def window_sums(values: Floats, start: Ints, last: Ints, length: int) -> Floats:
    """For each position in `last`, the sum of the `length` values that end there, correctly rounded.

    Args:
        values: not negative; series i from `start[i]` up to `start[i + 1]`.
        last: positions whose window lies within their series.
    """
    assert length <= LONGEST
    filled = np.flatnonzero(np.diff(start))
    if not len(last):
        return np.empty(0)
    bits = values.view(np.int64)
    exponent = bits >> _FRACTION
    lowest = np.minimum.reduceat(exponent, start[filled])
    highest = np.maximum.reduceat(exponent, start[filled])
    # Series that spread too far, and numbers that are not written with a leading one, are summed one by one.
    odd = (highest - lowest > _SPREAD) | (lowest == 0) | (highest == 2 * _BIAS + 1)
    sizes = np.diff(start)[filled]
    shift = exponent - np.repeat(np.where(odd, 0, lowest), sizes)
    shift[np.repeat(odd, sizes)] = 0
    mantissa = (bits & ((1 << _FRACTION) - 1)) | (1 << _FRACTION)
    high = _between(mantissa >> (_LIMB - shift), last, length)
    low = _between((mantissa << shift) & ((1 << _LIMB) - 1), last, length)
    high, low = high + (low >> _LIMB), low & ((1 << _LIMB) - 1)
    series = np.searchsorted(start[filled], last, side="right") - 1
    unit = lowest[series] - _BIAS - _FRACTION
    sums: Floats = np.ldexp(high.astype(np.float64) * 2.0**_LIMB + low, unit)
    for i in np.flatnonzero(odd[series]).tolist():
        end = int(last[i]) + 1
        sums[i] = math.fsum(values[end - length : end].tolist())
    return sums


def _between(whole: Ints, last: Ints, length: int) -> Ints:
    """Exact sums of whole numbers; a total that overflows wraps around, and the difference is right again."""
    total = np.cumsum(whole)
    first = last - length
    sums: Ints = total[last] - np.where(first < 0, 0, total[first])
    return sums
