"""The questions of the API: a client asks them, once, page by page or item by item.

Parameters have the names and units that they have in the API; what is left out is left to the gateway, and
what it does not know it refuses by name. Symbols, types and sectors may be one text or several. Times are
datetimes with a zone, or dates: as a start the first instant of the day in UTC, as an end the last one.
`confidence_min` is 0 to 1, `rs_excess_min` in percentage points, `rs_min` and `vol_min` are ratios.

Lists are asked for by `limit`, 100 unless given and at most 1,000; bars 1,000 unless given, at most 10,000.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, Literal, TypedDict, TypeVar, Unpack
from uuid import UUID, uuid4

import orjson

from rollotape import answers
from rollotape.client.questions import (
    BASE,
    JSON,
    NOTHING,
    A,
    Call,
    I,
    Listing,
    Pairs,
    Sending,
    Text,
    Thing,
    filters,
    part,
    said,
    typed,
)

Id = UUID | str
When = datetime | date
Order = Literal["asc", "desc"]
O = TypeVar("O", bound=answers.Owned)  # noqa: E741 - what an owner has


class Filters(TypedDict, total=False):
    """Which patterns: of a scan, of a saved one, of a stream. What is unknown fails a filter on it."""

    pattern_types: Text
    symbols: Text
    sectors: Text
    timeframes: Text
    confidence_min: float
    rs_min: float
    rs_excess_min: float
    vol_min: float
    rsi_range: tuple[float, float]
    phase: Text
    test_confirmed: bool
    side: Text
    universe: str
    watchlist_id: Id


class SavedFilters(Filters, total=False):
    """What a scan may be saved with."""

    sort_by: Literal["confidence", "detected_at", "symbol", "rs", "volume"]
    sort_order: Order


class Paged(TypedDict, total=False):
    limit: int


class Numbered(Paged, total=False):
    """With one of the first two, `limit` has no say: pages of at most 100, 30 unless given."""

    page: int
    per_page: int


class Scan(SavedFilters, Numbered, total=False):
    detected_since: When
    scan_id: Id
    display: bool


class Along(Paged, total=False):
    """Along time."""

    start: When
    end: When
    sort: Order


class OfBars(Along, total=False):
    timeframe: str


class Vsa(OfBars, total=False):
    rule_set: Literal["seed-1", "classic-1", "all"]
    kinds: Text
    direction: Literal["bullish", "bearish"]


class Markers(Paged, total=False):
    timeframe: str
    start: When
    end: When
    types: Text


class Detections(Paged, total=False):
    days: int | Literal["all"]
    pattern_types: Text
    timeframe: Text


class Symbols(Paged, total=False):
    search: str
    sector: Text
    market: Text
    kind: Literal["stock", "etf", "benchmark"]
    active: bool


class Leaders(Paged, total=False):
    as_of: date
    symbols: Text
    sectors: Text
    universe: str
    watchlist_id: Id


class Strength(Leaders, total=False):
    sort_by: Literal["rs_score", "rating", "mansfield", "excess_21", "excess_63", "excess_126", "excess_252"]
    sort_order: Order


class OfTrades(TypedDict, total=False):
    """Which trades; `days` are whole ones of New York up to now."""

    days: int | Literal["all"]
    origin: Literal["paper", "external", "all"]
    phase: Literal["A", "B", "C", "D", "E"]
    timeframe: str
    symbols: Text
    sectors: Text
    universe: str
    watchlist_id: Id


class OfTypes(OfTrades, total=False):
    pattern_types: Text


class Trades(OfTypes, Numbered, total=False):
    status: Literal["closed", "open", "pending", "cancelled", "all"]
    sort: Order


# ---- the gateway itself


def alive() -> Call[answers.Alive]:
    """Whether it can answer at all."""
    return Call(answers.Alive, "/livez", waits=False)


def ready() -> Call[answers.Ready]:
    """Which servers it misses. ServerAway: all of them."""
    return Call(answers.Ready, "/readyz", waits=False)


def openapi() -> Call[dict[str, Any]]:
    """What it says about its paths."""
    return Call(dict, "/openapi.json")


def asyncapi() -> Call[dict[str, Any]]:
    """What it says about streams."""
    return Call(dict, "/asyncapi.json")


# ---- patterns


def scan(**asked: Unpack[Scan]) -> Listing[answers.ScanAnswer, answers.ScanItem]:
    """What is setting up right now; without `confidence_min` from 0.5 on."""
    return _listing(answers.ScanAnswer, "patterns/scan", asked, lambda page: page.patterns)


def pattern(pattern_id: Id) -> Call[answers.PatternAnswer]:
    """One pattern in full. NotFound: nobody knows it."""
    return _one(answers.PatternAnswer, f"patterns/{part(pattern_id)}")


def pattern_stats() -> Call[answers.PatternStatsAnswer]:
    """The read model behind the scan, and its use."""
    return _one(answers.PatternStatsAnswer, "patterns/stats")


def pattern_summary(*, window: str | None = None, top: int | None = None) -> Call[answers.SummaryAnswer]:
    """How many are active, by what they are; `window` (90m, 24h, 7d) is how far back one is new."""
    return _one(answers.SummaryAnswer, "patterns/summary", {"window": window, "top": top})


def pattern_health() -> Call[answers.PatternHealth]:
    """How fresh they are. ServerAway: there is nothing to scan; `problem.said` has the findings."""
    return Call(answers.PatternHealth, f"{BASE}/patterns/health", waits=False)


# ---- symbols, bars, markers


def symbols(**asked: Unpack[Symbols]) -> Listing[answers.SymbolsAnswer, answers.SymbolItem]:
    """Symbols that have bars, or of which somebody said what they are."""
    return _listing(answers.SymbolsAnswer, "symbols", asked, lambda page: page.symbols)


def symbol(symbol: str) -> Call[answers.SymbolAnswer]:
    """One symbol at a glance. NotFound: nobody knows it."""
    return _one(answers.SymbolAnswer, f"symbols/{part(symbol)}")


def detections(
    symbol: str, **asked: Unpack[Detections]
) -> Listing[answers.DetectionsAnswer, answers.Detection]:
    """Patterns of one symbol, the newest first, those that are over, too."""
    path = f"symbols/{part(symbol)}/detections"
    return _listing(answers.DetectionsAnswer, path, asked, lambda page: page.detections)


def bars(symbols: Text, **asked: Unpack[OfBars]) -> Listing[answers.BarsAnswer, tuple[str, answers.BarItem]]:
    """Stored bars, by symbol and time, of one `timeframe` (1d); an item is a symbol and a bar."""
    return _listing(
        answers.BarsAnswer,
        "bars",
        {"symbols": symbols, "limit": 1_000, **asked},
        lambda page: ((name, bar) for name, found in page.bars.items() for bar in found),
    )


def vsa(symbol: str, **asked: Unpack[Vsa]) -> Listing[answers.VsaAnswer, answers.VsaItem]:
    """Volume-spread events of one symbol."""
    return _listing(answers.VsaAnswer, f"symbols/{part(symbol)}/vsa", asked, lambda page: page.events)


Marker = answers.WyckoffItem | answers.RangeItem | answers.MarkedPattern | answers.VsaItem


def markers(symbol: str, **asked: Unpack[Markers]) -> Listing[answers.MarkersAnswer, Marker]:
    """Everything that was read in the tape of one symbol, for charts; a page goes on in time."""
    return _listing(
        answers.MarkersAnswer,
        "markers",
        {"symbol": symbol, **asked},
        lambda page: (*page.events, *page.ranges, *page.patterns, *page.vsa),
    )


# ---- strength


def strength(**asked: Unpack[Strength]) -> Listing[answers.StrengthAnswer, answers.StrengthItem]:
    """Relative strength of all stocks on a date; scores are percentage points."""
    return _listing(answers.StrengthAnswer, "analytics/rs", asked, lambda page: page.scores)


def leaders(**asked: Unpack[Leaders]) -> Listing[answers.LeadersAnswer, answers.StrengthItem]:
    """The strongest fifth of every sector."""
    return _listing(answers.LeadersAnswer, "analytics/rs/leaders", asked, lambda page: page.leaders)


def strength_history(
    symbol: str, **asked: Unpack[Along]
) -> Listing[answers.StrengthHistoryAnswer, answers.StrengthItem]:
    """Relative strength of one stock over time."""
    path = f"symbols/{part(symbol)}/rs"
    return _listing(answers.StrengthHistoryAnswer, path, asked, lambda page: page.scores)


# ---- analytics


def performance(**asked: Unpack[OfTypes]) -> Call[answers.PerformanceAnswer]:
    """What trades on each pattern type have earned."""
    return _one(answers.PerformanceAnswer, "analytics/pattern-performance", asked)


def sectors(**asked: Unpack[OfTypes]) -> Call[answers.SectorsAnswer]:
    """The same by sector, with leaders and strength."""
    return _one(answers.SectorsAnswer, "analytics/sector-breakdown", asked)


def trend(pattern_type: str, **asked: Unpack[OfTrades]) -> Call[answers.TrendAnswer]:
    """Win rate and R of one pattern type, day by day."""
    return _one(answers.TrendAnswer, f"analytics/trend/{part(pattern_type)}", asked)


def trades(**asked: Unpack[Trades]) -> Listing[answers.TradesAnswer, answers.AnalysedTrade]:
    """Trades one by one, by their exits."""
    return _listing(answers.TradesAnswer, "analytics/trades", asked, lambda page: page.trades)


def trade(trade_id: Id) -> Call[answers.OneTradeAnswer]:
    """One trade. NotFound: nobody knows it."""
    return _one(answers.OneTradeAnswer, f"analytics/trades/{part(trade_id)}")


def vsa_metrics(**asked: Unpack[OfTypes]) -> Call[answers.VsaMetricsAnswer]:
    """Volume-spread events by kind, and those on patterns by type."""
    return _one(answers.VsaMetricsAnswer, "analytics/vsa", asked)


def preliminary_events(
    pattern_id: Id, *, lookback_days: int | None = None
) -> Call[answers.PreliminaryAnswer]:
    """What was read in the tape before a pattern. NotFound: nobody knows it."""
    path = f"analytics/preliminary-events/{part(pattern_id)}"
    return _one(answers.PreliminaryAnswer, path, {"lookback_days": lookback_days})


# ---- the whole


def dashboard() -> Call[answers.DashboardAnswer]:
    """Symbols, events and servers at a glance."""
    return _one(answers.DashboardAnswer, "dashboard/stats")


def discovery_health() -> Call[answers.DiscoveryHealth]:
    """Every component by a check of its own. ServerAway: unhealthy; `problem.said` has the findings."""
    return Call(answers.DiscoveryHealth, f"{BASE}/pattern-discovery/health", waits=False)


def discovery_performance() -> Call[answers.Performance]:
    """What was measured in the last five minutes, against the targets; times in milliseconds."""
    return _one(answers.Performance, "pattern-discovery/performance")


# ---- universes, watchlists, saved scans, webhooks


def universes(
    *, category: Literal["index", "leaders", "sector", "exchange"] | None = None
) -> Call[answers.UniversesAnswer]:
    """Sets of symbols that have a name."""
    return _one(answers.UniversesAnswer, "users/universe", {"category": category})


def universe(key: str, **asked: Unpack[Paged]) -> Listing[answers.UniverseAnswer, str]:
    """One of them; an item is a symbol. NotFound: nobody knows it."""
    return _listing(answers.UniverseAnswer, f"users/universe/{part(key)}", asked, lambda page: page.symbols)


def watchlists(**asked: Unpack[Paged]) -> Listing[answers.WatchlistsAnswer, answers.WatchlistItem]:
    """Your watchlists, by name."""
    return _listing(answers.WatchlistsAnswer, "users/watchlists", asked, lambda page: page.watchlists)


def watchlist(watchlist_id: Id) -> Call[answers.WatchlistAnswer]:
    """One of yours, with those of its symbols that nobody knows. NotFound: none of yours has this id."""
    return _one(answers.WatchlistAnswer, f"users/watchlists/{part(watchlist_id)}")


def make_watchlist(name: str, symbols: Text, *, key: str | None = None) -> Call[answers.WatchlistAnswer]:
    """Make one, of at most 1,000 symbols. Conflict: you have one of that name, or too many.

    The value has a key of its own (Idempotency-Key, unless `key` is given): however often it is asked within
    a day it makes one, and answers alike.
    """
    return _made(answers.WatchlistAnswer, "users/watchlists", _watchlist(name, symbols), key)


def replace_watchlist(
    watchlist_id: Id, name: str, symbols: Text, *, version: int | None = None
) -> Call[answers.WatchlistAnswer]:
    """Put another one in its place. Changed: it is not of this `version` any more."""
    path = f"users/watchlists/{part(watchlist_id)}"
    return _put(answers.WatchlistAnswer, path, _watchlist(name, symbols), version)


def delete_watchlist(watchlist_id: Id, *, version: int | None = None) -> Call[None]:
    """Conflict: a saved scan needs it. Changed: it is not of this `version` any more."""
    return _removed(f"users/watchlists/{part(watchlist_id)}", version)


def saved_scans(**asked: Unpack[Paged]) -> Listing[answers.SavedScansAnswer, answers.SavedScanAnswer]:
    """Your saved scans, by name; `scan(scan_id=...)` asks them."""
    return _listing(answers.SavedScansAnswer, "users/scans", asked, lambda page: page.saved_scans)


def saved_scan(scan_id: Id) -> Call[answers.SavedScanAnswer]:
    """One of yours. NotFound: none of yours has this id."""
    return _one(answers.SavedScanAnswer, f"users/scans/{part(scan_id)}")


def save_scan(
    name: str, *, key: str | None = None, **asked: Unpack[SavedFilters]
) -> Call[answers.SavedScanAnswer]:
    """Keep these filters under a name; once, as `make_watchlist` says."""
    return _made(answers.SavedScanAnswer, "users/scans", _saved(name, asked), key)


def replace_scan(
    scan_id: Id, name: str, *, version: int | None = None, **asked: Unpack[SavedFilters]
) -> Call[answers.SavedScanAnswer]:
    """Put other filters in its place. Changed: it is not of this `version` any more."""
    return _put(answers.SavedScanAnswer, f"users/scans/{part(scan_id)}", _saved(name, asked), version)


def delete_scan(scan_id: Id, *, version: int | None = None) -> Call[None]:
    """Changed: it is not of this `version` any more."""
    return _removed(f"users/scans/{part(scan_id)}", version)


def webhooks(**asked: Unpack[Paged]) -> Listing[answers.WebhooksAnswer, answers.WebhookItem]:
    """Where facts are sent for you, by name, and how that goes."""
    return _listing(answers.WebhooksAnswer, "users/webhooks", asked, lambda page: page.webhooks)


def webhook(webhook_id: Id) -> Call[answers.WebhookAnswer]:
    """One of yours, without its secret. NotFound: none of yours has this id."""
    return _one(answers.WebhookAnswer, f"users/webhooks/{part(webhook_id)}")


def make_webhook(
    name: str, url: str, events: Text, *, symbols: Text | None = None, key: str | None = None
) -> Call[answers.WebhookAnswer]:
    """Send facts of these types (`scan.new_entrants`) there; once, as `make_watchlist` says.

    The answer has the `secret` of the signatures; no other one ever has.
    """
    return _made(answers.WebhookAnswer, "users/webhooks", _webhook(name, url, events, symbols), key)


def replace_webhook(
    webhook_id: Id,
    name: str,
    url: str,
    events: Text,
    *,
    symbols: Text | None = None,
    version: int | None = None,
) -> Call[answers.WebhookAnswer]:
    """Put another one in its place, with the same secret; one that was disabled is tried again."""
    path = f"users/webhooks/{part(webhook_id)}"
    return _put(answers.WebhookAnswer, path, _webhook(name, url, events, symbols), version)


def delete_webhook(webhook_id: Id, *, version: int | None = None) -> Call[None]:
    """With everything that waits for it. Changed: it is not of this `version` any more."""
    return _removed(f"users/webhooks/{part(webhook_id)}", version)


def deliveries(
    webhook_id: Id, **asked: Unpack[Paged]
) -> Listing[answers.DeliveriesAnswer, answers.DeliveryItem]:
    """What was sent to one of them, the newest first. NotFound: none of yours has this id."""
    path = f"users/webhooks/{part(webhook_id)}/deliveries"
    return _listing(answers.DeliveriesAnswer, path, asked, lambda page: page.deliveries)


# ---- in


def send_bars(items: Iterable[Thing]) -> Sending:
    """Bars in, for `client.send`; each is judged alone, and one sent twice changes nothing."""
    return Sending("bars", items)


def send_patterns(items: Iterable[Thing]) -> Sending:
    """Pattern events in, likewise."""
    return Sending("patterns", items)


def send_signals(items: Iterable[Thing]) -> Sending:
    """Events about trades in, likewise."""
    return Sending("signals", items)


# ---- what they have in common


def _one(shape: type[A], path: str, asked: Mapping[str, Any] | None = None) -> Call[A]:
    return Call(shape, f"{BASE}/{path}", said(asked or {}))


def _listing(
    shape: type[A], path: str, asked: Mapping[str, Any], items: Callable[[A], Iterable[I]]
) -> Listing[A, I]:
    """By a limit, unless pages are asked for by their numbers."""
    pages = {} if asked.keys() & {"page", "per_page"} else {"limit": 100}
    return Listing(shape, f"{BASE}/{path}", said(pages | dict(asked)), items=items)


def _made(shape: type[O], path: str, body: bytes, key: str | None) -> Call[O]:
    headers = (*typed(JSON), ("Idempotency-Key", key or uuid4().hex))
    return Call(shape, f"{BASE}/{path}", (), "POST", body, headers)


def _put(shape: type[O], path: str, body: bytes, version: int | None) -> Call[O]:
    return Call(shape, f"{BASE}/{path}", (), "PUT", body, (*typed(JSON), *_if_match(version)))


def _removed(path: str, version: int | None) -> Call[None]:
    return Call(NOTHING, f"{BASE}/{path}", (), "DELETE", None, _if_match(version))


def _if_match(version: int | None) -> Pairs:
    return () if version is None else (("If-Match", f'"{version}"'),)


def _watchlist(name: str, symbols: Text) -> bytes:
    return orjson.dumps({"name": name, **filters({"symbols": symbols})})


def _saved(name: str, asked: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"name": name, "filters": filters(asked)})


def _webhook(name: str, url: str, events: Text, symbols: Text | None) -> bytes:
    kinds = [events] if isinstance(events, str) else list(events)
    return orjson.dumps({"name": name, "url": url, "events": kinds, **filters({"symbols": symbols})})
