"""Connections that cannot wait for ever, and outages told apart from bugs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import asyncpg
import redis.exceptions

from rollotape import metrics
from rollotape.errors import Unavailable
from rollotape.redis.outages import AWAY, is_outage
from rollotape.settings import Settings

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01T00:00:00Z, from which PostgreSQL counts its microseconds, in microseconds since 1970."""

OUTAGES: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,  # met on a connection that PostgreSQL has ended and that is not closed yet
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, statement timeout, terminated by the watchdog
    asyncpg.TransactionRollbackError,  # deadlock, serialization failure
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a former primary
    *AWAY,
)


@contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Translate every outage of Redis or PostgreSQL into `Unavailable`; leave bugs as they are."""
    try:
        yield
    except asyncpg.InterfaceError as error:
        if "clos" not in str(error):  # a connection or pool that is closed or closing; the rest are bugs
            raise
        raise Unavailable(f"{what}: {type(error).__name__}: {error}") from error
    except OUTAGES as error:
        raise Unavailable(f"{what}: {type(error).__name__}: {error}") from error
    except redis.exceptions.ResponseError as error:
        if not is_outage(error):
            raise
        raise Unavailable(f"{what}: {error}") from error


async def open_pool(
    settings: Settings,
    *,
    service: str,
    raw_times: bool = False,
    size: int | None = None,
    counted_as: str = "main",
    clean: bool = False,
) -> asyncpg.Pool:
    """A pool whose every connection sets its own time limits.

    `clean` is promised by those who leave nothing behind but transactions, such as settings or locks of the
    session: to take such back costs a question of its own each time a connection is given back.

    With `raw_times`, timestamptz travels as integer microseconds since 1970 and date as integer days
    since 1970, which spares workers a datetime object per value. Metrics name it `counted_as`.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
    """
    server_settings = {
        "application_name": f"rollo-{service}",
        "timezone": "UTC",
        "statement_timeout": str(settings.statement_timeout_ms),
        "lock_timeout": str(settings.lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(settings.idle_transaction_ms),
        "tcp_user_timeout": str(settings.tcp_user_timeout_ms),
        "jit": "off",  # short statements only: compiling them costs more than it saves
        "max_parallel_workers_per_gather": "0",  # and so does starting processes for them
    }
    with unavailable("postgres"):
        pool = await asyncpg.create_pool(
            settings.database_url,
            min_size=1,
            max_size=size or settings.pool_size,
            server_settings=server_settings,
            timeout=10,
            command_timeout=settings.statement_timeout_ms / 1000 + 5,
            init=_raw_times if raw_times else None,
            reset=_as_it_is if clean else None,
        )
    _count(pool, counted_as)
    return pool


_pools: list[tuple[str, asyncpg.Pool]] = []


def _count(pool: asyncpg.Pool, name: str) -> None:
    """Have its connections counted until it is closed."""
    _pools[:] = [(n, p) for n, p in _pools if not p.is_closing()] + [(name, pool)]
    for state, count in (("used", _used), ("free", _free)):
        metrics.POOL_CONNECTIONS.labels(name, state).set_function(partial(_sum, count, name))


def _sum(count: Callable[[asyncpg.Pool], int], name: str) -> float:
    return sum(count(pool) for n, pool in list(_pools) if n == name and not pool.is_closing())


def _used(pool: asyncpg.Pool) -> int:
    return pool.get_size() - pool.get_idle_size()


def _free(pool: asyncpg.Pool) -> int:
    return pool.get_max_size() - _used(pool)


async def _as_it_is(connection: "asyncpg.Connection[Any]") -> None:
    """A transaction that was left open is rolled back all the same."""


async def _raw_times(connection: "asyncpg.Connection[Any]") -> None:
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", format="tuple",
        encoder=lambda us: (us - POSTGRES_EPOCH_US,), decoder=_micros,
    )  # fmt: skip
    await connection.set_type_codec(
        "date", schema="pg_catalog", format="tuple",
        encoder=lambda days: (days - 10_957,), decoder=lambda t: t[0] + 10_957,
    )  # fmt: skip


def _micros(value: tuple[int]) -> int:
    """Infinity stays the first or the last number that fits; every other time moves to the epoch of 1970."""
    [us] = value
    return us if abs(us) >= 2**63 - 1 else us + POSTGRES_EPOCH_US
