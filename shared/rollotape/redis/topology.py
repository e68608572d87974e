"""How the servers of a Redis stand together: slots that nobody serves, Sentinels that are silent."""

from dataclasses import dataclass
from typing import Any

import redis.exceptions
from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from rollotape.redis.addresses import Kind
from rollotape.redis.clients import Followed
from rollotape.redis.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Topology:
    """What a client says of the servers behind it."""

    kind: Kind = Kind.SERVER
    uncovered_slots: int = 0
    """Of a cluster, that no node serves."""
    sentinels: int = 0
    """That know of each other, by the one that was asked."""
    silent: tuple[str, ...] = ()
    """Sentinels of the URL that do not answer."""


async def look(client: Redis) -> Topology:
    """
    Raises:
        redis.exceptions.ConnectionError: nobody answers.
    """
    if isinstance(client, Cluster):
        await client.primaries()
        return Topology(Kind.CLUSTER, uncovered_slots=REDIS_CLUSTER_HASH_SLOTS - client.covered_slots)
    if isinstance(client, Followed):
        return await _of_sentinels(client)
    return Topology()


async def _of_sentinels(client: Followed) -> Topology:
    most, silent = 0, []
    for sentinel in client.sentinels.sentinels:
        try:
            known: Any = await sentinel.sentinel_masters()
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError):
            place = sentinel.connection_pool.connection_kwargs
            silent.append(f"{place['host']}:{place['port']}")
            continue
        if state := known.get(client.service):
            most = max(most, int(state["num-other-sentinels"]) + 1)
    return Topology(Kind.SENTINEL, sentinels=most, silent=tuple(silent))
