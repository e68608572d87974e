"""Keeps a Redis busy from a process of its own: so many operations a second, on keys of its own.

    python -m bench.operations < PLAN

The load is open: every pipeline has a moment at which it is meant to be sent, and its latency counts from
then. One that could not be sent before the end is not sent any more: the run ends in time, with a lower rate.
Commands are packed once, because whoever asks shares the machine with those who are measured.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import orjson
from redis.asyncio import Redis

OWN = "bench:operations:"
"""What every key begins with; no service of ours looks there."""
KEYS = 1_000
VALUE = b"x" * 100
KEPT = 1_000
"""Entries of each stream."""
DIFFERENT = 200
"""Pipelines of one connection before it begins again with its first."""
GETS, SETS, XADDS, XREADS = 9, 7, 3, 1
PIPELINE = GETS + SETS + XADDS + XREADS
FIRST_S = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    redis_url: str
    connections: int
    rate: float
    """Operations a second."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Latencies in milliseconds, of whole pipelines."""

    operations: int
    per_second: float
    p50: float
    p95: float
    p99: float


@dataclass(slots=True)
class Run:
    plan: Plan
    redis: "Redis"
    began: float = 0.0
    latencies: list[float] = field(default_factory=list)

    async def measure(self) -> Outcome:
        try:
            self.began = time.perf_counter() + FIRST_S
            async with asyncio.TaskGroup() as tasks:
                for number in range(self.plan.connections):
                    tasks.create_task(self._keep_busy(number))
            took = max(self.plan.seconds, time.perf_counter() - self.began)
        finally:
            await self.redis.unlink(*map(_key, range(KEYS)), *map(_stream, range(self.plan.connections)))
        operations = PIPELINE * len(self.latencies)
        p50, p95, p99 = (1_000 * np.percentile(self.latencies, (50, 95, 99))).tolist()
        return Outcome(operations, operations / took, p50, p95, p99)

    async def _keep_busy(self, number: int) -> None:
        """One connection's share, in turns with the others."""
        connection = await self.redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        packed = [connection.pack_commands(_commands(number, turn)) for turn in range(DIFFERENT)]
        every = PIPELINE * self.plan.connections / self.plan.rate
        due = self.began + every * number / self.plan.connections
        end = self.began + self.plan.seconds
        for turn in count():
            if max(due, now := time.perf_counter()) >= end:
                break
            await asyncio.sleep(due - now)
            await connection.send_packed_command(packed[turn % DIFFERENT])
            for _ in range(PIPELINE):
                await connection.read_response()
            self.latencies.append(time.perf_counter() - due)
            due += every
        await self.redis.connection_pool.release(connection)


def _commands(number: int, turn: int) -> Iterator[tuple[str | bytes | int, ...]]:
    stream = _stream(number)
    for n in range(SETS):
        yield "SET", _key(turn * SETS + n), VALUE
    for n in range(GETS):
        yield "GET", _key(turn * GETS + n)
    for _ in range(XADDS):
        yield "XADD", stream, "MAXLEN", "~", KEPT, "*", "value", VALUE
    yield "XREAD", "COUNT", XADDS, "STREAMS", stream, "0-0"


def _key(n: int) -> str:
    return f"{OWN}{n % KEYS}"


def _stream(number: int) -> str:
    return f"{OWN}stream:{number}"


async def _main(plan: Plan) -> Outcome:
    async with Redis.from_url(plan.redis_url) as redis:
        return await Run(plan, redis).measure()


def main() -> None:
    given: dict[str, Any] = orjson.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(_main(Plan(**given)))))


if __name__ == "__main__":
    main()
