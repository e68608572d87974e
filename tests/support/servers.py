"""Test servers, in this order: named by ROLLO_TEST_* variables, Docker when asked for, embedded."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rollotape.embedded import Servers, Urls
from support.folders import open_folder


@contextmanager
def open_servers() -> Iterator[Urls]:
    """Empty servers that tests may flush and fill.

    The names are others than those a stack is configured with, because tests flush: a shell that is set
    up for a running stack must not lose its streams to `make test`.
    """
    if redis_url := os.environ.get("ROLLO_TEST_REDIS_URL"):
        yield Urls(
            redis_url,
            os.environ.get("ROLLO_TEST_CACHE_URL", redis_url),
            os.environ["ROLLO_TEST_DATABASE_URL"],
        )
    elif os.environ.get("ROLLO_TEST_DOCKER") == "1":
        with _containers() as urls:
            yield urls
    else:
        with open_folder() as folder, Servers(folder, durable=False, environ={}) as servers:
            yield servers.urls


@contextmanager
def _containers() -> Iterator[Urls]:
    from testcontainers.postgres import PostgresContainer
    from testcontainers.redis import RedisContainer

    with RedisContainer("redis:7") as redis, PostgresContainer("postgres:16-alpine", driver=None) as postgres:
        redis_url = f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}"
        yield Urls(f"{redis_url}/0", f"{redis_url}/1", postgres.get_connection_url())
