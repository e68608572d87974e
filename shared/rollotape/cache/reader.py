"""The reading side of the model of active patterns: a copy in memory that follows by what changed."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rollotape.cache import items, scripts
from rollotape.domain.scan import Filters, Indices, Table
from rollotape.errors import Unavailable
from rollotape.postgres.pool import unavailable
from rollotape.redis.clients import policies, servers

FRESH_S = 0.1
"""A model that was read longer ago is not shown. Redis is asked for changes after a quarter of it: at most so
often, and soon enough that nobody waits for the answer even where the loop is busy."""
ASKED_S = 60
"""A request for another model that nobody hears is made again by the next reader."""
IN_THREAD = 500
"""More items than this are read beside the event loop: each takes some ten microseconds."""
COUNTED_EVERY_S = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every active pattern as of one version of the model; never changes."""

    epoch: str
    version: int
    """Grows with every change within an epoch: (epoch, version) names this content."""
    as_of_us: int
    """When PostgreSQL was read for the newest change."""
    stale: bool
    """No builder has been at work lately: there may be newer facts that this does not show."""
    table: Table

    def __len__(self) -> int:
        return len(self.table)

    def select(
        self,
        filters: Filters,
        sort_by: str = "confidence",
        *,
        descending: bool = True,
        now_us: int | None = None,
    ) -> Indices:
        """Places of the patterns that pass and have not expired (now, if not said), sorted."""
        now_us = time.time_ns() // 1_000 if now_us is None else now_us
        return self.table.select(filters, sort_by, descending=descending, now_us=now_us)

    def page(
        self, filters: Filters, sort_by: str, *, descending: bool, now_us: int, first: int, count: int
    ) -> tuple[int, Indices]:
        """How many patterns `select` finds, and the places of `count` of them after the `first` ones."""
        return self.table.page(
            filters, sort_by, descending=descending, now_us=now_us, first=first, count=count
        )

    def items(self, indices: Indices) -> list[bytes]:
        """What is to be shown at these places: ready JSON of an object each."""
        shown: list[bytes] = self.table.items[indices].tolist()
        return shown

    def item(self, pattern_id: str) -> bytes | None:
        """One pattern by its id in lower case; None when it is not among the active ones."""
        place = self.table.index(pattern_id)
        return None if place is None else bytes(self.table.items[place])


@dataclass(frozen=True, slots=True)
class Statistics:
    """The model and its use, counted since Redis was last flushed."""

    entries: int
    version: int
    hits: int
    misses: int
    ratio: float | None
    """Of hits; None without traffic."""
    events: int
    """Updates that builders have processed."""
    last_event_ms: int | None
    memory_bytes: int
    """Of the whole Redis, all of its servers."""
    eviction_policy: str
    index_sizes: dict[str, int]


class PatternReader:
    """One per process. `redis` is the one that keeps the streams, and answers in bytes."""

    def __init__(
        self, redis: Redis, *, fresh_s: float = FRESH_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._fresh_s = fresh_s
        self._clock = clock
        self._script = redis.register_script(scripts.FOLLOW)
        self._asking: asyncio.Task[Snapshot | Unavailable] | None = None
        self._held: Snapshot | None = None
        self._answer: Snapshot | Unavailable | None = None
        self._answered_at = -fresh_s
        self._unsound = False
        self._hits = self._misses = 0
        self._counted_at = 0.0

    async def snapshot(self) -> Snapshot:
        """The model as it is now, give or take `fresh_s`. Many callers cost one question, and all have its
        answer, however late a busy loop wakes them.

        Raises:
            Unavailable: Redis is away, or the model is missing or broken and was asked for again.
        """
        answer = self._fresh()
        if answer is None:
            answer = await asyncio.shield(self._begin())  # who asked first may go away
        if isinstance(answer, Unavailable):
            raise Unavailable(str(answer))
        return answer

    def at_hand(self) -> Snapshot | None:
        """The model, if Redis need not be asked for it now."""
        answer = self._fresh()
        return answer if isinstance(answer, Snapshot) else None

    def count(self, *, hit: bool) -> None:
        """Whether an answer was found ready, for the statistics; written with one of the next questions."""
        if hit:
            self._hits += 1
        else:
            self._misses += 1

    async def statistics(self) -> Statistics:
        """
        Raises:
            Unavailable: Redis is away.
        """
        with unavailable("read model"):
            await self._write_counts()
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.hgetall(scripts.STATS)
            pipeline.hget(scripts.MANIFEST, "version")
            pipeline.hlen(scripts.ITEMS)
            for name in scripts.INDEXES:
                pipeline.zcard(f"{scripts.PREFIX}by:{name}")
            stored, version, entries, *sizes = await pipeline.execute()
            about = [await server.info("memory") for server in await servers(self._redis)]
        said = {name.decode(): int(value) for name, value in stored.items()}
        hits, misses = said.get("hits", 0), said.get("misses", 0)
        return Statistics(
            entries=entries,
            version=int(version or 0),
            hits=hits,
            misses=misses,
            ratio=hits / (hits + misses) if hits + misses else None,
            events=said.get("events", 0),
            last_event_ms=said.get("last_event_ms"),
            memory_bytes=sum(int(info["used_memory"]) for info in about),
            eviction_policy=policies(about),
            index_sizes=dict(zip(scripts.INDEXES, sizes, strict=True)),
        )

    async def close(self) -> None:
        """Leave Redis alone."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _fresh(self) -> Snapshot | Unavailable | None:
        age_s = self._clock() - self._answered_at
        if age_s >= self._fresh_s:
            return None
        if age_s >= self._fresh_s / 4:
            self._begin()
        return self._answer

    def _begin(self) -> "asyncio.Task[Snapshot | Unavailable]":
        """One question at a time, whoever waits for it."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(_seen)
        return self._asking

    async def _ask(self) -> Snapshot | Unavailable:
        """Failures are kept as long as answers: nobody is to wait again for a server that is dead."""
        answer: Snapshot | Unavailable
        try:
            with unavailable("read model"):
                self._held = answer = await self._follow()
                self._unsound = False
                await self._write_counts_sometimes()
        except Unavailable as error:
            answer = error
        finally:
            self._asking = None
        self._answer, self._answered_at = answer, self._clock()
        return answer

    async def _follow(self) -> Snapshot:
        held = self._held
        epoch, version = (held.epoch, held.version) if held else ("", 0)
        try:
            answer: Any = await self._script(keys=scripts.ALL, args=[epoch, version, scripts.DELTA_MOST])
        except ResponseError as error:
            raise await self._refused(error) from error
        state, *head = answer
        if state in (b"missing", b"broken"):
            raise await self._call_for_another(state.decode())
        _, version, count, as_of, alive, *delta = head
        if held is None or state == b"reload":
            return await self._load(stale=not alive)
        table = held.table
        if state == b"delta":
            table = await self._edited(table, *delta)
        if len(table) != count:
            raise await self._call_for_another(f"{len(table)} items where {count} should be")
        return Snapshot(epoch, version, int(as_of), not alive, table)

    async def _load(self, *, stale: bool) -> Snapshot:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hmget(scripts.MANIFEST, "epoch", "version", "count", "as_of")
        pipeline.hvals(scripts.ITEMS)
        try:
            [epoch, version, count, as_of], shown = await pipeline.execute()
        except ResponseError as error:
            raise await self._refused(error) from error
        if epoch is None or len(shown) != int(count):
            raise await self._call_for_another("lost while it was read")
        table = await self._parsed(lambda: Table.of(list(map(items.row, shown)), shown), len(shown))
        return Snapshot(epoch.decode(), int(version), int(as_of), stale, table)

    async def _edited(self, table: Table, ids: Sequence[bytes], shown: Sequence[bytes | None]) -> Table:
        new = [json for json in shown if json is not None]
        gone = [name.decode() for name, json in zip(ids, shown, strict=True) if json is None]
        return await self._parsed(lambda: table.edited(list(map(items.row, new)), new, gone), len(new))

    async def _parsed(self, make: Callable[[], Table], size: int) -> Table:
        try:
            return await asyncio.to_thread(make) if size > IN_THREAD else make()
        except (ValueError, KeyError, TypeError) as error:
            self._held = None
            raise await self._call_for_another(f"an item that is none: {error!r}") from error

    async def _refused(self, error: ResponseError) -> Exception:
        """What to raise: a key of another type is a broken model, anything else is what it is."""
        return await self._call_for_another("broken") if "WRONGTYPE" in str(error) else error

    async def _call_for_another(self, reason: str) -> Unavailable:
        """Never answer from what is broken: a list that is too short looks like any other."""
        self._held = None
        if not self._unsound:  # once, and not for everybody who asks meanwhile
            log.warning("model_unsound", reason=reason)
        self._unsound = True
        await self._redis.set(scripts.REBUILD, reason, ex=ASKED_S)
        return Unavailable(f"the read model of patterns is being built: {reason}")

    async def _write_counts_sometimes(self) -> None:
        if self._hits + self._misses and self._clock() - self._counted_at >= COUNTED_EVERY_S:
            await self._write_counts()

    async def _write_counts(self) -> None:
        counts: dict[str, int] = {"hits": self._hits, "misses": self._misses}
        self._counted_at = self._clock()
        pipeline: Any = self._redis.pipeline(transaction=True)
        for name, more in counts.items():
            pipeline.hincrby(scripts.STATS, name, more)
        await pipeline.execute()
        self._hits -= counts["hits"]
        self._misses -= counts["misses"]


def _seen(asking: "asyncio.Task[Any]") -> None:
    """Who asks next meets what went wrong."""
    if not asking.cancelled():
        asking.exception()
