"""The servers behind the gateway: opened when first needed, found again by themselves after an outage."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import asyncpg
import structlog

from api_gateway import components, problems
from api_gateway.analyses import Analyses
from api_gateway.audit import Audit
from api_gateway.auth import Access
from api_gateway.before import Scans
from api_gateway.bounds import Bounds
from api_gateway.kept import Kept
from api_gateway.limits import Limits
from api_gateway.lists import Lists
from api_gateway.places import Places
from api_gateway.tail import Tail
from api_gateway.timings import Timings
from api_gateway.tokens import rules
from api_gateway.universes import Universes
from rollotape import analytics
from rollotape.cache.answers import Answers, Statistics, open_redis
from rollotape.cache.generations import Generations
from rollotape.cache.reader import PatternReader, Snapshot
from rollotape.errors import Unavailable
from rollotape.postgres import generations, market, universes
from rollotape.postgres.generations import TAPE, TRADES
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.producer import Producer
from rollotape.webhooks import addresses

if TYPE_CHECKING:  # asyncpg's classes are generic in their stubs only
    from asyncpg.pool import Pool

_ACQUIRE_S = 5.0
_REOPEN_AFTER_S = 1.0
_CHECK_S = 2.0
_GIVE_UP_S = 5.0
_CLOSE_S = 2.0

T = TypeVar("T")
log = structlog.get_logger()


class Postgres:
    """Runs readers on pooled connections. The gateway starts and goes on while PostgreSQL is away."""

    def __init__(self, settings: Settings, counted_as: str = "main") -> None:
        self._settings = settings
        self._counted_as = counted_as
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()
        self._closed_until = 0.0

    async def run(self, work: "Callable[[market.Connection], Awaitable[T]]") -> T:
        """What `work`, which only reads, makes of a connection.

        Raises:
            Problem: 503, PostgreSQL is away; the reason is in the log.
        """
        try:
            return await self.attempt(work)
        except Unavailable as error:
            log.warning("postgres_away", error=str(error))
            raise problems.unavailable("PostgreSQL") from error

    async def attempt(self, work: "Callable[[market.Connection], Awaitable[T]]") -> T:
        """The same for those who can do without.

        A connection that broke while it lay in the pool says nothing about the server: a new one is tried.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        try:
            return await self._once(work)
        except Unavailable as error:
            if self._pool is None or not isinstance(error.__cause__, _BROKEN):
                raise
            await self._pool.expire_connections()
            return await self._once(work)

    async def _once(self, work: "Callable[[market.Connection], Awaitable[T]]") -> T:
        pool = await self._open()
        with unavailable("postgres"):
            try:
                async with pool.acquire(timeout=_ACQUIRE_S) as connection:
                    return await work(connection)
            except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
                raise Unavailable(f"postgres: not migrated, run `rollo migrate`: {error}") from error

    async def _open(self) -> "Pool":
        if self._pool is not None:
            return self._pool
        async with self._opening:
            if self._pool is None:
                await self._try_open()
        assert self._pool is not None
        return self._pool

    async def _try_open(self) -> None:
        """At most one try a second: who waits for a dead address must not make a queue."""
        if time.monotonic() < self._closed_until:
            raise Unavailable("postgres: could not be reached a moment ago")
        try:
            self._pool = await open_pool(
                self._settings, service="api-gateway", counted_as=self._counted_as, clean=True
            )
        except Unavailable:
            self._closed_until = time.monotonic() + _REOPEN_AFTER_S
            raise

    async def check(self) -> bool:
        """Whether PostgreSQL answers now."""
        try:
            async with asyncio.timeout(_CHECK_S):
                await self.attempt(lambda connection: connection.fetchval("SELECT 1"))
        except (Unavailable, TimeoutError) as error:
            log.warning("postgres_away", error=str(error))
            return False
        return True

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_S):
                await pool.close()
        except Exception:  # a connection that hangs must not hold up the stop
            pool.terminate()


_BROKEN = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
)


class Streams:
    """The Redis that keeps the streams, as far as the gateway writes to it."""

    def __init__(self, settings: Settings) -> None:
        self.redis = open_client(settings.redis_url, answer_s=5, connect_s=2)
        self._producer = Producer(self.redis, give_up_s=_GIVE_UP_S)

    async def now_ms(self) -> int:
        """The clock that entry ids are made of, and bars are judged by."""
        try:
            with unavailable("redis"):
                seconds, microseconds = await self.redis.time()
        except Unavailable as error:
            raise _away(error) from error
        return int(seconds) * 1_000 + int(microseconds) // 1_000

    async def send(self, messages: Sequence[tuple[str, bytes]]) -> list[str]:
        """Append (stream, payload) pairs; the entry ids in the same order.

        Raises:
            Problem: 503; a part may have been sent, and sending it again changes nothing.
        """
        try:
            return await self._producer.send_many(messages)
        except Unavailable as error:
            raise _away(error) from error

    async def check(self) -> bool:
        """Whether Redis answers now."""
        try:
            async with asyncio.timeout(_CHECK_S):
                await self.now_ms()
        except (problems.Problem, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        await self.redis.aclose()


def _away(error: Unavailable) -> problems.Problem:
    log.warning("redis_away", error=str(error))
    return problems.unavailable("Redis")


class Backends:
    """What a handler may ask for."""

    NAMES = ("PostgreSQL", "Redis")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bounds = Bounds.of(settings)
        self.postgres = Postgres(settings)
        self.streams = Streams(settings)
        self.reader = PatternReader(self.streams.redis)
        self.scans = Scans()
        self.lists = Lists(self.postgres)
        self.webhooks = addresses.policy(settings.webhooks_networks, settings.webhooks_http)
        self.timings = Timings()
        self.tail = Tail(self.streams.redis)
        counting = open_redis(settings.cache_url or settings.redis_url)
        assert counting is not None
        limits = Limits(counting, settings.rate_window_s)
        self.places = Places(counting, settings.ws_clients_per_key)
        self.access = Access(settings, self.postgres, limits, rules(settings))
        self.audit = Audit(self.postgres, settings.audit_days)
        self._watch = Postgres(settings.model_copy(update={"pool_size": 1}), "moments")
        """With a connection of its own: the moment is asked for even while answers take all the others."""
        self.generations = self._follow(TRADES)
        warmed = [question.words for question in analytics.defaults()]
        self.answers = Answers(TRADES, self.generations, open_redis(settings.cache_url), warmed=warmed)
        self.tape_generations = self._follow(TAPE)
        self.tape = Answers(TAPE, self.tape_generations, open_redis(settings.cache_url))
        self.analyses = Analyses()
        self._epoch: UUID | None = None
        self.known_partitions: int | None = None
        """P of the installation, once somebody has asked."""
        self.look = Kept(lambda: components.look(self), components.FRESH_S)
        """At everything that this gateway works with."""
        self.stock = Kept(lambda: components.stock(self), components.STOCK_FRESH_S)
        self.universes = Universes(lambda: self.postgres.attempt(universes.load))

    def _follow(self, dataset: str) -> Generations:
        return Generations(lambda: self._watch.attempt(lambda c: generations.moment(c, dataset)))

    def kept(self, dataset: str) -> Answers:
        """The answers of a dataset."""
        return self.tape if dataset == TAPE else self.answers

    def use_of_answers(self) -> Statistics:
        """Of those about trades and about the tape."""
        return self.answers.statistics().plus(self.tape.statistics())

    async def partitions(self) -> int:
        """P of the installation; asked once, because it never changes."""
        if self.known_partitions is None:
            self.known_partitions = await self.postgres.run(market.partitions)
        if self.known_partitions is None:
            raise problems.unavailable("An installed database (`rollo migrate`)")
        return self.known_partitions

    async def epoch(self) -> UUID:
        """Of the installation; while PostgreSQL is away, as it was."""
        try:
            self._epoch = await self.postgres.run(market.epoch)
        except problems.Problem:
            if self._epoch is None:
                raise
        if self._epoch is None:
            raise problems.unavailable("An installed database (`rollo migrate`)")
        return self._epoch

    async def snapshot(self) -> Snapshot:
        """The active patterns.

        Raises:
            Problem: 503, Redis is away or the read model is being built.
        """
        try:
            return await self.reader.snapshot()
        except Unavailable as error:
            log.warning("read_model_away", error=str(error))
            raise problems.unavailable("The read model of patterns") from error

    async def away(self) -> list[str]:
        """Names of the servers that do not answer now."""
        answered = await asyncio.gather(self.postgres.check(), self.streams.check())
        return [name for name, here in zip(self.NAMES, answered, strict=True) if not here]

    async def close(self) -> None:
        """Let go of every connection; asking again opens them again."""
        await self.tail.close()
        await self.reader.close()
        await self.places.close()
        await self.access.close()
        await self.audit.close()
        await self.look.close()
        await self.stock.close()
        await self.universes.close()
        await self.generations.close()
        await self.tape_generations.close()
        await self.lists.close()
        await self.answers.close()
        await self.tape.close()
        await self._watch.close()
        await self.streams.close()
        await self.postgres.close()
