"""Every rule of `wyckoff-1` on series made by hand: what confirms, what does not, and where the line is.

Distances are in U from the last close of a calm decline (spread and true range 1, volume 1,000 a bar); the
first bar of a script has position 60.
"""

from dataclasses import replace

import pytest

from rollotape.domain.wyckoff.facts import Event, Pattern, Range, Status
from rollotape.domain.wyckoff.rules import WYCKOFF_1
from support.wyckoff import Bar, fold, kinds, script

Seen = tuple[str, int, int]

SC: Bar = (-0.5, -5, -3, 3000)
RALLY: list[Bar] = [SC, (-1, -3, -1.2, 1500), (1, -1.2, 0.5, 1200), (0.6, -0.6, -0.5, 900)]
"""AR at 62, its high at 1: a rise of 6, of which a third is 2."""
BACK: Bar = (-0.4, -1.6, -1.5, 900)
DOWN: Bar = (-1.5, -3.2, -3, 900)
ST: Bar = (-3, -4.5, -4.2, 800)
"""At 66."""
UP: list[Bar] = [(-2, -4.2, -2.2, 900), (-1, -2.4, -1.2, 900)]
TO_ST = [*RALLY, BACK, DOWN, ST, *UP]
"""Ends at 68."""
LOWER: Bar = (-1.1, -3.6, -3.5, 900)
IDLE: Bar = (-2, -3, -2.5, 900)
FOUND: list[Seen] = [("SC", 60, 60), ("AR", 62, 64), ("ST", 66, 66)]
SPRING: Bar = (-3.4, -6, -4, 900)
"""Back above support the same day."""
LOUD: Bar = (2.2, -1.2, 2, 3000)


def seen(*bars: Bar) -> list[Seen]:
    return kinds(fold(script(*bars)))


def with_bar(bars: list[Bar], at: int, **changes: float) -> list[Bar]:
    """The script with one bar changed."""
    names = ("high", "low", "close", "volume")
    old = dict(zip(names, bars[at], strict=True)) | changes
    return [*bars[:at], (old["high"], old["low"], old["close"], old["volume"]), *bars[at + 1 :]]


@pytest.mark.parametrize(
    ("bar", "is_climax"),
    [
        (SC, True),
        ((-0.5, -5, -3, 2000), True),
        ((-0.5, -5, -3, 1999), False),
        ((0.51, -0.99, -0.5, 3000), True),
        ((0.49, -0.99, -0.5, 3000), False),
        ((-0.5, -5, -3.649, 3000), True),
        ((-0.5, -5, -3.651, 3000), False),
        ((3, -0.24, 1, 3000), False),
        ((1, -5, 0.001, 3000), False),
    ],
    ids=["plain", "2 V20", "less", "spread 1.5", "less", "lclv 0.3", "less", "not the low", "closes up"],
)
def test_a_selling_climax(bar: Bar, is_climax: bool) -> None:
    assert (("SC", 60, 60) in seen(bar)) is is_climax


@pytest.mark.parametrize(
    ("bar", "is_support"),
    [
        ((0, -1, -0.6, 1300), True),
        ((0, -1, -0.6, 1299), False),
        ((-0.1, -0.901, -0.6, 1300), True),
        ((-0.1, -0.899, -0.6, 1300), False),
        ((0, -1, -0.649, 1300), True),
        ((0, -1, -0.651, 1300), False),
        ((13, -1, 12.9, 1300), False),
    ],
    ids=["plain", "v < 1.3 V20", "ls >= 0.8 A20", "ls < 0.8", "lclv 0.35", "lclv < 0.35", "no downtrend"],
)
def test_preliminary_support(bar: Bar, is_support: bool) -> None:
    assert (("PS", 60, 60) in seen(bar)) is is_support


PS: Bar = (0, -1, -0.6, 1300)
FALL: list[Bar] = [(-0.6 - i / 20 + 0.5, -0.6 - i / 20 - 0.5, -0.6 - i / 20 - 0.3, 900) for i in range(70)]


def statuses(*bars: Bar) -> list[tuple[str, str, int]]:
    facts = fold(script(*bars))
    first = facts[0].confirmed_ts - 60 * 86_400_000_000
    return [
        (f.kind, f.status, (f.confirmed_ts - first) // 86_400_000_000) for f in facts if isinstance(f, Status)
    ]


def test_preliminary_support_is_confirmed_by_a_lower_climax_within_60_bars() -> None:
    last = (-4.5, -9, -6.5, 4000)
    assert ("PS", "confirmed", 120) in statuses(PS, *FALL[:59], last)
    [confirmed] = [f for f in fold(script(PS, *FALL[:59], last)) if isinstance(f, Status)]
    [opened] = [f for f in fold(script(PS, *FALL[:59], last)) if isinstance(f, Range)]
    assert confirmed.range_id == opened.range_id


def test_preliminary_support_expires_with_its_60th_bar() -> None:
    last = (-4.5, -9, -6.5, 4000)
    assert statuses(PS, *FALL[:60], last) == [("PS", "expired", 120)]
    assert statuses(PS, *FALL[:59]) == []


def test_after_a_climax_there_is_no_preliminary_support_in_the_same_decline() -> None:
    abandoned = [(-3.6, -4.6, -4.5, 900)] * 10
    assert seen(SC, *abandoned, (-4.4, -5.2, -4.8, 3000)) == [("SC", 60, 60)]


def test_a_lower_climax_on_more_volume_takes_the_place_of_the_first() -> None:
    second = (-3, -8, -6, 5000)
    facts = fold(script(SC, second))
    assert kinds(facts) == [("SC", 60, 60), ("SC", 61, 61)]
    [superseded] = [f for f in facts if isinstance(f, Status)]
    ranges = [f for f in facts if isinstance(f, Range)]
    assert superseded.status == "superseded"
    assert len({f.range_id for f in ranges}) == 1
    assert ranges[1].unit > ranges[0].unit
    assert ranges[1].support is not None
    assert ranges[0].support is not None
    assert ranges[1].support < ranges[0].support


def test_a_lower_climax_on_less_volume_changes_nothing() -> None:
    assert seen(SC, (-3.6, -6, -4.5, 3000)) == [("SC", 60, 60)]


def test_the_rally_is_known_when_a_close_gives_back_a_third() -> None:
    assert seen(*RALLY) == [("SC", 60, 60)]
    assert seen(*with_bar(RALLY, 3, low=-1.1, close=-1.001)) == [("SC", 60, 60), ("AR", 62, 63)]
    assert seen(*with_bar(RALLY, 3, low=-1.1, close=-0.999)) == [("SC", 60, 60)]


def test_the_rally_is_known_after_ten_bars_at_the_latest() -> None:
    slow: list[Bar] = [(0.5 + i / 10, -1 + i / 10, i / 10, 900) for i in range(10)]
    assert seen(SC, *slow[:9]) == [("SC", 60, 60)]
    assert seen(SC, *slow) == [("SC", 60, 60), ("AR", 70, 70)]


@pytest.mark.parametrize(("high", "known"), [(-3.499, True), (-3.501, False)])
def test_a_rally_rises_by_1_5_units(high: float, known: bool) -> None:
    weak: list[Bar] = [SC, *[(high, high - 1, high - 0.4, 900)] * 10]
    facts = fold(script(*weak))
    assert (("AR", 61, 70) in kinds(facts)) is known
    assert [f.status for f in facts if isinstance(f, Range)][-1] == ("open" if known else "abandoned")


def test_a_secondary_test_ends_phase_a() -> None:
    facts = fold(script(*TO_ST))
    assert kinds(facts) == FOUND
    last = [f for f in facts if isinstance(f, Range)][-1]
    assert [phase for phase, _ in last.phases] == ["A", "B"]


@pytest.mark.parametrize(
    ("bar", "tested"),
    [
        ((-3, -4.001, -3.9, 800), True),
        ((-3, -3.999, -3.9, 800), False),
        ((-3, -5.999, -4.9, 800), True),
        ((-3, -6.001, -4.9, 800), False),
        ((-3, -4.5, -4.2, 2400), True),
        ((-3, -4.5, -4.2, 2401), False),
    ],
    ids=["1 U above", "further above", "1 U below", "further below", "0.8 of the volume", "more volume"],
)
def test_a_secondary_test(bar: Bar, tested: bool) -> None:
    assert (("ST", 66, 66) in seen(*[*TO_ST[:6], bar])) is tested


def test_a_secondary_test_is_the_lowest_bar_of_a_dip_that_closes_back_above_the_climax() -> None:
    under: list[Bar] = [(-3, -5.2, -5.05, 800), (-4.6, -5.4, -5.1, 800), (-4, -5.2, -4.4, 800)]
    assert seen(*TO_ST[:6], *under)[2:] == [("ST", 67, 68)]


def test_a_dip_has_one_test_and_the_next_begins_after_a_bar_outside() -> None:
    inside: Bar = (-3.5, -4.4, -4, 700)
    assert seen(*TO_ST[:7], inside, inside) == FOUND
    assert seen(*TO_ST[:7], inside, (-2, -3.9, -3, 700), inside)[3:] == [("ST", 69, 69)]


def test_secondary_tests_come_within_40_bars_of_the_rally() -> None:
    dip = (-3, -4.5, -4.2, 300)
    assert ("ST", 102, 102) in seen(*TO_ST[:6], *[IDLE] * 36, dip)
    assert seen(*TO_ST[:6], *[IDLE] * 37, dip) == FOUND[:2]


@pytest.mark.parametrize(
    ("low", "sprung"),
    [(-5.101, True), (-5.099, False), (-7.999, True), (-8.001, False)],
    ids=["0.1 U", "less", "3 U", "more"],
)
def test_a_spring_undercuts_support_by_so_much(low: float, sprung: bool) -> None:
    assert (("SPRING", 70, 70) in seen(*TO_ST, LOWER, (-3.4, low, -4, 900))) is sprung


def test_a_spring_is_the_lowest_bar_and_known_when_a_close_is_back_within_5_bars() -> None:
    under: list[Bar] = [(-3.4, -5.5, -5.3, 900), (-5, -6, -5.5, 900), *[(-5.1, -5.8, -5.2, 900)] * 3]
    back: Bar = (-4, -5.3, -4.5, 900)
    assert seen(*TO_ST, LOWER, *under, back)[3:] == [("SPRING", 71, 75)]
    assert seen(*TO_ST, LOWER, *under, under[-1], back)[3:] == []


def test_without_a_secondary_test_a_spring_is_ten_bars_older_than_the_rally() -> None:
    none = TO_ST[:5]  # ends at 64
    assert ("SPRING", 72, 72) in seen(*none, *[IDLE] * 7, SPRING)
    assert seen(*none, *[IDLE] * 6, SPRING)[2:] == [("ST", 71, 71)]


def test_support_is_the_lowest_of_climax_and_secondary_tests() -> None:
    lower = [*TO_ST[:6], (-3, -5.5, -4.9, 800), *UP, LOWER]
    assert seen(*lower, (-3.4, -5.59, -4, 900))[3:] == [("ST", 70, 70)]
    assert seen(*lower, (-3.4, -5.61, -4, 900))[3:] == [("SPRING", 70, 70)]


TO_SPRING = [*TO_ST, LOWER, SPRING, (-2.5, -4.1, -2.8, 900)]
"""Spring at 70; ends at 71."""
QUIET: Bar = (-3, -4.4, -4, 500)
HIGHER: Bar = (-2.9, -4, -3.2, 900)


def test_a_test_passes_when_a_later_bar_closes_higher() -> None:
    facts = fold(script(*TO_SPRING, QUIET, HIGHER))
    assert kinds(facts)[3:] == [("SPRING", 70, 70), ("TEST", 72, 73)]
    [passed] = [f for f in facts if isinstance(f, Status)]
    [pattern] = [f for f in facts if isinstance(f, Pattern)]
    assert passed.status == "test_passed"
    assert passed.key == pattern.key
    assert pattern.test_confirmed is False
    assert seen(*TO_SPRING, QUIET, (-3.9, -4.4, -4, 900))[4:] == []


@pytest.mark.parametrize(
    ("bar", "passes"),
    [
        ((-3, -4.001, -3.9, 500), True),
        ((-3, -3.999, -3.9, 500), False),
        ((-3, -5.999, -4, 500), True),
        ((-3, -6, -4, 500), False),
        ((-3, -4.4, -4, 900), False),
    ],
    ids=["1 U above support", "further above", "above the spring's low", "at it", "too loud"],
)
def test_the_test_of_a_spring(bar: Bar, passes: bool) -> None:
    assert (("TEST", 72, 73) in seen(*TO_SPRING, bar, HIGHER)) is passes


def test_the_test_comes_within_15_bars_of_the_spring() -> None:
    assert ("TEST", 85, 86) in seen(*TO_SPRING, *[IDLE] * 13, QUIET, HIGHER)
    assert seen(*TO_SPRING, *[IDLE] * 14, QUIET, HIGHER)[4:] == []


def test_a_broken_spring_has_no_test_and_may_be_followed_by_another() -> None:
    again: Bar = (-3, -6.5, -4, 900)
    assert seen(*TO_SPRING, QUIET, again, HIGHER)[4:] == [("SPRING", 73, 73)]


@pytest.mark.parametrize(
    ("bar", "strong"),
    [
        (LOUD, True),
        ((1.4, -0.6, 1.301, 3000), True),
        ((1.4, -0.6, 1.299, 3000), False),
        ((2.2, -1.2, 2, 1300), False),
        ((2.2, 1.5, 2, 3000), False),
    ],
    ids=["plain", "0.3 U over the creek", "less", "little volume", "narrow"],
)
def test_a_sign_of_strength(bar: Bar, strong: bool) -> None:
    assert (("SOS", 72, 72) in seen(*TO_ST, IDLE, IDLE, (0, -2.5, -0.2, 900), bar)) is strong


def test_strength_shows_ten_bars_after_the_rally_and_once() -> None:
    assert seen(*TO_ST, IDLE, IDLE, LOUD)[3:] == []
    again = seen(*TO_ST, IDLE, IDLE, IDLE, LOUD, (5, 1.9, 4.8, 9000))
    assert again[3:] == [("SOS", 72, 72)]


TO_SOS = [*TO_ST, IDLE, IDLE, IDLE, LOUD]
"""SOS at 72: close 2, high 2.2, spread 3.4, creek at 1."""
PULL: list[Bar] = [(2, 1.2, 1.4, 900), (1.6, 0.8, 1.2, 900)]
TURN: Bar = (1.9, 1.1, 1.7, 1500)


def test_the_last_point_of_support_completes_the_range() -> None:
    facts = fold(script(*TO_SOS, *PULL, TURN))
    assert kinds(facts)[3:] == [("SOS", 72, 72), ("LPS", 74, 75)]
    last = [f for f in facts if isinstance(f, Range)][-1]
    assert (last.status, last.phase) == ("completed", "E")
    assert [f.phase for f in facts if isinstance(f, Pattern)] == ["D", "D"]


@pytest.mark.parametrize(
    ("change", "supports"),
    [
        ({"low": 0.501}, True),
        ({"low": 0.499}, False),
        ({"volume": 4_000.0}, False),
        ({"low": 1.3, "high": 1.72, "close": 1.5}, True),
    ],
    ids=["creek - 0.5 U", "below", "loud", "shallow"],
)
def test_a_pullback_is_quiet_and_holds_the_creek(change: dict[str, float], supports: bool) -> None:
    found = seen(*TO_SOS, *with_bar(PULL, 1, **change), (1.9, 1.4, 1.8, 1500))
    assert (found[4:] != []) is supports


def test_a_pullback_is_half_a_unit_deep() -> None:
    assert seen(*TO_SOS, (2.1, 1.71, 1.8, 900), (2.2, 1.8, 2.15, 900))[4:] == []
    assert seen(*TO_SOS, (2.1, 1.69, 1.8, 900), (2.2, 1.8, 2.15, 900))[4:] == [("LPS", 73, 74)]


def test_a_range_is_completed_20_bars_after_strength() -> None:
    drift: Bar = (2.2, 0.9, 1.5, 900)
    facts = fold(script(*TO_SOS, *[drift] * 19))
    assert [f.status for f in facts if isinstance(f, Range)][-1] == "open"
    facts = fold(script(*TO_SOS, *[drift] * 20))
    assert [f.status for f in facts if isinstance(f, Range)][-1] == "completed"


@pytest.mark.parametrize(("close", "failed"), [(-7.999, False), (-8.001, True)])
def test_a_range_fails_on_a_close_3_units_below_support(close: float, failed: bool) -> None:
    facts = fold(script(*TO_ST, LOWER, (-3.5, -8.5, close, 900)))
    assert ([f.status for f in facts if isinstance(f, Range)][-1] == "failed") is failed


def test_a_range_expires_after_250_bars() -> None:
    facts = fold(script(*TO_ST, *[IDLE] * 241))
    assert [f.status for f in facts if isinstance(f, Range)][-1] == "open"
    facts = fold(script(*TO_ST, *[IDLE] * 242))
    assert [f.status for f in facts if isinstance(f, Range)][-1] == "expired"


def test_a_climax_while_a_range_is_open_opens_no_other() -> None:
    loud: Bar = (-2.5, -6.5, -5.3, 9000)
    assert [f.opened_ts for f in fold(script(*TO_ST, LOWER, loud)) if isinstance(f, Range)].count(1) == 0
    assert [k for k in seen(*TO_ST, LOWER, loud) if k[0] == "SC"] == [("SC", 60, 60)]


def test_confidence_is_the_weighted_sum_of_the_terms_kept() -> None:
    weights = {kind: dict(shares) for kind, shares in WYCKOFF_1.weights}
    for fact in fold(script(*TO_SPRING, QUIET, HIGHER)):
        if isinstance(fact, Event):
            shares = weights[fact.kind]
            assert {name for name, _ in fact.terms} == shares.keys()
            assert fact.confidence == pytest.approx(sum(shares[n] * v for n, v in fact.terms), abs=1e-12)
            assert 0 < fact.confidence < 1
    assert all(sum(shares.values()) == pytest.approx(1) for shares in weights.values())


def test_the_name_of_a_rule_set_stands_on_every_fact() -> None:
    other = replace(WYCKOFF_1, name="trial-1")
    assert {f.rule_set for f in fold(script(*TO_SPRING), other)} == {"trial-1"}
