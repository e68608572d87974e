"""A scan answered from memory: where a page begins, and its bytes. Nothing here waits for a server."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import orjson

from api_gateway import cursors, packing, responses
from rollotape.cache.reader import Snapshot
from rollotape.domain.scan import Filters, Indices, Table, Words
from rollotape.facts import instant
from rollotape.postgres.universes import Universe

COLUMNS = (
    "id", "symbol", "pattern_type", "timeframe", "side", "phase", "confidence", "price", "change_pct",
    "rs_ratio", "rs_excess", "rs_ratio_at_detection", "rs_excess_at_detection", "vol_ratio", "rsi", "sector",
    "is_sector_leader", "entry", "stop", "target_1", "target_2", "planned_r", "test_confirmed",
    *(f"vsa_{kind}" for kind in ("no_demand", "no_supply", "stopping_volume")),
    *(f"vsa_classic_{kind}" for kind in ("no_demand", "no_supply", "stopping_volume")),
    "detected_at", "confirmed_at", "expires_at", "source", "rule_set",
)  # fmt: skip
_COLUMN_OF = {"rs": "rs_ratio", "volume": "vol_ratio"}
_MOST_KEPT = 4_096
_MOST_KEPT_BYTES = 64 * 1_024 * 1_024

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
    by_token: bool
    """Whether the answer leads on by a token, or by the number of the page."""
    after: Position | None = None
    universe: str | None = None
    """Of the symbols of this one alone: `Wording.within` puts them in."""


class Named(NamedTuple):
    """An answer that is told apart from every other."""

    key: bytes
    etag: str


class Wording:
    """A question as it was asked, with what can be known of its answer whatever the patterns are."""

    __slots__ = ("_named", "_within", "bound", "question", "said")

    def __init__(self, question: Question, bound: Any, version: str = "") -> None:
        self.question = question
        self.bound = bound
        """What page tokens are bound to."""
        self.said = orjson.dumps([question, bound]) if not version else version.encode()
        self._within: tuple[str, Wording] | None = None
        self._named: tuple[bytes, Named] | None = None

    def named(self, moment: bytes) -> "Named":
        """The answer to it at a moment."""
        if self._named is None or self._named[0] is not moment:
            key = key_of(moment, self)
            self._named = moment, Named(key, f'W/"{key.hex()}"')
        return self._named[1]

    def within(self, universe: Universe) -> "Wording":
        """The same of the members that the universe has now; page tokens outlive a change of them."""
        if self._within is None or self._within[0] != universe.version:
            given = self.question.filters.symbols
            symbols = [s for s in universe.symbols if given is None or s in given]
            question = replace(self.question, filters=replace(self.question.filters, symbols=symbols))
            version = f"{universe.version} {self.said.decode()}"
            self._within = universe.version, Wording(question, self.bound, version)
        return self._within[1]


@dataclass(slots=True)
class Answer:
    """An answer without the time that it took, which is another one for everybody who gets it."""

    etag: str
    start: bytes
    """Up to whether it was cached."""
    end: bytes
    """What comes after the time that it took; empty for CSV, which does not tell it."""
    media_type: str
    token: str | None
    """Where the next page begins; None on the last one."""
    packed: dict[str, packing.Packed] = field(default_factory=dict)
    """`start` by the encoding that it is compressed in."""

    def rest(self, *, cached: bool, took_s: float) -> bytes:
        """What comes after `start`."""
        if not self.end:
            return b""
        return b'%s,"query_time_ms":%.3f%s' % (b"true" if cached else b"false", took_s * 1_000, self.end)

    @property
    def size(self) -> int:
        return len(self.start) + sum(len(packed.start) for packed in self.packed.values())


class Moments:
    """Names what a scan may show now: the model's version, and which of its patterns is next to expire.

    Whoever reads the same version at the same time gives it the same name, whichever gateway it is.
    """

    def __init__(self) -> None:
        self._of: tuple[str, int, bool] | None = None
        self._until_us: int | None = None
        self._name = b""

    def name(self, snapshot: Snapshot, now_us: int) -> bytes:
        """Looks at the patterns again only when they have changed, or one of them has expired."""
        of = (snapshot.epoch, snapshot.version, snapshot.stale)
        if of != self._of or (self._until_us is not None and now_us >= self._until_us):
            later = snapshot.table.expires_at[snapshot.table.expires_at > now_us]
            self._until_us = int(later.min()) if len(later) else None
            self._of, self._name = of, orjson.dumps([*of, self._until_us])
        return self._name


class Answers:
    """Answers that were given lately, by what they answer and when: what has changed is never found again."""

    def __init__(self, most: int = _MOST_KEPT, most_bytes: int = _MOST_KEPT_BYTES) -> None:
        self._kept: OrderedDict[bytes, tuple[Answer, int]] = OrderedDict()
        self._most, self._most_bytes = most, most_bytes
        self.size = 0
        """Bytes of everything that is kept."""

    def find(self, key: bytes) -> Answer | None:
        if found := self._kept.get(key):
            self._kept.move_to_end(key)
            return found[0]
        return None

    def keep(self, key: bytes, answer: Answer) -> None:
        """Keep it, or take note that it has grown."""
        _, before = self._kept.pop(key, (None, 0))
        self._kept[key] = answer, answer.size
        self.size += answer.size - before
        while len(self._kept) > self._most or self.size > self._most_bytes:
            _, (_, size) = self._kept.popitem(last=False)
            self.size -= size


def key_of(moment: bytes, wording: Wording) -> bytes:
    """Names an answer: it is part of its ETag."""
    return blake2b(moment + wording.said, digest_size=12, person=b"rollo-scan").digest()


def now_us() -> int:
    return time.time_ns() // 1_000


def answer(snapshot: Snapshot, wording: Wording, etag: str, now: int) -> Answer:
    """What a question finds."""
    asked = wording.question
    total, begin, shown = _found(snapshot, asked, now)
    items = snapshot.items(shown)
    token = None
    if asked.by_token and begin + asked.count < total and len(shown) > 0:
        token = cursors.seal(wording.bound, _position(snapshot.table, int(shown[-1]), asked.sort_by))
    if asked.form == "csv":
        rows = responses.table(COLUMNS, (_cells(orjson.loads(item)) for item in items))
        return Answer(etag, rows, b"", responses.CSV_TYPE, token)
    if asked.display:
        items = [_displayed(item) for item in items]
    said = responses.dumps(_pagination(asked, total, token))
    start = b'{"patterns":[%s],"pagination":%s,"cache_info":{"cached":' % (b",".join(items), said)
    end = responses.dumps({"as_of": instant(snapshot.as_of_us), "stale": snapshot.stale})
    return Answer(etag, start, b"}," + end[1:], responses.JSON_TYPE, token)


def _found(snapshot: Snapshot, asked: Question, now: int) -> tuple[int, int, Indices]:
    """How many there are, how many come before the page, and those on it."""
    order: Any = {"sort_by": asked.sort_by, "descending": asked.descending, "now_us": now}
    if asked.after is None:
        total, shown = snapshot.page(asked.filters, **order, first=asked.first, count=asked.count)
        return total, asked.first, shown
    chosen = snapshot.select(asked.filters, **order)
    begin = _passed(snapshot.table, chosen, asked)
    return len(chosen), begin, chosen[begin : begin + asked.count]


def _pagination(asked: Question, total: int, token: str | None) -> dict[str, Any]:
    numbered = not asked.by_token
    return {
        "total": total,
        "page": asked.first // asked.count + 1 if numbered else None,
        "per_page": asked.count if numbered else None,
        "pages": -(-total // asked.count) if numbered else None,
        "limit": None if numbered else asked.count,
        "next_page_token": token,
    }


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
