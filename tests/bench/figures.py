"""Named numbers: collected, kept in one flat JSON file, and printed as a table."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, its name in the file, what it says, and between which values the repetitions lay."""

    name: str
    value: float
    meaning: str
    least: float | None = None
    most: float | None = None

    @classmethod
    def middle(cls, name: str, values: Iterable[float], meaning: str) -> Self:
        """The median of repetitions."""
        found = list(values)
        return cls(name, median(found), meaning, min(found), max(found))

    @property
    def span(self) -> str:
        if self.least is None or self.most is None or self.least == self.most:
            return ""
        return f"{shown(self.least)} to {shown(self.most)}"


def merge(path: Path, bench: str, figures: Iterable[Figure]) -> None:
    """Put the figures of one bench in the place of its earlier ones; every other name stays.

    The order of names is fixed, so that two files can be compared line by line.
    """
    known: Mapping[str, float] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    others = {name: value for name, value in known.items() if not name.startswith(f"{bench}.")}
    merged = others | {figure.name: round(figure.value, 4) for figure in figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dict(sorted(merged.items())), indent=2)
    path.write_text(f"{text}\n", "utf-8")


def table(title: str, figures: Iterable[Figure]) -> Table:
    made = Table(title=title, title_justify="left")
    made.add_column("name", no_wrap=True)
    made.add_column("median", justify="right", no_wrap=True)
    made.add_column("least to most", no_wrap=True)
    made.add_column("what it says")
    for figure in figures:
        made.add_row(figure.name, shown(figure.value), figure.span, figure.meaning)
    return made


def shown(value: float) -> str:
    """Three digits that count, or every digit before the point.

    >>> shown(41234.5), shown(0.61234), shown(21.0)
    ('41,234', '0.612', '21.0')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"
