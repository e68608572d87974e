"""Several detectors as `rollo up` runs them: even shares before the first bar, and what all of them used."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bench import machine
from bench.stage import BEGIN_S, PARTITIONS, STREAMS, Reader, Stage, until
from rollotape.events import STREAMS as CONTRACTS
from rollotape.streams.partitions import stream_name
from rollotape.supervisor import Replica, Supervisor

GROUP = "detector"
SHARES = """
SELECT owner, array_agg(partition ORDER BY partition) FROM leases
WHERE service = 'detector' AND expires_at > now() GROUP BY owner
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas of the detector on one database, and a connection to look into it."""

    supervisor: Supervisor
    connection: "asyncpg.Connection[Any]"
    logs: Any

    @property
    def replicas(self) -> list[Replica]:
        return self.supervisor.replicas

    async def shares(self) -> dict[str, list[int]]:
        """The partitions of each replica that has any."""
        rows = await self.connection.fetch(SHARES)
        return {owner.rpartition("-")[0]: partitions for owner, partitions in rows}

    async def even(self) -> bool:
        """Whether every partition has an owner and shares differ by one at most."""
        sizes = [len(partitions) for partitions in (await self.shares()).values()]
        complete = len(sizes) == len(self.replicas) and sum(sizes) == PARTITIONS
        return complete and max(sizes) - min(sizes) <= 1

    async def settled(self, within_s: float = BEGIN_S) -> None:
        await until(self.even, f"an even share for each of {len(self.replicas)} detectors", within_s)

    async def started(self) -> bool:
        """Start again whose time has come; whether all of them run."""
        self.supervisor.tick()
        return self._alive()

    def cpu_s(self) -> list[float]:
        """Processor seconds of each so far; 0 where the system does not tell."""
        return [machine.cpu_s(replica.pid) or 0.0 for replica in self.replicas]

    def reader(self) -> Reader:
        """All of them as one: they live as long as each of them does."""
        first = self.replicas[0]
        return Reader(first.pid, GROUP, self._alive, self.logs / f"{first.name}.log")

    def _alive(self) -> bool:
        return all(replica.child and replica.child.alive for replica in self.replicas)


@asynccontextmanager
async def fleet(
    stage: Stage, environment: Mapping[str, str], database_url: str, count: int
) -> AsyncIterator[Fleet]:
    """So many detectors that are ready and share the partitions evenly; stopped afterwards."""
    logs = stage.folder / "logs"
    supervisor = Supervisor(stage.servers.children, logs, environment, {"detector": count}, _silent)
    connection = await asyncpg.connect(database_url)
    supervisor.start()
    try:
        await supervisor.ready()
        found = Fleet(supervisor, connection, logs)
        await found.settled()
        yield found
    finally:
        await asyncio.to_thread(supervisor.stop)
        await connection.close()


def _silent(_: str) -> None:
    """Whoever kills replicas knows that they ended."""


async def lay_out(stage: Stage, filled: int, number: int) -> None:
    """Copies of full streams in another Redis database, with the groups that detectors read as."""
    async with stage.redis(number) as redis:
        await redis.flushdb()
    async with stage.redis(filled) as redis:
        for stream in STREAMS:
            await redis.copy(stream, stream, destination_db=str(number))
    async with stage.redis(number) as redis:
        await join(redis)


async def join(redis: "Redis") -> None:
    """Create the groups of the detector where they are missing, at the beginning of each stream."""
    kinds = [contract.name for contract in CONTRACTS.values() if GROUP in contract.groups]
    for stream in [stream_name(kind, partition) for kind in kinds for partition in range(PARTITIONS)]:
        with suppress(ResponseError):  # there already
            await redis.xgroup_create(stream, GROUP, "0", mkstream=True)


async def swap(redis: "Redis", one: int, other: int) -> float:
    """Have whoever reads one database find the other's streams in it, at this moment."""
    await redis.swapdb(one, other)
    return time.perf_counter()
