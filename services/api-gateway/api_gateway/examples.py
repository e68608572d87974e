"""Examples of answers about the whole, for the description of the gateway."""

from typing import Any

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

_HEAD = {
    "key": "sp500",
    "description": "S&P 500",
    "category": "index",
    "count": 503,
    "changed_at": "2026-01-05T08:00:00Z",
}

UNIVERSES = {"universes": [_HEAD], "as_of": "2026-01-05T08:00:00Z", "stale": False}

UNIVERSE = _HEAD | {
    "symbols": ["A", "AAPL"],
    "next_page_token": "dG9rZW4",
    "as_of": "2026-01-05T08:00:00Z",
    "stale": False,
}

DETECTIONS = {
    "symbol": "XOM",
    "days": 30,
    "since": "2025-12-06T05:00:00Z",
    "detections": [
        {
            "id": "00000000-0000-8000-8000-000000000001",
            "symbol": "XOM",
            "pattern_type": "SPRING",
            "timeframe": "1d",
            "side": "accumulation",
            "phase": "C",
            "status": "active",
            "is_active": True,
            "confidence": 0.81,
            "price": 101.5,
            "entry": 101.5,
            "stop": 97.2,
            "targets": [110.0, 114.4],
            "planned_r": 1.98,
            "test_confirmed": None,
            "detected_at": "2026-01-02T21:00:00Z",
            "confirmed_at": None,
            "expires_at": "2026-01-30T21:00:00Z",
            "source": "rollo",
            "rule_set": "wyckoff-1",
        }
    ],
    "next_page_token": None,
    "as_of": "2026-01-02T21:00:00Z",
    "stale": False,
}

DASHBOARD = {
    "symbols": {
        "total": 522,
        "active": 505,
        "by_market": [{"name": "NYSE", "symbols": 300, "active": 296}],
        "by_sector": [{"name": "Energy", "symbols": 22, "active": 21}],
    },
    "events": {"facts": 1042, "processed": 1042, "last_event_at": "2026-01-05T15:29:58Z"},
    "database": {
        "state": "up",
        "version": "18.4",
        "schema_revision": "0011_universes",
        "bytes": 92_274_688,
        "connections": 14,
        "answer_ms": 0.41,
    },
    "cache": {
        "state": "up",
        "memory_bytes": 1_048_576,
        "eviction_policy": "allkeys-lru",
        "evicted": 0,
        "hit_ratio": 0.96,
    },
    "read_model": {"state": "sound", "patterns": 37, "hit_ratio": 0.93},
    "as_of": "2026-01-05T15:30:00Z",
    "stale": False,
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "/patterns/summary": SUMMARY,
    "/patterns/health": PATTERN_HEALTH,
    "/pattern-discovery/health": DISCOVERY_HEALTH,
    "/pattern-discovery/performance": PERFORMANCE,
    "/dashboard/stats": DASHBOARD,
    "/users/universe": UNIVERSES,
    "/users/universe/{key}": UNIVERSE,
    "/symbols/{symbol}/detections": DETECTIONS,
}


def illustrated(document: dict[str, Any]) -> dict[str, Any]:
    """The document with an example of each of these answers: the framework would leave out what is null."""
    for prefix in ("/api", "/api/v1"):
        for path, example in EXAMPLES.items():
            answer = document["paths"][prefix + path]["get"]["responses"]["200"]
            answer["content"]["application/json"]["example"] = example
    return document
