"""Active patterns as a table that fits its terminal, and shows what has moved since the last look."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

Item = Mapping[str, Any]
COLOURS = {"accumulation": "green", "distribution": "red"}
GAP = 2


class Column(NamedTuple):
    head: str
    cell: Callable[[Item], str]
    right: bool = False
    goes: int = 0
    """Where there is no room the column with the greatest goes first; 0 stays."""


def _text(name: str) -> Callable[[Item], str]:
    return lambda item: str(item[name] or "-")


def _short(name: str) -> Callable[[Item], str]:
    return lambda item: str(item["display"][name])


def _excess(item: Item) -> str:
    return _signed(item["rs_excess"])


def _change(item: Item) -> str:
    return _signed(item["change_pct"], "%")


def _signed(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:+z.1f}{unit}"


def _tested(item: Item) -> str:
    return {None: "-", True: "yes", False: "no"}[item["test_confirmed"]]


COLUMNS = (
    Column("symbol", lambda item: f"{item['symbol']}{' *' if item['is_sector_leader'] else ''}"),
    Column("", _text("timeframe")),
    Column("pattern", _text("pattern_type")),
    Column("side", _text("side"), goes=3),
    Column("ph", _text("phase"), goes=8),
    Column("conf", _short("conf"), right=True),
    Column("price", _short("price"), right=True),
    Column("chg", _change, right=True),
    Column("rs", _short("rs"), right=True, goes=4),
    Column("excess", _excess, right=True, goes=2),
    Column("vol", _short("vol"), right=True, goes=5),
    Column("test", _tested, goes=7),
    Column("sector", _text("sector"), goes=1),
    Column("since", _short("time")),
    Column("until", _short("exp"), goes=9),
)


@dataclass(slots=True)
class Seen:
    """What was there at the last looks, by id: only what changes while somebody watches is marked."""

    looks: int = 0
    prices: dict[str, float | None] = field(default_factory=dict)
    new_at: dict[str, int] = field(default_factory=dict)
    moved: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """When, and whether up."""

    def look(self, items: Sequence[Item]) -> None:
        self.looks += 1
        for item in items:
            name, price = item["id"], item["price"]
            if name not in self.prices and self.looks > 1:
                self.new_at[name] = self.looks
            before = self.prices.get(name)
            if before is not None and price is not None and price != before:
                self.moved[name] = self.looks, price > before
            self.prices[name] = price

    def is_new(self, item: Item, looks: int = 10) -> bool:
        return self.looks - self.new_at.get(item["id"], -looks) < looks

    def colour(self, item: Item, looks: int = 3) -> str:
        """Of the price."""
        when, up = self.moved.get(item["id"], (-looks, True))
        return "" if self.looks - when >= looks else "bold green" if up else "bold red"


def table(items: Sequence[Item], width: int, seen: Seen | None = None, title: Text | None = None) -> Table:
    """As many columns as there is room for; `*` is a leader of its sector, a new pattern is in bold."""
    seen = seen or Seen()
    made = Table(
        title=title, title_justify="left", title_style="", box=None, pad_edge=False, padding=(0, GAP, 0, 0)
    )  # fmt: skip
    columns = fitting(items, width)
    for column in columns:
        made.add_column(
            column.head, header_style="dim", justify="right" if column.right else "left", no_wrap=True
        )
    for item in items:
        made.add_row(*(_styled(c, item, seen) for c in columns), style="bold" if seen.is_new(item) else "")
    return made


def fitting(items: Sequence[Item], width: int) -> list[Column]:
    """The columns that these items fill within a width; what is unknown of all of them is left out first."""
    chosen = [c for c in COLUMNS if not c.goes or not items or any(c.cell(i) != "-" for i in items)]
    while (last := max(chosen, key=lambda c: c.goes)).goes and _width(chosen, items) > width:
        chosen.remove(last)
    return chosen


def _width(columns: Sequence[Column], items: Sequence[Item]) -> int:
    widest = (max([cell_len(c.head), *(cell_len(c.cell(i)) for i in items)]) for c in columns)
    return sum(widest) + GAP * (len(columns) - 1)


def _styled(column: Column, item: Item, seen: Seen) -> Text:
    cell = column.cell(item)
    if column.head in ("pattern", "side"):
        return Text(cell, COLOURS.get(item["side"], ""))
    if column.head == "price":
        return Text(cell, seen.colour(item))
    if column.head in ("chg", "excess"):
        return Text(cell, {"+": "green", "-": "red"}.get(cell[0], "") if len(cell) > 1 else "")
    return Text(cell)


def line(item: Item) -> str:
    """One pattern as a line of a log."""
    star = "leader" if item["is_sector_leader"] else ""
    words = (
        f"{item['symbol']:<6}", f"{item['timeframe']:<3}", f"{item['pattern_type']:<10}",
        f"{item['side'] or '-':<12}", f"{item['display']['conf']:>4}", f"{item['display']['price']:>9}",
        f"{item['sector'] or ''} {star}".strip(),
    )  # fmt: skip
    return "  ".join(words).rstrip()
