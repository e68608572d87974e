"""Answers that are kept: in memory, then in Redis, each under the moment of the data that it was made of.

    analytics:v41:<question>:2026-11-21:<tag>    an answer of generation 41 on that day in New York; the tag
                                                 holds the epoch of the installation and the shape of answers
    analytics:latest:<question>                  the moment of the newest answer, for when PostgreSQL is away
    analytics:lock:{<key>}                       somebody computes that answer

Nothing is ever changed or removed: another generation has other keys, and the old ones are evicted. An
answer is computed once for all who ask at the same time, in this process and, as long as Redis is there, in
others. What is computed may be newer than the moment it is kept under, and never older.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, TypeVar
from uuid import uuid4

import orjson
import structlog
from prometheus_client import Counter as Counted
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rollotape import __version__, metrics
from rollotape.cache.generations import Generations, Standing
from rollotape.errors import Unavailable, told
from rollotape.postgres.generations import Moment
from rollotape.redis.clients import open_client, policies, servers

TTL_S = 24 * 3_600
"""An upper bound: what nobody can ask for any more goes away by itself."""
LOCK_S = 2.0
"""Who computes says so again and again; who has not for this long is dead, and not waited for."""
WAIT_S = 10.0
"""Nor is who has been at it for this long."""
LOOK_EVERY_S = 0.01
PATIENCE_S = 0.5
"""Redis is to be quicker than PostgreSQL, or it is of no use."""
STOOD_STILL_S = 0.1
"""A process that hears this late that its time is up had no processor."""
CONNECTIONS = 32
"""Who asks for more at once waits in line: that is no outage."""
LEFT_ALONE_S = 1.0
"""After a failure Redis is not asked for so long."""
GRACE_S = 0.3
"""So long the answer of the moment before will do while the next one is computed: a change would otherwise
have everybody wait. With the time that rolling up and asking take, it is not older than two seconds."""
LEFT_TO_OTHERS_S = 0.25
"""While nobody waits, an answer that a cache-builder makes ready is looked for so long before it is computed
here: it has sixteen of them to go through, and the answer of before does for a little longer than that."""
AT_LEISURE = 3
"""Computed at once while nobody waits for them: many that are ready together would hold up whoever asks for
what is there."""
MOST_KEPT = 4_096
MOST_KEPT_BYTES = 64 * 1_024 * 1_024
_CHECK_BYTES = 8
_PROLONG = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
)
_UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

Source = Literal["memory", "redis", "shared", "unchanged", "postgres", "stale", "none"]
HITS: tuple[Source, ...] = ("memory", "redis", "shared", "unchanged")
"""Answers that caused no SQL."""
Compute = Callable[[Moment], Awaitable[bytes]]
T = TypeVar("T")

log = structlog.get_logger()


class Answer(NamedTuple):
    """What was found, and what it is an answer of."""

    content: bytes
    moment: Moment
    stale: bool
    """Older data had to do, or newer ones are waiting to be rolled up."""
    source: Source


class Held(NamedTuple):
    """An answer in memory."""

    content: bytes
    moment: Moment
    order: int
    """Serial of its moment: greater is later."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of this process since it started."""

    entries: int
    bytes: int
    hits: int
    misses: int
    stale: int
    ratio: float | None
    """Of hits; None without traffic."""

    def plus(self, other: "Statistics") -> "Statistics":
        hits, misses = self.hits + other.hits, self.misses + other.misses
        return Statistics(
            entries=self.entries + other.entries,
            bytes=self.bytes + other.bytes,
            hits=hits,
            misses=misses,
            stale=self.stale + other.stale,
            ratio=_ratio(hits, misses),
        )


def _ratio(hits: int, misses: int) -> float | None:
    return hits / (hits + misses) if hits + misses else None


def open_redis(url: str | None) -> Redis | None:
    """The Redis for answers, which nobody waits for; None where there is none."""
    if url is None:
        return None
    return open_client(
        url,
        answer_s=PATIENCE_S,
        connect_s=PATIENCE_S,
        tries_once=True,
        connections=CONNECTIONS,
        waits_s=PATIENCE_S,
    )


class Answers:
    """Of one dataset; one per process."""

    def __init__(
        self,
        dataset: str,
        generations: Generations,
        redis: Redis | None,
        *,
        most: int = MOST_KEPT,
        most_bytes: int = MOST_KEPT_BYTES,
        grace_s: float = GRACE_S,
        warmed: Collection[str] = (),
    ) -> None:
        """`warmed` are the questions whose answers a cache-builder makes ready."""
        self._dataset = dataset
        self._warmed = frozenset(warmed)
        self.grace_s = grace_s
        self._generations = generations
        self._shelf = _Shelf(dataset, redis)
        self._memory = _Memory(most, most_bytes)
        self._flights: dict[tuple[str, str], asyncio.Task[tuple[Held, Source]]] = {}
        self._turns = asyncio.Semaphore(AT_LEISURE)
        self._counts: Counter[Source] = Counter()

    async def get(self, question: str, compute: Compute) -> Answer:
        """The answer to a question, in words that are its own alone.

        Raises:
            Unavailable: PostgreSQL is away, and there is no older answer.
            Whatever else `compute` raises.
        """
        standing = await self._generations.current()
        try:
            held, source = await self._held(question, compute, standing)
        except Unavailable:
            self.count("none")
            raise
        self.count(source)
        return Answer(held.content, held.moment, source == "stale" or standing.behind, source)

    def at_hand(self, question: str) -> Answer | None:
        """The answer, if it is in memory and of this moment. It is not counted before it is given."""
        standing = self._generations.at_hand()
        held = self._memory.find(question) if standing and not standing.away else None
        if standing is None or held is None or held.order != standing.serial:
            return None
        return Answer(held.content, held.moment, standing.behind, "memory")

    async def standing(self) -> Standing:
        """What an answer would be made of now."""
        return await self._generations.current()

    def count(self, source: Source) -> None:
        """An answer was given; of one that nobody had to look for (304) only the caller knows."""
        self._counts[source] += 1
        _counter(self._dataset, source).inc()

    def statistics(self) -> Statistics:
        hits = sum(self._counts[source] for source in HITS)
        misses = self._counts["postgres"]
        return Statistics(
            entries=len(self._memory),
            bytes=self._memory.size,
            hits=hits,
            misses=misses,
            stale=self._counts["stale"],
            ratio=_ratio(hits, misses),
        )

    async def are_shared(self) -> bool:
        """Whether other processes find what is computed here: Redis is there."""
        return await self._shelf.is_here()

    async def shelf_information(self) -> dict[str, Any] | None:
        """What Redis says of itself; None while it is away, or where there is none."""
        return await self._shelf.information()

    async def close(self) -> None:
        for flight in list(self._flights.values()):
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        await self._shelf.close()

    async def _held(self, question: str, compute: Compute, standing: Standing) -> tuple[Held, Source]:
        if standing.away or standing.moment is None:
            return await self._older(question, standing), "stale"
        moment, order = standing.moment, standing.serial
        held = self._memory.find(question)
        if held is not None and held.order == order:
            return held, "memory"
        if held is not None and self._will_do(held, standing):
            self._begin(question, compute, moment, order)
            return held, "memory"
        try:
            return await self._shared(question, compute, moment, order)
        except Unavailable:
            return await self._older(question, standing), "stale"

    def _will_do(self, held: Held, standing: Standing) -> bool:
        """Whether it was the answer until a moment ago."""
        assert standing.moment is not None
        just_before = held.order == standing.serial - 1 and held.moment.epoch == standing.moment.epoch
        return just_before and time.monotonic() - standing.since < self.grace_s

    async def _older(self, question: str, standing: Standing) -> Held:
        """Whatever there is, however old: it says so itself."""
        if held := self._memory.find(question):
            return held
        epoch = standing.moment.epoch if standing.moment else None
        if found := await self._shelf.latest(question, epoch):
            held = Held(*found, 0)
            self._memory.keep(question, held)
            return held
        raise Unavailable("postgres: away, and the question has no older answer")

    async def _shared(
        self, question: str, compute: Compute, moment: Moment, order: int
    ) -> tuple[Held, Source]:
        """One search for everybody who asks for the same; it goes on when who asked first has gone."""
        waited_for = (question, moment.name) in self._flights
        held, source = await asyncio.shield(self._flight(question, compute, moment, order))
        return held, "shared" if waited_for and source == "postgres" else source

    def _begin(self, question: str, compute: Compute, moment: Moment, order: int) -> None:
        """Search while nobody waits; what is computed is counted all the same."""
        if (question, moment.name) not in self._flights:
            patient_s = LEFT_TO_OTHERS_S if question in self._warmed else 0.0

            async def in_turn(now: Moment) -> bytes:
                async with self._turns:
                    return await compute(now)

            flight = self._flight(question, in_turn, moment, order, patient_s=patient_s)
            flight.add_done_callback(self._count_if_computed)

    def _count_if_computed(self, flight: "asyncio.Task[tuple[Held, Source]]") -> None:
        if not flight.cancelled() and flight.exception() is None and flight.result()[1] == "postgres":
            self.count("postgres")

    def _flight(
        self,
        question: str,
        compute: Compute,
        moment: Moment,
        order: int,
        *,
        patient_s: float = 0.0,
    ) -> "asyncio.Task[tuple[Held, Source]]":
        name = question, moment.name
        flight = self._flights.get(name)
        if flight is None:
            flight = asyncio.create_task(self._search(question, compute, moment, order, patient_s))
            self._flights[name] = flight
            flight.add_done_callback(lambda done: self._landed(name, done))
        return flight

    def _landed(self, name: tuple[str, str], flight: "asyncio.Task[tuple[Held, Source]]") -> None:
        self._flights.pop(name, None)
        if not flight.cancelled():
            flight.exception()  # seen, even if everybody who waited has gone

    async def _search(
        self, question: str, compute: Compute, moment: Moment, order: int, patient_s: float
    ) -> tuple[Held, Source]:
        content, source = await self._found_or_computed(question, compute, moment, patient_s)
        held = Held(content, moment, order)
        self._memory.keep(question, held)
        metrics.ANSWERS_HELD.labels(self._dataset).set(self._memory.size)
        return held, source

    async def _found_or_computed(
        self, question: str, compute: Compute, moment: Moment, patient_s: float
    ) -> tuple[bytes, Source]:
        key = self._shelf.key(question, moment)
        if question in self._warmed and (found := await self._made_ready(key, patient_s)):
            return found, "redis"
        token, deadline = uuid4().hex, time.monotonic() + WAIT_S
        while True:
            ours, found = await self._shelf.claim(key, token)
            held = ours
            try:
                if found:
                    return found, "redis"
                if ours or time.monotonic() > deadline:
                    content = await self._computed(key, token, compute, moment)
                    held = not await self._shelf.keep(key, question, moment, content, unlock=ours) and ours
                    return content, "postgres"
            finally:
                if held:
                    await self._shelf.release(key, token)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _made_ready(self, key: str, patient_s: float) -> bytes | None:
        """By a cache-builder, which may be at it."""
        until = time.monotonic() + patient_s
        while not (found := await self._shelf.find(key)):
            if time.monotonic() >= until or not self._shelf.here:
                return None
            await asyncio.sleep(LOOK_EVERY_S)
        return found

    async def _computed(self, key: str, token: str, compute: Compute, moment: Moment) -> bytes:
        began = time.perf_counter()
        holding = asyncio.create_task(self._shelf.hold(key, token))
        try:
            content = await compute(self._generations.moved_on(moment))
        finally:
            holding.cancel()
        metrics.ANSWERS_SECONDS.labels(self._dataset).observe(time.perf_counter() - began)
        return content


@cache
def _counter(dataset: str, source: Source) -> Counted:
    """Looking up a metric by its labels costs more than counting."""
    return metrics.ANSWERS.labels(dataset, source)


class _Memory:
    """The newest answer of every question, as far as there is room."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._kept: OrderedDict[str, Held] = OrderedDict()
        self._most, self._most_bytes = most, most_bytes
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, question: str) -> Held | None:
        if held := self._kept.get(question):
            self._kept.move_to_end(question)
        return held

    def keep(self, question: str, held: Held) -> None:
        """A search that took long must not put an older answer in the place of a newer one."""
        before = self._kept.pop(question, None)
        if before is not None:
            self.size -= _size(question, before)
            if before.order > held.order:
                held = before
        self._kept[question] = held
        self.size += _size(question, held)
        while len(self._kept) > self._most or self.size > self._most_bytes:
            self.size -= _size(*self._kept.popitem(last=False))


def _size(question: str, held: Held) -> int:
    return len(question) + len(held.content)


class _Shelf:
    """Answers in Redis. While that is away it is left alone, and everything goes on as if it were empty."""

    def __init__(self, dataset: str, redis: Redis | None) -> None:
        self._dataset = dataset
        self._redis = redis
        self._away_until = 0.0
        self._failing = False
        self._unlock = None if redis is None else redis.register_script(_UNLOCK)
        self._prolong = None if redis is None else redis.register_script(_PROLONG)

    @property
    def here(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._redis is not None and not self._failing

    def key(self, question: str, moment: Moment) -> str:
        of = f"{__version__}:{moment.epoch}:{moment.next_exit_us or ''}".encode()
        tag = blake2b(of, digest_size=8, person=b"rollo-answer").hexdigest()
        return f"{self._dataset}:v{moment.generation}:{question}:{moment.day}:{tag}"

    async def find(self, key: str) -> bytes | None:
        async def look(redis: Redis) -> bytes | None:
            return _opened(await redis.get(key))

        return await self._tried(look, None)

    async def claim(self, key: str, token: str) -> tuple[bool, bytes | None]:
        """Whether it is ours to compute, and what has been found meanwhile. Without Redis it is ours."""

        async def ask(redis: Redis) -> tuple[bool, bytes | None]:
            pipeline: Any = redis.pipeline(transaction=False)  # both keys are at one node
            pipeline.set(self._lock(key), token, nx=True, px=int(LOCK_S * 1_000))
            pipeline.get(key)
            ours, found = await pipeline.execute()
            return bool(ours), _opened(found)

        return await self._tried(ask, (True, None))

    async def hold(self, key: str, token: str) -> None:
        """Keep it ours, until cancelled."""

        async def say(redis: Redis) -> None:
            assert self._prolong is not None
            await self._prolong(keys=[self._lock(key)], args=[token, int(LOCK_S * 1_000)])

        while True:
            await asyncio.sleep(LOCK_S / 4)
            await self._tried(say, None)

    async def release(self, key: str, token: str) -> None:
        async def unlock(_: Redis) -> None:
            assert self._unlock is not None
            await self._unlock(keys=[self._lock(key)], args=[token])

        await self._tried(unlock, None)

    async def keep(self, key: str, question: str, moment: Moment, content: bytes, *, unlock: bool) -> bool:
        """Whether it is kept. Then nobody need be locked out: whoever comes next finds it, be it after
        somebody else who had taken us for dead.
        """

        async def write(redis: Redis) -> bool:
            pipeline: Any = redis.pipeline(transaction=False)
            pipeline.set(key, _sealed(content), ex=TTL_S)
            if unlock:
                pipeline.delete(self._lock(key))
            pipeline.set(self._latest(question), _sealed(orjson.dumps(list(moment))), ex=TTL_S)
            await pipeline.execute()
            return True

        return await self._tried(write, False)

    async def latest(self, question: str, epoch: str | None) -> tuple[bytes, Moment] | None:
        """The newest answer kept, if it is of this installation or nobody knows which one that is."""

        async def look(redis: Redis) -> tuple[bytes, Moment] | None:
            pointer = _opened(await redis.get(self._latest(question)))
            if pointer is None:
                return None
            said = orjson.loads(pointer)
            if len(said) != len(Moment._fields):  # of another version
                return None
            moment = Moment(*said)
            content = _opened(await redis.get(self.key(question, moment)))
            return None if content is None or epoch not in (None, moment.epoch) else (content, moment)

        return await self._tried(look, None)

    async def is_here(self) -> bool:
        async def ask(redis: Redis) -> bool:
            return bool(await redis.ping())

        return await self._tried(ask, False)

    async def information(self) -> dict[str, Any] | None:
        async def ask(redis: Redis) -> dict[str, Any] | None:
            found = [await server.info("memory", "stats") for server in await servers(redis)]
            return {
                "memory_bytes": sum(int(about["used_memory"]) for about in found),
                "eviction_policy": policies(found),
                "evicted": sum(int(about["evicted_keys"]) for about in found),
            }

        return await self._tried(ask, None)

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def _tried(self, work: Callable[[Redis], Awaitable[T]], otherwise: T) -> T:
        now = time.monotonic()
        if self._redis is None or now < self._away_until:
            return otherwise
        if self._failing:
            self._away_until = now + LEFT_ALONE_S  # one tries for all
        try:
            found = await self._patiently(work, self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = time.monotonic() + LEFT_ALONE_S
            if not self._failing:
                log.warning("answers_away", error=told(error))
            self._failing = True
            return otherwise
        self._failing, self._away_until = False, 0.0
        return found

    async def _patiently(self, work: Callable[[Redis], Awaitable[T]], redis: Redis) -> T:
        """Once more where it was us who stood still: that says nothing about Redis."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await work(redis)
        except TimeoutError:
            if time.monotonic() - began < PATIENCE_S + STOOD_STILL_S:
                raise
        async with asyncio.timeout(PATIENCE_S):
            return await work(redis)

    def _lock(self, key: str) -> str:
        return f"{self._dataset}:lock:{{{key}}}"

    def _latest(self, question: str) -> str:
        return f"{self._dataset}:latest:{question}"


def _sealed(content: bytes) -> bytes:
    return _check(content) + content


def _opened(value: Any) -> bytes | None:
    """What was kept; None for what somebody else has written there."""
    if value is None or value[:_CHECK_BYTES] != _check(value[_CHECK_BYTES:]):
        return None
    content: bytes = value[_CHECK_BYTES:]
    return content


def _check(content: bytes) -> bytes:
    return blake2b(content, digest_size=_CHECK_BYTES, person=b"rollo-answer").digest()
