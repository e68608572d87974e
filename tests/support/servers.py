"""Test servers, in this order: named by the environment, Docker when asked for, embedded.

ROLLO_TEST_REDIS=cluster or sentinel makes an embedded Redis one of several servers.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from rollotape.embedded import Servers, Urls
from rollotape.redis.addresses import Kind, address
from support.folders import open_folder
from support.redises import open_redises

if TYPE_CHECKING:
    from testcontainers.community.redis import RedisContainer

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
    elif kind := os.environ.get("ROLLO_TEST_REDIS"):
        with open_redises(kind) as redises, open_folder() as folder:
            environ = {"ROLLO_REDIS_URL": redises.url}
            with Servers(folder, durable=False, environ=environ) as servers:
                yield servers.urls
    else:
        with open_folder() as folder, Servers(folder, durable=False, environ={}) as servers:
            yield servers.urls


def flush(url: str) -> None:
    """Empty a Redis, whatever it consists of."""
    found = address(url)
    if found.kind is Kind.CLUSTER:
        node: Any = ClusterNode
        nodes = [node(host, port) for host, port in found.nodes]
        with RedisCluster(startup_nodes=nodes, **found.options) as cluster:
            cluster.flushall(target_nodes=RedisCluster.PRIMARIES)
        return
    if found.kind is Kind.SENTINEL:
        sentinel: Any = Sentinel
        client = sentinel(found.nodes).master_for(found.service, **found.options)
    else:
        client = Redis.from_url(url)
    with client:
        client.flushall()


def _must_be_empty(url: str) -> None:
    """Tests flush: a shell that is set up for a running stack must not lose its streams to `make test`."""
    with Redis.from_url(url) as client:
        if client.dbsize():
            where = url.rpartition("@")[2]
            pytest.exit(f"{where} is not empty, and tests flush it: name another in ROLLO_REDIS_URL", 2)


@contextmanager
def _containers() -> Iterator[Urls]:
    """Two Redis, as the roles differ in their policy, and a PostgreSQL, each on a free port."""
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.community.redis import RedisContainer

    def redis(*options: str) -> RedisContainer:
        container = RedisContainer(os.environ.get("ROLLO_TEST_REDIS_IMAGE", "redis:7"))
        return container.with_command(["redis-server", "--save", "", *options])

    postgres = PostgresContainer(os.environ.get("ROLLO_TEST_POSTGRES_IMAGE", "postgres:16"), driver=None)
    postgres.with_command(["postgres", "-c", "fsync=off", "-c", "max_connections=200"])
    streams = redis("--maxmemory-policy", "noeviction")
    cache = redis("--maxmemory", "512mb", "--maxmemory-policy", "allkeys-lru")
    with streams, cache, postgres:
        yield Urls(_url_of(streams), _url_of(cache), postgres.get_connection_url())


def _url_of(redis: "RedisContainer") -> str:
    return f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0"
