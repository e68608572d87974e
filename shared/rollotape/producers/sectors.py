"""Sectors from a CSV file: what can be kept, and in words why the rest cannot."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rollotape.domain import sectors as known
from rollotape.domain.bars import symbol_is_valid
from rollotape.domain.sectors import Listing
from rollotape.errors import Refused
from rollotape.producers import cells
from rollotape.producers.texts import text_of

EXPECTED = "symbol,name,sector,industry"
DELIMITERS = (",", ";", "\t")
KINDS = ("stock", "etf", "benchmark")

_SYNONYMS = {
    "symbol": "symbol|ticker",
    "name": "name|security|company|company name",
    "sector": "sector|gics sector",
    "industry": "industry|sub industry|gics sub industry|sub-industry|gics sub-industry",
    "kind": "kind",
}
_FIELDS = {name: field for field, names in _SYNONYMS.items() for name in names.split("|")}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that cannot be kept."""

    line: int
    symbol: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.symbol or '(no symbol)'}: {self.reason}"


@dataclass(slots=True)
class SectorFile:
    """Rows of a file: each is a repetition, kept or refused."""

    rows: int = 0
    kept: list[Listing] = field(default_factory=list)
    repeated: int = 0
    refused: list[Refusal] = field(default_factory=list)


def read(path: Path) -> SectorFile:
    """Read a CSV file, plain or gzipped; its first line names the columns.

    Raises:
        Refused: the file cannot be read, or its header cannot be understood.
    """
    with text_of(path) as text:
        return _read(text)


def _read(text: str) -> SectorFile:
    found = SectorFile()
    lines: dict[str, tuple[int, Listing]] = {}
    for line, row in _rows(text):
        found.rows += 1
        listing = _listing(row)
        if isinstance(listing, str):
            found.refused.append(Refusal(line, cells.symbol(row.get("symbol", ""))[:40], listing))
            continue
        first, said = lines.setdefault(listing.symbol, (line, listing))
        if first == line:
            found.kept.append(listing)
        elif said == listing:
            found.repeated += 1
        else:
            found.refused.append(Refusal(line, listing.symbol, f"line {first} says something else"))
    return found


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and cells, by what they mean, of every row that says anything."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=lambda d: len({_FIELDS.get(name) for name in _names(header, d)}))
    meanings = [_FIELDS.get(name) for name in _names(header, delimiter)]
    _check(header, meanings)
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


def _check(header: str, meanings: list[str | None]) -> None:
    shown = repr(header if len(header) <= 80 else f"{header[:77]}...")
    if twice := sorted({m for m in meanings if m and meanings.count(m) > 1}):
        raise Refused(f"two columns could be the {twice[0]}: {shown}")
    if missing := [name for name in ("symbol", "sector") if name not in meanings]:
        raise Refused(f"the first line must name the columns, like {EXPECTED}; {' and '.join(missing)} "
                      f"is not in {shown}")  # fmt: skip


def _listing(row: dict[str, str]) -> Listing | str:
    """The row as it is kept, or a sentence why it cannot be."""
    symbol, kind = cells.symbol(row.get("symbol", "")), row.get("kind", "").lower() or None
    if not symbol_is_valid(symbol):
        return "a symbol has 1 to 20 characters A-Z 0-9 . - ^ /"
    if kind is not None and kind not in KINDS:
        return f"the kind {kind[:40]!r} is none of {', '.join(KINDS)}"
    if symbol in known.BENCHMARKS and kind == "stock":
        return "it is a benchmark, and those are never stocks"
    said = row.get("sector", "")
    sector = known.sector(said)
    if sector is None and not (said == "" and (kind in ("etf", "benchmark") or symbol in known.BENCHMARKS)):
        which = f"{said[:60]!r} is no sector" if said else "it has no sector"
        return f"{which}; sectors are {', '.join(known.SECTORS)}"
    return Listing(symbol, row.get("name") or None, sector, row.get("industry") or None, kind)
