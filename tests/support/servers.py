"""Test servers, in this order: named by the environment, Docker when asked for, embedded."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from redis import Redis

from rollotape.embedded import Servers, Urls
from support.folders import open_folder

NAMES = ("ROLLO_REDIS_URL", "ROLLO_CACHE_URL", "ROLLO_DATABASE_URL")


def take_from_environment() -> dict[str, str]:
    """Servers that the environment names, which code under test must not see by itself."""
    return {name: os.environ.pop(name) for name in NAMES if name in os.environ}


@contextmanager
def open_servers(given: Mapping[str, str]) -> Iterator[Urls]:
    """Servers that tests may flush and fill; `given` are those that the environment names."""
    redis_url, database_url = given.get("ROLLO_REDIS_URL"), given.get("ROLLO_DATABASE_URL")
    if redis_url and database_url:
        cache_url = given.get("ROLLO_CACHE_URL", redis_url)
        for url in {redis_url, cache_url}:
            _must_be_empty(url)
        yield Urls(redis_url, cache_url, database_url)
    elif os.environ.get("ROLLO_TEST_DOCKER") == "1":
        with _containers() as urls:
            yield urls
    else:
        with open_folder() as folder, Servers(folder, durable=False, environ={}) as servers:
            yield servers.urls


def _must_be_empty(url: str) -> None:
    """Tests flush: a shell that is set up for a running stack must not lose its streams to `make test`."""
    with Redis.from_url(url) as client:
        if client.dbsize():
            where = url.rpartition("@")[2]
            pytest.exit(f"{where} is not empty, and tests flush it: name another in ROLLO_REDIS_URL", 2)


@contextmanager
def _containers() -> Iterator[Urls]:
    from testcontainers.postgres import PostgresContainer
    from testcontainers.redis import RedisContainer

    with RedisContainer("redis:7") as redis, PostgresContainer("postgres:16-alpine", driver=None) as postgres:
        redis_url = f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}"
        yield Urls(f"{redis_url}/0", f"{redis_url}/1", postgres.get_connection_url())
