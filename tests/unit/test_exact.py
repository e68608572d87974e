"""Doubles become the whole numbers of their shortest decimals, whatever they are."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollotape.domain.exact import ticks
from rollotape.domain.vsa.single import whole

SETTINGS = settings(max_examples=150, derandomize=True, deadline=None, database=None)

numbers = st.one_of(
    st.integers(0, 10**6).map(float),
    st.decimals(0, 10**5, places=2).map(float),
    st.decimals(0, 10**5, places=4).map(float),
    st.decimals(0, 10, places=8).map(float),
    st.floats(1e-300, 1e15, allow_nan=False),
    st.sampled_from([0.1, 0.2, 0.3, 1e-8, 1e-9, 5e-324, 99_999_999.99, 123456789012345.0, 999999999999999.9]),
)


def assert_one_scale(values: list[float], found: list[int]) -> None:
    """All of them are their decimals times one power of ten."""
    with localcontext(prec=2_000):
        decimals = [Decimal(repr(x)) for x in values]
        scales = {Decimal(n) / d for n, d in zip(found, decimals, strict=True) if d}
        assert len(scales) <= 1
        assert all(s.normalize().as_tuple().digits == (1,) for s in scales)
        assert all(n == 0 for n, d in zip(found, decimals, strict=True) if not d)


@SETTINGS
@given(st.lists(numbers, min_size=1, max_size=8))
def test_ticks_are_the_decimals_times_one_scale(values: list[float]) -> None:
    found = ticks(np.array(values)).tolist()
    assert all(isinstance(n, int) for n in found)
    assert_one_scale(values, found)
    assert_one_scale(values, whole(values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([100.5, 99.51, 99.9], [10050, 9951, 9990]),
        ([1.0, 2.0, 0.0], [1, 2, 0]),
        ([0.1, 0.2, 0.3], [10, 20, 30]),
        ([1e-8, 1.0], [1, 10**8]),
        ([0.123456789], [123456789]),
        ([0.1 + 0.2, 0.3], [30000000000000004, 30000000000000000]),
        ([5e-324, 1.0], [5, 10**324]),
        ([999999999999999.9], [9999999999999999]),
    ],
)
def test_ticks_of_values_worked_out_by_hand(values: list[float], expected: list[int]) -> None:
    assert ticks(np.array(values)).tolist() == expected


@pytest.mark.parametrize("values", [[45.07, 45.35], [1824755.0], [0.0001, 99_999.0]])
def test_market_data_fits_machine_integers(values: list[float]) -> None:
    assert ticks(np.array(values)).dtype == np.int64


def test_numbers_whose_sums_would_overflow_are_no_machine_integers() -> None:
    """20 of them, times 20 and a factor of 10, would leave 63 bits."""
    found = ticks(np.array([9e14] * 20))
    assert found.dtype == object
    assert_one_scale([9e14] * 20, found.tolist())


def test_ticks_keep_the_shape_and_share_one_scale() -> None:
    for values in (np.array([[1.5, 2.0], [3.0, 4.25]]), np.array([[1.5, 2.0], [3.0, 0.1 + 0.2]])):
        found = ticks(values)
        assert found.shape == values.shape
        assert_one_scale(values.ravel().tolist(), found.ravel().tolist())


def test_nothing_has_ticks_too() -> None:
    assert ticks(np.empty(0)).tolist() == []
    assert ticks(np.empty((4, 0))).shape == (4, 0)
    assert whole([]) == []
