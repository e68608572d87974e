"""`rollo up`: servers and services on this machine, until Ctrl-C."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rollotape import settings as configuration
from rollotape.cli import ends, stack
from rollotape.embedded import Servers, Urls
from rollotape.embedded.server import free_port, is_free
from rollotape.errors import Refused
from rollotape.postgres import migrate
from rollotape.supervisor import Supervisor

GATEWAY = "api-gateway"
SERVICES = ("detector", "rs-worker", "cache-builder", GATEWAY)
PORT = 8080
LOOK_EVERY_S = 0.25

DataOption = Annotated[
    Path | None, typer.Option(help="Directory for everything that stays. [default: .rollo]")
]
PortOption = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="Of the gateway. [default: 8080, or a free one if 8080 is taken]"),
]
ReplicasOption = Annotated[
    list[str] | None, typer.Option(metavar="SERVICE=N", help="Like detector=3; may be repeated.")
]

Say = Callable[[str], None]
Meanwhile = Callable[[stack.Stack], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Options:
    """What a stack is started with."""

    data: Path
    port: int | None = None
    replicas: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SERVICES, 1))


def up(data: DataOption = None, port: PortOption = None, replicas: ReplicasOption = None) -> None:
    """Start Valkey, PostgreSQL and all services on this machine. Ctrl-C stops them; data stay.

    Servers that ROLLO_REDIS_URL, ROLLO_CACHE_URL or ROLLO_DATABASE_URL name are used instead of own ones.

    Example: rollo up --data ~/tape --replicas detector=3
    """
    ends.run(hold(options(data, port, replicas), speaker()))


def options(data: Path | None, port: int | None, replicas: list[str] | None) -> Options:
    return Options(stack.folder(data).absolute(), port, _counts(replicas or []))


def speaker(console: Console | None = None) -> Say:
    """Prints sentences for the operator as they are: paths are not wrapped, brackets are not markup."""
    console = console or Console()
    return lambda sentence: console.print(sentence, markup=False, highlight=False, soft_wrap=True)


async def hold(options: Options, say: Say, meanwhile: Meanwhile | None = None) -> None:
    """Run a stack until a signal comes, or until what happens meanwhile fails.

    Raises:
        Refused: it cannot run like this.
    """
    run = Run(options, say)
    run.listen()
    try:
        found = await run.start()
        if found:
            await run.watch(meanwhile(found) if meanwhile else None)
    finally:
        await run.stop()


class Run:
    """One stack, from its first server to its last sentence."""

    def __init__(self, options: Options, say: Say) -> None:
        self._options = options
        self._say = say
        self._logs = options.data / "logs"
        self._servers = Servers(options.data)
        self._supervisor: Supervisor | None = None
        self._gateway_url = ""
        self._stopping = asyncio.Event()

    def listen(self) -> None:
        """The first signal stops in order; the second kills the services."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._hear)

    async def start(self) -> stack.Stack | None:
        """Servers, schema, services; None when a signal came meanwhile."""
        if self._options.port is not None and not stack.runs(self._options.data):
            _gateway_port(self._options.port)  # before anything is started
        self._say(f"Starting Rollo Tape on {self._options.data}")
        for sentence in configuration.misspelt(os.environ):
            self._say(f"  {sentence}")
        urls = await asyncio.to_thread(self._servers.start)
        stack.remove(self._options.data)  # the data are ours now; a stack that was killed left its own
        for sentence in (self._servers.summary, *self._servers.notices):
            self._say(f"  {sentence}")
        partitions = configuration.load(**_settings(urls)).partitions
        migrated = await asyncio.to_thread(migrate.upgrade, urls.database_url, partitions)
        news = f", applied {' '.join(migrated.applied)}" if migrated.applied else ""
        self._say(f"  schema {migrated.revision}, {migrated.partitions} partitions{news}")
        environment, children = self._environment(urls), self._servers.children
        self._supervisor = Supervisor(children, self._logs, environment, self._options.replicas, self._say)
        self._supervisor.start()
        if not await self._unless_stopped(self._supervisor.ready()):
            return None
        return self._announce(self._supervisor)

    async def watch(self, meanwhile: Awaitable[None] | None) -> None:
        """Look after servers and services until a signal comes."""
        assert self._supervisor
        other = asyncio.ensure_future(meanwhile) if meanwhile else None
        try:
            while not self._stopping.is_set():
                if other and other.done():
                    other.result()
                    other = None
                for name in await asyncio.to_thread(self._servers.revive):
                    self._say(f"{name} ended and was started again. Its log is {self._logs / name}.log.")
                if self._supervisor.tick():
                    stack.write(self._options.data, self._description(self._supervisor))
                await self._wait(LOOK_EVERY_S)
        finally:
            if other:
                other.cancel()
                await asyncio.gather(other, return_exceptions=True)

    async def stop(self) -> None:
        """Services, then servers; what ran is gone when this returns."""
        if self._supervisor:  # else another stack may run here, and the file be its own
            stack.remove(self._options.data)
            self._say("Stopping: services, then servers.")
            await asyncio.to_thread(self._supervisor.stop)
        await asyncio.to_thread(self._servers.stop)
        if self._supervisor:
            self._say(f"Stopped. The data stay in {self._options.data}.")

    def _hear(self) -> None:
        if self._stopping.is_set() and self._supervisor:
            self._supervisor.kill()
        self._stopping.set()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _unless_stopped(self, work: Awaitable[None]) -> bool:
        """Whether the work was done before a signal came."""
        stopped = asyncio.ensure_future(self._stopping.wait())
        task = asyncio.ensure_future(work)
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False

    def _environment(self, urls: Urls) -> dict[str, str]:
        port = _gateway_port(self._options.port)
        self._gateway_url = f"http://127.0.0.1:{port}"
        return urls.environment() | {
            "ROLLO_AUTH": os.environ.get("ROLLO_AUTH", "off"),
            "ROLLO_HTTP_HOST": "127.0.0.1",
            "ROLLO_HTTP_PORT": str(port),
            "ROLLO_OPS_HOST": "127.0.0.1",
        }

    def _announce(self, supervisor: Supervisor) -> stack.Stack:
        found = self._description(supervisor)
        stack.write(self._options.data, found)
        counts = ", ".join(f"{service} x{n}" for service, n in self._options.replicas.items())
        self._say(f"  {counts} ready; logs in {self._logs}")
        if self._options.port is None and not self._gateway_url.endswith(f":{PORT}"):
            self._say(
                f"Port {PORT} is taken by another program: the gateway has a free one instead;"
                " --port names one of your choice"
            )
        self._say(f"Ready: {self._gateway_url}  (Ctrl-C stops everything)")
        return found

    def _description(self, supervisor: Supervisor) -> stack.Stack:
        urls = self._servers.urls
        services = {r.name: stack.Service(r.pid, r.ops_url) for r in supervisor.replicas}
        return stack.Stack(
            urls.redis_url, urls.cache_url, urls.database_url, self._gateway_url, os.getpid(), services
        )


def _gateway_port(wanted: int | None) -> int:
    if wanted is None:
        return PORT if is_free(PORT) else free_port()
    if not is_free(wanted):
        raise Refused(f"port {wanted} is taken: choose another with --port")
    return wanted


def _counts(wanted: list[str]) -> dict[str, int]:
    """Replicas of every service, from words like "detector=3"."""
    counts = dict.fromkeys(SERVICES, 1)
    for word in wanted:
        service, _, number = word.partition("=")
        if service not in counts or not number.isdecimal() or int(number) > 64:
            raise typer.BadParameter(f"{word!r} is not like detector=3; services are {', '.join(SERVICES)}")
        counts[service] = int(number)
    if counts[GATEWAY] > 1:
        raise typer.BadParameter("one machine has one port for the gateway: it cannot run twice")
    return counts


def _settings(urls: Urls) -> dict[str, str]:
    return {name.removeprefix("ROLLO_").lower(): url for name, url in urls.environment().items()}
