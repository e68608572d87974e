"""The shapes of answers about the whole: summaries, health, performance, the dashboard, universes."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from api_gateway.answers import Shape


def example(said: dict[str, Any]) -> dict[str, Any]:
    """Content of a good answer with an example of it."""
    return {"application/json": {"example": said}}


# ---- patterns/summary


class Count(Shape):
    name: str
    count: int


class Group(Shape):
    name: str | None = Field(description="Null: those of which nobody knows it.")
    count: int


class Groups(Shape):
    """Most first, then by name; null last. Together each list is `total`."""

    pattern_type: list[Group]
    phase: list[Group]
    sector: list[Group]
    side: list[Group]
    timeframe: list[Group]


class HighConfidence(Shape):
    at_least: float
    count: int


class NewOnes(Shape):
    window: str
    since: datetime = Field(description="The whole minute at which the window begins.")
    count: int = Field(description="Detected after `since`, and active still.")


class SummaryAnswer(Shape):
    total: int = Field(description="Active patterns, whatever their confidence.")
    symbols: int = Field(description="Different ones among them.")
    by: Groups
    top_types: list[Count]
    top_symbols: list[Count]
    high_confidence: HighConfidence
    new: NewOnes
    as_of: datetime = Field(description="When the database was read for the newest change.")
    stale: bool = Field(description="True when nobody has looked for newer patterns lately.")


SUMMARY = {
    "total": 3,
    "symbols": 2,
    "by": {
        "pattern_type": [{"name": "SPRING", "count": 2}, {"name": "SOS", "count": 1}],
        "phase": [{"name": "C", "count": 2}, {"name": "D", "count": 1}],
        "sector": [{"name": "Energy", "count": 2}, {"name": None, "count": 1}],
        "side": [{"name": "accumulation", "count": 3}],
        "timeframe": [{"name": "1d", "count": 3}],
    },
    "top_types": [{"name": "SPRING", "count": 2}, {"name": "SOS", "count": 1}],
    "top_symbols": [{"name": "XOM", "count": 2}, {"name": "ACME", "count": 1}],
    "high_confidence": {"at_least": 0.8, "count": 1},
    "new": {"window": "24h", "since": "2026-01-04T15:30:00Z", "count": 1},
    "as_of": "2026-01-05T15:29:58.120000Z",
    "stale": False,
}


# ---- patterns/health

Verdict = Literal["healthy", "degraded", "unhealthy"]
WELL = Literal["healthy", "degraded"]
"""Of an answer that is 200; unhealthy is 503."""


class MarketNow(Shape):
    calendar: str
    is_open: bool
    opened_at: datetime | None = Field(description="Of the session that is open, or was the last one.")
    closes_at: datetime | None = Field(description="Of the same session.")
    next_opens_at: datetime | None


class NewestBar(Shape):
    timeframe: str
    newest_at: datetime = Field(description="When it was complete.")
    behind_s: float = Field(description="For so long the market has been open since.")
    allowed_s: float = Field(description="One bar, and a quarter of an hour.")
    state: Literal["fresh", "late", "ended"] = Field(
        description="`ended`: five sessions have passed since the next one was due."
    )


class Facts(Shape):
    """The stream `updates`, from which the read model hears what to look at."""

    last_fact_at: datetime | None
    last_processed_at: datetime | None = Field(description="By a cache-builder.")
    processed: int | None = Field(description="Since the read model's Redis was last flushed.")
    lag: int | None = Field(description="Not yet delivered; null where Redis cannot tell.")
    pending: int
    oldest_pending_s: float | None


class ModelHealth(Shape):
    state: Literal["sound", "missing", "broken"] = Field(
        description="`sound`: every index has as many entries as the manifest says."
    )
    entries: int
    version: int
    index_sizes: dict[str, int] | None = Field(description="Null where a key is of another type.")
    tended: bool = Field(description="A cache-builder has looked after it within seconds.")
    rebuild_wanted: str | None = Field(description="Why a reader asked for another one.")


class PatternHealth(Shape):
    status: WELL
    reasons: list[str] = Field(description="What is not as it should be.")
    checked_at: datetime
    market: MarketNow
    bars: list[NewestBar] | None = Field(description="Null while PostgreSQL is away.")
    facts: Facts | None = Field(description="Null while Redis is away.")
    model: ModelHealth | None = Field(description="Null while Redis is away.")


PATTERN_HEALTH = {
    "status": "degraded",
    "reasons": ["bars: late: 1m"],
    "checked_at": "2026-01-05T15:30:00Z",
    "market": {
        "calendar": "XNYS",
        "is_open": True,
        "opened_at": "2026-01-05T14:30:00Z",
        "closes_at": "2026-01-05T21:00:00Z",
        "next_opens_at": "2026-01-06T14:30:00Z",
    },
    "bars": [
        {
            "timeframe": "1m",
            "newest_at": "2026-01-05T15:00:00Z",
            "behind_s": 1800.0,
            "allowed_s": 960.0,
            "state": "late",
        }
    ],
    "facts": {
        "last_fact_at": "2026-01-05T15:00:01.250000Z",
        "last_processed_at": "2026-01-05T15:00:01.250000Z",
        "processed": 51,
        "lag": 0,
        "pending": 0,
        "oldest_pending_s": None,
    },
    "model": {
        "state": "sound",
        "entries": 3,
        "version": 12,
        "index_sizes": {"confidence": 3, "detected_at": 3, "expires_at": 3, "symbol": 3, "type": 3},
        "tended": True,
        "rebuild_wanted": None,
    },
}


# ---- pattern-discovery/health


class ComponentItem(Shape):
    name: str
    status: Verdict
    critical: bool = Field(description="Without it the whole is unhealthy.")
    reason: str | None = Field(description="What is wrong; or why there is nothing to be seen.")
    figures: dict[str, Any] = Field(description="What was measured; empty where it does not answer.")


class DiscoveryHealth(Shape):
    status: WELL
    checked_at: datetime
    components: list[ComponentItem]


DISCOVERY_HEALTH = {
    "status": "degraded",
    "checked_at": "2026-01-05T15:30:00Z",
    "components": [
        {
            "name": "postgresql",
            "status": "healthy",
            "critical": True,
            "reason": None,
            "figures": {"answer_ms": 0.412, "version": "18.4", "connections": 14},
        },
        {
            "name": "rs-worker",
            "status": "unhealthy",
            "critical": False,
            "reason": "none is connected to PostgreSQL",
            "figures": {"connections": 0},
        },
    ],
}


# ---- pattern-discovery/performance


class Spent(Shape):
    """Times of whole requests, in milliseconds; null without any. Percentiles are at most 4.5 % too high."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class AllSpent(Spent):
    failed: int = Field(description="Answered with 5xx, or broken off.")
    per_s: float | None


class RouteSpent(Spent):
    route: str
    failed: int


class ScanSpent(Shape):
    all: Spent
    cached: Spent = Field(description="The answer was there already.")
    computed: Spent


class HitRatios(Shape):
    scan: float | None = Field(description="Of this window; null without a scan.")
    scan_since_flush: float | None = Field(description="Of all gateways, since Redis was last flushed.")
    analytics: float | None = Field(description="Of this window; null without a question.")
    analytics_since_start: float | None


class ConsumerItem(Shape):
    stream: str
    group: str
    lag: int | None = Field(description="Entries not yet delivered; null where Redis cannot tell.")
    pending: int = Field(description="Delivered and not yet acknowledged.")
    oldest_pending_s: float | None
    missing: int = Field(description="Streams with entries for which this group was never made.")


class TargetItem(Shape):
    name: str
    mission: str = Field(description="Row of the mission that it comes from.")
    unit: Literal["ms", "ratio", "bytes"]
    target: float
    measured: float | None
    met: bool | None = Field(description="Null while nothing has been measured.")


class MeasuredWindow(Shape):
    seconds: float = Field(description="At most some five minutes; less after a start.")
    since: datetime


class Performance(Shape):
    window: MeasuredWindow
    instance: str = Field(description="The gateway that answered: requests are its own.")
    requests: AllSpent = Field(description="All but streams, which last for as long as somebody listens.")
    routes: list[RouteSpent] = Field(description="Most asked for first; `/api/v1` counts with `/api`.")
    scan: ScanSpent
    hit_ratio: HitRatios
    consumers: list[ConsumerItem] | None = Field(description="Null while Redis is away.")
    memory_bytes: int | None = Field(description="Resident, of this gateway; null where nobody tells.")
    targets: list[TargetItem]


_SPENT = {"count": 120, "mean_ms": 1.2, "p50_ms": 0.9, "p95_ms": 2.6, "p99_ms": 4.1}
PERFORMANCE = {
    "window": {"seconds": 301.5, "since": "2026-01-05T15:25:00Z"},
    "instance": "gateway-1",
    "requests": _SPENT | {"failed": 0, "per_s": 0.4},
    "routes": [_SPENT | {"route": "/api/patterns/scan", "failed": 0}],
    "scan": {
        "all": _SPENT,
        "cached": _SPENT | {"count": 110},
        "computed": _SPENT | {"count": 10},
    },
    "hit_ratio": {
        "scan": 0.917,
        "scan_since_flush": 0.93,
        "analytics": None,
        "analytics_since_start": None,
    },
    "consumers": [
        {
            "stream": "bars",
            "group": "detector",
            "lag": 0,
            "pending": 0,
            "oldest_pending_s": None,
            "missing": 0,
        }
    ],
    "memory_bytes": 118_000_000,
    "targets": [
        {
            "name": "scan_p95",
            "mission": "B1",
            "unit": "ms",
            "target": 50.0,
            "measured": 2.6,
            "met": True,
        }
    ],
}
