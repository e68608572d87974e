"""Members of a universe, or where symbols are listed, from a CSV file; and in words what cannot be kept."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rollotape.domain.bars import symbol_is_valid
from rollotape.errors import Refused
from rollotape.producers import cells
from rollotape.producers.sectors import DELIMITERS, Refusal
from rollotape.producers.texts import text_of

_FIELDS = {
    "symbol": "symbol",
    "ticker": "symbol",
    "exchange": "exchange",
    "market": "exchange",
    "primary exchange": "exchange",
    "listing exchange": "exchange",
}
_EXCHANGE = re.compile(r"[A-Z0-9][A-Z0-9 ._-]{0,29}")


@dataclass(slots=True)
class ListFile:
    """Rows of a file: each is a repetition, kept or refused."""

    rows: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    """Exchange by symbol; empty text where only symbols were asked for."""
    repeated: int = 0
    refused: list[Refusal] = field(default_factory=list)


def read(path: Path, *, exchanges: bool = False) -> ListFile:
    """Read a CSV file, plain or gzipped; its first line names the columns.

    Raises:
        Refused: the file cannot be read, or its header cannot be understood.
    """
    with text_of(path) as text:
        return _read(text, exchanges)


def _read(text: str, exchanges: bool) -> ListFile:
    found = ListFile()
    lines: dict[str, int] = {}
    for line, row in _rows(text, ("symbol", "exchange") if exchanges else ("symbol",)):
        found.rows += 1
        symbol = cells.symbol(row.get("symbol", ""))
        exchange = " ".join(row.get("exchange", "").upper().split()) if exchanges else ""
        if not symbol_is_valid(symbol):
            reason = "a symbol has 1 to 20 characters A-Z 0-9 . - ^ /"
        elif exchanges and not _EXCHANGE.fullmatch(exchange):
            reason = f"{exchange[:40]!r} is no exchange: 1 to 30 characters A-Z 0-9 . - _ and spaces"
        elif found.kept.setdefault(symbol, exchange) != exchange:
            reason = f"line {lines[symbol]} says {found.kept[symbol]}"
        else:
            found.repeated += symbol in lines
            lines.setdefault(symbol, line)
            continue
        found.refused.append(Refusal(line, symbol[:40], reason))
    return found


def _rows(text: str, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and cells, by what they mean, of every row that says anything."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=lambda d: len({_FIELDS.get(name) for name in _names(header, d)}))
    meanings = [_FIELDS.get(name) for name in _names(header, delimiter)]
    _check(header, meanings, needed)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    headed = False
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if headed:
            yield reader.line_num, {m: cell.strip() for m, cell in zip(meanings, row, strict=False) if m}
        headed = True


def _names(header: str, delimiter: str) -> list[str]:
    row = next(csv.reader([header], delimiter=delimiter), [])
    return [" ".join(name.lower().replace("_", " ").split()) for name in row]


def _check(header: str, meanings: list[str | None], needed: tuple[str, ...]) -> None:
    shown = repr(header if len(header) <= 80 else f"{header[:77]}...")
    if twice := [name for name in needed if meanings.count(name) > 1]:
        raise Refused(f"two columns could be the {twice[0]}: {shown}")
    if missing := [name for name in needed if name not in meanings]:
        raise Refused(
            f"the first line must name the columns, like {','.join(needed)}; "
            f"{' and '.join(missing)} is not in {shown}"
        )
