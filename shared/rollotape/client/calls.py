"""The questions of the API as values: a client asks them, once, page by page or item by item.

Parameters have the names that they have in the API. What is left out is left to the gateway.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

import orjson
from pydantic import BaseModel

from rollotape.client import analyses, answers

BASE = "/api/v1"
AT_ONCE = 1_000
"""Lines of one request."""

A = TypeVar("A", bound=answers.Shape)
I = TypeVar("I")  # noqa: E741 - the items of a page
Text = str | Iterable[str]
"""One of them, or several."""
Days = int | Literal["all"]
Origin = Literal["paper", "external", "all"]
Order = Literal["asc", "desc"]
PhaseName = Literal["A", "B", "C", "D", "E"]


@dataclass(frozen=True, slots=True)
class Call(Generic[A]):
    """One request, and the shape of its answer."""

    shape: type[A]
    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    method: Literal["GET", "POST"] = "GET"
    content: bytes | None = None

    def read(self, body: bytes) -> A:
        """The answer; what a newer gateway adds to it is passed over."""
        return self.shape.model_validate_json(body)


@dataclass(frozen=True, slots=True)
class Listing(Call[A], Generic[A, I]):
    """A question whose answer comes in pages."""

    items: Callable[[A], Iterable[I]] = field(kw_only=True)
    token: Callable[[A], str | None] = field(kw_only=True)

    def after(self, page: A) -> "Listing[A, I] | None":
        """The question for the next page; None after the last one."""
        token = self.token(page)
        if token is None:
            return None
        others = tuple(pair for pair in self.parameters if pair[0] != "page_token")
        return replace(self, parameters=(*others, ("page_token", token)))


@dataclass(frozen=True, slots=True)
class Refused:
    """One of those that were sent and not taken; `index` is its place among them, from 0."""

    index: int
    faults: tuple[answers.FaultItem, ...]


@dataclass(slots=True)
class Sent:
    """What became of everything that was sent."""

    accepted: int = 0
    refused: list[Refused] = field(default_factory=list)

    def add(self, answer: answers.IngestAnswer, first: int) -> None:
        self.accepted += answer.accepted.count
        self.refused += [Refused(first + one.index, tuple(one.faults)) for one in answer.refused]


@dataclass(frozen=True, slots=True)
class Sending:
    """Bars or events on their way in: dicts or contracts of `rollotape.events`, any number of them."""

    name: Literal["bars", "patterns", "signals"]
    items: Iterable[Mapping[str, Any] | BaseModel]

    def calls(self) -> Iterator[tuple[int, Call[answers.IngestAnswer]]]:
        """Requests of at most a thousand lines, each with the place of its first one."""
        items, first = iter(self.items), 0
        while some := [_line(item) for item in islice(items, AT_ONCE)]:
            path = f"{BASE}/{self.name}"
            yield first, Call(answers.IngestAnswer, path, (), "POST", b"\n".join(some))
            first += len(some)


def _line(item: Mapping[str, Any] | BaseModel) -> bytes:
    if isinstance(item, BaseModel):
        return item.model_dump_json(exclude_unset=True).encode()
    return orjson.dumps(item, option=orjson.OPT_UTC_Z)


# ---- patterns


def scan(
    *,
    pattern_types: Text | None = None,
    symbols: Text | None = None,
    sectors: Text | None = None,
    timeframes: Text | None = None,
    confidence_min: float | None = None,
    rs_min: float | None = None,
    rs_excess_min: float | None = None,
    vol_min: float | None = None,
    rsi_range: tuple[float, float] | None = None,
    phase: Text | None = None,
    test_confirmed: bool | None = None,
    side: Text | None = None,
    detected_since: datetime | date | None = None,
    sort_by: Literal["confidence", "detected_at", "symbol", "rs", "volume"] | None = None,
    sort_order: Order | None = None,
    universe: str | None = None,
    watchlist_id: UUID | str | None = None,
    scan_id: UUID | str | None = None,
    display: bool | None = None,
    limit: int = 100,
) -> Listing[answers.ScanAnswer, answers.ScanItem]:
    """What is setting up right now; without `confidence_min` from 0.5 on."""
    return Listing(
        answers.ScanAnswer,
        f"{BASE}/patterns/scan",
        _said(locals()),
        items=lambda page: page.patterns,
        token=lambda page: page.pagination.next_page_token,
    )


def pattern(pattern_id: UUID | str) -> Call[answers.PatternAnswer]:
    """One pattern in full."""
    return Call(answers.PatternAnswer, f"{BASE}/patterns/{_part(pattern_id)}")


def pattern_stats() -> Call[answers.PatternStatsAnswer]:
    """The read model behind the scan, and its use."""
    return Call(answers.PatternStatsAnswer, f"{BASE}/patterns/stats")


# ---- symbols, bars, markers


def symbols(
    *,
    search: str | None = None,
    sector: Text | None = None,
    market: Text | None = None,
    kind: Literal["stock", "etf", "benchmark"] | None = None,
    active: bool | None = None,
    limit: int = 100,
) -> Listing[answers.SymbolsAnswer, answers.SymbolItem]:
    """Symbols that have bars, or of which somebody said what they are."""
    return Listing(
        answers.SymbolsAnswer,
        f"{BASE}/symbols",
        _said(locals()),
        items=lambda page: page.symbols,
        token=_token,
    )


def symbol(symbol: str) -> Call[answers.SymbolAnswer]:
    """One symbol at a glance."""
    return Call(answers.SymbolAnswer, f"{BASE}/symbols/{_part(symbol)}")


def bars(
    symbols: Text,
    *,
    timeframe: str | None = None,
    start: datetime | date | None = None,
    end: datetime | date | None = None,
    sort: Order | None = None,
    limit: int = 1_000,
) -> Listing[answers.BarsAnswer, tuple[str, answers.BarItem]]:
    """Stored bars, by symbol and time; an item is a symbol and a bar."""
    return Listing(
        answers.BarsAnswer,
        f"{BASE}/bars",
        _said(locals()),
        items=lambda page: ((name, bar) for name, found in page.bars.items() for bar in found),
        token=_token,
    )


def vsa(
    symbol: str,
    *,
    timeframe: str | None = None,
    start: datetime | date | None = None,
    end: datetime | date | None = None,
    rule_set: Literal["seed-1", "classic-1", "all"] | None = None,
    kinds: Text | None = None,
    direction: Literal["bullish", "bearish"] | None = None,
    sort: Order | None = None,
    limit: int = 100,
) -> Listing[answers.VsaAnswer, answers.VsaItem]:
    """Volume-spread events of one symbol."""
    return Listing(
        answers.VsaAnswer,
        f"{BASE}/symbols/{_part(symbol)}/vsa",
        _said(locals(), "symbol"),
        items=lambda page: page.events,
        token=_token,
    )


Marker = answers.WyckoffItem | answers.RangeItem | answers.MarkedPattern | answers.VsaItem


def markers(
    symbol: str,
    *,
    timeframe: str | None = None,
    start: datetime | date | None = None,
    end: datetime | date | None = None,
    types: Text | None = None,
    limit: int = 100,
) -> Listing[answers.MarkersAnswer, Marker]:
    """Everything that was read in the tape of one symbol, for charts; a page goes on in time."""
    return Listing(
        answers.MarkersAnswer,
        f"{BASE}/markers",
        _said(locals()),
        items=lambda page: (*page.events, *page.ranges, *page.patterns, *page.vsa),
        token=_token,
    )


# ---- strength


def strength(
    *,
    as_of: date | None = None,
    symbols: Text | None = None,
    sectors: Text | None = None,
    sort_by: Literal["rs_score", "rating", "mansfield", "excess_21", "excess_63", "excess_126", "excess_252"]
    | None = None,
    sort_order: Order | None = None,
    limit: int = 100,
) -> Listing[answers.StrengthAnswer, answers.StrengthItem]:
    """Relative strength of all stocks on a date."""
    return Listing(
        answers.StrengthAnswer,
        f"{BASE}/analytics/rs",
        _said(locals()),
        items=lambda page: page.scores,
        token=_token,
    )


def leaders(
    *, as_of: date | None = None, sectors: Text | None = None, limit: int = 100
) -> Listing[answers.LeadersAnswer, answers.StrengthItem]:
    """The strongest fifth of every sector."""
    return Listing(
        answers.LeadersAnswer,
        f"{BASE}/analytics/rs/leaders",
        _said(locals()),
        items=lambda page: page.leaders,
        token=_token,
    )


def strength_history(
    symbol: str,
    *,
    start: datetime | date | None = None,
    end: datetime | date | None = None,
    sort: Order | None = None,
    limit: int = 100,
) -> Listing[answers.StrengthHistoryAnswer, answers.StrengthItem]:
    """Relative strength of one stock over time."""
    return Listing(
        answers.StrengthHistoryAnswer,
        f"{BASE}/symbols/{_part(symbol)}/rs",
        _said(locals(), "symbol"),
        items=lambda page: page.scores,
        token=_token,
    )


# ---- analytics


def performance(
    *,
    days: Days | None = None,
    origin: Origin | None = None,
    phase: PhaseName | None = None,
    timeframe: str | None = None,
    symbols: Text | None = None,
    sectors: Text | None = None,
    universe: str | None = None,
    watchlist_id: UUID | str | None = None,
    pattern_types: Text | None = None,
) -> Call[analyses.PerformanceAnswer]:
    """What trades on each pattern type have earned."""
    return Call(analyses.PerformanceAnswer, f"{BASE}/analytics/pattern-performance", _said(locals()))


def sectors(
    *,
    days: Days | None = None,
    origin: Origin | None = None,
    phase: PhaseName | None = None,
    timeframe: str | None = None,
    symbols: Text | None = None,
    sectors: Text | None = None,
    universe: str | None = None,
    watchlist_id: UUID | str | None = None,
    pattern_types: Text | None = None,
) -> Call[analyses.SectorsAnswer]:
    """The same by sector, with leaders and strength."""
    return Call(analyses.SectorsAnswer, f"{BASE}/analytics/sector-breakdown", _said(locals()))


def trend(
    pattern_type: str,
    *,
    days: Days | None = None,
    origin: Origin | None = None,
    phase: PhaseName | None = None,
    timeframe: str | None = None,
    symbols: Text | None = None,
    sectors: Text | None = None,
    universe: str | None = None,
    watchlist_id: UUID | str | None = None,
) -> Call[analyses.TrendAnswer]:
    """Win rate and R of one pattern type, day by day."""
    path = f"{BASE}/analytics/trend/{_part(pattern_type)}"
    return Call(analyses.TrendAnswer, path, _said(locals(), "pattern_type", "path"))


def trades(
    *,
    status: Literal["closed", "open", "pending", "cancelled", "all"] | None = None,
    days: Days | None = None,
    origin: Origin | None = None,
    phase: PhaseName | None = None,
    timeframe: str | None = None,
    symbols: Text | None = None,
    sectors: Text | None = None,
    universe: str | None = None,
    watchlist_id: UUID | str | None = None,
    pattern_types: Text | None = None,
    sort: Order | None = None,
    limit: int = 100,
) -> Listing[analyses.TradesAnswer, analyses.AnalysedTrade]:
    """Trades one by one, by their exits."""
    return Listing(
        analyses.TradesAnswer,
        f"{BASE}/analytics/trades",
        _said(locals()),
        items=lambda page: page.trades,
        token=lambda page: page.pagination.next_page_token,
    )


def trade(trade_id: UUID | str) -> Call[analyses.OneTradeAnswer]:
    """One trade by its id."""
    return Call(analyses.OneTradeAnswer, f"{BASE}/analytics/trades/{_part(trade_id)}")


def vsa_metrics(
    *,
    days: Days | None = None,
    origin: Origin | None = None,
    phase: PhaseName | None = None,
    timeframe: str | None = None,
    symbols: Text | None = None,
    sectors: Text | None = None,
    universe: str | None = None,
    watchlist_id: UUID | str | None = None,
    pattern_types: Text | None = None,
) -> Call[analyses.VsaMetricsAnswer]:
    """Volume-spread events by kind, and those on patterns by type."""
    return Call(analyses.VsaMetricsAnswer, f"{BASE}/analytics/vsa", _said(locals()))


def preliminary_events(
    pattern_id: UUID | str, *, lookback_days: int | None = None
) -> Call[analyses.PreliminaryAnswer]:
    """What was read in the tape before a pattern."""
    path = f"{BASE}/analytics/preliminary-events/{_part(pattern_id)}"
    return Call(analyses.PreliminaryAnswer, path, _said(locals(), "pattern_id", "path"))


# ---- in


def send_bars(items: Iterable[Mapping[str, Any] | BaseModel]) -> Sending:
    """Bars in, for `client.send`; each is judged alone, and one sent twice changes nothing."""
    return Sending("bars", items)


def send_patterns(items: Iterable[Mapping[str, Any] | BaseModel]) -> Sending:
    """Pattern events in, likewise."""
    return Sending("patterns", items)


def send_signals(items: Iterable[Mapping[str, Any] | BaseModel]) -> Sending:
    """Events about trades in, likewise."""
    return Sending("signals", items)


# ---- as a request says it


def _said(given: Mapping[str, Any], *of_path: str) -> tuple[tuple[str, str], ...]:
    """Parameters that were given; those of the path are in it."""
    return tuple((n, _word(v)) for n, v in given.items() if v is not None and n not in of_path)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a time needs its time zone, got {value!r}")
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int | float | UUID):
        return str(value)
    return ",".join(map(_word, value))


def _part(name: object) -> str:
    """A symbol, type or id as a part of a path: BTC/USD has a slash of its own."""
    return quote(str(name), safe="")


def _token(page: Any) -> str | None:
    token: str | None = page.next_page_token
    return token
