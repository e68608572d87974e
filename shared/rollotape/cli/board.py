"""What a demonstration shows: how far it is, what was found, what is forming, who leads, and what to try."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rollotape.cli import setups
from rollotape.cli.up import Say
from rollotape.postgres.overview import Overview, Range
from rollotape.producers.feed import Progress

PLAIN_EVERY_S = 5.0
WIDE = 118
"""From here on two tables stand side by side."""
LEAST, MOST = 3, 8
"""Rows of a table."""
BLOCK_LINES = 3
"""Of a table beside its rows: its heading, its heads and a blank line."""


@dataclass(slots=True)
class Picture:
    """What is known at one moment."""

    progress: Progress
    seen: Overview | None = None
    bars_per_second: float = 0.0
    leaders: list[Any] = field(default_factory=list)
    """Of all sectors, the strongest first."""
    patterns: list[Any] = field(default_factory=list)
    """The newest first."""
    active: int = 0
    trouble: str = ""


class View(Protocol):
    """Shows how it goes."""

    def show(self, picture: Picture) -> None: ...


class Screen(Live):
    """A picture that is drawn again and again in one place."""

    def __init__(self, console: Console, hints: Sequence[str]) -> None:
        super().__init__(console=console, auto_refresh=False, transient=True)
        self._hints = hints
        self._seen = setups.Seen()

    def show(self, picture: Picture) -> None:
        self._seen.look(picture.patterns)
        self.update(board(picture, self._hints, self.console.size, self._seen), refresh=True)


class Lines:
    """A line every few seconds, and one for each of some new things, for files and pipes."""

    def __init__(self, say: Say, hints: Sequence[str]) -> None:
        self._say = say
        self._hints = hints
        self._said_at = 0.0
        self._told: set[object] = set()

    def __enter__(self) -> "Lines":
        for hint in self._hints:
            self._say(hint)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, picture: Picture) -> None:
        if time.monotonic() - self._said_at < PLAIN_EVERY_S:
            return
        self._said_at = time.monotonic()
        self._say(f"{status(picture)}, {picture.active:,} active patterns")
        leaders = tuple(leader["symbol"] for leader in picture.leaders[:5])
        if leaders and leaders not in self._told:
            self._say(f"  leading: {', '.join(leaders)}")
        ranges = picture.seen.ranges if picture.seen else ()
        patterns = [p for p in picture.patterns if p["id"] not in self._told][:3]
        moved = [r for r in ranges if r not in self._told][:3]
        for pattern in reversed(patterns):
            self._say(f"  pattern  {setups.line(pattern)}")
        for one in reversed(moved):
            self._say(f"  range    {line(one)}")
        self._told = {leaders, *(p["id"] for p in picture.patterns), *ranges}


def board(picture: Picture, hints: Sequence[str], size: tuple[int, int], seen: setups.Seen) -> RenderableType:
    """Everything at once, as much as fits the terminal."""
    width, height = size
    side_by_side = width >= WIDE
    each, hints, with_leaders = _measures(height, hints, side_by_side)
    found = setups.table(picture.patterns[:each], width, seen)
    ranges = picture.seen.ranges if picture.seen else ()
    heading = f"Newest of {picture.active:,} active patterns" if picture.active else "Patterns"
    patterns = _headed(heading, found, picture.patterns)
    leaders = _headed(
        "Leaders of their sectors (the month against SPY)",
        leaders_table(picture.leaders[:each]),
        picture.leaders,
    )
    top = Text(status(picture), "bold", no_wrap=True, overflow="ellipsis")
    blocks: list[RenderableType] = [top, patterns]
    forming = _headed(phases(ranges), ranges_table(ranges[:each]), ranges)
    if side_by_side:
        both = Table.grid(padding=(0, 4, 0, 0))
        both.add_row(forming, leaders)
        blocks.append(both)
    else:
        blocks += [forming, leaders] if with_leaders else [forming]
    tries = [Text(hint, "dim", no_wrap=True, overflow="ellipsis") for hint in hints]
    if picture.trouble:
        tries[-1] = Text(picture.trouble, "yellow", no_wrap=True, overflow="ellipsis")
    return Group(*(part for block in blocks for part in (block, "")), *tries)


def _measures(height: int, hints: Sequence[str], side_by_side: bool) -> tuple[int, Sequence[str], bool]:
    """Rows of each table, hints, and whether there is room for leaders below the ranges."""
    for tries, blocks in ((hints, 3), ([hints[0], hints[2], hints[-1]], 3), (hints[-1:], 2)):
        stacked = 2 if side_by_side else blocks
        each = (height - 3 - len(tries)) // stacked - BLOCK_LINES
        if each >= LEAST:
            break
    return max(1, min(MOST, each)), tries, blocks == 3


def _headed(heading: str, table: Table, rows: object) -> Group:
    return Group(Text(heading, "bold cyan"), table if rows else Text("none yet", "dim"))


def leaders_table(leaders: Sequence[Any]) -> Table:
    table = _plain("symbol", "sector", "excess", "rating")
    for leader in leaders:
        excess, rating = leader["rs_score"], leader["rating"]
        table.add_row(
            leader["symbol"],
            leader["sector"],
            Text(f"{excess:+.1f}", "red" if excess < 0 else "green"),
            "-" if rating is None else str(rating),
        )
    return table


def phases(ranges: Sequence[Range]) -> str:
    """A heading: how many ranges are in which phase."""
    counts = Counter(one.phase for one in ranges)
    told = ", ".join(f"{counts[phase]} in {phase}" for phase in sorted(counts))
    return f"Ranges that are forming: {told}" if told else "Ranges that are forming"


def ranges_table(ranges: Sequence[Range]) -> Table:
    table = _plain("symbol", "", "side", "ph", "last", "support", "resistance")
    for one in ranges:
        side = Text(one.side, setups.COLOURS[one.side])
        levels = (_level(one.support), _level(one.resistance))
        table.add_row(one.symbol, one.timeframe, side, one.phase, one.kind or "-", *levels)
    return table


def _level(price: float | None) -> str:
    return "-" if price is None else f"{price:,.2f}"


def _plain(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, setups.GAP, 0, 0))
    for head in heads:
        right = head in ("excess", "rating", "support", "resistance")
        table.add_column(head, header_style="dim", justify="right" if right else "left", no_wrap=True)
    return table


def status(picture: Picture) -> str:
    """Where simulated time is, and how much there is of everything."""
    progress, seen = picture.progress, picture.seen
    if progress.until:
        pace = "live" if progress.live else "accelerated"
        when = f"{progress.until:%Y-%m-%d %H:%M} UTC ({pace})"
    else:
        when = "sending three years of days"
    if seen is None:
        return f"Simulated market, {when}"
    return (
        f"Simulated market, {when}: {seen.bars:,} bars stored, {picture.bars_per_second:,.0f}/s,"
        f" {seen.events:,} events"
    )


def line(one: Range) -> str:
    """A range as a line of a log."""
    levels = f"{_level(one.support)} to {_level(one.resistance)}"
    words = (f"{one.symbol:<6}", f"{one.timeframe:<3}", f"phase {one.phase}", f"{one.kind or '-':<6}")
    return "  ".join((*words, f"{one.side:<12}", levels))
