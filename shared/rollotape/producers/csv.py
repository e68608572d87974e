"""Bars from CSV files in blocks: columns of well-formed rows, and single bars as they stand where not.

Nothing is repaired and nothing is dropped. A value that is no number stays the text that it is, so that
the stream refuses it by the same rules as everybody else's.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import orjson

from rollotape.domain.bars import NUMBERS, timeframe
from rollotape.errors import Refused
from rollotape.producers import cells
from rollotape.producers.frames import MAX_SYMBOL, Bars

EXPECTED = "symbol,date,open,high,low,close,volume"
DELIMITERS = (",", ";", "\t")
BLOCK_CHARACTERS = 1 << 20
REMEMBERED = 200_000
DAY_S = 86_400

_SYNONYMS = {
    "symbol": "symbol ticker sym instrument",
    "ts": "ts t date timestamp time datetime date/time",
    "open": "open o",
    "high": "high h",
    "low": "low l",
    "close": "close c",
    "volume": "volume v vol",
    "revision": "revision",
    "timeframe": "timeframe",
}
_FIELDS = {name: field for field, names in _SYNONYMS.items() for name in names.split()}
_REQUIRED = ("symbol", "ts", *NUMBERS)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Lines = tuple[int, list[str], int]
"""Number of the first line, whole lines, bytes of the file read so far."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the file itself does not say; None where nothing was said."""

    timeframe: str | None = None
    revision: int | None = None
    symbol: str | None = None
    timezone: tzinfo | None = None
    thousands: str | None = None
    """One of `cells.THOUSANDS`; without it a dot is a decimal point, and nothing separates thousands."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file keeps what, and the names of the columns that are not read."""

    delimiter: str
    at: dict[str, int]
    width: int
    ignored: list[str]


@dataclass(frozen=True, slots=True)
class Odd:
    """A row that fits no frame, because a value has the wrong type; the payload says it as it stands."""

    line: int
    symbol: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Columns:
    """Well-formed rows of one timeframe, each with its line and its second since 1970."""

    bars: Bars
    lines: list[int]
    seconds: list[float]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Numbers of a file that may mean something else; the first of them, and what to say if they do."""

    path: Path
    line: int
    number: str
    says: str
    remedy: str


@dataclass(slots=True)
class Block:
    """Some rows of a file; `position` counts the bytes of the file read so far."""

    rows: int
    position: int
    first_line: int
    texts: list[str]
    columns: list[Columns] = field(default_factory=list)
    odd: list[Odd] = field(default_factory=list)

    def text(self, line: int) -> str:
        """The row as it stands in the file."""
        return self.texts[line - self.first_line]


class CsvFile:
    """One CSV file, plain or gzipped, and how it was understood."""

    def __init__(self, path: Path, options: Options) -> None:
        """Reads as far as the header.

        Raises:
            Refused: the file cannot be read or its header cannot be understood.
        """
        self.path = path
        self.options = options
        self._lines = _lines(path)
        with _naming(path):
            self.size = path.stat().st_size
            self.layout, self._rest = self._header()
        self._marks = _Marks(self.layout)

    @property
    def doubts(self) -> list[Doubt]:
        """What the rows read so far suggest; nothing where the options say what dot and comma mean."""
        return [] if self.options.thousands is not None else list(self._marks.doubts(self.path))

    def blocks(self) -> Iterator[Block]:
        """The rows in the order of the file, about a megabyte of text at a time, once.

        Raises:
            Refused: the file is damaged, or no date at its beginning can be read or is that of a bar.
        """
        parser = _Parser(self.layout, self.options, self._marks)
        begun = False
        with _naming(self.path):
            for lines in self._all():
                block = parser.block(*lines)
                if block.rows and not begun:
                    parser.require_dates(block)
                    parser.require_days(block)
                    begun = True
                yield block

    def _all(self) -> Iterator[Lines]:
        yield self._rest
        yield from self._lines

    def _header(self) -> tuple[Layout, Lines]:
        for first_line, texts, position in self._lines:
            for i, text in enumerate(texts):
                if text.strip():
                    layout = sniff(text, symbol=self.options.symbol)
                    _refuse_contradictions(layout, self.options)
                    return layout, (first_line + i + 1, texts[i + 1 :], position)
        raise Refused(f"the file is empty; its first line must name the columns, like {EXPECTED}")


def sniff(header: str, *, symbol: str | None = None) -> Layout:
    """Delimiter and columns, told from the header line.

    Raises:
        Refused: a column is missing or ambiguous; the message shows what is expected.
    """
    delimiter = max(DELIMITERS, key=lambda d: len({_FIELDS.get(name) for name in _names(header, d)}))
    names = _names(header, delimiter)
    at: dict[str, int] = {}
    for i, name in enumerate(names):
        meaning = _FIELDS.get(name)
        if meaning in at:
            what = "time" if meaning == "ts" else meaning
            raise Refused(f"two columns of the header could be the {what}: {names[at[meaning]]} and {name}")
        if meaning is not None:
            at[meaning] = i
    if symbol is not None:
        if "symbol" in at:
            raise Refused("the file has a column of symbols: leave --symbol out")
        at["symbol"] = -1
    if missing := [f for f in _REQUIRED if f not in at]:
        raise Refused(_missing(header, missing))
    return Layout(delimiter, at, len(names), [name for name in names if name and name not in _FIELDS])


def _names(header: str, delimiter: str) -> list[str]:
    return [" ".join(name.lower().replace("_", " ").split()) for name in _split(header, delimiter)]


def _missing(header: str, missing: list[str]) -> str:
    shown = repr(header if len(header) <= 80 else f"{header[:77]}...")
    if len(missing) >= len(_REQUIRED) - 1:
        return f"the first line must name the columns, like {EXPECTED}; it is {shown}"
    names = ", ".join("date or timestamp" if name == "ts" else name for name in missing)
    hint = " (or give --symbol)" if missing == ["symbol"] else ""
    return f"the header lacks {names}{hint}; expected are columns like {EXPECTED}, found {shown}"


def _refuse_contradictions(layout: Layout, options: Options) -> None:
    for name in ("timeframe", "revision"):
        if name in layout.at and getattr(options, name) is not None:
            raise Refused(f"the file has a column {name}: leave --{name} out")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with it, and say damage in words."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Refused(f"{path}: the gzip file is damaged or cut off: {error}") from error
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except Refused as error:
        raise Refused(f"{path}: {error}") from error


def _lines(path: Path) -> Iterator[Lines]:
    """Bytes that are no UTF-8 become \\xNN, which no symbol and no number has, so their row is refused."""
    with path.open("rb") as raw:
        start = raw.peek(2)[:2]
        if start in (b"\xff\xfe", b"\xfe\xff"):
            raise Refused("the file is UTF-16; save it as UTF-8")
        source = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if start == b"\x1f\x8b" else raw
        line, rest = 1, ""
        with io.TextIOWrapper(source, "utf-8-sig", errors="backslashreplace") as text:
            while part := text.read(BLOCK_CHARACTERS):
                *texts, rest = (rest + part).split("\n")
                if len(rest) > BLOCK_CHARACTERS:
                    raise Refused(f"line {line + len(texts)} has more than a million characters: no CSV file")
                yield line, texts, raw.tell()
                line += len(texts)
            if rest:
                yield line, [rest], raw.tell()


class Rows:
    """Rows of a file whose lines come from elsewhere, as from one that still grows."""

    def __init__(self, header: str, options: Options) -> None:
        """
        Raises:
            Refused: the header cannot be understood.
        """
        self.layout = sniff(header, symbol=options.symbol)
        _refuse_contradictions(self.layout, options)
        self._parser = _Parser(self.layout, options, _Marks(self.layout))
        self._begun = False

    def block(self, first_line: int, texts: list[str]) -> Block:
        """
        Raises:
            Refused: no date at the beginning can be read or is that of a bar.
        """
        block = self._parser.block(first_line, texts, 0)
        if block.rows and not self._begun:
            self._parser.require_dates(block)
            self._parser.require_days(block)
            self._begun = True
        return block


def _split(text: str, delimiter: str) -> list[str]:
    """One line is one row: a forgotten quote costs its own line and not the rest of the file."""
    if '"' not in text:
        return text.split(delimiter)
    return next(csv.reader([text], delimiter=delimiter), [])


class _Parser:
    """Lines into columns; remembers symbols and dates, because files repeat them."""

    def __init__(self, layout: Layout, options: Options, marks: "_Marks") -> None:
        self._layout = layout
        self._options = options
        self._marks = marks
        self._symbols: dict[str, str] = {}
        self._moments: dict[tuple[str, bool], cells.Moment | str] = {}

    def block(self, first_line: int, texts: list[str], position: int) -> Block:
        lines, rows, surplus = self._rows(first_line, texts)
        block = Block(len(rows), position, first_line, texts)
        if rows:
            self._marks.look(lines, rows)
            table = self._table(rows)
            odd = _odd_rows(table) | surplus.keys()
            at = self._layout.at["ts"]
            block.odd = [_odd(table, i, lines[i], rows[i][at], surplus.get(i)) for i in sorted(odd)]
            for i in odd:
                self._marks.look_at_odd(lines[i], rows[i])
            block.columns = list(_columns(table, lines, odd))
        return block

    def require_dates(self, block: Block) -> None:
        """Refuse a file whose beginning has no readable date: it has another format, not mistakes."""
        if not block.columns and all(isinstance(m, str) for m in self._moments.values()):
            (cell, _), why = next(iter(self._moments.items()))
            line = next(i for i, text in enumerate(block.texts, block.first_line) if cell in text)
            raise Refused(f"line {line}: {why}")

    def require_days(self, block: Block) -> None:
        """Refuse a file that is taken for daily bars, as nothing says otherwise, and begins with none."""
        if self._options.timeframe is not None or "timeframe" in self._layout.at:
            return
        seconds = [second for columns in block.columns for second in columns.seconds]
        if seconds and all(second % DAY_S for second in seconds):
            columns = block.columns[0]
            raise Refused(
                f"line {columns.lines[0]}: {columns.bars.ts[0]} has a time of day, and bars are taken for"
                " daily ones unless --timeframe names another, like --timeframe 1m; a daily bar has its date"
                " alone"
            )

    def _rows(
        self, first_line: int, texts: list[str]
    ) -> tuple[list[int], list[list[str]], dict[int, list[str]]]:
        """Line numbers and cells of the rows that say anything, and what stands beyond the last column."""
        delimiter, width = self._layout.delimiter, self._layout.width
        nothing = f"{delimiter} \t"
        lines: list[int] = []
        rows: list[list[str]] = []
        surplus: dict[int, list[str]] = {}
        for line, text in enumerate(texts, first_line):
            if not text.strip(nothing):
                continue
            row = _split(text, delimiter)
            if len(row) != width:
                if any(cell.strip() for cell in row[width:]):
                    surplus[len(rows)] = row[width:]
                row = row[:width] + [""] * (width - len(row))
            lines.append(line)
            rows.append(row)
        return lines, rows, surplus

    def _table(self, rows: list[list[str]]) -> dict[str, Sequence[Any]]:
        """Columns by field name, in the order of a payload; a value of the wrong type is a str."""
        columns = list(zip(*rows, strict=True))
        at, options, count = self._layout.at, self._options, len(rows)
        symbols: Sequence[str] = [options.symbol or ""] * count
        if options.symbol is None:
            symbols = _looked_up(columns[at["symbol"]], self._symbols, cells.symbol)
        timeframes: Sequence[str] = [options.timeframe or "1d"] * count
        if "timeframe" in at:
            timeframes = _looked_up(columns[at["timeframe"]], {}, _timeframe)
        revisions: Sequence[Any] = [options.revision or 0] * count
        if "revision" in at:
            revisions = [cells.revision(cell) for cell in columns[at["revision"]]]
        return {
            "symbol": symbols,
            "timeframe": timeframes,
            "ts": self._when(columns[at["ts"]], timeframes),
            **{name: cells.numbers(columns[at[name]], options.thousands) for name in NUMBERS},
            "revision": revisions,
        }

    def _when(self, texts: Sequence[str], timeframes: Sequence[str]) -> list[cells.Moment | str]:
        intraday = {name: _intraday(name) for name in set(timeframes)}
        keys = [(text, intraday[name]) for text, name in zip(texts, timeframes, strict=True)]
        return _looked_up(
            keys,
            self._moments,
            lambda key: cells.moment(key[0], intraday=key[1], timezone=self._options.timezone),
        )


class _Marks:
    """Looks for volumes like 51.600, until one with a dot cannot mean thousands by it, and for 49,74."""

    def __init__(self, layout: Layout) -> None:
        self.dot: tuple[int, str] | None = None
        self.comma: tuple[int, str] | None = None
        self._volume = layout.at["volume"]
        self._numbers = [layout.at[name] for name in NUMBERS]
        self._decided = False

    def look(self, lines: list[int], rows: list[list[str]]) -> None:
        if self._decided:
            return
        for line, row in zip(lines, rows, strict=True):
            if "." not in row[self._volume]:
                continue
            volume = row[self._volume].strip()
            if not cells.may_be_thousands(volume):
                self.dot, self._decided = None, True
                return
            if self.dot is None and volume.count(".") == 1:  # others are refused, which is loud enough
                self.dot = line, volume

    def look_at_odd(self, line: int, row: list[str]) -> None:
        if self.comma is None:
            found = (row[at].strip() for at in self._numbers if cells.has_comma(row[at].strip()))
            self.comma = next(((line, number) for number in found), None)

    def doubts(self, path: Path) -> Iterator[Doubt]:
        where = "{} ({} line {:,})"
        if self.dot is not None:
            line, number = self.dot
            shown, other = where.format(number, path.name, line), number.replace(".", ",")
            says = f"volumes are like {shown} and read with decimals, not as {other}"
            remedy = "if the dot separates thousands, import again with --thousands . --revision 1"
            yield Doubt(path, line, number, says, remedy)
        if self.comma is not None:
            line, number = self.comma
            says = f"some are like {where.format(number, path.name, line)} and refused"
            remedy = (
                "say --thousands . where a comma begins decimals, --thousands , where it separates thousands"
            )
            yield Doubt(path, line, number, says, remedy)


def _looked_up(keys: Sequence[Key], known: dict[Key, Value], find: Callable[[Key], Value]) -> list[Value]:
    """`find` of each key, asked once per key; `known` is what was found before."""
    if len(known) > REMEMBERED:
        known.clear()
    for key in dict.fromkeys(keys):
        if key not in known:
            known[key] = find(key)
    return [known[key] for key in keys]


def _timeframe(cell: str) -> str:
    text = cell.strip()
    known = timeframe(text)
    return known.name if known else text


def _intraday(name: str) -> bool:
    known = timeframe(name)
    return known is not None and known.intraday


def _odd_rows(table: dict[str, Sequence[Any]]) -> set[int]:
    """Rows with a value of the wrong type, a timeframe that there is not, or an endless symbol."""
    odd: set[int] = set()
    for name in ("ts", *NUMBERS, "revision"):
        if str in set(map(type, table[name])):
            odd.update(i for i, value in enumerate(table[name]) if isinstance(value, str))
    odd |= _where(table["timeframe"], {name for name in set(table["timeframe"]) if not timeframe(name)})
    odd |= _where(table["symbol"], {s for s in set(table["symbol"]) if len(s) > MAX_SYMBOL})
    return odd


def _where(column: Sequence[str], wrong: set[str]) -> set[int]:
    return {i for i, value in enumerate(column) if value in wrong} if wrong else set()


def _odd(table: dict[str, Sequence[Any]], i: int, line: int, when: str, surplus: list[str] | None) -> Odd:
    bar: dict[str, Any] = {"version": 1, **{name: column[i] for name, column in table.items()}}
    if isinstance(bar["ts"], str):
        [bar["ts"]] = cells.numbers([when.strip()])  # a number in quotes could be taken for an instant
    else:
        bar["ts"] = bar["ts"][0]
    if surplus is not None:
        bar["surplus"] = surplus  # no field of a bar, so it is refused: its other values may be shifted
    return Odd(line, bar["symbol"], orjson.dumps(bar))


def _columns(table: dict[str, Sequence[Any]], lines: list[int], odd: set[int]) -> Iterator[Columns]:
    """The rows that are not odd, one set of columns per timeframe."""
    names = sorted(set(table["timeframe"]))
    for name in names:
        rows: Iterable[int] = range(len(lines))
        if odd or len(names) > 1:
            rows = [i for i, of in enumerate(table["timeframe"]) if of == name and i not in odd]
        chosen = {field: [column[i] for i in rows] for field, column in table.items()}
        if chosen["ts"]:
            when = chosen.pop("ts")
            chosen["ts"] = [text for text, _ in when]
            del chosen["timeframe"]
            yield Columns(Bars(timeframe=name, **chosen), [lines[i] for i in rows], [s for _, s in when])
