"""What a client of the stream wants to hear, how it says so, and whether a fact is among it."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from math import isfinite
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
from pydantic_core import PydanticCustomError

from api_gateway import problems, queries
from api_gateway.bodies import Pairs
from api_gateway.problems import FieldError, short
from api_gateway.routes.patterns import ScanQuery
from rollotape.domain.scan import Filters
from rollotape.facts import instant

CHANNELS = ("patterns", "vsa", "wyckoff", "rs", "bars", "scans", "system")
PATTERNS, VSA, WYCKOFF, RS, BARS, SCANS, SYSTEM = CHANNELS
LETTERS = {PATTERNS: "p", VSA: "v", WYCKOFF: "w", RS: "r", BARS: "b", SCANS: "s", SYSTEM: "h"}
"""`T` of what comes over each."""
EVERYTHING = "*"
MOST_SYMBOLS = 1_000
"""Of all channels of a subscription together."""
FILTERS = (
    "pattern_types", "symbols", "sectors", "timeframe", "timeframes", "confidence_min", "rs_min",
    "rs_excess_min", "vol_min", "rsi_range", "phase", "test_confirmed", "side", "detected_since",
    "universe", "watchlist_id", "scan_id",
)  # fmt: skip
_FIELDS = {
    "auth": {"action", "token"},
    "subscribe": {"action", *CHANNELS, "filters", "since"},
    "unsubscribe": {"action", *CHANNELS},
}
_LONGEST_WORD = 8_192
_PART = re.compile(r"[a-z0-9_-]{1,40}")
_ENDS = ("pattern.expired", "pattern.retracted")
_NOBODY: frozenset[str] = frozenset()


class Standing(NamedTuple):
    """What of a symbol takes the place of what the sender of a pattern said, as in a scan."""

    sector: str | None
    rs_ratio: float | None
    rs_excess: float | None


UNKNOWN = Standing(None, None, None)


class Kept(NamedTuple):
    """Filters that name what is kept elsewhere: they mean what that is when a client subscribes."""

    asked: ScanQuery
    given: Pairs


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client wants. Equal ones are told the same bytes."""

    symbols: tuple[frozenset[str], ...] = (_NOBODY,) * len(CHANNELS)
    """In the order of `CHANNELS`; of saved scans their ids."""
    filters: Filters | None = None
    said: bytes = b"null"
    """The filters as the client put them."""
    owner: str | None = None
    """Who wants it, where that decides what is told."""

    def of(self, channel: str) -> frozenset[str]:
        return self.symbols[CHANNELS.index(channel)]

    def has(self, channel: str, symbol: str) -> bool:
        wanted = self.of(channel)
        return EVERYTHING in wanted or symbol in wanted

    @property
    def of_facts(self) -> bool:
        """Whether anything is wanted that comes from `updates`, and so must not be left out."""
        return any(self.of(channel) for channel in (PATTERNS, VSA, WYCKOFF, SCANS, SYSTEM))

    @property
    def of_values(self) -> bool:
        """Whether anything is wanted of which only the newest counts."""
        return bool(self.of(RS) or self.of(BARS))

    @property
    def needs_standing(self) -> bool:
        asked = self.filters
        return asked is not None and (asked.sectors, asked.rs_min, asked.rs_excess_min) != (None,) * 3

    def passes(self, channel: str, timeframe: str) -> bool:
        """The filter on timeframes holds for everything that has one, the others for patterns alone."""
        wanted = self.filters.timeframes if self.filters else None
        return channel in (RS, SCANS, SYSTEM) or wanted is None or timeframe in wanted

    def by(self, owner: str) -> "Subscription":
        """The same, wanted by somebody: what belongs to nobody is told everybody alike."""
        return replace(self, owner=owner if self.of(SCANS) else None)

    def acknowledgement(self, position: str) -> bytes:
        """The full set."""
        lists = {name: sorted(wanted) for name, wanted in zip(CHANNELS, self.symbols, strict=True)}
        told = {"T": "subscription", **lists, "filters": orjson.Fragment(self.said), "id": position}
        return orjson.dumps([told])


NOTHING = Subscription()


@dataclass(frozen=True, slots=True)
class Command:
    """One message of a client."""

    action: Literal["auth", "subscribe", "unsubscribe"]
    token: str = ""
    symbols: Mapping[str, frozenset[str]] = field(default_factory=dict)
    filters: tuple[Filters | None, bytes] | None = None
    """None: they stay."""
    kept: Kept | None = None
    """What `filters` still have to be made of."""
    since: str | None = None

    def applied_to(self, held: Subscription) -> Subscription:
        """The full set after this message.

        Raises:
            Problem: it would be too large.
        """
        pairs = zip(CHANNELS, held.symbols, strict=True)
        if self.action == "unsubscribe":
            return replace(held, symbols=tuple(old - self.symbols.get(name, _NOBODY) for name, old in pairs))
        symbols = tuple(old | self.symbols.get(name, _NOBODY) for name, old in pairs)
        if sum(map(len, symbols)) > MOST_SYMBOLS:
            raise _wrong(
                ("symbols", f"at most {MOST_SYMBOLS} in all lists together; everything is {EVERYTHING!r}")
            )
        filters, said = self.filters or (held.filters, held.said)
        return replace(held, symbols=symbols, filters=filters, said=said)


def read(text: str | bytes) -> Command:
    """A message of a client.

    Raises:
        Problem: with every field that is wrong.
    """
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _wrong(("message", f"is not JSON: {error}")) from None
    if not isinstance(said, dict):
        raise _wrong(("message", "must be an object with an action"))
    action = said.get("action")
    if not isinstance(action, str) or action not in _FIELDS:
        raise _wrong(("action", f"must be one of {', '.join(_FIELDS)}"))
    if strange := [name for name in said if name not in _FIELDS[action]]:
        reason = f"is not taken by {action}, which takes: {', '.join(sorted(_FIELDS[action]))}"
        raise _wrong(*((short(name), reason) for name in strange))
    if action == "auth":
        return Command("auth", token=_word(said, "token"))
    return _about_symbols(action, said)


def _about_symbols(action: Any, said: Mapping[str, Any]) -> Command:
    named = {channel: said[channel] for channel in CHANNELS if channel in said}
    readers = {SCANS: _ids, SYSTEM: _parts}
    symbols = {channel: readers.get(channel, _symbols)(channel, s) for channel, s in named.items()}
    filters, kept = _filters(said["filters"]) if "filters" in said else (None, None)
    since = _word(said, "since") if said.get("since") is not None else None
    if len(said) == 1:
        raise _wrong(("message", f"names none of {', '.join(CHANNELS)}"))
    return Command(action, symbols=symbols, filters=filters, kept=kept, since=since)


def _parts(channel: str, said: Any) -> frozenset[str]:
    found = frozenset(map(str, _few(channel, said, "parts of the system")))
    if strange := sorted(name for name in found if name != EVERYTHING and not _PART.fullmatch(name)):
        reason = f"each must be {EVERYTHING!r} or a part such as detector, got {short(strange[0])}"
        raise _wrong((channel, reason))
    return found


def _ids(channel: str, said: Any) -> frozenset[str]:
    try:
        return frozenset(i if i == EVERYTHING else _id(i) for i in _few(channel, said, "ids of saved scans"))
    except ValueError:
        raise _wrong((channel, f"each must be {EVERYTHING!r} or a UUID, with hyphens")) from None


def _id(said: Any) -> str:
    """As facts have it; no other way of writing a UUID that Python knows."""
    found = str(UUID(str(said)))
    if found != str(said).lower():
        raise ValueError
    return found


def _few(channel: str, said: Any, what: str) -> list[Any]:
    if not isinstance(said, list) or len(said) > MOST_SYMBOLS:
        raise _wrong((channel, f"must be a list of {what}, or of {EVERYTHING!r}; at most {MOST_SYMBOLS}"))
    return said


def _symbols(channel: str, said: Any) -> frozenset[str]:
    found = set()
    for name in _few(channel, said, "symbols"):
        try:
            found.add(name if name == EVERYTHING else queries.symbol(name))
        except (PydanticCustomError, AttributeError):
            reason = f"each must be {EVERYTHING!r} or 1 to 20 characters A-Z 0-9 . - ^ /"
            raise _wrong((channel, f"{reason}, got {short(str(name))}")) from None
    return frozenset(found)


def _filters(said: Any) -> tuple[tuple[Filters | None, bytes], Kept | None]:
    """Read as the query string of a scan is, so that both take the same."""
    if said is None:
        return (None, b"null"), None
    if not isinstance(said, dict):
        raise _wrong(("filters", "must be an object, or null"))
    if strange := [name for name in said if name not in FILTERS]:
        reason = f"is no filter of a subscription, which takes: {', '.join(FILTERS)}"
        raise _wrong(*((f"filters.{short(name)}", reason) for name in strange))
    try:
        items = tuple((name, _worded(name, value)) for name, value in said.items())
        asked = queries.parse(ScanQuery, list(items))
    except problems.Problem as problem:
        raise _wrong(*((f"filters.{error.field}", error.reason) for error in problem.errors)) from None
    is_kept = (asked.universe, asked.watchlist_id, asked.scan_id) != (None,) * 3
    filters = filters_of(asked, items)
    return (filters, orjson.dumps(said, option=orjson.OPT_SORT_KEYS)), Kept(asked, items) if is_kept else None


def filters_of(asked: ScanQuery, given: Pairs) -> Filters:
    """Those of a scan, in sets; of what was not given there is no default, as there is for a page."""
    found = asked.question("json").filters
    if not any(name == "confidence_min" for name, _ in given):
        found = replace(found, confidence_min=None)
    values = ((f.name, getattr(found, f.name)) for f in fields(found))
    lists: dict[str, Any] = {name: frozenset(value) for name, value in values if isinstance(value, list)}
    return replace(found, **lists)


def within(filters: Filters, symbols: Collection[str]) -> Filters:
    """The same, of these symbols alone."""
    given = filters.symbols
    return replace(filters, symbols=frozenset(s for s in symbols if given is None or s in given))


def _worded(name: str, value: Any) -> str:
    """A value as a query string has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not isfinite(value):
        raise problems.invalid([FieldError("body", name, "must be a finite number")])
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and value and all(type(v) in (str, int, float) for v in value):
        return ",".join(map(str, value))
    raise problems.invalid([FieldError("body", name, "must be a word, a number, a truth, or a list of them")])


def _word(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_WORD:
        raise _wrong((name, f"must be a text of 1 to {_LONGEST_WORD} characters"))
    return value


def _wrong(*found: tuple[str, str]) -> problems.Problem:
    return problems.invalid(FieldError("body", name, reason) for name, reason in found)


def passes(asked: Filters, kind: str, pattern: Mapping[str, Any], standing: Standing) -> bool:
    """Whether a fact about a pattern is for one who filters so; what is unknown fails a filter on it.

    The end of a pattern is told whatever it was worth by then, so that nobody goes on holding it.
    """
    for value, wanted in (
        (pattern.get("pattern_type"), asked.pattern_types),
        (pattern.get("symbol"), asked.symbols),
        (standing.sector, asked.sectors),
        (pattern.get("side"), asked.sides),
    ):
        if not _among(value, wanted):
            return False
    if kind in _ENDS:
        return True
    ratio, excess = pattern.get("rs_ratio"), pattern.get("rs_excess")
    if standing.rs_excess is not None:  # ours takes the place of both: they are never mixed
        ratio, excess = standing.rs_ratio, standing.rs_excess
    low, high = asked.rsi_range or (None, None)
    rsi = pattern.get("rsi")
    return (
        _among(pattern.get("phase"), asked.phases)
        and all(
            least is None or (value is not None and value >= least)
            for value, least in (
                (pattern.get("confidence"), asked.confidence_min),
                (ratio, asked.rs_min),
                (excess, asked.rs_excess_min),
                (pattern.get("vol_ratio"), asked.vol_min),
                (rsi, low),
            )
        )
        and (high is None or (rsi is not None and rsi <= high))
        and (asked.test_confirmed is None or pattern.get("test_confirmed") is asked.test_confirmed)
        and _since(pattern.get("detected_at"), asked.detected_since_us)
    )


def _among(value: Any, wanted: Collection[str] | None) -> bool:
    return wanted is None or value in wanted


def _since(detected_at: Any, since_us: int | None) -> bool:
    if since_us is None:
        return True
    try:
        return datetime.fromisoformat(detected_at) >= instant(since_us)
    except (TypeError, ValueError):
        return False


def union(wanted: Iterable[frozenset[str]]) -> frozenset[str] | None:
    """Symbols that anybody wants; None for all of them."""
    found = frozenset().union(*wanted)
    return None if EVERYTHING in found else found
