"""The one place where clients of Redis are made."""

from collections.abc import Iterable, Mapping
from typing import Any

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer

from rollotape.redis.addresses import Address, Kind, address
from rollotape.redis.cluster import Cluster

CONNECTIONS = 4_096
"""Of one client to one server, at most: every partition that is read blocks one."""
SENTINEL_ANSWER_S = 1.0
"""A Sentinel that is silent for longer is passed over."""

_PACK = HiredisRespSerializer().pack


def open_client(
    url: str,
    *,
    answer_s: float | None = None,
    connect_s: float | None = None,
    tries_once: bool = False,
    waits_s: float | None = None,
    connections: int = CONNECTIONS,
    **options: Any,
) -> Redis:
    """A client of whatever the URL names. It connects when it is first used, and answers in bytes.

    `tries_once`: an error is for the caller to see, at once. `waits_s`: with all `connections` in use,
    a command waits so long for one. Further `options` are redis-py's, and the URL's win.

    Raises:
        ValueError: this is no URL of a Redis.
    """
    found = address(url)
    if answer_s is not None:
        options["socket_timeout"] = answer_s
    if connect_s is not None:
        options["socket_connect_timeout"] = connect_s
    if tries_once:
        options["retry"] = Retry(NoBackoff(), 0)
    options = {"max_connections": connections, **options, **found.options}
    if waits_s is not None:
        options["timeout"] = waits_s
    if found.kind is Kind.SENTINEL:
        return _of_sentinels(found, options)
    make = BlockingConnectionPool if waits_s is not None else ConnectionPool
    options["connection_class"] = _PACKING[options.get("connection_class", Connection)]
    if found.kind is Kind.CLUSTER:
        return Cluster(found.nodes, lambda host, port: make(**options, host=host, port=port))
    return Redis.from_pool(make(**options))


async def servers(client: Redis) -> list[Redis]:
    """A client of each server that takes writes: the nodes of a cluster, or the only one there is.

    Raises:
        redis.exceptions.ConnectionError: of a cluster no node answers.
    """
    return await client.primaries() if isinstance(client, Cluster) else [client]


def mode(about: Mapping[str, Any]) -> str:
    """Of a server by its INFO: standalone, cluster or sentinel; Valkey has a word of its own for it."""
    return str(about.get("redis_mode") or about.get("server_mode") or "standalone")


def policies(about: Iterable[Mapping[str, Any]]) -> str:
    """What servers do when they are full, by their INFO: one word where they agree."""
    return ", ".join(sorted({str(info.get("maxmemory_policy", "unknown")) for info in about}))


class _Packed:
    """Packs commands in C, as the blocking client does: an XACK has thousands of ids."""

    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = _PACK(*args)
        return packed


class _Connection(_Packed, Connection):
    pass


class _SSLConnection(_Packed, SSLConnection):
    pass


class _UnixConnection(_Packed, UnixDomainSocketConnection):
    pass


class _ManagedConnection(_Packed, SentinelManagedConnection):
    pass


class _ManagedSSLConnection(_Packed, SentinelManagedSSLConnection):
    pass


_PACKING: Mapping[type, type] = {
    Connection: _Connection,
    SSLConnection: _SSLConnection,
    UnixDomainSocketConnection: _UnixConnection,
}


class _WaitingSentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Asks the Sentinels like the one, and has commands wait in line like the other."""


class Followed(Redis):
    """The primary, wherever the Sentinels say that it is; lets go of them, too."""

    sentinels: Sentinel
    service: str

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        await self.sentinels.aclose()


def _of_sentinels(found: Address, options: dict[str, Any]) -> Redis:
    secured = options.pop("connection_class", Connection) is SSLConnection
    their = dict(found.sentinel_options or {})
    their["ssl"] = their.pop("connection_class", Connection) is SSLConnection
    manage: Any = Sentinel
    sentinels = manage(
        found.nodes,
        sentinel_kwargs={
            "socket_timeout": SENTINEL_ANSWER_S,
            "socket_connect_timeout": SENTINEL_ANSWER_S,
            "retry": Retry(NoBackoff(), 0),
            **their,
        },
    )
    kind = _ManagedSSLConnection if secured else _ManagedConnection
    make: Any = _WaitingSentinelPool if "timeout" in options else SentinelConnectionPool
    pool = make(found.service, sentinels, connection_class=kind, **options)
    client = Followed.from_pool(pool)
    assert isinstance(client, Followed)
    client.sentinels, client.service = sentinels, found.service
    return client
