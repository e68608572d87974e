"""The whole at a glance: what is there, what comes, and whether its servers are up."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request, Response

from api_gateway import openapi, queries, responses
from api_gateway.backends import Backends
from api_gateway.components import Look
from api_gateway.dependencies import Servers
from rollotape.answers import reports
from rollotape.facts import instant
from rollotape.postgres.reports import Kind, Stock


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    app.add_api_route(
        f"{prefix}/dashboard/stats",
        get_dashboard,
        methods=["GET"],
        tags=[tag],
        summary="The whole at a glance",
        response_model=reports.DashboardAnswer,
        responses=openapi.plain(),
    )


async def get_dashboard(request: Request, servers: Servers) -> Response:
    """Symbols, events and servers, looked at some seconds ago at most, once for everybody who asks.

    What cannot be seen is null, and `stale` says that something is away.
    """
    queries.parse(queries.Query, request.query_params.multi_items())
    seen, stock = (await servers.look.get()).value, (await servers.stock.get()).value
    said = {
        "symbols": None if stock is None else _symbols(stock),
        "events": _events(seen),
        "database": _database(seen, stock),
        "cache": _cache(servers, seen),
        "read_model": _model(seen),
        "as_of": seen.at,
        "stale": None in (seen.postgres, seen.lasting, stock) or _cache(servers, seen)["state"] == "away",
    }
    return responses.fresh(responses.dumps(said))


def _symbols(stock: Stock) -> dict[str, Any]:
    return {
        "total": sum(kind.symbols for kind in stock.kinds),
        "active": sum(kind.active for kind in stock.kinds),
        "by_market": _by(stock.kinds, "exchange"),
        "by_sector": _by(stock.kinds, "sector"),
    }


def _by(kinds: Iterable[Kind], column: str) -> list[dict[str, Any]]:
    """By name, and the unknown last."""
    symbols: Counter[str | None] = Counter()
    active: Counter[str | None] = Counter()
    for kind in kinds:
        name = getattr(kind, column)
        symbols[name] += kind.symbols
        active[name] += kind.active
    names = sorted(symbols, key=lambda name: (name is None, name or ""))
    return [{"name": name, "symbols": symbols[name], "active": active[name]} for name in names]


def _events(seen: Look) -> dict[str, Any] | None:
    if seen.lasting is None:
        return None
    use = seen.lasting.use
    last_ms = use.last_event_ms if use else None
    processed = instant(last_ms * 1_000) if last_ms else None
    times = [when for when in (seen.lasting.last_fact_at, processed) if when]
    return {
        "facts": seen.lasting.facts,
        "processed": use.events if use else None,
        "last_event_at": max(times, default=None),
    }


def _database(seen: Look, stock: Stock | None) -> dict[str, Any]:
    found = seen.postgres
    return {
        "state": "away" if found is None else "up",
        "version": found and found.version,
        "schema_revision": found and found.schema,
        "bytes": stock and stock.bytes,
        "connections": found and found.connections,
        "answer_ms": found and round(found.answer_s * 1e3, 3),
    }


def _cache(servers: Backends, seen: Look) -> dict[str, Any]:
    found = seen.answers or {}
    absent = "none" if servers.settings.cache_url is None else "away"
    return {
        "state": "up" if found else absent,
        **{name: found.get(name) for name in ("memory_bytes", "eviction_policy", "evicted")},
        "hit_ratio": servers.use_of_answers().ratio,
    }


def _model(seen: Look) -> dict[str, Any]:
    if seen.lasting is None:
        return {"state": "away", "patterns": None, "hit_ratio": None}
    model, use = seen.lasting.model, seen.lasting.use
    sound = model.state == "sound"
    return {
        "state": model.state,
        "patterns": model.entries if sound else None,
        "hit_ratio": use.ratio if use else None,
    }
