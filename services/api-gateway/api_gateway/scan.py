"""A scan answered from memory: where a page begins, and its bytes. Nothing here waits for a server."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from api_gateway import responses
from rollotape.cache.reader import Snapshot
from rollotape.domain.scan import Filters, Indices, Table, Words
from rollotape.facts import instant

COLUMNS = (
    "id", "symbol", "pattern_type", "timeframe", "side", "phase", "confidence", "price", "change_pct",
    "rs_ratio", "rs_excess", "vol_ratio", "rsi", "sector", "is_sector_leader", "entry", "stop",
    "target_1", "target_2", "planned_r", "test_confirmed",
    *(f"vsa_{kind}" for kind in ("no_demand", "no_supply", "stopping_volume")),
    *(f"vsa_classic_{kind}" for kind in ("no_demand", "no_supply", "stopping_volume")),
    "detected_at", "confirmed_at", "expires_at", "source", "rule_set",
)  # fmt: skip
_COLUMN_OF = {"rs": "rs_ratio", "volume": "vol_ratio"}
_KEPT_PAGES = 512

Position = tuple[float | int | str | None, str]
"""(what a scan is sorted by, id) of the last pattern of a page."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a scan asks for; two that are equal have the same answer at one version of the model."""

    filters: Filters
    sort_by: str
    descending: bool
    display: bool
    form: responses.Form
    first: int
    """Patterns to skip, counted from `after`."""
    count: int
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Ready bytes of the patterns on a page, and what leads on from it."""

    patterns: bytes
    total: int
    """Of the whole filter."""
    last: Position | None
    """Where the next page begins; None on the last one."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What names the patterns that are active: the model's version, and which of them is next to expire."""

    epoch: str
    version: int
    next_expiry_us: int | None

    @classmethod
    def of(cls, snapshot: Snapshot, now_us: int) -> "Moment":
        later = snapshot.table.expires_at[snapshot.table.expires_at > now_us]
        return cls(snapshot.epoch, snapshot.version, int(later.min()) if len(later) else None)


class Pages:
    """Pages that were asked for lately, by moment and question: what has changed is never found again."""

    def __init__(self, most: int = _KEPT_PAGES) -> None:
        self._pages: OrderedDict[bytes, Page] = OrderedDict()
        self._most = most

    def find(self, key: bytes) -> Page | None:
        if page := self._pages.get(key):
            self._pages.move_to_end(key)
        return page

    def keep(self, key: bytes, page: Page) -> None:
        self._pages[key] = page
        if len(self._pages) > self._most:
            self._pages.popitem(last=False)


def now_us() -> int:
    return time.time_ns() // 1_000


def page(snapshot: Snapshot, asked: Question, now: int) -> Page:
    """The patterns of one page."""
    chosen = snapshot.select(asked.filters, asked.sort_by, descending=asked.descending, now_us=now)
    begin = (_passed(snapshot.table, chosen, asked) if asked.after else 0) + asked.first
    shown = chosen[begin : begin + asked.count]
    items = snapshot.items(shown)
    more = begin + asked.count < len(chosen) and len(shown) > 0
    last = _position(snapshot.table, int(shown[-1]), asked.sort_by) if more else None
    return Page(_bytes(items, asked), len(chosen), last)


def _column(table: Table, sort_by: str) -> Any:
    return getattr(table, _COLUMN_OF.get(sort_by, sort_by))


def _position(table: Table, row: int, sort_by: str) -> Position:
    column, pattern_id = _column(table, sort_by), table.ids[row].decode()
    if isinstance(column, Words):
        return column.names[column.codes[row]], pattern_id
    value = column[row].item()
    return (None if value != value else value), pattern_id


def _passed(table: Table, chosen: Indices, asked: Question) -> int:
    """How many of the chosen come before the end of the last page, whether or not that is still there."""
    assert asked.after is not None
    value, pattern_id = asked.after
    column = _column(table, asked.sort_by)
    values = np.array(column.names)[column.codes[chosen]] if isinstance(column, Words) else column[chosen]
    of_before = table.ids[chosen] <= pattern_id.encode()
    if values.dtype.kind == "f":
        unknown = np.isnan(values)
        if value is None:
            return int(np.count_nonzero(~unknown | of_before))
    before = values > value if asked.descending else values < value
    return int(np.count_nonzero(before | ((values == value) & of_before)))


def _bytes(items: list[bytes], asked: Question) -> bytes:
    if asked.form == "csv":
        return responses.table(COLUMNS, (_cells(orjson.loads(item)) for item in items))
    if asked.display:
        items = [_displayed(item) for item in items]
    return b",".join(items)


def _cells(item: dict[str, Any]) -> list[Any]:
    flat = item | {f"target_{n}": t for n, t in enumerate(item["targets"] or (), 1)}
    for prefix, counts in (("vsa_", item["vsa_events"]), ("vsa_classic_", item["vsa_events_classic"])):
        flat |= {prefix + kind: count for kind, count in (counts or {}).items()}
    return [flat.get(name) for name in COLUMNS]


def _displayed(item: bytes) -> bytes:
    """The item with short strings beside its numbers, for terminals and tables."""
    said = orjson.loads(item)
    return orjson.dumps(said | {"display": display(said)})


def display(said: dict[str, Any]) -> dict[str, str]:
    """Short strings; what is unknown is a dash."""
    return {
        "conf": f"{said['confidence'] * 100:.0f}%",
        "rs": _short(said["rs_ratio"], ".2f"),
        "vol": _short(said["vol_ratio"], ".1f", "x"),
        "price": _short(said["price"], ".2f"),
        "chg": _short(said["change_pct"], "+.1f", "%"),
        "time": said["detected_at"][5:16].replace("T", " "),
        "exp": said["expires_at"][5:16].replace("T", " "),
    }


def _short(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def body(page: Page, pagination: dict[str, Any], snapshot: Snapshot, *, cached: bool, took_s: float) -> bytes:
    """The whole answer as JSON."""
    tail = responses.dumps(
        {
            "pagination": pagination,
            "cache_info": {"cached": cached, "query_time_ms": round(took_s * 1_000, 3)},
            "as_of": instant(snapshot.as_of_us),
            "stale": snapshot.stale,
        }
    )
    return b'{"patterns":[' + page.patterns + b"]," + tail[1:]
