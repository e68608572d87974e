"""The application: its paths, each also under /api/v1, its layers and its description."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Scope

from api_gateway import at_once, examples, gate, openapi, problems, scan
from api_gateway.at_once import AtOnce, Given
from api_gateway.auth import Doorman
from api_gateway.backends import Backends
from api_gateway.before import BeforeRouting, Giver, Said, Wordings
from api_gateway.bulletin import Bulletin
from api_gateway.envelope import Envelope
from api_gateway.gate import Gate
from api_gateway.routes import (
    analytics,
    bars,
    dashboard,
    detections,
    health,
    markers,
    operations,
    patterns,
    scans,
    signals,
    socket,
    stream,
    strength,
    summary,
    symbols,
    universes,
    vsa,
    watchlists,
    webhooks,
)
from rollotape import __version__, calendars
from rollotape.settings import Settings

_ABOUT = """
Bars in, volume-spread events out. Every path is also answered under `/api/v1`.

Lists are comma-separated and repeatable. Unknown parameters, repeated ones and values out of range are
refused by name (422), never replaced. Errors are `application/problem+json`. Times are RFC 3339, UTC. Numbers
that nobody knows are null. Lists come as CSV with `format=csv` or `Accept: text/csv`: same filters, same
order; `Link` leads to the next page.
"""
_PREFIXES = {"/api": "market data", "/api/v1": "the same under /api/v1"}


class Gateway(FastAPI):
    """FastAPI for routing and description; bodies are ready bytes."""

    layers: Callable[[ASGIApp], ASGIApp]
    """What is around the routes."""
    _layers_at_once: AtOnce = staticmethod(at_once.never)
    """Of the layers, once they are there: the server starts the application before it asks."""

    def build_middleware_stack(self) -> ASGIApp:
        """Ours are the outermost, so that what is ready leaves without a step through the framework's.

        Its layer for bugs is left out: `Envelope` answers them.
        """
        inner = super().build_middleware_stack()
        assert isinstance(inner, ServerErrorMiddleware)
        outermost = self.layers(inner.app)
        self._layers_at_once = at_once.of(outermost)
        return outermost

    def at_once(self, scope: Scope) -> Given | None:
        return self._layers_at_once(scope)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = examples.illustrated(
                openapi.completed(super().openapi(), keys=self.state.keys)
            )
        return self.openapi_schema


def create_app(settings: Settings, *, tells: bool = False) -> Gateway:
    """The gateway over the servers that `settings` name; nothing is opened before the first request.

    One that `tells` looks after the whole by itself, and says what changes.
    """
    app = Gateway(
        title="Rollo Tape",
        version=__version__,
        description=_ABOUT,
        lifespan=_lifespan,
        openapi_url=None,  # ours are ready bytes with an ETag
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the envelope measures
    )
    app.state.servers = Backends(settings)
    app.state.sockets = socket.Sockets(app.state.servers, settings)
    app.state.keys = settings.auth == "on"
    app.state.tells = tells
    app.layers = lambda routes: _layers(routes, app.state.servers, settings)
    problems.handle_all(app)
    operations.add_to(app, "", documented=True)
    operations.add_to(app, "/api/v1", documented=False)
    for prefix, tag in _PREFIXES.items():
        bars.add_to(app, prefix, tag)
        vsa.add_to(app, prefix, tag)
        markers.add_to(app, prefix, tag)
        strength.add_to(app, prefix, tag)
        analytics.add_to(app, prefix, tag)
        patterns.add_to(app, prefix, tag)
        signals.add_to(app, prefix, tag)
        stream.add_to(app, prefix, tag)
        socket.add_to(app, prefix, app.state.sockets)
        summary.add_to(app, prefix, tag)
        health.add_to(app, prefix, tag)
        dashboard.add_to(app, prefix, tag)
        universes.add_to(app, prefix, tag)
        detections.add_to(app, prefix, tag)
        patterns.add_single_to(app, prefix, tag)
        symbols.add_to(app, prefix, tag)
        watchlists.add_to(app, prefix, tag)
        scans.add_to(app, prefix, tag)
        webhooks.add_to(app, prefix, tag)
    return app


def _layers(routes: ASGIApp, servers: Backends, settings: Settings) -> ASGIApp:
    hosts = gate.hosts(settings.hosts, auth=settings.auth)
    door = Doorman(BeforeRouting(routes, servers, _givers()), servers.access, servers.audit)
    gated = Gate(door, hosts, gate.names(settings.origins), servers.bounds)
    return Envelope(gated, servers.timings, settings.otel_requests)


def create_ops_app(gateway: Gateway) -> FastAPI:
    """What only the operator asks for, on a port of its own."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.servers = gateway.state.servers
    app.add_middleware(Envelope)
    problems.handle_all(app)
    operations.add_ops_to(app)
    return app


def describe() -> dict[str, Any]:
    """OpenAPI of the gateway, without any server behind it."""
    return create_app(
        Settings(redis_url="redis://localhost", database_url="postgresql://localhost/rollo")
    ).openapi()


def _givers() -> dict[str, Giver]:
    """By path, who answers it before routing."""
    wordings = Wordings(patterns.read_scan)

    async def give_scan(servers: Backends, scope: Scope, said: Said) -> Given:
        wording = await patterns.settled(servers, scope, wordings.of(scope, said))
        return await servers.scans.give(servers, scope, said, wording)

    def scan_at_once(servers: Backends, scope: Scope, said: Said) -> Given | None:
        put = wordings.of(scope, said)
        return servers.scans.at_once(servers, scope, said, put) if isinstance(put, scan.Wording) else None

    scans = [prefix + patterns.SCAN for prefix in _PREFIXES]
    found = {path: Giver(path, give_scan, scan_at_once) for path in scans}
    for prefix in _PREFIXES:
        found |= analytics.givers(prefix)
    return found


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    warming = asyncio.create_task(asyncio.to_thread(calendars.sessions))
    app.state.warming = warming
    keeping = asyncio.create_task(app.state.servers.access.keep())
    telling = asyncio.create_task(_telling(app))
    try:
        yield
    finally:
        keeping.cancel()
        telling.cancel()
        await app.state.sockets.hub.stop()
        await app.state.servers.close()
        await asyncio.wait([warming, keeping, telling])


async def _telling(app: FastAPI) -> None:
    if app.state.tells:
        servers = app.state.servers
        await Bulletin(servers.streams.redis, lambda: health.judged(servers)).keep()


def _operation_id(route: APIRoute) -> str:
    """`get_bars`, `get_bars_v1`: names that survive a rename of the path."""
    return route.name + ("_v1" if route.path.startswith("/api/v1/") else "")
