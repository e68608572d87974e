"""How the whole is: every part with its own check, how fresh patterns are, and how fast answers were."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response

from api_gateway import components, openapi, problems, queries, responses
from api_gateway.backends import Backends
from api_gateway.components import Component, Look
from api_gateway.dependencies import Servers
from api_gateway.timings import Durations, Name
from rollotape import calendars
from rollotape.answers import reports
from rollotape.facts import instant

SCAN = "/api/patterns/scan"
STREAMS = ("/api/patterns/stream", "/api/stream")
_ANALYTICS = "/api/analytics"
_UNCACHED = {
    "performance_uncached_mean": ("A1", f"{_ANALYTICS}/pattern-performance", 100.0),
    "sectors_uncached_mean": ("A2", f"{_ANALYTICS}/sector-breakdown", 60.0),
    "trend_uncached_mean": ("A3", f"{_ANALYTICS}/trend/{{pattern_type}}", 50.0),
    "trades_uncached_mean": ("A4", f"{_ANALYTICS}/trades", 30.0),
}
_MEMORY = 500_000_000.0


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    paths: tuple[tuple[str, Any, str, Any, openapi.Responses], ...] = (
        (
            "patterns/health", get_pattern_health, "How fresh patterns are",
            reports.PatternHealth, openapi.plain(503),
        ),
        (
            "pattern-discovery/health", get_health, "Every part with its own check",
            reports.DiscoveryHealth, openapi.plain(503),
        ),
        (
            "pattern-discovery/performance", get_performance, "How fast answers were, against the targets",
            reports.Performance, openapi.plain(),
        ),
    )  # fmt: skip
    for path, endpoint, summary, model, answers in paths:
        app.add_api_route(
            f"{prefix}/{path}",
            endpoint,
            methods=["GET"],
            tags=[tag],
            summary=summary,
            response_model=model,
            responses=answers,
        )


async def get_pattern_health(request: Request, servers: Servers) -> Response:
    """How far bars are behind the market, whether facts get through, and whether the indexes agree.

    Bars are measured in open market: nights, weekends and holidays are no delay. 503, with the same findings
    beside the problem, where there is no sound read model to scan.
    """
    queries.parse(queries.Query, request.query_params.multi_items())
    seen = (await servers.look.get()).value
    judged = [c for c in _judged(servers, seen) if c.name in ("read-model", "delivery", "bars")]
    said = {
        "reasons": [f"{c.name}: {c.reason}" for c in judged if c.status != "healthy"],
        "checked_at": seen.at,
        "market": _market(seen),
        "bars": None if seen.newest is None else [_newest(n) for n in seen.newest],
        "facts": _facts(seen),
        "model": _model(seen),
    }
    return _verdict(request, judged, said)


async def get_health(request: Request, servers: Servers) -> Response:
    """Every part with a check of its own, made at most two seconds ago.

    503, with the same findings beside the problem, where PostgreSQL, the Redis of the streams or the read
    model is unhealthy; whatever else is wrong is `degraded`.
    """
    queries.parse(queries.Query, request.query_params.multi_items())
    seen = (await servers.look.get()).value
    judged = _judged(servers, seen)
    said = {"checked_at": seen.at, "components": [_component(c) for c in judged]}
    return _verdict(request, judged, said)


async def judged(servers: Backends) -> list[Component]:
    """Every part of the system, as it was within the last two seconds."""
    return _judged(servers, (await servers.look.get()).value)


def _judged(servers: Backends, seen: Look) -> list[Component]:
    return components.components(seen, shares_answers=servers.settings.cache_url is not None)


def _verdict(request: Request, judged: list[Component], said: dict[str, Any]) -> Response:
    status = components.overall(judged)
    if status != "unhealthy":
        return responses.fresh(responses.dumps({"status": status} | said))
    wrong = [f"{c.name} {c.reason}" for c in judged if c.critical and c.status == "unhealthy"]
    problem = problems.Problem(problems.UNAVAILABLE, f"Unhealthy: {'; '.join(wrong)}.")
    instance, request_id = request.scope["path"], problems.request_id(request)
    document = orjson.loads(problems.document(problem, instance=instance, request_id=request_id))
    body = responses.dumps(document | said)
    answer = responses.fresh(body, status=503, media_type=problems.MEDIA_TYPE)
    answer.headers["Retry-After"] = str(problems.RETRY_AFTER_S)
    return answer


def _component(c: Component) -> dict[str, Any]:
    said = asdict(c)
    return {name: said[name] for name in ("name", "status", "critical", "reason", "figures")}


def _market(seen: Look) -> dict[str, Any]:
    now = seen.market
    return {
        "calendar": calendars.DEFAULT,
        "is_open": now.is_open,
        "opened_at": _instant(now.opened_us),
        "closes_at": _instant(now.closes_us),
        "next_opens_at": _instant(now.next_open_us),
    }


def _newest(n: Any) -> dict[str, Any]:
    return {
        "timeframe": n.timeframe,
        "newest_at": instant(n.newest_us),
        "behind_s": n.behind_us / 1e6,
        "allowed_s": n.allowed_us / 1e6,
        "state": n.state,
    }


def _facts(seen: Look) -> dict[str, Any] | None:
    if seen.lasting is None:
        return None
    ours = [
        c for c in seen.lasting.consumers if (c.stream, c.group) == ("updates", components.CACHE_BUILDER)
    ]
    lags = [c.lag for c in ours]
    use = seen.lasting.use
    return {
        "last_fact_at": seen.lasting.last_fact_at,
        "last_processed_at": _instant(use.last_event_ms * 1_000) if use and use.last_event_ms else None,
        "processed": use.events if use else None,
        "lag": None if None in lags else sum(lag for lag in lags if lag is not None),
        "pending": sum(c.pending for c in ours),
        "oldest_pending_s": max(
            (c.oldest_pending_s for c in ours if c.oldest_pending_s is not None), default=None
        ),
    }


def _model(seen: Look) -> dict[str, Any] | None:
    if seen.lasting is None:
        return None
    model, use = seen.lasting.model, seen.lasting.use
    return {
        "state": model.state,
        "entries": model.entries,
        "version": model.version,
        "index_sizes": use.index_sizes if use else None,
        "tended": seen.lasting.tended,
        "rebuild_wanted": model.wanted,
    }


def _instant(us: int | None) -> datetime | None:
    return None if us is None else instant(us)


# ---- performance


async def get_performance(request: Request, servers: Servers) -> Response:
    """Requests of this gateway in the last five minutes, what waits in the streams, and the targets.

    Only what was measured: without traffic the times, and whether a target is met, are null.
    """
    queries.parse(queries.Query, request.query_params.multi_items())
    seen = (await servers.look.get()).value
    window_s, counted = servers.timings.window()
    by_route, ready, computed = _gathered(counted)
    whole = Durations().add(d for route, d in by_route.items() if route not in STREAMS)
    memory, use = _resident_bytes(), seen.lasting.use if seen.lasting else None
    ratios = {
        "scan": _ratio(ready[SCAN].count, computed[SCAN].count),
        "scan_since_flush": use.ratio if use else None,
        "analytics": _ratio(*(_of_analytics(d) for d in (ready, computed))),
        "analytics_since_start": servers.use_of_answers().ratio,
    }
    said = {
        "window": {"seconds": round(window_s, 3), "since": datetime.now(UTC) - timedelta(seconds=window_s)},
        "instance": servers.settings.instance,
        "requests": _spent(whole)
        | {"failed": whole.failed, "per_s": _rounded(whole.count / window_s if window_s > 0 else None)},
        "routes": [
            {"route": route, "failed": d.failed} | _spent(d)
            for route, d in sorted(by_route.items(), key=lambda one: (-one[1].count, one[0]))
        ],
        "scan": {
            "all": _spent(by_route[SCAN]),
            "cached": _spent(ready[SCAN]),
            "computed": _spent(computed[SCAN]),
        },
        "hit_ratio": {name: _rounded(ratio) for name, ratio in ratios.items()},
        "consumers": None if seen.lasting is None else [c._asdict() for c in seen.lasting.consumers],
        "memory_bytes": memory,
        "targets": list(_targets(by_route[SCAN], ready, computed, ratios, memory)),
    }
    return responses.fresh(responses.dumps(said))


Counted = defaultdict[str, Durations]


def _gathered(counted: Mapping[Name, Durations]) -> tuple[Counted, Counted, Counted]:
    """By route: everything, what was found ready, what was computed. `/api/v1` counts with `/api`."""
    found: tuple[Counted, Counted, Counted] = (
        defaultdict(Durations),
        defaultdict(Durations),
        defaultdict(Durations),
    )
    for name, durations in counted.items():
        route = name.route.replace("/api/v1/", "/api/", 1)
        found[0][route].add([durations])
        if name.cached is not None:
            found[1 if name.cached else 2][route].add([durations])
    return found


def _of_analytics(durations: Counted) -> int:
    return sum(d.count for route, d in durations.items() if route.startswith(_ANALYTICS))


def _targets(
    scans: Durations,
    ready: Counted,
    computed: Counted,
    ratios: Mapping[str, float | None],
    memory: int | None,
) -> Iterable[dict[str, Any]]:
    """Those of the mission that this process can measure."""
    at_most = [
        ("scan_mean", "B1", "ms", 25.0, scans.mean_ms),
        ("scan_p95", "B1", "ms", 50.0, scans.percentile_ms(0.95)),
        ("scan_cached_p95", "B1", "ms", 20.0, ready[SCAN].percentile_ms(0.95)),
        *(
            (name, mission, "ms", target, computed[route].mean_ms)
            for name, (mission, route, target) in _UNCACHED.items()
        ),
        ("gateway_memory", "B10", "bytes", _MEMORY, memory),
    ]
    at_least = [
        ("scan_hit_ratio", "B8", "ratio", 0.85, ratios["scan"]),
        ("analytics_hit_ratio", "A10", "ratio", 0.9, ratios["analytics"]),
    ]
    for name, mission, unit, target, measured in at_most:
        yield _target(name, mission, unit, target, measured, None if measured is None else measured < target)
    for name, mission, unit, target, measured in at_least:
        yield _target(name, mission, unit, target, measured, None if measured is None else measured > target)


def _target(
    name: str, mission: str, unit: str, target: float, measured: float | None, met: bool | None
) -> dict[str, Any]:
    return {
        "name": name,
        "mission": mission,
        "unit": unit,
        "target": target,
        "measured": _rounded(measured),
        "met": met,
    }


def _spent(d: Durations) -> dict[str, Any]:
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    return {
        "count": d.count,
        "mean_ms": _rounded(d.mean_ms),
        **{name: _rounded(d.percentile_ms(share)) for name, share in shares.items()},
    }


def _ratio(hits: int, misses: int) -> float | None:
    return hits / (hits + misses) if hits + misses else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _resident_bytes() -> int | None:
    """Of this process, where the system says so in /proc."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return None
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1_024
