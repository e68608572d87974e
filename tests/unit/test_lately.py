"""Metrics that are sorted in later say what the plain ones say."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from rollotape.lately import OftenCounted, OftenTimed

BOUNDS = (0.001, 0.01, 0.1, 1.0)


@given(st.lists(st.lists(st.sampled_from([0.0, 0.0005, *BOUNDS, 0.5, 7.0]) | st.floats(0, 9), max_size=40)))
def test_a_histogram_says_the_same_whenever_somebody_looks(looks: Sequence[Sequence[float]]) -> None:
    mine, plain = CollectorRegistry(), CollectorRegistry()
    often = OftenTimed("t_seconds", "T", ("route",), buckets=BOUNDS, registry=mine).labels("/x")
    known = Histogram("t_seconds", "T", ("route",), buckets=BOUNDS, registry=plain).labels("/x")
    for noted in looks:
        for seconds in noted:
            often.note(seconds)
            known.observe(seconds)
        for name, labels in (("t_seconds_bucket", {"le": f"{b}"}) for b in (*BOUNDS, "+Inf")):
            labels |= {"route": "/x"}
            assert mine.get_sample_value(name, labels) == plain.get_sample_value(name, labels)
        total = plain.get_sample_value("t_seconds_sum", {"route": "/x"})
        assert total is not None
        assert mine.get_sample_value("t_seconds_sum", {"route": "/x"}) == pytest.approx(total)


def test_what_nobody_looks_at_is_sorted_in_before_there_is_much_of_it() -> None:
    often = OftenTimed("m_seconds", "M", ("route",), registry=CollectorRegistry()).labels("/x")
    for _ in range(5_000):
        often.note(0.5)
    assert len(often._fresh) < 1_000
    assert math.isclose(often._sum.get() + sum(often._fresh), 2_500.0)


def test_a_counter_says_the_same() -> None:
    mine = CollectorRegistry()
    often = OftenCounted("c_total", "C", ("route",), registry=mine)
    for _ in range(3):
        often.labels("/x").one()
    assert [mine.get_sample_value("c_total", {"route": "/x"}) for _ in "ab"] == [3.0, 3.0]
    often.labels("/x").one()
    often.labels("/x").inc(2)
    assert mine.get_sample_value("c_total", {"route": "/x"}) == 6.0
