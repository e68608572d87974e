"""Starts the gateway: settings, guards, then HTTP on one port and operations on another."""

import asyncio
import gc
import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

import structlog
import uvicorn
from fastapi import FastAPI

from api_gateway import at_once
from api_gateway.app import create_app, create_ops_app
from api_gateway.bounds import DEFAULT, Bounds
from api_gateway.protocol import within
from api_gateway.wire import LARGEST_MESSAGE, PING_EVERY_S, PONG_WITHIN_S, Wire
from rollotape import arguments, health, logs, metrics, telemetry
from rollotape import settings as configuration
from rollotape.errors import Refused
from rollotape.settings import Settings

_GRACE_S = 10

log = structlog.get_logger()


def run() -> None:
    """Serve until SIGTERM or SIGINT. Exit code 2: refused to start."""
    try:
        arguments.heed("api-gateway")
        settings = configuration.load()
        guard(settings)
        gc.set_threshold(50_000, 20, 20)  # as the workers do: an answer leaves little behind
        logs.configure("api-gateway", settings.instance, settings.log_level)
        metrics.say_build("api-gateway")
        with telemetry.running("api-gateway", settings), logs.what_ends():
            asyncio.run(serve(settings))
    except Refused as refused:
        print(f"api-gateway: {refused}", file=sys.stderr)
        sys.exit(2)


def guard(settings: Settings) -> None:
    """Without keys nobody but this machine may ask.

    Raises:
        Refused: the settings would let strangers in.
    """
    if settings.auth == "off" and not _is_loopback(settings.http_host):
        raise Refused(
            f"ROLLO_HTTP_HOST={settings.http_host} is not loopback, and with ROLLO_AUTH=off anybody could"
            " read and write: set ROLLO_AUTH=on (see `rollo key create`), or bind to 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may come to mean another address


async def serve(settings: Settings) -> None:
    """Both ports, until a signal comes; requests in flight get ten seconds to end."""
    app = create_app(settings, tells=True)
    operations = cast(Any, create_ops_app(app))  # serve() is typed for workers and takes any ASGI application
    with _listening(settings.http_host, settings.http_port) as listener:
        async with health.serve(operations, settings.ops_host, settings.ops_port):
            log.info("listening", url=_url(listener))
            await _Server(app).serve([listener])


class _Server(uvicorn.Server):
    """uvicorn's, which lets go of those who listen to streams before it waits for everybody to end."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(config(app, app.state.servers.bounds))
        self._app = app
        self._tail = app.state.servers.tail
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is there once it is warm stays for good: looking through it all would hold up answers.
        self._app.state.warming.add_done_callback(lambda _: gc.freeze())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._tail.stop)
        super().handle_exit(sig, frame)


def config(app: Any, bounds: Bounds = DEFAULT) -> uvicorn.Config:
    """The server around an application, the gateway's or another one that is to be compared with it."""
    return uvicorn.Config(
        app,
        http=within(bounds, at_once.of(app)),
        ws=Wire,
        ws_max_size=LARGEST_MESSAGE,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PONG_WITHIN_S,
        ws_per_message_deflate=False,  # it would take hundreds of kilobytes of memory for every client
        lifespan="on",
        log_config=None,
        access_log=False,  # the envelope writes a better one
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket: 0 takes a free port, and a taken one is a sentence instead of a trace."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2_048)
    except OSError as error:
        raise Refused(f"ROLLO_HTTP_HOST, ROLLO_HTTP_PORT: cannot listen on {host}:{port}: {error}") from None
    with listener:
        # asyncio sets it only where a socket says that it is TCP, and this one does not: without it a client
        # that keeps its connection waits 40 ms for the second half of every answer.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
