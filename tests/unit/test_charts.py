"""What a picture shows and where it puts it: pure decisions, judged without drawing; then the drawing."""

import sys
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from rollotape.charts import content as contents
from rollotape.charts import drawing
from rollotape.charts.content import Bar, Box, Content, Mark, Vsa
from rollotape.charts.layout import (
    BOTTOM,
    LEADER,
    LEFT,
    RIGHT,
    TOP,
    Layout,
    Rect,
    place,
    size,
)
from rollotape.domain.sessions import DAY_US
from rollotape.domain.wyckoff.facts import Event, Fact, Range, Side, Status
from rollotape.errors import Refused

OF = UUID(int=7)


def bars(count: int, seed: int = 1) -> list[Bar]:
    random, close, out = Random(seed), 100.0, []
    for n in range(count):
        opening, close = close, close * (1 + random.gauss(0, 0.015))
        high, low = max(opening, close) * 1.004, min(opening, close) * 0.996
        out.append(Bar(n * DAY_US, opening, high, low, close, random.uniform(100, 900)))
    return out


def event(kind: str, at: int, known: int, side: Side = "accumulation") -> Event:
    return Event(
        "A", "1d", "wyckoff-2", side, OF, kind, at * DAY_US, known * DAY_US, known * DAY_US, 99.0, 0.5, ()
    )


def status(kind: str, at: int, known: int, what: str) -> Status:
    return Status("A", "1d", "wyckoff-2", "accumulation", OF, kind, at * DAY_US, what, known * DAY_US, 0)  # type: ignore[arg-type]


def stand(known: int, what: str, *phases: tuple[str, int], opened: int = 5) -> Range:
    reached = tuple((name, at * DAY_US) for name, at in phases)
    return Range(
        "A", "1d", "wyckoff-2", "accumulation", OF, opened * DAY_US, opened * DAY_US, known * DAY_US, 0,
        what, phases[-1][0], reached, 95.0, 105.0, 0.02,  # type: ignore[arg-type]
    )  # fmt: skip


def crowded(count: int, seed: int = 1) -> Content:
    """As many words as there may be: one on every sixth bar, small ones between."""
    words = ("PS", "SC", "AR", "ST", "SPRING", "TEST", "SOS", "LPS")
    marks = [
        Mark(n, words[n // 6 % 8], words[n // 6 % 8] not in ("AR", "SOS"), "accumulation")
        for n in range(0, count, 6)
    ]
    dots = [Mark(n, "sv", n % 2 == 0, "seed-1") for n in range(3, count, 7)]
    box = Box(count // 4, count // 2, 95, 105, "accumulation", "open", (("A", count // 4), ("B", count // 3)))
    return Content("A 1d", True, bars(count, seed), marks, [box], dots)


# ---- what is shown


def test_only_what_was_known_at_the_last_bar_is_shown() -> None:
    facts: list[Fact] = [event("SC", 6, 8), event("AR", 12, 20)]
    facts += [stand(8, "open", ("A", 8)), stand(20, "open", ("A", 8))]
    late = Vsa("seed-1", "no_demand", "bearish", 14 * DAY_US, 15 * DAY_US)

    shown = contents.content("", bars(15), facts, [late], daily=True)

    assert [(mark.text, mark.at) for mark in shown.marks] == [("SC", 6)]
    assert [(box.last, box.status) for box in shown.boxes] == [(14, "open")]
    assert shown.dots == []


def test_lows_are_named_under_their_bar_and_highs_over_it_on_both_sides() -> None:
    up: Side = "accumulation"
    down: Side = "distribution"
    kinds = ((up, "SC"), (up, "AR"), (down, "BC"), (down, "AR"), (down, "SOW"), (up, "SOS"), (down, "LPSY"))
    facts = [event(kind, 3, 4, side) for side, kind in kinds]

    shown = contents.content("", bars(9), facts, [], daily=True)

    assert [mark.below for mark in shown.marks] == [True, False, False, True, True, False, False]


def test_the_newest_status_that_was_known_counts() -> None:
    facts: list[Fact] = [
        event("SC", 2, 3), event("SC", 5, 6), status("SC", 2, 6, "superseded"),
        event("SPRING", 7, 8), status("SPRING", 7, 30, "test_passed"),
    ]  # fmt: skip

    shown = contents.content("", bars(12), facts, [], daily=True)

    assert [(m.is_gone, m.is_tested) for m in shown.marks] == [(True, False), (False, False), (False, False)]


def test_a_range_begins_with_its_climax_and_ends_when_it_was_over() -> None:
    facts = [stand(9, "open", ("A", 8)), stand(30, "failed", ("A", 8), ("B", 12))]

    [box] = contents.content("", bars(40), facts, [], daily=True).boxes

    assert (box.first, box.last, box.phases) == (5, 30, (("A", 8), ("B", 12)))


def test_a_range_that_was_over_before_the_picture_begins_is_not_in_it() -> None:
    facts = [stand(30, "failed", ("A", 8))]

    assert not contents.content("", bars(60)[31:], facts, [], daily=True).boxes


# ---- where it goes


@pytest.mark.parametrize("count", [60, 120, 250, 500])
@pytest.mark.parametrize("seed", range(5))
def test_no_two_words_overlap_and_none_leaves_the_picture(count: int, seed: int) -> None:
    layout = Layout(crowded(count, seed))

    for word in layout.words:
        assert LEFT <= word.place.left < word.place.right <= layout.width - RIGHT
        assert BOTTOM < word.place.bottom < word.place.top <= layout.height - TOP
    for one, other in combinations(layout.words, 2):
        assert not one.place.overlaps(other.place), (one, other)


@pytest.mark.parametrize("count", [60, 250, 500])
def test_a_word_that_stands_alone_is_off_every_bar_in_its_width(count: int) -> None:
    base = crowded(count)
    for at in (0, 1, count // 2, count - 1):
        for below in (True, False):
            alone = [Mark(at, "SPRING", below, "accumulation")]
            layout = Layout(replace(base, marks=alone, boxes=[], dots=[]))
            [word], frame = layout.words, layout.frame
            for n, bar in enumerate(base.bars):
                body = Rect(frame.x(n) - 0.3, frame.y(bar.low), frame.x(n) + 0.3, frame.y(bar.high))
                assert not word.place.overlaps(body), (at, below, n)


def test_a_word_far_from_its_bar_is_tied_to_it() -> None:
    tape = bars(100)
    deep = replace(tape[52], low=60.0)
    mark = Mark(50, "SPRING", True, "accumulation")
    layout = Layout(Content("", True, [*tape[:52], deep, *tape[53:]], [mark], [], []))

    [word] = layout.words

    assert word.tip == (layout.frame.x(50), layout.frame.y(tape[50].low))
    assert layout.frame.y(tape[50].low) - word.place.top > LEADER


def test_words_do_not_cover_what_was_placed_before() -> None:
    layout = Layout(crowded(60))
    mark = Mark(30, "SC", True, "accumulation")
    [first] = place([mark], layout.content.bars, layout.frame, 1.0)

    [second] = place([mark], layout.content.bars, layout.frame, 1.0, [first.place])

    assert not first.place.overlaps(second.place)
    assert second.place.top < first.place.bottom


def test_small_words_are_smaller() -> None:
    assert size("SPRING", 0.72) < size("SPRING", 1.0)


def test_prices_are_logarithmic_and_every_tick_says_its_own_price() -> None:
    layout = Layout(crowded(250))
    frame = layout.frame

    assert frame.y(100) - frame.y(50) == pytest.approx(frame.y(200) - frame.y(100))
    assert len(layout.prices) >= 4
    for y, text in layout.prices:
        assert frame.price(y) == pytest.approx(float(text))


@pytest.mark.parametrize("scale", [0.0003, 0.07, 1, 40, 9e5])
def test_ticks_are_round_at_every_price_level(scale: float) -> None:
    base = crowded(60)
    tape = [replace(b, open=b.open * scale, high=b.high * scale, low=b.low * scale, close=b.close * scale)
            for b in base.bars]  # fmt: skip
    ticks = Layout(replace(base, bars=tape, boxes=[])).prices

    assert 3 <= len(ticks) <= 25
    assert len({text for _, text in ticks}) == len(ticks)


@pytest.mark.parametrize("count", [1, 2, 60, 500, 2_000])
def test_dates_never_touch(count: int) -> None:
    xs = [x for x, _ in Layout(crowded(count)).dates]

    assert all(b - a >= 90 for a, b in pairwise(xs))
    assert all(LEFT <= x <= 1_200 - RIGHT for x in xs)


def test_a_flat_tape_without_volume_has_a_place_for_everything() -> None:
    flat = [Bar(n * DAY_US, 5.0, 5.0, 5.0, 5.0, 0.0) for n in range(20)]
    layout = Layout(Content("", True, flat, [Mark(3, "SC", True, "accumulation")], [], []))

    assert layout.frame.volume(0.0) == BOTTOM
    assert len(layout.words) == 1


def test_a_phase_without_room_for_its_letter_is_left_out() -> None:
    base = crowded(500)
    box = Box(100, 400, 95, 105, "accumulation", "open", (("A", 100), ("B", 101), ("C", 300)))

    assert [name for name, *_ in Layout(replace(base, boxes=[box])).phases] == ["B", "C"]


def test_of_phases_that_were_reached_before_the_picture_begins_the_last_is_shown() -> None:
    base = crowded(60)
    box = Box(0, 59, 95, 105, "accumulation", "open", (("A", 0), ("B", 0), ("C", 0), ("D", 30)))

    assert [name for name, *_ in Layout(replace(base, boxes=[box])).phases] == ["C", "D"]


def test_a_range_is_cut_where_the_picture_ends() -> None:
    base = crowded(60)
    layout = Layout(replace(base, boxes=[Box(0, 59, 1.0, 9_000.0, "accumulation", "open", (("A", 0),))]))

    outline = layout.outline(layout.content.boxes[0])

    assert 0 < outline.bottom < outline.top < layout.height - TOP


# ---- drawing


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG\r\n"), (".svg", b"<?xml")])
def test_equal_layouts_give_equal_files(tmp_path: Path, suffix: str, magic: bytes) -> None:
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"

    for path in (one, other):
        drawing.draw(Layout(crowded(60)), path)

    assert one.read_bytes().startswith(magic)
    assert one.read_bytes() == other.read_bytes()


def test_other_suffixes_are_refused() -> None:
    with pytest.raises(Refused, match=r"ends in \.png or \.svg"):
        drawing.check(Path("chart.pdf"))


def test_a_missing_library_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(Refused, match=r"pip install 'rollotape\[charts\]'"):
        drawing.check(Path("chart.png"))
