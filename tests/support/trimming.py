"""A race between janitors that never rest, a producer, and groups that read slowly, die and claim."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Any

import orjson
from redis.asyncio import Redis

from rollotape.errors import Unavailable
from rollotape.events import FIELD, Bar, StreamContract
from rollotape.postgres.floors import Floors
from rollotape.streams.delivery import Delivery
from rollotape.streams.entries import Entry
from rollotape.streams.janitor import Janitor
from rollotape.streams.partitions import stream_name
from rollotape.streams.position import order
from rollotape.streams.producer import Producer
from support.streams import connected, stream_settings
from support.waiting import eventually

PARTITIONS = 2
ENTRIES = 500
"""Of one race."""
JANITORS = 2
CLAIM_MS = 100
SERVICE, AUDITOR = "detector", "auditor"
"""The first group is delivered as services are, the second reads by hand, and claims under new names."""
CONTRACT = StreamContract(
    name="bars", partitioned=True, groups=(SERVICE, AUDITOR), messages=(Bar,), summary="two groups"
)
STREAMS = [stream_name(CONTRACT.name, partition) for partition in range(PARTITIONS)]
WITHIN_S = 60.0

MakeJanitor = Callable[..., Janitor]


class Lost(AssertionError):
    """An entry went before every group had it."""


class Dawdling(Redis):
    """Lets others go first, now and then: whatever may come between two questions of a janitor does."""

    chance = Random()

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        for _ in range(self.chance.choice((0, 0, 1, 3, 9))):
            await asyncio.sleep(0)
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


@dataclass(slots=True)
class Race:
    """`sent` is whatever was taken by Redis; `seen` what each group was handed with its content."""

    redis_url: str
    floors: Floors
    rng: Random
    make: MakeJanitor = Janitor
    sent: int = 0
    trimmed: int = 0
    trimmed_early: int = 0
    """While entries were still being sent, or read."""
    deaths: Counter[str] = field(default_factory=Counter)
    seen: dict[str, set[int]] = field(default_factory=lambda: {SERVICE: set(), AUDITOR: set()})
    empty: Counter[str] = field(default_factory=Counter)
    """Deliveries of an entry that was no longer there."""
    over: bool = False

    async def run(self) -> None:
        """
        Raises:
            Lost: an entry is not accounted for.
        """
        Dawdling.chance = self.rng
        async with Redis.from_url(self.redis_url) as redis:
            await redis.flushdb()
            async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
                trimming = [tasks.create_task(self._trim()) for _ in range(JANITORS)]
                sending = tasks.create_task(self._send(redis))
                reading = [tasks.create_task(self._serve()), tasks.create_task(self._audit(redis))]
                await asyncio.wait([sending])
                await self._read_to_the_end(redis)
                self.over = True
                await asyncio.wait([*trimming, *reading])
            self.trimmed_early = self.trimmed
            await self._settle(redis)

    # ---- who sends, and who trims

    async def _send(self, redis: "Redis") -> None:
        producer = Producer(redis)
        while self.sent < ENTRIES:
            numbers = range(self.sent, min(ENTRIES, self.sent + self.rng.randint(1, 30)))
            await producer.send_many([(self.rng.choice(STREAMS), b"%d" % n) for n in numbers])
            self.sent = numbers.stop
            await asyncio.sleep(self.rng.choice((0, 0.001, 0.004)))

    async def _trim(self) -> None:
        async with Dawdling.from_url(self.redis_url) as redis:
            janitor = self._janitor(redis)
            while not self.over:
                trimmed = await janitor.run_once() or {}
                self.trimmed += sum(trimmed.values())  # after the wait: the other one counts, too
                await asyncio.sleep(0)  # the other one's turn

    def _janitor(self, redis: "Redis") -> Janitor:
        contracts = {CONTRACT.name: CONTRACT}
        return self.make(redis, self.floors, partitions=PARTITIONS, contracts=contracts, **self._limits())

    def _limits(self) -> dict[str, float]:
        """Nothing is kept for its age; or all of it is, and there is next to no room."""
        return {"retention_s": 0} if self.rng.random() < 0.5 else {"retention_s": 3_600, "most_bytes": 6_000}

    # ---- a group as services are: dies in the middle of a batch, and its successor has the same name

    async def _serve(self) -> None:
        async with connected(self.redis_url) as broker:
            settings = stream_settings(self.redis_url, claim_ms=CLAIM_MS, batch_entries=20)
            while not self.over:
                delivery = Delivery(broker, CONTRACT.name, SERVICE, self, settings, grace_s=0.0)
                await delivery.hold(range(PARTITIONS))
                await self._while_living(SERVICE)
                await delivery.hold(())  # without any grace: what is being applied is cut off

    async def _while_living(self, group: str) -> None:
        """For a while; to the end, if by then most has been read."""
        while not self.over:
            await asyncio.sleep(self.rng.uniform(0.005, 0.05))
            if len(self.seen[group]) < ENTRIES * 0.8:
                self.deaths[group] += 1
                return

    async def apply(self, entries: Sequence[Entry]) -> None:
        """Slow, and now and then away."""
        await asyncio.sleep(self.rng.uniform(0, 0.01))
        if self.rng.random() < 0.05:
            raise Unavailable("for the sake of it")
        for entry in entries:
            self._see(SERVICE, entry.fields)

    async def bury(self, entry: Entry, error: Exception) -> None:
        raise AssertionError(f"{entry.id} was buried: {error}")

    # ---- a group by hand: it comes late, acknowledges out of order, and claims what a dead one had

    async def _audit(self, redis: "Redis") -> None:
        await eventually(self._some_are_sent, what="the first entries")
        for stream in STREAMS:
            await redis.xgroup_create(stream, AUDITOR, "0", mkstream=True)
        for life in count():
            await self._live(redis, f"auditor-{life}")
            if self.over:
                return
            self.deaths[AUDITOR] += 1

    async def _live(self, redis: "Redis", name: str) -> None:
        for stream in STREAMS:
            await self._claim(redis, stream, name)
        while not self.over:
            stream = self.rng.choice(STREAMS)
            found: Any = await redis.xreadgroup(AUDITOR, name, {stream: ">"}, count=self.rng.randint(1, 40))
            await asyncio.sleep(self.rng.uniform(0, 0.004))
            if self.rng.random() < 0.15 and len(self.seen[AUDITOR]) < ENTRIES * 0.8:
                return  # with what it has read in its hands
            await self._keep(redis, stream, found[0][1] if found else [])

    async def _claim(self, redis: "Redis", stream: str, name: str) -> None:
        cursor: Any = b"0-0"
        while True:
            cursor, found, gone = await redis.xautoclaim(stream, AUDITOR, name, 0, cursor, count=25)
            self.empty[AUDITOR] += len(gone)
            await self._keep(redis, stream, found)
            if cursor == b"0-0":
                return

    async def _keep(self, redis: "Redis", stream: str, entries: list[Any]) -> None:
        """In any order, one by one."""
        for entry_id, fields in self.rng.sample(entries, len(entries)):
            self._see(AUDITOR, fields)
            await redis.xack(stream, AUDITOR, entry_id)

    def _see(self, group: str, fields: dict[bytes, bytes] | None) -> None:
        if fields:
            self.seen[group].add(int(orjson.loads(fields[FIELD])))
        else:
            self.empty[group] += 1

    # ---- the account

    async def _read_to_the_end(self, redis: "Redis") -> None:
        """By what Redis says: what was trimmed too early is never read, and nobody would wait for it."""
        for stream in STREAMS:
            await eventually(partial(_at_the_end, redis, stream), within_s=WITHIN_S, what=f"{stream} read")

    async def _some_are_sent(self) -> bool:
        return self.sent >= ENTRIES // 5

    async def _settle(self, redis: "Redis") -> None:
        everything = set(range(ENTRIES))
        for group, numbers in self.seen.items():
            if missing := sorted(everything - numbers):
                raise Lost(f"{group} never had {len(missing)} of {ENTRIES} entries: {missing[:10]}")
        if self.empty.total():
            raise Lost(f"delivered without content: {dict(self.empty)}")
        kept = sum([await redis.xlen(stream) for stream in STREAMS])
        if self.trimmed + kept != ENTRIES:
            raise Lost(f"{ENTRIES} sent, {self.trimmed} trimmed, {kept} kept")


async def _at_the_end(redis: "Redis", stream: str) -> bool:
    about, groups = await redis.xinfo_stream(stream), await redis.xinfo_groups(stream)
    last = order(about["last-generated-id"].decode())
    return len(groups) == len(CONTRACT.groups) and all(
        not group["pending"] and order(group["last-delivered-id"].decode()) >= last for group in groups
    )
