"""The watchdog ends what our workers hold for too long, and nothing else."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from rollotape.postgres.pool import open_pool
from rollotape.postgres.watchdog import end_stale_transactions
from rollotape.settings import Settings


@pytest.fixture
async def pool(settings: Settings) -> "AsyncIterator[asyncpg.Pool[asyncpg.Record]]":
    async with await open_pool(settings, service="test") as pool:
        yield pool


async def in_a_transaction(url: str, application: str) -> "asyncpg.Connection[asyncpg.Record]":
    """As a worker looks that was stopped after it took its locks."""
    connection = await asyncpg.connect(url, server_settings={"application_name": application})
    await connection.execute("BEGIN")
    await connection.execute("LOCK TABLE symbol_state IN SHARE ROW EXCLUSIVE MODE")
    return connection


async def test_a_stale_transaction_of_a_worker_is_ended_and_its_locks_are_free(
    pool: "asyncpg.Pool[asyncpg.Record]", database_url: str
) -> None:
    stuck = await in_a_transaction(database_url, "rollo-detector")
    assert await end_stale_transactions(pool, 0.0) == 1
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '5s'")
        await connection.execute("LOCK TABLE symbol_state IN SHARE ROW EXCLUSIVE MODE")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        await stuck.execute("COMMIT")
    stuck.terminate()


@pytest.mark.parametrize(
    ("application", "older_than_s"),
    [("rollo-detector", 60.0), ("rollo-verify", 0.0), ("somebody-else", 0.0)],
    ids=["a young one", "a long snapshot of verify", "another program"],
)
async def test_it_leaves_alone(
    pool: "asyncpg.Pool[asyncpg.Record]", database_url: str, application: str, older_than_s: float
) -> None:
    connection = await in_a_transaction(database_url, application)
    assert await end_stale_transactions(pool, older_than_s) == 0
    await connection.execute("COMMIT")
    await connection.close()


async def test_an_idle_connection_of_a_worker_is_no_transaction(
    pool: "asyncpg.Pool[asyncpg.Record]", database_url: str
) -> None:
    idle = await asyncpg.connect(database_url, server_settings={"application_name": "rollo-detector"})
    assert await end_stale_transactions(pool, 0.0) == 0
    assert await idle.fetchval("SELECT 1") == 1
    await idle.close()
