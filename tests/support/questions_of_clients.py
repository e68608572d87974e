"""Every question that the client can ask, with every parameter that it takes."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from rollotape.client import calls
from rollotape.client.questions import Call
from support.closed_trades import Trade
from support.gateway import Setup

_FROM, _TO = datetime(2024, 1, 1, tzinfo=UTC), date(2024, 12, 31)
_TIME: Any = {"timeframe": "1d", "start": _FROM, "end": _TO}
_OF_TRADES: Any = {
    "days": "all", "origin": "all", "phase": "C", "timeframe": "1d", "symbols": ["AAPL", "MSFT"],
    "sectors": "Technology", "universe": "sector:energy",
}  # fmt: skip
_TYPES: Any = {"pattern_types": ["SPRING", "SOS"]}
_PAGE: Any = {"limit": 7}
_SAVED: Any = {
    "symbols": "AAPL", "sectors": ["Technology"], "timeframes": ["1d"], "confidence_min": 0.1, "rs_min": 0.5,
    "rs_excess_min": -5, "vol_min": 0, "rsi_range": (0, 100), "phase": ["C", "D"], "test_confirmed": False,
    "side": "accumulation", "sort_by": "symbol", "sort_order": "asc", "universe": "sector:energy", **_TYPES,
}  # fmt: skip
SOMEBODYS = UUID(int=1)

QUESTIONS: dict[str, Call[Any]] = {
    "alive": calls.alive(),
    "ready": calls.ready(),
    "openapi": calls.openapi(),
    "asyncapi": calls.asyncapi(),
    "scan": calls.scan(detected_since=_FROM, display=True, **_SAVED, **_PAGE),
    "pattern": calls.pattern(Setup(1).id),
    "pattern_stats": calls.pattern_stats(),
    "pattern_summary": calls.pattern_summary(window="7d", top=3),
    "pattern_health": calls.pattern_health(),
    "symbols": calls.symbols(search="aa", sector="Technology", kind="stock", active=True, **_PAGE),
    "symbol": calls.symbol("AAPL"),
    "detections": calls.detections("AAPL", days="all", timeframe=["1d"], **_TYPES, **_PAGE),
    "bars": calls.bars(["AAPL", "MSFT"], sort="desc", **_TIME, **_PAGE),
    "vsa": calls.vsa(
        "AAPL", rule_set="all", kinds="no_demand", direction="bearish", sort="desc", **_TIME, **_PAGE
    ),
    "markers": calls.markers("AAPL", types=["event", "vsa"], **_TIME, **_PAGE),
    "strength": calls.strength(
        as_of=_TO, symbols="AAPL", sectors="Technology", sort_by="rating", sort_order="asc", **_PAGE
    ),
    "leaders": calls.leaders(as_of=_TO, sectors="Technology", **_PAGE),
    "strength_history": calls.strength_history("AAPL", start=_FROM, end=_TO, sort="asc", **_PAGE),
    "performance": calls.performance(**_OF_TRADES, **_TYPES),
    "sectors": calls.sectors(**_OF_TRADES, **_TYPES),
    "trend": calls.trend("SPRING", **_OF_TRADES),
    "trades": calls.trades(status="all", sort="asc", **_OF_TRADES, **_TYPES, **_PAGE),
    "trade": calls.trade(Trade(1, 1.0).id),
    "vsa_metrics": calls.vsa_metrics(**_OF_TRADES, **_TYPES),
    "preliminary_events": calls.preliminary_events(Setup(1).id, lookback_days=60),
    "dashboard": calls.dashboard(),
    "discovery_health": calls.discovery_health(),
    "discovery_performance": calls.discovery_performance(),
    "universes": calls.universes(category="sector"),
    "universe": calls.universe("sector:energy", **_PAGE),
    "watchlists": calls.watchlists(**_PAGE),
    "saved_scans": calls.saved_scans(**_PAGE),
    "webhooks": calls.webhooks(**_PAGE),
}  # fmt: skip
"""Those that anybody may ask of a gateway with data."""
CHANGES: dict[str, Call[Any]] = {
    "watchlist": calls.watchlist(SOMEBODYS),
    "make_watchlist": calls.make_watchlist("Mine", "AAPL"),
    "replace_watchlist": calls.replace_watchlist(SOMEBODYS, "Mine", ["AAPL", "MSFT"], version=1),
    "delete_watchlist": calls.delete_watchlist(SOMEBODYS, version=2),
    "saved_scan": calls.saved_scan(SOMEBODYS),
    "save_scan": calls.save_scan("Mine", **_SAVED),
    "replace_scan": calls.replace_scan(SOMEBODYS, "Mine", version=1, **_SAVED),
    "delete_scan": calls.delete_scan(SOMEBODYS, version=2),
    "webhook": calls.webhook(SOMEBODYS),
    "make_webhook": calls.make_webhook("Mine", "https://example.org", "pattern.detected", symbols="AAPL"),
    "replace_webhook": calls.replace_webhook(
        SOMEBODYS, "Mine", "https://example.org", ["pattern.detected"], symbols=["AAPL"], version=1
    ),
    "delete_webhook": calls.delete_webhook(SOMEBODYS, version=2),
    "deliveries": calls.deliveries(SOMEBODYS, **_PAGE),
}
"""Those about what somebody has made first."""
ALL = QUESTIONS | CHANGES
