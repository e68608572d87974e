"""The connection to the Redis that keeps the streams, and the guard that it keeps them."""

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from faststream.message import StreamMessage
from faststream.prometheus import ConsumeAttrs
from faststream.prometheus.middleware import PrometheusMiddleware
from faststream.redis import RedisBroker
from faststream.redis.prometheus.provider import BatchRedisMetricsSettingsProvider
from prometheus_client import REGISTRY, CollectorRegistry
from redis.asyncio import Connection, Redis
from redis.connection import HiredisRespSerializer
from redis.exceptions import ResponseError

from rollotape.errors import Refused
from rollotape.settings import Settings
from rollotape.streams.entries import Entry

SOCKET_TIMEOUT_S = 10.0
"""Far above the time that a read blocks at the server (`subscriber.BLOCK_MS`)."""


def make_broker(settings: Settings, *, service: str, registry: CollectorRegistry = REGISTRY) -> RedisBroker:
    """A broker that is not connected yet.

    No retries inside redis-py: a read whose answer was lost has left entries pending, so the delivery must
    see it fail and read them again. FastStream does not log: the delivery says once what it would repeat
    with a traceback at every try.

    Raises:
        Refused: ROLLO_REDIS_URL is not a Redis URL.
    """
    try:
        return RedisBroker(
            _speaking_resp2(settings.redis_url),
            logger=cast("Any", None),
            graceful_timeout=1.0,  # the subscribers themselves have waited for their batches by then
            middlewares=[_prometheus(service, registry)],
            client_name=f"rollo-{service}",
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=5.0,
            socket_keepalive=True,
            health_check_interval=15.0,
            connection_class=_Connection,
        )
    except ValueError as error:
        raise Refused(f"ROLLO_REDIS_URL is not a Redis URL: {error}") from None


_PACK = HiredisRespSerializer().pack


class _Connection(Connection):
    """Packs commands in C, as the blocking client does: an XACK has thousands of ids."""

    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = _PACK(*args)
        return packed


async def guard_policy(redis: Redis) -> None:
    """Refuse a Redis that may evict: it would drop streams, with their groups, and say nothing.

    Raises:
        Refused: its maxmemory-policy is not noeviction.
    """
    policy = await _policy(redis)
    if policy != "noeviction":
        raise Refused(
            f"ROLLO_REDIS_URL names a Redis whose maxmemory-policy is {policy}: it may evict the streams."
            " Set it to noeviction there (CONFIG SET maxmemory-policy noeviction, and in its configuration),"
            " or give ROLLO_REDIS_URL an instance of its own and let ROLLO_CACHE_URL name the one that evicts"
        )


async def _policy(redis: Redis) -> str:
    try:
        answer = await redis.config_get("maxmemory-policy")
        for policy in answer.values():
            return policy.decode() if isinstance(policy, bytes) else str(policy)
    except ResponseError:  # managed services forbid CONFIG
        pass
    memory = await redis.info("memory")
    return str(memory.get("maxmemory_policy", "unknown"))


def _speaking_resp2(url: str) -> str:
    """The same address with RESP2, whatever it asked for: FastStream 0.7.8 cannot read RESP3 answers."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | {"protocol": "2"}
    return parts._replace(query=urlencode(query)).geturl()


class _EntrySizes(BatchRedisMetricsSettingsProvider):
    """FastStream would count entries as bytes, because our message body is the list of them."""

    def get_consume_attrs_from_message(self, msg: "StreamMessage[dict[str, Any]]") -> ConsumeAttrs:
        attributes = super().get_consume_attrs_from_message(msg)
        if "entries" in msg.raw_message:
            entries: Sequence[Entry] = msg.raw_message["entries"]
            attributes["message_size"] = sum(len(entry.payload or b"") for entry in entries)
        return attributes


def _prometheus(service: str, registry: CollectorRegistry) -> "PrometheusMiddleware[Any, Any]":
    provider = _EntrySizes()
    return PrometheusMiddleware(
        settings_provider_factory=lambda _: provider, registry=registry, app_name=service
    )
