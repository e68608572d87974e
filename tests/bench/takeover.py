"""Kills detectors under a steady feed, and looks how soon the partitions of each flow again."""

import asyncio
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, zip_longest
from typing import Any

from redis.asyncio import Redis

from bench import market
from bench.fleet import GROUP, Fleet
from bench.stage import END_S, STREAMS, Stage, until
from rollotape.producers.frames import Message
from rollotape.streams.position import order
from rollotape.streams.producer import Producer

TICKS_PER_S = 10
BARS_PER_TICK = 10
"""Of each partition."""
CALM_S = 4.0
"""A kill comes at most so long after shares are even again: at any moment between two heartbeats."""
MOST_S = 60.0
"""Whoever is not there again after this time is no matter of seconds."""


@dataclass(slots=True)
class Feed:
    """Sends some bars to every partition ten times a second, until it is cancelled."""

    redis: "Redis"
    messages: Iterable[Message]
    sent: int = 0
    late_s: float = 0.0

    async def run(self) -> None:
        producer, began = Producer(self.redis), time.monotonic()
        for turn, block in enumerate(_blocks(self.messages)):
            due = began + turn / TICKS_PER_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.late_s = max(self.late_s, time.monotonic() - due)
            self.sent += len(await producer.send_many(block))


def _blocks(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Again and again from the beginning: what was stored already is read and acknowledged all the same."""
    queues: dict[str, list[Message]] = {stream: [] for stream in STREAMS}
    for message in messages:
        queues[message[0]].append(message)
    rows = zip_longest(*(queue for queue in queues.values() if queue))
    block: list[Message] = []
    for count, row in enumerate(cycle(rows), 1):
        block += [message for message in row if message]
        if count % BARS_PER_TICK == 0:
            yield block
            block = []


@dataclass(slots=True)
class Flow:
    """Looks whether entries of some streams that came after a moment have been acknowledged."""

    redis: "Redis"
    streams: list[str]
    ends: dict[str, str] = field(default_factory=dict)
    """The newest entry of each at that moment."""
    firsts: dict[str, str] = field(default_factory=dict)
    """The first later one that was seen to be delivered."""

    async def mark(self) -> None:
        for stream in self.streams:
            about = await self.redis.xinfo_stream(stream)
            self.ends[stream] = about["last-generated-id"].decode()

    async def flows(self) -> bool:
        pipeline = self.redis.pipeline(transaction=False)
        for stream in self.streams:
            pipeline.xinfo_groups(stream)
            pipeline.xpending(stream, GROUP)
        answers: list[Any] = await pipeline.execute()
        found = zip(self.streams, answers[::2], answers[1::2], strict=True)
        flowing = [self._flows(*answer) for answer in found]  # each of them is to be looked at
        return all(flowing)

    def _flows(self, stream: str, groups: Any, pending: Any) -> bool:
        [delivered] = [g["last-delivered-id"].decode() for g in groups if g["name"] == GROUP.encode()]
        if order(delivered) <= order(self.ends[stream]):
            return False
        first = self.firsts.setdefault(stream, delivered)
        return not pending["min"] or order(pending["min"].decode()) > order(first)


async def deaths(stage: Stage, fleet: Fleet, redis: "Redis", count: int) -> list[float]:
    """Seconds from each of so many deaths until all partitions of the dead one flow again."""
    rng, taken = random.Random(market.SEED), list[float]()
    with stage.show.task(f"killing one of {len(fleet.replicas)}, {count} times", count) as done:
        for number in range(count):
            victim = fleet.replicas[number % len(fleet.replicas)]
            await fleet.settled(END_S)
            await asyncio.sleep(rng.uniform(0.0, CALM_S))
            taken.append(await _death(stage, fleet, redis, victim.name))
            done(number + 1)
            await until(fleet.started, f"{victim.name} to be started again", END_S)
    return taken


async def _death(stage: Stage, fleet: Fleet, redis: "Redis", name: str) -> float:
    partitions = (await fleet.shares())[name]
    flow = Flow(redis, [STREAMS[partition] for partition in partitions])
    [child] = [replica.child for replica in fleet.replicas if replica.name == name]
    assert child
    began = time.perf_counter()
    stage.servers.children.kill(child)
    await flow.mark()

    async def taken() -> bool:
        shares = await fleet.shares()
        return not set(partitions).difference(*(p for owner, p in shares.items() if owner != name))

    await until(taken, f"others taking the partitions of {name}", MOST_S)
    taken_s = time.perf_counter() - began
    await until(flow.flows, f"the partitions of {name} flowing again", MOST_S)
    seconds = time.perf_counter() - began
    stage.show.say(
        f"    {name} and its {len(partitions)} partitions: taken after {taken_s:.2f} s,"
        f" flowing after {seconds:.2f} s"
    )
    return seconds
