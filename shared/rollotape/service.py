"""What every worker shares: settings, guards, connections, health, leases, and a stop that loses nothing.

A worker's start file is then one function:

    async def start(service: Service) -> None:
        service.deliver("bars", handler)
        service.every(5.0, sweep)

    def run() -> None:
        rollotape.service.run("detector", start)
"""

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NoReturn, TypeVar, cast

import asyncpg
import redis.exceptions
import structlog
from faststream.asgi import AsgiFastStream
from faststream.redis import RedisBroker
from redis.asyncio import Redis

from rollotape import arguments, logs, metrics, telemetry
from rollotape import settings as configuration
from rollotape.errors import Refused, Unavailable, told
from rollotape.health import Health, make_app, serve
from rollotape.postgres.floors import Floors
from rollotape.postgres.leases import Leases
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.postgres.revisions import lacking
from rollotape.postgres.watchdog import end_stale_transactions
from rollotape.settings import Settings
from rollotape.streams.backoff import Backoff, is_outage
from rollotape.streams.broker import guard, make_broker
from rollotape.streams.delivery import Delivery, Handler, Standing, Weigh, export
from rollotape.streams.heart import Heart, Hold
from rollotape.streams.janitor import Janitor
from rollotape.streams.leases import Leaseholder, LeaseTable, unique_name
from rollotape.streams.producer import Producer

PATIENCE_S = 60.0
"""How long a start waits for Redis, PostgreSQL and its schema."""
PRESSED_S = 3.0
"""While a stream is too large, it is trimmed this often: who fills it may be quick."""
OPS_CONNECTIONS = 2
"""Health checks and the janitor have connections of their own; heartbeats have one, too, in their thread."""

_INSTALLED = "SELECT partitions, version_num AS revision FROM installation, alembic_version"

T = TypeVar("T")
Job = Callable[[], Awaitable[object]]

log = structlog.get_logger()


class Service:
    """A running worker, as its start function sees it."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        broker: RedisBroker,
        pool: "asyncpg.Pool[Any]",
        ops_pool: "asyncpg.Pool[Any]",
        partitions: int,
        health: Health,
    ) -> None:
        self.name = name
        self.settings = settings
        self.broker = broker
        self.pool = pool
        """Times are integer microseconds, dates integer days; see `open_pool`."""
        self.ops_pool = ops_pool
        self.partitions = partitions
        """P of this installation."""
        self.redis: Redis = cast("Redis", broker.config.broker_config.connection.client)
        self.producer = Producer(self.redis)
        self._health = health
        self._deliveries: list[Delivery] = []
        self._heart: Heart | None = None
        self._tasks: list[asyncio.Task[NoReturn]] = []
        self._at_the_end = AsyncExitStack()

    async def plain_pool(self, size: int) -> "asyncpg.Pool[Any]":
        """Connections whose times are datetimes, for questions that the gateway asks as well."""
        return await self._at_the_end.enter_async_context(
            _pool(self.settings, self.name, raw_times=False, size=size, counted_as="plain")
        )

    def at_the_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have something closed when everything else has ended, what was opened last first."""
        self._at_the_end.push_async_callback(close)

    def deliver(
        self, kind: str, handler: Handler, *, weigh: Weigh | None = None, group: str | None = None
    ) -> Delivery:
        """Deliver this replica's share of the partitions of `kind` to `handler`, once the start is over.

        `group` is that of the worker unless it is named.

        All kinds of a worker share their leases: a partition of each comes and goes with the others.
        """
        delivery = Delivery(self.broker, kind, group or self.name, handler, self.settings, weigh=weigh)
        self._deliveries.append(delivery)
        what = kind if group is None else f"{kind} to {group}"
        self._health.alive_when(f"delivery of {what}", delivery.alive)
        self._health.ready_when(f"groups of {what}", lambda: _delivering(delivery))
        return delivery

    def _share(self) -> None:
        """Take part in sharing the partitions, if there is anything to deliver."""
        if not self._deliveries:
            return
        settings, owner = self.settings, unique_name(self.settings.instance)

        @asynccontextmanager
        async def table() -> AsyncIterator[Leases]:
            async with _pool(
                settings, self.name, raw_times=False, size=1, counted_as="leases", clean=True
            ) as pool:
                yield Leases(pool, self.name, owner, settings.lease_s)

        def leaseholder(leases: LeaseTable, hold: Hold, turns: Callable[[], bool]) -> Leaseholder:
            return Leaseholder(
                leases,
                hold,
                service=self.name,
                replica=owner,
                partitions=self.partitions,
                lease_s=settings.lease_s,
                turns=turns,
            )

        self._heart = Heart(table, self._hold, leaseholder)
        self._always("leases", self._heart.run)
        self.every(5.0, self._export_standings)

    async def _hold(self, partitions: Collection[int]) -> None:
        await asyncio.gather(*(delivery.hold(partitions) for delivery in self._deliveries))

    async def _export_standings(self) -> None:
        found: dict[str, list[Standing]] = {delivery.group: [] for delivery in self._deliveries}
        try:
            for delivery in self._deliveries:
                found[delivery.group] += await delivery.standings()
        except BaseException:
            for group in found:
                export([], group)  # a gauge that stands still would look like a stack that does
            raise
        for group, standings in found.items():
            export(standings, group)

    def every(self, seconds: float, job: Job) -> None:
        """Run a job again and again. One that fails runs again at its next turn; a series is logged once."""

        async def turns() -> NoReturn:
            failing = False
            while True:
                await asyncio.sleep(seconds)
                try:
                    await job()
                    failing = False
                except Exception as error:
                    away = isinstance(error, Unavailable) or is_outage(error)
                    if not (away and failing):
                        log.warning("job_failed", job=_name_of(job), reason=told(error), exc_info=not away)
                    failing = True

        self._always(_name_of(job), turns)

    def _always(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """A task that must never end: it is started again, and while it is down the process is not alive."""

        async def again() -> NoReturn:
            backoff = Backoff()
            while True:
                try:
                    await run()
                except Exception:
                    log.exception("task_failed", task=name)
                await asyncio.sleep(backoff.delay_s())

        task = asyncio.create_task(again(), name=name)
        self._tasks.append(task)
        self._health.alive_when(name, lambda: not task.done())

    async def _leave(self) -> None:
        """Finish running batches and give the partitions back, then end everything else."""
        if self._heart is not None:
            await self._heart.leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=1.0)
        await self._at_the_end.aclose()


Start = Callable[[Service], Awaitable[None]]


def run(name: str, start: Start) -> None:
    """Run a worker until SIGTERM or SIGINT. Exit code 2: refused to start; 1: what it needs is away."""
    try:
        arguments.heed(name)
        settings = configuration.load()
        logs.configure(name, settings.instance, settings.log_level)
        metrics.say_build(name)
        # A batch makes tens of thousands of objects that live for moments: collecting after every 700 of
        # them, as Python does by default, doubles the cost of reading an entry.
        gc.set_threshold(50_000, 20, 20)
        with telemetry.running(name, settings), logs.what_ends():
            asyncio.run(_main(name, settings, start))
    except Refused as refused:
        print(f"{name}: {refused}", file=sys.stderr)
        sys.exit(2)
    except Unavailable as away:
        print(f"{name}: gave up after {PATIENCE_S:g} s: {away}", file=sys.stderr)
        sys.exit(1)


async def _main(name: str, settings: Settings, start: Start) -> None:
    stop, health = _stop_signal(), Health()
    broker = make_broker(settings, service=name)
    app = make_app(broker, health)
    async with serve(app, settings.ops_host, settings.ops_port):
        running = asyncio.create_task(_serve_until(stop, name, settings, start, app, broker, health))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
        if health.phase == "starting":
            running.cancel()  # told to stop while waiting for Redis or PostgreSQL
        stopped.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _serve_until(
    stop: asyncio.Event,
    name: str,
    settings: Settings,
    start: Start,
    app: AsgiFastStream,
    broker: RedisBroker,
    health: Health,
) -> None:
    async with (
        _connected(app, broker),
        _pool(settings, name, raw_times=True) as pool,
        _pool(settings, name, raw_times=False, size=OPS_CONNECTIONS, counted_as="operations") as ops_pool,
    ):
        partitions = await _patiently(lambda: _installed(ops_pool))
        service = Service(name, settings, broker, pool, ops_pool, partitions, health)
        try:
            _look_after(service)
            health.ready_when("postgres", lambda: ops_pool.fetchval("SELECT 1"))
            health.ready_when("redis", service.redis.ping)
            await start(service)
            service._share()
            gc.freeze()
            health.phase = None
            log.info("started", partitions=partitions)
            await stop.wait()
        finally:
            health.phase = "stopping"
            log.info("stopping")
            await service._leave()
    log.info("stopped")


def _look_after(service: Service) -> None:
    """Jobs of every worker; the janitor's lock lets one of them work at a time."""
    settings = service.settings
    janitor = Janitor(
        service.redis,
        Floors(service.ops_pool),
        partitions=service.partitions,
        retention_s=settings.stream_retention_s,
        most_bytes=settings.stream_mb * 1e6,
    )

    async def trim() -> None:
        await janitor.run_once()
        while janitor.pressed:
            await asyncio.sleep(min(PRESSED_S, settings.janitor_every_s))
            await janitor.run_once()

    async def watch() -> None:
        await end_stale_transactions(service.ops_pool, settings.watchdog_s)

    async def measure_delay() -> None:
        asked = time.perf_counter()
        await asyncio.sleep(0.01)
        metrics.LOOP_DELAY.set(max(0.0, time.perf_counter() - asked - 0.01))

    service.every(settings.janitor_every_s, trim)
    service.every(max(1.0, settings.watchdog_s / 6), watch)
    service.every(1.0, measure_delay)


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            os._exit(130)  # asked twice: what was not finished is pending and comes again
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked)
    return stop


@asynccontextmanager
async def _connected(app: AsgiFastStream, broker: RedisBroker) -> AsyncIterator[None]:
    """FastStream's application between its start and its stop; returns when Redis answers and may be used."""
    redis_client = await broker.connect()

    async def ask() -> None:
        await redis_client.ping()
        await guard(redis_client)

    try:
        await _patiently(ask)
        await app.start()
        yield
    finally:
        await app.stop()


@asynccontextmanager
async def _pool(
    settings: Settings,
    name: str,
    *,
    raw_times: bool,
    size: int | None = None,
    counted_as: str = "main",
    clean: bool = False,
) -> "AsyncIterator[asyncpg.Pool[Any]]":
    how: dict[str, Any] = {"raw_times": raw_times, "size": size, "counted_as": counted_as, "clean": clean}
    pool = await _patiently(lambda: open_pool(settings, service=name, **how))
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(1.0):
                await pool.close()
        except Exception:  # a connection that hangs must not hold up the stop
            pool.terminate()


async def _installed(pool: "asyncpg.Pool[Any]") -> int:
    """P of this installation.

    A schema that a newer version has brought further is taken: while services are replaced one by one, those
    of before are at work on it.
    """
    with unavailable("postgres"), suppress(asyncpg.UndefinedTableError):
        if found := await pool.fetchrow(_INSTALLED):
            if missing := lacking(found["revision"]):
                lacks = f"the database has schema {found['revision']} and lacks {', '.join(missing)}"
                raise Unavailable(f"{lacks}: run `rollo migrate`")
            return int(found["partitions"])
    raise Unavailable("the database has no schema yet: run `rollo migrate`")


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """The first answer that is no outage; what is away at the start may be starting, too.

    Raises:
        Unavailable: nothing came of it for `PATIENCE_S`.
        Refused: a login was rejected; waiting would not help.
    """
    deadline, backoff = time.monotonic() + PATIENCE_S, Backoff()
    while True:
        try:
            return await attempt()
        except redis.exceptions.AuthenticationError as error:
            raise Refused(f"ROLLO_REDIS_URL: Redis rejects the login: {error}") from None
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            raise Refused(f"ROLLO_DATABASE_URL: PostgreSQL rejects the login: {error}") from None
        except Exception as error:
            if not (isinstance(error, Unavailable | asyncpg.InvalidCatalogNameError) or is_outage(error)):
                raise
            if time.monotonic() >= deadline:
                raise Unavailable(str(error)) from error
            log.info("waiting", reason=str(error))
            await asyncio.sleep(backoff.delay_s())


async def _delivering(delivery: Delivery) -> None:
    """Raise unless every held partition has its group and its last turn went well."""
    if failures := delivery.failures():
        raise Unavailable("; ".join(f"{stream}: {reason}" for stream, reason in failures.items()))
    missing = [s.stream for s in await delivery.standings() if not s.group_exists]
    if missing:
        raise Unavailable(f"no group on {', '.join(missing)}")


def _name_of(job: Job) -> str:
    return getattr(job, "__qualname__", repr(job)).rpartition(".")[2]
