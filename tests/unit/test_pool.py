"""Which errors of PostgreSQL and Redis mean that they are away, and which mean that we are wrong."""

import asyncpg
import pytest
import redis.exceptions

from rollotape.errors import Unavailable
from rollotape.postgres.pool import unavailable

OUTAGES = [
    ConnectionResetError(),
    TimeoutError(),
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    asyncpg.CrashShutdownError("terminating connection because of crash of another server process"),
    asyncpg.InterfaceError("connection is closed"),
    # PostgreSQL has said goodbye on this connection, and its end has not been noticed yet.
    asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
    redis.exceptions.ConnectionError(),
    redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
    redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
    redis.exceptions.ClusterDownError("The cluster is down"),
    redis.exceptions.MasterDownError("Link with MASTER is down"),
    redis.exceptions.TryAgainError("Multiple keys request during rehashing of slot"),
    redis.exceptions.MovedError("3999 127.0.0.1:6381"),
    redis.exceptions.AskError("3999 127.0.0.1:6381"),
    redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
    redis.exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
]
BUGS = [
    ZeroDivisionError(),
    asyncpg.UniqueViolationError("duplicate key"),
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    redis.exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    redis.exceptions.ClusterCrossSlotError("Keys in request don't hash to the same slot"),
    redis.exceptions.NoPermissionError("this user has no permissions to run the 'keys' command"),
]


@pytest.mark.parametrize("error", OUTAGES, ids=repr)
def test_an_outage_is_tried_again(error: Exception) -> None:
    with pytest.raises(Unavailable) as raised, unavailable("postgres"):
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", BUGS, ids=repr)
def test_a_bug_is_not_taken_for_an_outage(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, unavailable("postgres"):
        raise error
    assert raised.value is error
