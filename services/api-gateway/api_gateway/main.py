"""Starts the gateway: settings, guards, then HTTP on one port and operations on another."""

import asyncio
import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator

import structlog
import uvicorn
from fastapi import FastAPI

from api_gateway.app import create_app, create_ops_app
from api_gateway.protocol import StrictH11
from rollotape import settings as configuration
from rollotape.errors import Refused
from rollotape.settings import Settings

_GRACE_S = 10

log = structlog.get_logger()


def run() -> None:
    """Serve until SIGTERM or SIGINT."""
    try:
        settings = configuration.load()
        guard(settings)
        asyncio.run(serve(settings))
    except Refused as refused:
        sys.exit(f"api-gateway: {refused}")


def guard(settings: Settings) -> None:
    """Keys arrive with a later release; until then nobody but this machine may ask.

    Raises:
        Refused: the settings would let strangers in, or ask for keys that cannot exist yet.
    """
    if settings.auth == "on":
        raise Refused(
            "ROLLO_AUTH=on needs API keys, which arrive later: bind to 127.0.0.1 and set ROLLO_AUTH=off"
        )
    if not _is_loopback(settings.http_host):
        raise Refused(
            f"ROLLO_HTTP_HOST={settings.http_host} is not loopback, and without API keys, which arrive later,"
            " anybody could read and write: bind to 127.0.0.1 with ROLLO_AUTH=off"
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
    app = create_app(settings)
    with (
        _listening(settings.http_host, settings.http_port) as front_door,
        _listening(settings.ops_host, settings.ops_port) as back_door,
    ):
        front, back = uvicorn.Server(_config(app)), _Quiet(_config(create_ops_app(app)))
        log.info("listening", url=_url(front_door), ops_url=_url(back_door))
        operations = asyncio.create_task(back.serve([back_door]))
        await front.serve([front_door])
        back.should_exit = True
        await operations


class _Quiet(uvicorn.Server):
    """A server that leaves the signals to the other one of its process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=StrictH11,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # the envelope writes a better one
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket: 0 takes a free port, and a taken one is a sentence instead of a trace."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2_048)
    except OSError as error:
        raise Refused(f"cannot listen on {host}:{port}: {error.strerror}") from error
    with listener:
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
