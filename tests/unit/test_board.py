"""What a demonstration and a scan look like, in terminals of every size."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from rollotape.cli import setups
from rollotape.cli.board import Lines, Picture, board
from rollotape.postgres.overview import Overview, Range
from rollotape.producers.feed import Progress

NOON = datetime(2026, 3, 4, 17, 0, tzinfo=UTC)
HINTS = ["Nothing here is real.", "Try:", "  rollo scan --watch", "  curl 1", "  curl 2", "or open; Ctrl-C"]


def item(name: str = "a", **changed: Any) -> dict[str, Any]:
    """A pattern as the gateway shows it."""
    display = {"conf": "78%", "rs": "1.02", "vol": "1.8x", "price": "121.99", "time": "03-04 17:00",
               "exp": "04-01 17:00", "chg": "+1.2%"}  # fmt: skip
    said = {"id": name, "symbol": "ALDR", "timeframe": "15m", "pattern_type": "BREAKOUT", "phase": None,
            "side": "accumulation", "confidence": 0.78, "price": 121.99, "change_pct": 1.21,
            "rs_excess": 2.04, "test_confirmed": False, "sector": "Information Technology",
            "is_sector_leader": True}  # fmt: skip
    return said | {"display": display} | changed


def forming(number: int) -> Range:
    return Range("FERN", "15m", "distribution", "ABCD"[number % 4], 1_200.5, 1_240.25 + number, "UTAD")


def picture(rows: int = 10) -> Picture:
    leader = {"symbol": "ALDR", "sector": "Information Technology", "rs_score": 12.34, "rating": None}
    return Picture(
        Progress(bars=1, until=NOON),
        Overview(1_234_567, 890, tuple(map(forming, range(rows)))),
        bars_per_second=395.4,
        leaders=[leader] * rows,
        patterns=[item(str(n)) for n in range(rows)],
        active=31,
    )


def drawn(what: Any, width: int, height: int = 50) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO())
    with console.capture() as capture:
        console.print(what)
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (118, 24), (130, 42), (200, 60)], ids=str)
def test_a_board_fits_its_terminal_and_ends_with_how_to_stop(size: tuple[int, int]) -> None:
    lines = drawn(board(picture(), HINTS, size, setups.Seen()), *size)
    text = "\n".join(lines)
    assert len(lines) < size[1]
    assert "ALDR *" in text
    assert "UTAD" in text
    assert "3 in A, 3 in B, 2 in C, 2 in D" in text
    assert "Simulated market, 2026-03-04 17:00 UTC (accelerated)" in lines[0]
    assert "Ctrl-C" in lines[-1]


def test_a_roomy_terminal_is_used() -> None:
    text = "\n".join(drawn(board(picture(), HINTS, (130, 42), setups.Seen()), 130))
    assert all(hint in text for hint in HINTS)
    assert text.count("FERN") == text.count("+12.3") == 8
    assert "FERN    15m  distribution  A   UTAD  1,200.50    1,240.25" in text
    assert "1,234,567 bars stored, 395/s, 890 events" in text
    assert "Newest of 31 active patterns" in text


def test_before_there_is_anything_a_board_says_so() -> None:
    text = "\n".join(drawn(board(Picture(Progress()), HINTS, (130, 42), setups.Seen()), 130))
    assert "sending three years of days" in text
    assert text.count("none yet") == 3


def test_trouble_is_shown_where_the_eye_is() -> None:
    seen = picture()
    seen.trouble = "the gateway cannot be asked (connection refused)"
    assert drawn(board(seen, HINTS, (130, 42), setups.Seen()), 130)[-1] == seen.trouble


def test_lines_for_a_file_say_a_thing_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollotape.cli.board.PLAIN_EVERY_S", 0.0)
    said: list[str] = []
    lines = Lines(said.append, HINTS)
    with lines:
        lines.show(picture(2))
        lines.show(picture(2))
    assert said[: len(HINTS)] == HINTS
    assert len([s for s in said if s.startswith("Simulated market")]) == 2
    assert len([s for s in said if s.startswith("  leading: ALDR")]) == 1
    assert len([s for s in said if s.startswith("  pattern  ALDR")]) == 2
    assert said.count("  range    FERN    15m  phase B  UTAD    distribution  1,200.50 to 1,241.25") == 1
    assert len([s for s in said if s.startswith("  range    FERN")]) == 2


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_a_table_leaves_out_columns_rather_than_cut_them(width: int) -> None:
    lines = drawn(setups.table([item(), item("b", sector=None, side=None, price=None)], width), width)
    assert all(len(line) <= width for line in lines)
    assert "…" not in "".join(lines)
    assert all(word in lines[1] for word in ("ALDR *", "15m", "BREAKOUT", "78%", "121.99"))
    assert ("Information Technology" in lines[1]) == (width >= 80)


def test_columns_that_nobody_fills_are_left_out() -> None:
    heads = [column.head for column in setups.fitting([item()], 300)]
    assert "ph" not in heads
    assert "ph" in [column.head for column in setups.fitting([item(phase="C")], 300)]


def test_what_came_or_moved_while_one_watches_is_marked_for_a_while() -> None:
    seen = setups.Seen()
    seen.look([item("a"), item("b")])
    assert not seen.is_new(item("a"))
    seen.look([item("a", price=122.5), item("b", price=120.0), item("c")])
    assert (seen.is_new(item("a")), seen.is_new(item("c"))) == (False, True)
    assert [seen.colour(item(n)) for n in "abc"] == ["bold green", "bold red", ""]
    for _ in range(10):
        seen.look([item("a", price=122.5), item("b", price=120.0), item("c")])
    assert not seen.is_new(item("c"))
    assert seen.colour(item("a")) == ""


def test_nothing_is_neither_plus_nor_minus() -> None:
    row = drawn(setups.table([item(change_pct=-0.01, rs_excess=None)], 200), 200)[1]
    assert "+0.0%" in row
    assert "-0.0" not in row
