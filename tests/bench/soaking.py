"""What is watched while a whole stack is at work, and who works on its Redis beside it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from statistics import median

import orjson
from redis.asyncio import Redis

from bench import machine
from bench.operations import Outcome, Plan
from bench.readers import TESTS
from bench.stage import PARTITIONS, Stage, Stalled
from rollotape.cli.asking import ask
from rollotape.cli.up import SERVICES
from rollotape.embedded.server import free_port
from rollotape.errors import Unavailable
from rollotape.streams import standing
from rollotape.supervisor import Supervisor

EVERY_S = 1.0
GIVE_UP_S = 60.0
ASKED = ("/api/patterns/scan?sort_by=detected_at&per_page=50&display=true", "/api/analytics/rs/leaders")
"""What the demo's own screen asks once a second."""


@asynccontextmanager
async def stack(stage: Stage, number: int, database_url: str) -> AsyncIterator[tuple[Supervisor, str]]:
    """Every service once, as `rollo up` has them; with the address of the gateway."""
    port = free_port()
    environment = stage.environment(number, database_url) | {
        "ROLLO_AUTH": "off",
        "ROLLO_HTTP_HOST": "127.0.0.1",
        "ROLLO_HTTP_PORT": str(port),
        "ROLLO_OPS_HOST": "127.0.0.1",
    }
    services, logs = dict.fromkeys(SERVICES, 1), stage.folder / "logs"
    supervisor = Supervisor(stage.servers.children, logs, environment, services, stage.show.say)
    supervisor.start()
    try:
        await supervisor.ready()
        yield supervisor, f"http://127.0.0.1:{port}"
    finally:
        await asyncio.to_thread(supervisor.stop)


async def operate(plan: Plan) -> Outcome:
    """Have a process of its own keep a Redis busy; it ends with the plan, or with us."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.operations",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    try:
        async with asyncio.timeout(plan.seconds + GIVE_UP_S):
            said, _ = await process.communicate(orjson.dumps(asdict(plan)))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise AssertionError("the process that keeps Redis busy ended early")
    return Outcome(**orjson.loads(said))


async def waiting(redis: "Redis") -> int:
    """Entries that any group has not acknowledged: unread and pending, of all streams."""
    found = await standing.look(redis, PARTITIONS)
    return sum(s.waiting(group) for s in found for group in (*s.groups, *s.missing))


@dataclass(frozen=True, slots=True)
class Look:
    """One second: entries that wait, and bytes held by replica where the system tells."""

    waiting: int
    held: dict[str, int]
    answered: bool
    """The gateway said what it was asked."""


@dataclass(slots=True)
class Watch:
    """Looks once a second until it is cancelled; a service that ends has failed."""

    supervisor: Supervisor
    redis: "Redis"
    gateway_url: str
    looks: list[Look] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)
    """The most that a replica ever held, as the system counts it: between two looks, too."""

    async def run(self) -> None:
        due = time.monotonic()
        while True:
            self.looks.append(await self._look())
            due = max(due + EVERY_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _look(self) -> Look:
        answered, left = await asyncio.gather(self._ask(), waiting(self.redis))
        self.supervisor.tick()
        if ended := [r.name for r in self.supervisor.replicas if r.ended]:
            raise Stalled(f"{', '.join(ended)} ended: nobody else had a hand in it")
        held = {}
        for replica in self.supervisor.replicas:
            if peak := machine.peak_bytes(replica.pid):
                self.peaks[replica.service] = max(peak, self.peaks.get(replica.service, 0))
                held[replica.service] = machine.held_bytes(replica.pid) or 0
        return Look(left, held, answered)

    async def _ask(self) -> bool:
        try:
            for target in ASKED:
                await asyncio.to_thread(ask, self.gateway_url + target)
        except Unavailable:
            return False
        return True


def growth(looks: Iterable[Look]) -> dict[str, float]:
    """By service, bytes held in the last quarter less those in the second: what start-up needs is over."""
    found = [look.held for look in looks]
    quarter = max(1, len(found) // 4)
    early, late = found[quarter : 2 * quarter] or found[-1:], found[-quarter:]
    return {
        service: median(held[service] for held in late) - median(held[service] for held in early)
        for service in found[-1]
    }
