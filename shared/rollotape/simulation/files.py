"""A market as files: bars that `rollo import` takes, labels, and what the market was made of."""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from rollotape.domain import bars as domain
from rollotape.errors import Refused
from rollotape.simulation.scoring import Detection
from rollotape.simulation.series import (
    ACCUMULATION,
    DISTRIBUTION,
    EVENT_FREE,
    MIRROR,
    SCHEMATIC,
    Label,
    Series,
)

BARS, LABELS, MARKET = "bars.csv", "labels.csv", "market.json"
_BARS = ("symbol", "timeframe", "ts", *domain.NUMBERS)
_LABELS = ("symbol", "timeframe", "side", "kind", "event_ts", "schematic", "variant")
_DETECTIONS = ("symbol", "timeframe", "side", "kind", "event_ts", "confirmed_ts")
_KINDS = {ACCUMULATION: set(MIRROR), DISTRIBUTION: set(MIRROR.values())}
_NO_LONGER = ("superseded", "expired", "retracted")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, str]


def write(
    folder: Path, market: Iterable[Series], made_of: dict[str, Any], progress: Callable[[int], None]
) -> dict[str, Any]:
    """Write the three files; answers what market.json says. `progress` hears how many series are done.

    Raises:
        Refused: the folder holds a bars.csv that is none of ours.
    """
    if (folder / BARS).exists() and not (folder / MARKET).exists():
        raise Refused(f"{folder / BARS} was not written by `rollo simulate`: name another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, str] = {}
    with (
        (folder / BARS).open("w", encoding="utf-8", newline="") as bars,
        (folder / LABELS).open("w", encoding="utf-8", newline="") as labels,
    ):
        bars.write(",".join(_BARS) + "\n")
        labels.write(",".join(_LABELS) + "\n")
        count = marked = 0
        for series in market:
            _write_bars(bars, series)
            _write_labels(labels, series)
            kinds[series.symbol] = series.kind
            count += len(series)
            marked += len(series.labels)
            progress(len(kinds))
    told = {**made_of, "bars": count, "labels": marked, "series": kinds}
    (folder / MARKET).write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
    return told


def _write_bars(file: IO[str], series: Series) -> None:
    head = f"{series.symbol},{series.timeframe},"
    prices = [map(repr, getattr(series, name).tolist()) for name in domain.NUMBERS[:-1]]
    volumes = map(str, series.volume.astype(np.int64).tolist())
    times = map(text_of, series.ts.tolist())
    file.writelines(f"{head}{','.join(row)}\n" for row in zip(times, *prices, volumes, strict=True))


def _write_labels(file: IO[str], series: Series) -> None:
    for one in series.labels:
        told = (one.symbol, one.timeframe, one.side, one.kind, text_of(one.event_us), one.schematic)
        file.write(",".join((*told, one.variant)) + "\n")


@lru_cache(maxsize=1 << 16)
def text_of(us: int) -> str:
    """RFC 3339 in UTC."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=1 << 16)
def us_of(text: str) -> int:
    """Microseconds since 1970 of an ISO date or instant; without a zone it is UTC.

    Raises:
        ValueError: it is neither.
    """
    when = datetime.fromisoformat(text.strip())
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (when - _EPOCH) // timedelta(microseconds=1)


def read(folder: Path) -> list[Series]:
    """A market as it was written.

    Raises:
        Refused: a file is missing or is not what `rollo simulate` writes.
    """
    told = _json(folder / MARKET)
    labels: dict[str, list[Label]] = defaultdict(list)
    for _, row in _rows(folder / LABELS, _LABELS):
        told_us = us_of(row["event_ts"])
        labels[row["symbol"]].append(
            Label(row["symbol"], row["timeframe"], row["side"], row["kind"], told_us, row["schematic"],
                  row["variant"])
        )  # fmt: skip
    columns: dict[str, list[Row]] = defaultdict(list)
    for _, row in _rows(folder / BARS, _BARS):
        columns[row["symbol"]].append(row)
    kinds = told["series"]
    return [_series(s, kinds.get(s, SCHEMATIC), rows, labels[s]) for s, rows in columns.items()]


def _series(symbol: str, kind: str, rows: list[Row], labels: list[Label]) -> Series:
    ts = np.array([us_of(row["ts"]) for row in rows], np.int64)
    numbers = {name: np.array([float(row[name]) for row in rows]) for name in domain.NUMBERS}
    return Series(symbol, rows[0]["timeframe"], kind, ts, labels=tuple(labels), **numbers)


@dataclass(frozen=True, slots=True)
class Detections:
    """What a file says, by symbol; `elsewhere` counts rows of symbols or timeframes that the market lacks."""

    of: dict[str, list[Detection]]
    rows: int
    elsewhere: int
    rule_set: str | None


def detections(path: Path, market: Iterable[Series], rule_set: str | None = None) -> Detections:
    """Detections from a CSV like `rollo export wyckoff_events` writes.

    Rows with a status (where there is such a column) that says that they hold no longer are left out.

    Raises:
        Refused: a column is missing, a value is none of those that there are, or the file has several rule
            sets and none was chosen.
    """
    known = {(series.symbol, series.timeframe): set(series.ts.tolist()) for series in market}
    found: dict[str, list[Detection]] = defaultdict(list)
    rule_sets: set[str] = set()
    rows = elsewhere = 0
    for line, row in _rows(path, _DETECTIONS):
        if rule_set is not None and row.get("rule_set") != rule_set:
            continue
        rows += 1
        if (bars := known.get((row["symbol"], row["timeframe"]))) is None:
            elsewhere += 1
            continue
        rule_sets.add(row.get("rule_set") or "")
        if row.get("status") not in _NO_LONGER:
            with _line(path, line):
                found[row["symbol"]].append(_detection(row, bars))
    if len(rule_sets) > 1:
        names = ", ".join(sorted(rule_sets))
        raise Refused(f"{path} has several rule sets: choose one of {names} with --rule-set")
    return Detections(found, rows, elsewhere, next(iter(rule_sets), None) or None)


def _detection(row: Row, bars: set[int]) -> Detection:
    side, kind = row["side"], row["kind"]
    if side not in _KINDS:
        raise ValueError(f"side {side!r} is neither {ACCUMULATION} nor {DISTRIBUTION}")
    if kind not in _KINDS[side]:
        raise ValueError(f"kind {kind!r} is none of {' '.join(sorted(_KINDS[side]))}")
    times = [us_of(row["event_ts"]), us_of(row["confirmed_ts"])]
    for us in times:
        if us not in bars:
            raise ValueError(
                f"{row['symbol']} has no bar at {text_of(us)}; were these detections made of this market?"
            )
    return Detection(side, kind, *times)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    """Line numbers and rows of a CSV file with at least these columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise Refused(f"{path} has no column {', '.join(missing)}: it needs {','.join(columns)}")
            for row in reader:
                yield reader.line_num, row
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{path} is no CSV file in UTF-8") from None


@contextmanager
def _line(path: Path, line: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Refused(f"{path}, line {line}: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        told = orjson.loads(path.read_bytes())
    except OSError:
        how = f"`rollo simulate --out {path.parent}` makes one"
        raise Refused(f"{path.parent} holds no {path.name}: {how}") from None
    except orjson.JSONDecodeError as error:
        raise Refused(f"{path} is damaged: {error}") from None
    if not isinstance(told, dict) or not isinstance(told.get("series"), dict):
        raise Refused(f"{path} is not what `rollo simulate` writes")
    unknown = set(told["series"].values()) - {SCHEMATIC, *EVENT_FREE}
    if unknown:
        raise Refused(f"{path} has series of unknown kinds: {', '.join(map(str, sorted(unknown)))}")
    return told
