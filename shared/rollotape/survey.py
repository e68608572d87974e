"""What is true of the whole and not of one process, as metrics: every cache-builder asks again and again.

All of them find the same, so whoever adds up takes the greatest. What could not be asked is not said: a gauge
that stands still would look like a stack that does.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from rollotape import metrics
from rollotape.domain import freshness
from rollotape.domain.sessions import Sessions
from rollotape.events import STREAMS
from rollotape.postgres import survey as postgres
from rollotape.postgres.survey import Vitals
from rollotape.redis.clients import servers
from rollotape.streams import standing as streams
from rollotape.streams.standing import Stream

if TYPE_CHECKING:
    import asyncpg

POSTGRES = "postgres"
NEVER_EVICTS = "noeviction"
OTHER = "other"
_OF_ENTRIES = ("json", "defect")
"""What is refused where no field is to blame."""


class Survey:
    """Three jobs, each with an outage of its own."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        redis: Redis,
        cache: Redis | None,
        partitions: int,
        sessions: Callable[[], Sessions],
    ) -> None:
        self._pool = pool
        self._servers = {"streams": redis} | ({"cache": cache} if cache else {})
        self._partitions = partitions
        self._sessions = sessions
        self._marks = _Waiting()
        self._dates = _Waiting()

    async def ask_streams(self) -> None:
        """Where every group stands in every stream."""
        try:
            found = await streams.look(self._servers["streams"], self._partitions)
        except BaseException:
            _forget_streams()
            raise
        _say_streams(found)

    async def ask_redis(self) -> None:
        """How full the servers are, and whether they drop what they keep."""
        for role, client in self._servers.items():
            try:
                _say_redis(role, [await server.info() for server in await servers(client)])
            except BaseException:
                _forget_redis(role)
                raise

    async def ask_postgres(self) -> None:
        """What waits there, who works, and how new the bars are."""
        try:
            found = await postgres.look(self._pool)
        except BaseException:
            _forget_postgres()
            raise
        _say_postgres(found)
        waits = max(self._marks.age_s(found.oldest_mark), self._dates.age_s(found.oldest_date))
        metrics.STRENGTH_OLDEST.set(waits)
        _say_market(found.newest_us, self._sessions(), time.time_ns() // 1_000)


class _Waiting:
    """How long the oldest row of a queue has been seen: its rows do not say when they were made."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._row: int | None = None
        self._since = 0.0

    def age_s(self, oldest: int | None) -> float:
        if oldest != self._row:
            self._row, self._since = oldest, self._clock()
        return 0.0 if oldest is None else self._clock() - self._since


# ---- streams

_OF_GROUPS = (metrics.STREAM_LAG, metrics.STREAM_LAG_KNOWN, metrics.STREAM_PENDING, metrics.STREAM_OLDEST)


def _say_streams(found: Sequence[Stream]) -> None:
    for stream in found:
        metrics.STREAM_LENGTH.labels(stream.name).set(stream.length)
        for name, group in stream.groups.items():
            at_end = group.delivered == stream.last_id
            lag = 0 if at_end else stream.length if group.lag is None else group.lag
            metrics.STREAM_LAG.labels(stream.name, name).set(lag)
            metrics.STREAM_LAG_KNOWN.labels(stream.name, name).set(at_end or group.lag is not None)
            metrics.STREAM_PENDING.labels(stream.name, name).set(group.pending)
            metrics.STREAM_OLDEST.labels(stream.name, name).set((group.oldest_pending_ms or 0) / 1e3)
        for name in stream.missing:
            metrics.STREAM_LAG.labels(stream.name, name).set(stream.length)
            metrics.STREAM_LAG_KNOWN.labels(stream.name, name).set(True)


def _forget_streams() -> None:
    for gauge in (*_OF_GROUPS, metrics.STREAM_LENGTH):
        gauge.clear()


# ---- servers


def _say_redis(role: str, infos: Sequence[Mapping[str, Any]]) -> None:
    def total(name: str) -> int:
        return sum(int(info.get(name, 0) or 0) for info in infos)

    metrics.SERVER_UP.labels(role).set(1)
    metrics.REDIS_MEMORY.labels(role).set(total("used_memory"))
    metrics.REDIS_MEMORY_MOST.labels(role).set(total("maxmemory"))
    metrics.REDIS_EVICTED.labels(role).set(total("evicted_keys"))
    may_evict = any(info.get("maxmemory_policy") != NEVER_EVICTS for info in infos)
    metrics.REDIS_MAY_EVICT.labels(role).set(may_evict)


def _forget_redis(role: str) -> None:
    metrics.SERVER_UP.labels(role).set(0)
    for gauge in (
        metrics.REDIS_MEMORY,
        metrics.REDIS_MEMORY_MOST,
        metrics.REDIS_EVICTED,
        metrics.REDIS_MAY_EVICT,
    ):
        with suppress(KeyError):
            gauge.remove(role)


_PLAIN = (
    metrics.POSTGRES_CONNECTIONS, metrics.POSTGRES_CONNECTIONS_MOST, metrics.POSTGRES_BYTES,
    metrics.OUTBOX_OLDEST, metrics.STRENGTH_OLDEST,
)  # fmt: skip
_BY_LABEL = (
    metrics.LEASES_OWNED, metrics.LEASES_OWNERS, metrics.DEAD_LETTERS, metrics.STRENGTH_DUE,
    metrics.BARS_OVERDUE, metrics.GAPS, metrics.GAPS_BARS,
)  # fmt: skip


def _say_postgres(found: Vitals) -> None:
    metrics.SERVER_UP.labels(POSTGRES).set(1)
    metrics.PARTITIONS.set(found.partitions)
    metrics.POSTGRES_CONNECTIONS.set(found.connections)
    metrics.POSTGRES_CONNECTIONS_MOST.set(found.most_connections)
    metrics.POSTGRES_BYTES.set(found.bytes)
    metrics.OUTBOX_OLDEST.set(found.unsaid_s or 0)
    metrics.STRENGTH_DUE.labels("marks").set(found.marks)
    metrics.STRENGTH_DUE.labels("dates").set(found.dates)
    for gauge in (
        metrics.LEASES_OWNED, metrics.LEASES_OWNERS, metrics.DEAD_LETTERS, metrics.GAPS, metrics.GAPS_BARS
    ):  # fmt: skip
        gauge.clear()
    for timeframe in found.newest_us:
        metrics.GAPS.labels(timeframe, "recent").set(0)
        metrics.GAPS_BARS.labels(timeframe, "recent").set(0)
    for timeframe, state, gaps, bars in found.gaps:
        metrics.GAPS.labels(timeframe, state).set(gaps)
        metrics.GAPS_BARS.labels(timeframe, state).set(bars)
    for service, partitions, owners in found.owned:
        metrics.LEASES_OWNED.labels(service).set(partitions)
        metrics.LEASES_OWNERS.labels(service).set(owners)
    for service, field, count in found.letters:
        metrics.DEAD_LETTERS.labels(service, reason_of(field)).inc(count)


def _forget_postgres() -> None:
    metrics.SERVER_UP.labels(POSTGRES).set(0)
    for plain in _PLAIN:
        plain.set(math.nan)
    for gauge in _BY_LABEL:
        gauge.clear()


def reason_of(field: str) -> str:
    """The field of a contract that was refused; what senders made up is `other`, for labels are few.

    >>> reason_of("frame.close"), reason_of("frame.nonsense"), reason_of("json")
    ('close', 'other', 'json')
    """
    name = field.removeprefix("frame.")
    return name if name in _REASONS else OTHER


_REASONS = frozenset(_OF_ENTRIES).union(
    *(message.model_fields for stream in STREAMS.values() for message in stream.messages)
)


# ---- market


def _say_market(newest_us: Mapping[str, int], sessions: Sessions, now_us: int) -> None:
    metrics.MARKET_OPEN.set(freshness.market(sessions, now_us).is_open)
    metrics.BARS_OVERDUE.clear()
    for timeframe, end_us in newest_us.items():
        newest = freshness.newest(timeframe, end_us, now_us, sessions)
        if newest.state != "ended":
            overdue_us = max(0, newest.behind_us - newest.allowed_us)
            metrics.BARS_OVERDUE.labels(timeframe).set(overdue_us / 1e6)
