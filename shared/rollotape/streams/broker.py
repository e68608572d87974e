"""The connection to the Redis that keeps the streams, and the guard that it keeps them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
from faststream.message import StreamMessage
from faststream.prometheus import ConsumeAttrs
from faststream.prometheus.middleware import PrometheusMiddleware
from faststream.redis import RedisBroker
from faststream.redis.configs.state import RedisConnectionState
from faststream.redis.prometheus.provider import BatchRedisMetricsSettingsProvider
from prometheus_client import REGISTRY, CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rollotape.errors import Refused
from rollotape.redis.addresses import address
from rollotape.redis.clients import mode, open_client, servers
from rollotape.redis.cluster import Cluster
from rollotape.settings import Settings
from rollotape.streams.entries import Entry

SOCKET_TIMEOUT_S = 10.0
"""Far above the time that a read blocks at the server (`subscriber.BLOCK_MS`)."""

log = structlog.get_logger()


def make_broker(settings: Settings, *, service: str, registry: CollectorRegistry = REGISTRY) -> RedisBroker:
    """A broker that is not connected yet, on one server, a cluster, or the primary of Sentinels.

    No retries inside redis-py: a read whose answer was lost has left entries pending, so the delivery must
    see it fail and read them again. FastStream does not log: the delivery says once what it would repeat
    with a traceback at every try.

    Raises:
        Refused: ROLLO_REDIS_URL is not a Redis URL.
    """
    url = _speaking_resp2(settings.redis_url)
    try:
        found = address(url)
    except ValueError as error:
        raise Refused(f"ROLLO_REDIS_URL is not a Redis URL: {error}") from None

    def open_() -> Redis:
        return open_client(
            url,
            answer_s=SOCKET_TIMEOUT_S,
            connect_s=5.0,
            tries_once=True,
            client_name=f"rollo-{service}",
            socket_keepalive=True,
            health_check_interval=15.0,
        )

    return _Broker(
        open_,
        specification_url=found.place,
        logger=cast("Any", None),
        graceful_timeout=1.0,  # the subscribers themselves have waited for their batches by then
        middlewares=[_prometheus(service, registry)],
    )


class _Broker(RedisBroker):
    """FastStream's, with a client of ours: its brokers for clusters and Sentinels are of no use to us.

    They try again by themselves, and the first has no pipelines.
    """

    def __init__(self, open_: Callable[[], Redis], **options: Any) -> None:
        self._open = open_
        super().__init__(**options)

    def _make_connection_state(self, connection_options: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        return _State(self._open)


class _State(RedisConnectionState):
    __slots__ = ("_open",)

    def __init__(self, open_: Callable[[], Redis]) -> None:
        super().__init__()
        self._open = open_

    async def connect(self) -> Redis:
        if self._client is None:
            self._client = self._open()
            self._connected = True
        return self._client


async def guard(redis: Redis) -> None:
    """Refuse a Redis that would lose streams and say nothing, whichever of its servers it is.

    Raises:
        Refused: one may evict them, or is a Sentinel or a node of a cluster and taken for a lone server.
    """
    for server in await servers(redis):
        about = await server.info("server", "memory", "persistence")
        _must_be_meant(mode(about), isinstance(redis, Cluster))
        _must_keep(await _policy(server, about))
        if not int(about.get("aof_enabled", 1)):
            log.warning("redis_without_aof", server=_name_of(server))


def _must_be_meant(found: str, is_cluster: bool) -> None:
    if found == "sentinel":
        raise Refused(
            "ROLLO_REDIS_URL names a Sentinel as if it kept the streams: write"
            " redis+sentinel://host:26379,host:26379/NAME, with what the Sentinels call the primary"
        )
    if found == "cluster" and not is_cluster:
        raise Refused(
            "ROLLO_REDIS_URL names a node of a cluster as if it were alone: write"
            " redis+cluster://host:6379,host:6379"
        )


def _must_keep(policy: str) -> None:
    if policy != "noeviction":
        raise Refused(
            f"ROLLO_REDIS_URL names a Redis whose maxmemory-policy is {policy}: it may evict the streams."
            " Set it to noeviction there (CONFIG SET maxmemory-policy noeviction, and in its configuration),"
            " or give ROLLO_REDIS_URL an instance of its own and let ROLLO_CACHE_URL name the one that evicts"
        )


async def _policy(server: Redis, about: Mapping[str, Any]) -> str:
    if "maxmemory_policy" in about:
        return str(about["maxmemory_policy"])
    try:
        answer = await server.config_get("maxmemory-policy")
    except ResponseError:  # managed services forbid CONFIG
        return "unknown"
    values = [v.decode() if isinstance(v, bytes) else str(v) for v in answer.values()]
    return values[0] if values else "unknown"


def _name_of(server: Redis) -> str:
    options = server.connection_pool.connection_kwargs
    return f"{options.get('host', 'localhost')}:{options.get('port', '')}"


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
