"""Faults drawn from a seed and brought upon workers and servers while they are at work."""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random

from rollotape.embedded import Servers
from support.feeds import Message
from support.gates import POINTS, Point, Trap
from support.stack import STREAMS, UPDATES, Broken, Crew, Stack, Standing
from support.waiting import eventually
from support.workers import Worker

CLAIM_MS = 1_500
LEASE_S = 2.0
PAUSE_S = 3.0
"""Longer than a claim and a lease: somebody else has taken over before the worker goes on."""
CHUNK = 250
"""Messages sent when nothing waits any more and a fault still has to hit work in progress."""
HIT_S = 90.0
DOWN_S = (0.1, 0.8)

assert PAUSE_S > LEASE_S > CLAIM_MS / 1_000


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens (`acts`, in this order) at a point of some batch; at any moment of one if None.

    The batch is one of a worker of the service `of`, and that worker is the one who is hurt.
    """

    acts: tuple[str, ...]
    at: Point | None = None
    skip: int = 0
    of: str = "detector"

    def __str__(self) -> str:
        whom = "" if self.of == "detector" else f"{self.of}."
        return f"{'+'.join(self.acts)}@{whom}{self.at or 'any'}/{self.skip}"


KILL = ("kill",)
PAUSE = ("pause",)
KINDS: tuple[tuple[tuple[str, ...], tuple[Point | None, ...]], ...] = (
    (KILL, (None, *Point)),
    (
        PAUSE,
        (
            None, Point.READ, Point.GATHERED, Point.COMMITTING, Point.SAYING, Point.ACKNOWLEDGING,
            Point.CHANGING, Point.CHANGED,
        ),
    ),
    (("cut",), (Point.READ, Point.COMMITTED, Point.SAID, Point.ACKNOWLEDGED, Point.CHANGED)),
    (
        ("redis",),
        (None, Point.READ, Point.COMMITTED, Point.SAYING, Point.SAID, Point.ACKNOWLEDGING, Point.CHANGED),
    ),
    (("postgres",), (None, Point.GATHERED, Point.COMMITTING, Point.COMMITTED, Point.SAID, Point.CHANGING)),
    (("postmaster",), (None, Point.COMMITTING, Point.CHANGED)),
    (("backend",), (None, Point.GATHERED, Point.COMMITTED, Point.CHANGING)),
    (("redis", "kill"), (Point.COMMITTED, Point.SAYING, Point.CHANGING)),
    (("postgres", "kill"), (Point.COMMITTING, Point.COMMITTED, Point.CHANGED)),
    (("kill all",), (None, Point.COMMITTED, Point.SAYING, Point.CHANGED)),
    (("redis", "postgres", "kill all"), (None, Point.COMMITTED, Point.CHANGED)),
)  # fmt: skip
"""Every kind of fault with the points at which it is of interest."""
SHARES = {"detector": 2, "rs-worker": 2, "cache-builder": 1}
"""How often a fault concerns a worker of each service."""


def draw(rng: Random, count: int, crew: Crew) -> list[Fault]:
    """So many faults, each of another kind as long as there are kinds left."""
    kinds = [kind for _ in range(-(-count // len(KINDS))) for kind in rng.sample(KINDS, len(KINDS))]
    services = sorted({service for service, _ in crew.members()})
    found = []
    for acts, points in kinds[:count]:
        [of] = rng.choices(services, [SHARES[s] for s in services])
        at = rng.choice([point for point in points if point is None or point in POINTS[of]])
        found.append(Fault(acts, at, rng.randrange(4 if of == "detector" else 2), of))
    return found


@dataclass(slots=True)
class Hit:
    """A fault, and what it met: what waited, and the commits until then."""

    fault: Fault
    worker: str
    standing: Standing
    commits: int


@dataclass
class Storm:
    """Sends a feed to a stack and hurts it meanwhile."""

    stack: Stack
    servers: Servers
    rng: Random
    messages: Iterator[Message]
    poison: frozenset[bytes] = frozenset()
    leased: bool = True
    hits: list[Hit] = field(default_factory=list)

    async def rage(self, faults: Sequence[Fault]) -> None:
        """Bring every fault upon work in progress."""
        for fault in faults:
            try:
                async with asyncio.timeout(HIT_S + PAUSE_S):
                    await (self._at_a_point(fault, fault.at) if fault.at else self._at_any_moment(fault))
            except TimeoutError:
                waits = await self.stack.standing()
                raise Broken(f"{fault} did not come about; {waits}; {self.stack.last_words()}") from None
            await self._restore()

    async def send(self, count: int | None) -> int:
        """Send the next messages of the feed, all that are left if None; how many it were."""
        chunk = list(islice(self.messages, count))
        await self.stack.send(chunk, poison=self.poison)
        return len(chunk)

    async def _at_a_point(self, fault: Fault, point: Point) -> None:
        trap = Trap(
            point,
            lambda gate: self._act(fault, self._worker(gate.worker)),
            skip=fault.skip,
            drop="pause" not in fault.acts,
        )
        self.stack.set_trap(trap, fault.of)
        try:
            while not trap.over.done():
                if not trap.sprung:
                    await self._keep_busy(fault)
                await asyncio.wait([trap.over], timeout=0.02)
            trap.over.result()
        finally:
            self.stack.set_trap(None)

    async def _at_any_moment(self, fault: Fault) -> None:
        """Stop a worker and look whether it is at work; if not, let it go on and look again."""
        while True:
            await self._keep_busy(fault)
            worker = self.rng.choice([w for w in self.stack.workers if w.service == fault.of])
            worker.pause()
            if await self._is_at_work(worker):
                if not {"kill", "pause"} & set(fault.acts):
                    worker.resume()
                return await self._act(fault, worker)
            worker.resume()
            await asyncio.sleep(self.rng.uniform(0, 0.02))

    async def _is_at_work(self, worker: Worker) -> bool:
        """Whether it holds entries; of an rs-worker, whether there is anything to do for it."""
        if worker.service == "rs-worker":
            return await self.stack.dates_due() > 0
        streams = await self.stack.held_by(worker)
        if not self.leased:
            streams = STREAMS if worker.service == "detector" else [UPDATES]
        return bool(streams) and (await self.stack.standing(streams)).pending > 0

    async def _keep_busy(self, fault: Fault) -> None:
        self.stack.check_alive()
        if not (await self.stack.standing()).waiting and not await self.send(CHUNK):
            raise Broken(f"the feed ended before {fault} could hit anything: {self.stack.last_words()}")

    async def _act(self, fault: Fault, worker: Worker) -> None:
        """Note what is hit, then hit it."""
        standing = await self.stack.standing()
        commits = await self.stack.commits()
        self.hits.append(Hit(fault, worker.name, standing, commits))
        for act in fault.acts:
            await self._do(act, worker)

    async def _do(self, act: str, worker: Worker) -> None:
        match act:
            case "kill":
                worker.kill()
            case "kill all":
                for each in self.stack.workers:
                    each.kill()
            case "pause":
                await _pause(worker)
            case "cut":
                pass  # the gate drops the connection
            case "redis":
                await asyncio.to_thread(self.servers.kill_redis)
            case "postgres":
                await asyncio.to_thread(self.servers.kill_postgres)
            case "postmaster":  # the first process alone; the others have to notice
                os.kill(self.servers.pids["postgres"], signal.SIGKILL)
                await eventually(self._postgres_ended, what="the end of the postmaster")
            case "backend":  # the others are ended by the first one, which recovers
                os.kill(await self.stack.some_backend(worker.service), signal.SIGKILL)
            case _:
                raise ValueError(act)

    async def _postgres_ended(self) -> bool:
        return "postgres" not in self.servers.pids

    async def _restore(self) -> None:
        """Start again what does not run."""
        await asyncio.sleep(self.rng.uniform(*DOWN_S))  # how long it is away belongs to the fault
        await asyncio.to_thread(self.servers.revive)
        for worker in self.stack.workers:
            if not worker.running:
                worker.start()

    def _worker(self, name: str) -> Worker:
        return next(worker for worker in self.stack.workers if worker.name == name)


async def _pause(worker: Worker) -> None:
    worker.pause()
    try:
        await asyncio.sleep(PAUSE_S)  # is the fault itself
    finally:
        worker.resume()
