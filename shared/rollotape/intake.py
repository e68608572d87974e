"""From the bytes of stream entries to valid bars and refusals that name every field and reason."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from typing import Annotated, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from rollotape.domain import bars as domain
from rollotape.domain.bars import Candidates, Rows
from rollotape.domain.sessions import Sessions
from rollotape.errors import Fault
from rollotape.events import BAR_ENTRY, MAX_FRAME_BARS, MAX_PAYLOAD_BYTES, Bar, BarFrame, Frame, Instant
from rollotape.wording import must, shown

Key = tuple[str, str]
"""(symbol, timeframe)"""

_COLUMNS = tuple(Frame.model_fields)


class Message(NamedTuple):
    """The payload of one stream entry and when it arrived."""

    payload: bytes | None
    arrived_ms: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """One bar, or one whole entry, that can never be applied.

    `entry` is the index of its message; `row` counts from 1 within a frame and is 0 for a whole entry;
    `payload` are the bytes that would bring it again.
    """

    entry: int
    row: int
    faults: list[Fault]
    payload: bytes


@dataclass(slots=True)
class Intake:
    """Valid bars of a batch: row i belongs to `keys[key[i]]`."""

    keys: list[Key]
    key: NDArray[np.int64]
    rows: Rows
    refused: list[Refusal]
    running: int
    """Bars that are not final: for live viewers, never stored."""


@dataclass(slots=True)
class _Columns:
    """Bars of one timeframe while a batch is being read: lists, because that is what grows cheaply."""

    symbol: list[str] = field(default_factory=list)
    ts: list[float] = field(default_factory=list)
    open: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    low: list[float | None] = field(default_factory=list)
    close: list[float | None] = field(default_factory=list)
    volume: list[float | None] = field(default_factory=list)
    revision: list[int] = field(default_factory=list)
    synthetic: list[bool] = field(default_factory=list)
    arrived_ms: list[int] = field(default_factory=list)
    origin: list[tuple[int, int]] = field(default_factory=list)

    def add(self, bar: Bar, arrived_ms: int, origin: tuple[int, int]) -> None:
        self.symbol.append(bar.symbol)
        self.ts.append(bar.ts.timestamp())
        self.open.append(bar.open)
        self.high.append(bar.high)
        self.low.append(bar.low)
        self.close.append(bar.close)
        self.volume.append(bar.volume)
        self.revision.append(bar.revision)
        self.synthetic.append(bar.synthetic)
        self.arrived_ms.append(arrived_ms)
        self.origin.append(origin)

    def extend(self, frame: Frame, arrived_ms: int, entry: int) -> None:
        count = len(frame.symbol)
        self.symbol += frame.symbol
        self.ts += [t.timestamp() for t in frame.ts]
        for name in domain.NUMBERS:
            getattr(self, name).extend(getattr(frame, name))
        self.revision += frame.revision or [0] * count
        self.synthetic += frame.synthetic or [False] * count
        self.arrived_ms += [arrived_ms] * count
        self.origin += [(entry, row) for row in range(1, count + 1)]

    def candidates(self, timeframe: str) -> Candidates:
        numbers = {name: getattr(self, name) for name in domain.NUMBERS}
        return domain.candidates(
            timeframe, self.symbol, self.ts, numbers, self.revision, self.synthetic, self.arrived_ms
        )


def read(messages: Sequence[Message], sessions: Callable[[], Sessions]) -> Intake:
    """Parse and judge every message; a bad one never costs its neighbours."""
    columns: dict[str, _Columns] = {}
    refused: list[Refusal] = []
    running = 0
    for entry in _quick(messages, columns):
        message = messages[entry]
        try:
            parsed = _parse(message.payload)
        except ValidationError:
            parsed = None
        if isinstance(parsed, Bar):
            if parsed.final:
                columns.setdefault(parsed.timeframe, _Columns()).add(parsed, message.arrived_ms, (entry, 0))
            else:
                running += 1
        elif parsed is not None and not _shape_faults(parsed.frame):
            columns.setdefault(parsed.timeframe, _Columns()).extend(parsed.frame, message.arrived_ms, entry)
        else:
            _rescue(entry, message, columns, refused, sessions)
    return _judge(messages, columns, refused, running, sessions)


def refusals(payload: bytes, arrived_ms: int, sessions: Callable[[], Sessions]) -> list[Fault]:
    """Every reason for which a stream would refuse this payload of one bar; empty when it is welcome."""
    return [f for r in read([Message(payload, arrived_ms)], sessions).refused for f in r.faults]


def _parse(payload: bytes | None) -> Bar | BarFrame | None:
    if payload is None or len(payload) > MAX_PAYLOAD_BYTES:
        return None
    return BAR_ENTRY.validate_json(payload)


def _judge(
    messages: Sequence[Message],
    columns: dict[str, _Columns],
    refused: list[Refusal],
    running: int,
    sessions: Callable[[], Sessions],
) -> Intake:
    keys: dict[Key, int] = {}
    key: list[int] = []
    parts: list[Rows] = []
    for timeframe, lists in columns.items():
        bars = lists.candidates(timeframe)
        good = domain.valid(bars, sessions())
        if not good.all():
            for i in np.flatnonzero(~good).tolist():
                entry, row = lists.origin[i]
                payload = _payload(bars.row(i)) if row else messages[entry].payload or b""
                refused.append(Refusal(entry, row, domain.faults(bars.row(i), sessions()), payload))
            bars = bars.only(good)
        if len(bars):
            parts.append(domain.complete(bars, sessions()))
            key += [keys.setdefault((s, timeframe), len(keys)) for s in bars.symbols]
    return Intake(list(keys), np.array(key, np.int64), domain.concatenate(parts), refused, running)


def _payload(candidate: Candidates) -> bytes:
    """One row of a frame as the bytes that would bring it alone; null stands for what was no number."""
    bar = candidate.bars[0]
    values = {name: bar[name].item() for name in (*domain.NUMBERS, "revision", "synthetic")}
    when = f"{np.datetime64(bar['ts'].item(), 'us')}Z"  # as text: it may lie beyond Python's last year
    said = {"version": 1, "symbol": candidate.symbols[0], "timeframe": candidate.timeframe, "ts": when}
    return orjson.dumps(said | values)


# The quick way: entries that look like every other, decoded once and checked by the column.

_BAR_FIELDS = frozenset(Bar.model_fields)
_BAR_NEEDS = frozenset(name for name, f in Bar.model_fields.items() if f.is_required())
_FRAME_FIELDS = frozenset(BarFrame.model_fields)
_FRAME_NEEDS = frozenset(name for name, f in Frame.model_fields.items() if f.is_required())
_NUMBER, _NUMBER_OR_NONE = frozenset({float, int}), frozenset({float, int, type(None)})
_TYPES: dict[str, Set[type]] = {
    "version": {int}, "symbol": {str}, "timeframe": {str}, "ts": {str},
    **dict.fromkeys(domain.NUMBERS, _NUMBER),
    "revision": {int}, "synthetic": {bool}, "final": {bool},
}  # fmt: skip
_WHEN: TypeAdapter[datetime] = TypeAdapter(Instant)


def _quick(messages: Sequence[Message], columns: dict[str, _Columns]) -> Iterable[int]:
    """Take every entry that is sound beyond doubt; return those that are left for the contracts to judge.

    The contracts say the same of these, and take four times as long.
    """
    everything = range(len(messages))
    try:
        decoded = [orjson.loads(message.payload or b"") for message in messages]
    except ValueError:
        return everything
    if any(len(message.payload or b"") > MAX_PAYLOAD_BYTES for message in messages):
        return everything
    shapes: dict[tuple[str, ...], list[int]] = {}
    left: list[int] = []
    for entry, said in enumerate(decoded):
        if type(said) is dict:
            shapes.setdefault(tuple(said), []).append(entry)
        else:
            left.append(entry)
    for shape, entries in shapes.items():
        left += _quick_shape(shape, entries, decoded, messages, columns)
    return left


def _quick_shape(
    shape: tuple[str, ...],
    entries: list[int],
    decoded: list[dict[str, Any]],
    messages: Sequence[Message],
    columns: dict[str, _Columns],
) -> list[int]:
    fields = frozenset(shape)
    if _BAR_NEEDS <= fields <= _BAR_FIELDS:
        table = dict(zip(shape, zip(*[decoded[i].values() for i in entries], strict=True), strict=True))
        arrived = [messages[i].arrived_ms for i in entries]
        return [] if _quick_bars(table, entries, arrived, columns) else entries
    if fields == _FRAME_FIELDS:
        return [i for i in entries if not _quick_frame(decoded[i], i, messages[i].arrived_ms, columns)]
    return entries


def _quick_bars(
    table: Mapping[str, Sequence[Any]], entries: list[int], arrived: list[int], columns: dict[str, _Columns]
) -> bool:
    count = len(entries)
    if any(not set(map(type, values)) <= _TYPES[name] for name, values in table.items()):
        return False
    [timeframe, *others] = set(table["timeframe"])
    seconds = [_seconds(text) for text in table["ts"]]
    revision = table.get("revision") or [0] * count
    if others or None in seconds or set(table.get("version", (1,))) != {1} or False in table.get("final", ()):
        return False
    if min(revision) < 0 or max(revision) >= 2**63:
        return False
    bars = columns.setdefault(timeframe, _Columns())
    bars.symbol += table["symbol"]
    bars.ts += seconds  # type: ignore[arg-type]
    for name in domain.NUMBERS:
        getattr(bars, name).extend(table[name])
    bars.revision += revision
    bars.synthetic += table.get("synthetic") or [False] * count
    bars.arrived_ms += arrived
    bars.origin += [(entry, 0) for entry in entries]
    return True


def _quick_frame(said: dict[str, Any], entry: int, arrived_ms: int, columns: dict[str, _Columns]) -> bool:
    frame, timeframe = said["frame"], said["timeframe"]
    if said["version"] != 1 or type(said["version"]) is not int or type(timeframe) is not str:
        return False
    if type(frame) is not dict or not _FRAME_NEEDS <= frame.keys() <= set(_COLUMNS):
        return False
    if any(type(values) is not list for values in frame.values()) or _shape_faults(frame):
        return False
    for name, values in frame.items():
        allowed = _NUMBER_OR_NONE if name in domain.NUMBERS else _TYPES[name]
        if not set(map(type, values)) <= allowed:
            return False
    seconds = [_seconds(text) for text in frame["ts"]]
    count = len(seconds)
    revision = frame.get("revision") or [0] * count
    if None in seconds or min(revision) < 0 or max(revision) >= 2**63:
        return False
    bars = columns.setdefault(timeframe, _Columns())
    bars.symbol += frame["symbol"]
    bars.ts += seconds  # type: ignore[arg-type]
    for name in domain.NUMBERS:
        getattr(bars, name).extend(frame[name])
    bars.revision += revision
    bars.synthetic += frame.get("synthetic") or [False] * count
    bars.arrived_ms += [arrived_ms] * count
    bars.origin += [(entry, row) for row in range(1, count + 1)]
    return True


@lru_cache(maxsize=65_536)
def _seconds(text: str) -> float | None:
    """An instant as the contracts read it; bars of many symbols share theirs. None: for them to refuse."""
    try:
        return _WHEN.validate_python(text).timestamp()
    except ValidationError:
        return None


# The slow way: something is wrong with an entry, and every reason is to be named.


def _rescue(
    entry: int,
    message: Message,
    columns: dict[str, _Columns],
    refused: list[Refusal],
    sessions: Callable[[], Sessions],
) -> None:
    payload = message.payload
    if payload is None:
        refused.append(Refusal(entry, 0, [Fault("json", "the entry has no field named json")], b""))
        return
    decoded, faults = _decode(payload)
    frame = decoded.get("frame") if decoded is not None else None
    if decoded is None:
        refused.append(Refusal(entry, 0, faults, payload))
    elif frame is None:
        refused.append(Refusal(entry, 0, _bar_faults(decoded, message.arrived_ms, sessions()), payload))
    elif faults := _frame_faults(decoded):
        refused.append(Refusal(entry, 0, faults, payload))
    else:
        _rescue_rows(entry, message, decoded, columns, refused, sessions())


def _decode(payload: bytes) -> tuple[dict[str, Any] | None, list[Fault]]:
    if len(payload) > MAX_PAYLOAD_BYTES:
        return None, [Fault("json", f"{len(payload)} bytes, at most {MAX_PAYLOAD_BYTES}")]
    try:
        decoded = from_json(payload)
    except ValueError as error:
        return None, [Fault("json", f"not JSON: {error}")]
    if not isinstance(decoded, dict):
        return None, [Fault("json", f"must be one object, got {shown(decoded)}")]
    return decoded, []


def _bar_faults(decoded: dict[str, Any], arrived_ms: int, sessions: Sessions) -> list[Fault]:
    """Faults of shape, then every rule about values that its well-formed fields break."""
    values, shape = _sound(decoded)
    wrong = {f.field for f in shape}
    about_values = domain.faults(_alone(values, arrived_ms), sessions)
    unsaid = {"ts"} if "ts" not in values else set()
    return shape + [f for f in about_values if f.field not in wrong | unsaid]


def _sound(decoded: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The fields that are what the contract says, each judged alone, and what is wrong with the others."""
    values: dict[str, Any] = {}
    found = [
        Fault(_printable(name[:60]), "is not a field of a bar")
        for name in decoded.keys() - Bar.model_fields.keys()
    ]
    for name, about in Bar.model_fields.items():
        if name not in decoded:
            found += [Fault(name, "is missing")] if about.is_required() else []
            continue
        try:
            values[name] = _field(name).validate_json(_dumps(decoded[name]))
        except ValidationError as error:
            said = must(error.errors(include_url=False)[0])
            found.append(Fault(name, f"{said}, got {shown(decoded[name])}"))
    return values, sorted(found)


@cache
def _field(name: str) -> TypeAdapter[Any]:
    about = Bar.model_fields[name]
    kind: Any = Annotated[about.annotation, about]
    return TypeAdapter(kind, config=ConfigDict(strict=True))


def _dumps(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="constants")


def _alone(values: dict[str, Any], arrived_ms: int) -> Candidates:
    """One bar of what there is: a missing number is NaN, a missing name or time one that breaks no rule."""
    numbers = {name: [values.get(name)] for name in domain.NUMBERS}
    seconds = values["ts"].timestamp() if "ts" in values else 0.0
    timeframe, symbol = values.get("timeframe", "1m"), values.get("symbol", "A")
    return domain.candidates(timeframe, [symbol], [seconds], numbers, [0], [False], [arrived_ms])


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _frame_faults(decoded: dict[str, Any]) -> list[Fault]:
    """Faults of a frame as a whole: without columns of one length there are no rows to judge."""
    found = []
    if decoded.get("version", 1) != 1:
        found.append(Fault("version", f"must be 1, got {shown(decoded['version'])}"))
    if not isinstance(decoded.get("timeframe"), str):
        found.append(Fault("timeframe", "must be a string"))
    frame = decoded["frame"]
    if not isinstance(frame, dict):
        return [*found, Fault("frame", f"must be an object of columns, got {shown(frame)}")]
    unknown = decoded.keys() - BarFrame.model_fields.keys()
    found += [Fault(_printable(name[:60]), "is not a field of a frame") for name in sorted(unknown)]
    unknown = frame.keys() - set(_COLUMNS)
    found += [Fault(f"frame.{_printable(name[:60])}", "is not a column") for name in sorted(unknown)]
    needed = [c for c in _COLUMNS if frame.get(c) is not None or c not in ("revision", "synthetic")]
    found += [Fault(f"frame.{c}", "must be a list") for c in needed if not isinstance(frame.get(c), list)]
    return found or _shape_faults(frame)


def _shape_faults(frame: Frame | dict[str, Any]) -> list[Fault]:
    columns = frame if isinstance(frame, dict) else dict(frame)
    lengths = {c: len(values) for c, values in columns.items() if values is not None}
    count = lengths["symbol"]
    if not 1 <= count <= MAX_FRAME_BARS:
        return [Fault("frame", f"must hold 1 to {MAX_FRAME_BARS} bars, got {count}")]
    return [
        Fault(f"frame.{c}", f"must have one value per bar: {count}, got {n}")
        for c, n in lengths.items()
        if n != count
    ]


def _rescue_rows(
    entry: int,
    message: Message,
    decoded: dict[str, Any],
    columns: dict[str, _Columns],
    refused: list[Refusal],
    sessions: Sessions,
) -> None:
    """A value of the wrong type in a frame refuses its row, not the frame."""
    frame: dict[str, Sequence[Any]] = {c: v for c, v in decoded["frame"].items() if v is not None}
    names = list(frame)
    for row, values in enumerate(zip(*frame.values(), strict=True), start=1):
        alone = {"version": 1, "timeframe": decoded["timeframe"], **dict(zip(names, values, strict=True))}
        payload = _dumps(alone)
        try:
            bar = Bar.model_validate_json(payload)
        except ValidationError:
            refused.append(Refusal(entry, row, _bar_faults(alone, message.arrived_ms, sessions), payload))
        else:
            columns.setdefault(bar.timeframe, _Columns()).add(bar, message.arrived_ms, (entry, row))
