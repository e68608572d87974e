"""The gateway as the supervisor of `rollo up` runs it, and a plain application on the same server."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.request import Request, urlopen

import asyncpg
import orjson

from bench import machine
from bench.load import Outcome, Plan
from bench.readers import contender
from bench.stage import Stage, until
from rollotape import keys
from rollotape.embedded.server import free_port
from rollotape.postgres import keys as stored
from rollotape.supervisor import Supervisor

READY_S = 60.0
GIVE_UP_S = 60.0
OWNER = "bench"
"""Of the key, and of what is kept for it."""


@dataclass(frozen=True, slots=True)
class Server:
    """Something that answers on a port, and the process whose time it costs."""

    port: int
    pid: int
    key: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Where each service behind it tells its metrics."""

    def get(self, target: str) -> bytes:
        said = {"Authorization": f"Bearer {self.key}"}
        with urlopen(Request(f"http://127.0.0.1:{self.port}{target}", headers=said), timeout=10) as answer:
            body: bytes = answer.read()
            return body


@dataclass(frozen=True, slots=True)
class Load:
    """How to ask."""

    connections: int
    rate: float | None
    seconds: float
    warm_s: float = 1.0
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of it, and the processor time of the server for each answer."""

    outcome: Outcome
    cpu_us: float | None


@asynccontextmanager
async def gateway(
    stage: Stage, redis_number: int, database_url: str, patterns: int, more: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """A real gateway that lets nobody in without a key, with a read model that a real cache-builder keeps."""
    port = free_port()
    environment = stage.environment(redis_number, database_url) | {
        "ROLLO_AUTH": "on",
        "ROLLO_RATE_REQUESTS": "1000000",  # counted and leased as ever, and more than can be answered
        "ROLLO_HTTP_PORT": str(port),
        **(more or {}),
    }
    services, logs = {"cache-builder": 1, "api-gateway": 1}, stage.folder / "logs"
    supervisor = Supervisor(stage.servers.children, logs, environment, services, stage.show.say)
    supervisor.start()
    try:
        await supervisor.ready()
        pid = next(r.pid for r in supervisor.replicas if r.service == "api-gateway")
        metrics = {replica.service: f"{replica.ops_url}/metrics" for replica in supervisor.replicas}
        server = Server(port, pid, await _key(database_url), metrics)
        await until(lambda: asyncio.to_thread(_shows, server, patterns), "the read model", READY_S)
        yield server
    finally:
        supervisor.stop()


async def _key(database_url: str) -> str:
    made = keys.make()
    connection = await asyncpg.connect(database_url)
    try:
        await stored.store(connection, made, "bench", "read", None, OWNER)
    finally:
        await connection.close()
    return made.text


def _shows(server: Server, patterns: int) -> bool:
    try:
        said: Any = orjson.loads(server.get("/api/patterns/scan?confidence_min=0"))
    except OSError:  # 503 among them: the model is being built
        return False
    return bool(said["pagination"]["total"] == patterns and not said["stale"])


@contextmanager
def plain(stage: Stage, body: bytes) -> Iterator[Server]:
    port, file = free_port(), stage.folder / "body"
    file.write_bytes(body)
    with contender(stage, "plain_asgi", {}, [str(port), str(file)]) as reader:
        yield Server(port, reader.pid)


async def ask(server: Server, load: Load, targets: list[str], before: int = 0) -> Asked:
    """Have a process of its own ask the targets one after the other, from the first again after the last.

    So many of them are asked once `before` the clock runs.

    Raises:
        AssertionError: not every answer was a 200; what it measured is no figure.
    """
    head = f"Authorization: Bearer {server.key}\r\nAccept: application/json\r\nUser-Agent: bench\r\n"
    if load.encoding:
        head += f"Accept-Encoding: {load.encoding}\r\n"
    how = load.connections, load.rate, load.seconds, load.warm_s
    plan = Plan("127.0.0.1", server.port, *how, head, targets, before)
    before_s = machine.cpu_s(server.pid)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(load.seconds + GIVE_UP_S):
        said, _ = await process.communicate(orjson.dumps(asdict(plan)))
    if process.returncode:
        raise AssertionError("the load generator ended early")
    outcome = Outcome(**orjson.loads(said))
    if set(outcome.statuses) != {"200"}:
        raise AssertionError(f"not every answer was a good one: {outcome.statuses}")
    after_s = machine.cpu_s(server.pid)
    if before_s is None or after_s is None:
        return Asked(outcome, None)
    sent = outcome.answered * load.seconds / (load.seconds - load.warm_s)
    return Asked(outcome, (after_s - before_s) / sent * 1e6)
