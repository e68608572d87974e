"""/livez, /readyz and /metrics of a worker: what they say is asked for at that moment."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import orjson
import structlog
import uvicorn
from faststream.asgi import AsgiFastStream, AsgiResponse, get
from faststream.redis import RedisBroker
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from rollotape.errors import Refused

CHECK_S = 2.0

Check = Callable[[], Awaitable[object]]
"""Returns when all is well, else raises with the reason."""
Application = Callable[[Any, Any, Any], Awaitable[None]]
"""As ASGI has it."""

log = structlog.get_logger()


class Health:
    """Named checks. A process that starts or stops is alive, and not ready."""

    def __init__(self) -> None:
        self.phase: str | None = "starting"
        self._ready: dict[str, Check] = {}
        self._alive: dict[str, Callable[[], bool]] = {}

    def ready_when(self, name: str, check: Check) -> None:
        self._ready[name] = check

    def alive_when(self, name: str, check: Callable[[], bool]) -> None:
        self._alive[name] = check

    def alive(self) -> dict[str, str]:
        return {name: "ok" if check() else "stuck" for name, check in self._alive.items()}

    async def ready(self) -> dict[str, str]:
        """Every check at once, each with its own time limit."""
        answers = await asyncio.gather(*map(_outcome, self._ready.values()))
        phase = {"phase": self.phase} if self.phase else {}
        return phase | dict(zip(self._ready, answers, strict=True)) | self.alive()


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_S:g} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def make_app(broker: RedisBroker, health: Health) -> AsgiFastStream:
    """FastStream's ASGI application with our three routes."""

    @get(include_in_schema=False)
    async def livez(scope: Any) -> AsgiResponse:
        return _livez(health)

    @get(include_in_schema=False)
    async def readyz(scope: Any) -> AsgiResponse:
        return await _readyz(health)

    @get(include_in_schema=False)
    async def metrics(scope: Any) -> AsgiResponse:
        return _metrics()

    routes = [("/livez", livez), ("/readyz", readyz), ("/metrics", metrics)]
    return AsgiFastStream(broker, asgi_routes=routes, logger=None)


def make_plain_app(health: Health) -> Application:
    """The same routes for a process that delivers nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        match scope["path"]:
            case "/livez":
                answer = _livez(health)
            case "/readyz":
                answer = await _readyz(health)
            case "/metrics":
                answer = _metrics()
            case _:
                answer = AsgiResponse(b"", status_code=404)
        await answer(scope, receive, send)

    return app


def _livez(health: Health) -> AsgiResponse:
    return _answer("alive", health.alive())


async def _readyz(health: Health) -> AsgiResponse:
    return _answer("ready", await health.ready())


def _metrics() -> AsgiResponse:
    return AsgiResponse(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


def _answer(what: str, checks: dict[str, str]) -> AsgiResponse:
    good = all(outcome == "ok" for outcome in checks.values())
    body = orjson.dumps({what: good, "checks": checks})
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return AsgiResponse(body, status_code=200 if good else 503, headers=headers)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the service: it gives back its partitions before this server goes."""
        yield


@contextlib.asynccontextmanager
async def serve(app: AsgiFastStream | Application, host: str, port: int) -> AsyncIterator[int]:
    """Answer on host:port (0 chooses a free one); yields the port.

    The application's own lifespan is off: we answer before Redis does, and the broker is started and
    stopped by the service, which has leases to take and to give back around it.

    Raises:
        Refused: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise Refused(f"ROLLO_OPS_HOST, ROLLO_OPS_PORT: cannot listen on {host}:{port}: {error}") from None
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    port = listening.getsockname()[1]
    log.info("ops_listening", host=host, port=port)
    try:
        yield port
    finally:
        server.should_exit = True
        await asyncio.wait([serving], timeout=2.0)
        listening.close()
