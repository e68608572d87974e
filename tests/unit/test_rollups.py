"""Rollups are what adding up one trade after the other gives, however they are cut and joined."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import accumulate, chain
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollotape.domain.rollups import (
    Heading,
    Kind,
    Measures,
    Rolled,
    Trade,
    decimal,
    join,
    join_days,
    packed,
    roll,
    roll_ordered,
    units,
    unpacked,
)
from rollotape.verification import analytics as plain
from support.tapes import SEEDS, examples

DAY = date(2026, 3, 9)
COUNTS = st.integers(0, 60)
WHOLE = [Decimal(n) for n in ("1", "-1", "0", "2.5", "-0.5", "1e-9", "-1e-9", "1.001e-9", "-1.001e-9")]
FINE = [Decimal(n) for n in ("0.333333333333", "-0.142857142857", "3.141592653589", "-1.000000000001")]
HUGE = [Decimal(n) for n in ("1e20", "-99999999999999999999.000000000001", "4611686.018427387903", "7e30")]


def trades(seed: int, count: int, among: Sequence[Decimal] = (*WHOLE, *FINE)) -> list[Trade]:
    """Many ties in time, few of anything else."""
    random = Random(seed)
    return [
        Trade(
            id=UUID(int=random.getrandbits(128)),
            exit_us=random.randrange(5),
            r=random.choice(among),
            sessions=random.choice([0, 1, 1, 2, 19, 700]),
            pattern_type=random.choice(["SPRING", "UTAD", "SOS", None]),
            phase=random.choice(["A", "C", "E", None]),
            direction=random.choice(["long", "short"]),
            sector=random.choice(["Energy", "Utilities", None]),
            timeframe=random.choice(["1d", "1h"]),
            origin=random.choice(["paper", "external"]),
            test_confirmed=random.choice([True, False, None]),
        )
        for _ in range(count)
    ]


def row(measures: Measures) -> tuple[Any, ...]:
    """As it is stored."""
    counts, sums, levels = measures[:3], measures[3:6], measures[7:10]
    squares = decimal(measures.r_squares, 24)
    return (
        *counts, *map(decimal, sums), squares, *map(decimal, levels),
        Decimal(measures.held), measures.last_exit,
    )  # fmt: skip


def kinds(rolled: Rolled) -> dict[Any, Any]:
    return {(DAY, *kind): row(measures) for kind, measures in rolled.kinds.items()}


def headlines(
    grain: str, found: Mapping[Heading, Measures], last: Mapping[Heading, Sequence[int]]
) -> dict[Any, Any]:
    return {(grain, DAY, *heading): (*row(m), *latest(last.get(heading, ()))) for heading, m in found.items()}


def latest(found: Sequence[int]) -> tuple[Any, ...]:
    """R of the last trades, how many were won, and what they earned."""
    if not found:
        return None, None, None
    return packed(found), len([r for r in found if r > 1_000]), decimal(sum(found))


def agree(found: Sequence[Trade]) -> None:
    rolled, ordered = roll(found), plain.in_order(found)
    assert kinds(rolled) == plain.kinds_of(DAY, ordered)
    assert headlines("day", rolled.headings, rolled.last) == plain.headlines("day", DAY, ordered)


@examples(120)
@given(SEEDS, COUNTS)
def test_a_day_is_what_its_trades_add_up_to(seed: int, count: int) -> None:
    agree(trades(seed, count))


@examples(60)
@given(SEEDS, COUNTS)
def test_numbers_of_any_size_are_exact(seed: int, count: int) -> None:
    agree(trades(seed, count, (*WHOLE, *FINE, *HUGE)))


@pytest.mark.parametrize("r", ["4611686.018427387903", "-4611686.018427387903"])
def test_the_largest_numbers_of_64_bits_are_exact(r: str) -> None:
    agree(trades(1, 1, [Decimal(r)]))


def test_many_numbers_just_within_64_bits_are_exact() -> None:
    agree(trades(1, 3_000, [Decimal("1537.228672809129"), Decimal("-1537.228672809129")]))


@examples(60)
@given(SEEDS, COUNTS)
def test_the_order_of_trades_does_not_matter(seed: int, count: int) -> None:
    found = trades(seed, count)
    mixed = Random(seed).sample(found, count)
    assert roll(mixed) == roll(found) == roll_ordered(plain.in_order(found))


@examples(80)
@given(SEEDS, st.lists(st.integers(0, 25), min_size=1, max_size=6), st.booleans())
def test_days_join_to_what_their_trades_give_together(seed: int, counts: list[int], huge: bool) -> None:
    among = (*WHOLE, *FINE, *HUGE) if huge else (*WHOLE, *FINE)
    days = [
        plain.in_order(t._replace(exit_us=t.exit_us + i * 10) for t in trades(seed + i, count, among))
        for i, count in enumerate(counts)
    ]
    joined = join_days(roll_ordered(day).headings for day in days)
    assert headlines("month", joined, {}) == plain.headlines("month", DAY, chain(*days))


@examples(80)
@given(SEEDS, st.tuples(*[st.integers(1, 12)] * 3))
def test_it_does_not_matter_which_are_joined_first(seed: int, counts: tuple[int, int, int]) -> None:
    found = [t._replace(exit_us=i) for i, t in enumerate(trades(seed, sum(counts)))]
    ends = list(accumulate(counts))
    parts = [found[end - count : end] for count, end in zip(counts, ends, strict=True)]
    heading = Heading("all", None, "all", "all", "all", "all")
    one, two, three = (roll_ordered(part).headings[heading] for part in parts)
    whole = roll_ordered(found).headings[heading]
    assert (
        join([one, two, three]) == join([join([one, two]), three]) == join([one, join([two, three])]) == whole
    )


def test_a_day_without_trades_has_no_rows() -> None:
    assert roll([]) == Rolled({}, {}, {})


def test_three_won_then_lost_twice_fall_from_the_highest() -> None:
    found = [
        trades(1, 1)[0]._replace(exit_us=i, r=Decimal(r), test_confirmed=True)
        for i, r in enumerate([3, 2, -1, -1, -1])
    ]
    [measures] = roll(found).kinds.values()
    assert (measures.wins, measures.losses) == (2, 3)
    assert [decimal(n) for n in measures[3:6]] == [2, 5, -3]
    assert decimal(measures.r_squares, 24) == 16
    assert [decimal(n) for n in measures[7:10]] == [5, 0, 3]


def test_a_day_that_begins_with_losses_falls_from_0() -> None:
    found = [trades(1, 1)[0]._replace(exit_us=i, r=Decimal(r)) for i, r in enumerate([-1, -2, 1])]
    [measures] = roll(found).kinds.values()
    assert [decimal(n) for n in measures[7:10]] == [0, -3, 3]


def test_a_fall_may_begin_on_one_day_and_end_on_another() -> None:
    found = [trades(1, 1)[0]._replace(exit_us=i, r=Decimal(r)) for i, r in enumerate([3, -1, -1, 4])]
    [first], [second] = (roll(part).kinds.values() for part in (found[:2], found[2:]))
    assert decimal(join([first, second]).r_fall) == 2


def test_trades_without_phase_or_test_count_among_all_only() -> None:
    [trade] = trades(1, 1)
    found = roll([trade._replace(phase=None, test_confirmed=None, pattern_type=None, sector=None)])
    assert {(h.phase, h.test) for h in found.headings} == {("all", "all")}
    assert {h.name for h in found.headings} == {None}
    assert len(found.headings) == 3 * 4


def test_a_trade_counts_under_forty_headings_and_is_of_one_kind() -> None:
    [trade] = trades(1, 1)
    trade = trade._replace(phase="C", test_confirmed=False, pattern_type="SPRING", sector="Energy")
    found = roll([trade])
    assert len(found.headings) == 40
    assert list(found.kinds) == [
        Kind("SPRING", "C", trade.direction, "Energy", trade.timeframe, trade.origin, False)
    ]


def test_only_the_last_twenty_are_kept() -> None:
    found = [trades(1, 1)[0]._replace(exit_us=i, r=Decimal(i)) for i in range(30)]
    rolled = roll(found)
    [of_type] = [heading for heading in rolled.last if heading[2:5] == ("all", "all", "all")]
    assert rolled.last[of_type] == tuple(units(Decimal(i)) for i in range(10, 30))
    assert {h.test for h in rolled.last} == {"all"}


@pytest.mark.parametrize("r", ["0.333333333333", "-1", "0", "1e30", "-12345678901234567890.000000000001"])
def test_units_are_exact_both_ways(r: str) -> None:
    assert decimal(units(Decimal(r))) == Decimal(r)


def test_more_than_twelve_decimals_are_refused() -> None:
    with pytest.raises(ArithmeticError):
        units(Decimal("0.1234567890123"))


@given(st.lists(st.integers(-(10**20), 10**20), max_size=20))
def test_the_last_trades_are_read_as_they_were_packed(last: list[int]) -> None:
    assert list(unpacked(packed(last))) == last


def test_usual_trades_take_eight_bytes_each() -> None:
    assert packed([1, 1 - 2**63, 2**63 - 1])[0] == 8
    assert packed([2**63])[0] == 9
