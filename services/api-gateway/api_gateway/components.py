"""Everything that pattern discovery is made of, each part with a check of its own.

One look costs about as much as ten small queries; it is made once for everybody who asks within two seconds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast

import structlog
from redis.exceptions import ResponseError

from rollotape import calendars
from rollotape.cache import scripts
from rollotape.cache.patterns import PatternModel
from rollotape.cache.patterns import Standing as Model
from rollotape.cache.reader import Statistics
from rollotape.domain import freshness
from rollotape.errors import Unavailable
from rollotape.postgres import reports
from rollotape.postgres.active import ActivePatterns
from rollotape.postgres.pool import unavailable
from rollotape.postgres.reports import Stock, Vitals, vitals
from rollotape.redis import clients
from rollotape.streams import standing as streams
from rollotape.streams.standing import Stream

if TYPE_CHECKING:
    import asyncpg

    from api_gateway.backends import Backends

FRESH_S = 2.0
STOCK_FRESH_S = 10.0
"""Counting symbols costs a look into the index of bars for each of them."""
PATIENCE_S = 2.0
SLOW_S = 1.0
"""A server that answers, but not within this long."""
WAITING_S = 60.0
"""An entry that was delivered and is not acknowledged for longer is stuck; twice the time of a claim."""
UNSAID_S = 30.0
_SUMMED = "used_memory", "instantaneous_ops_per_sec"
DETECTOR, RS_WORKER, CACHE_BUILDER = "detector", "rs-worker", "cache-builder"

Status = Literal["healthy", "degraded", "unhealthy"]
_ORDER: tuple[Status, ...] = ("healthy", "degraded", "unhealthy")
T = TypeVar("T")

log = structlog.get_logger()


class Consumer(NamedTuple):
    """One group of readers of one kind of streams."""

    stream: str
    group: str
    lag: int | None
    """Entries not yet delivered; None where Redis cannot tell."""
    pending: int
    oldest_pending_s: float | None
    missing: int
    """Streams that have entries and no such group."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """The Redis of the streams, and what it keeps."""

    answer_s: float
    info: dict[str, Any]
    consumers: list[Consumer]
    facts: int
    """Entries ever added to `updates`."""
    last_fact_at: datetime | None
    model: Model
    tended: bool
    """A builder has been at work within the last seconds."""
    use: Statistics | None
    """None where its keys are of other types than they should be."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen; None is away, or did not answer in time."""

    at: datetime
    postgres: Vitals | None
    lasting: Lasting | None
    answers: dict[str, Any] | None
    """Of the Redis for answers."""
    newest: list[freshness.Newest] | None
    market: freshness.Market


@dataclass(frozen=True, slots=True)
class Component:
    """One part. `reason` says what is wrong; the figures are what was measured."""

    name: str
    status: Status
    reason: str | None = None
    critical: bool = False
    """Without it no pattern is found, or none is shown: the whole is unhealthy."""
    figures: dict[str, Any] = field(default_factory=dict)


async def look(servers: "Backends") -> Look:
    """Look at everything at once; an outage is a finding, never an error."""
    database = asyncio.create_task(_seen("PostgreSQL", lambda: servers.postgres.attempt(vitals)))
    if servers.known_partitions is None and (installed := await database):
        servers.known_partitions = installed.partitions
    found, lasting, shelf, sessions = await asyncio.gather(
        database,
        _seen("Redis", lambda: _lasting(servers)),
        _seen("Redis for answers", servers.answers.shelf_information),
        asyncio.to_thread(calendars.sessions),
    )
    at = datetime.now(UTC)
    now_us = time.time_ns() // 1_000
    newest = None
    if found is not None:
        newest = [
            freshness.newest(name, _us(end), now_us, sessions) for name, end in sorted(found.newest.items())
        ]
    return Look(at, found, lasting, shelf, newest, freshness.market(sessions, now_us))


async def stock(servers: "Backends") -> Stock | None:
    """What is stored; None while PostgreSQL is away."""
    return await _seen("PostgreSQL", lambda: servers.postgres.attempt(reports.stock))


async def _seen(what: str, work: Callable[[], Awaitable[T]]) -> T | None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await work()
    except (Unavailable, TimeoutError, ResponseError) as error:
        log.info("component_away", component=what, error=str(error) or "no answer in time")
        return None


async def _lasting(servers: "Backends") -> Lasting:
    redis = servers.streams.redis
    with unavailable("redis"):
        began = time.perf_counter()
        await redis.ping()
        answer_s = time.perf_counter() - began
        about = [await server.info() for server in await clients.servers(redis)]
        found = await streams.look(redis, servers.known_partitions or servers.settings.partitions)
        nobody = cast("asyncpg.Pool[Any]", None)  # how the model stands is asked of Redis alone
        model = await PatternModel(ActivePatterns(nobody), redis).standing()
        tended = bool(await redis.exists(scripts.ALIVE))
    updates = [s for s in found if s.kind == "updates"]
    last_ms = max((int(s.last_id.partition("-")[0]) for s in updates), default=0)
    return Lasting(
        answer_s,
        _together(about),
        list(_consumers(found)),
        sum(s.added for s in updates),
        datetime.fromtimestamp(last_ms / 1e3, UTC) if last_ms else None,
        model,
        tended,
        await _use(servers),
    )


def _together(about: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is said of all servers of a Redis."""
    sums = {name: sum(int(info.get(name, 0)) for info in about) for name in _SUMMED}
    return {**about[0], **sums, "maxmemory_policy": clients.policies(about)}


async def _use(servers: "Backends") -> Statistics | None:
    try:
        return await servers.reader.statistics()
    except ResponseError:
        return None


def _consumers(found: Sequence[Stream]) -> Iterator[Consumer]:
    names = dict.fromkeys((s.kind, group) for s in found for group in (*s.groups, *s.missing))
    for kind, group in names:
        ours = [s for s in found if s.kind == kind]
        groups = [s.groups[group] for s in ours if group in s.groups]
        known = all(g.lag is not None for g in groups)
        undelivered = sum(s.length for s in ours if group in s.missing)
        ages = [g.oldest_pending_ms for g in groups if g.oldest_pending_ms is not None]
        yield Consumer(
            kind,
            group,
            undelivered + sum(g.lag or 0 for g in groups) if known else None,
            sum(g.pending for g in groups),
            max(ages) / 1e3 if ages else None,
            len([s for s in ours if group in s.missing and s.length]),
        )


def _us(when: datetime) -> int:
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


# ---- judgement


def worst(statuses: Sequence[Status]) -> Status:
    return max(statuses, key=_ORDER.index, default="healthy")


def overall(components: Sequence[Component]) -> Status:
    """Unhealthy where a part is that nothing goes without; where any other is not well, degraded."""
    if any(c.critical and c.status == "unhealthy" for c in components):
        return "unhealthy"
    return "degraded" if any(c.status != "healthy" for c in components) else "healthy"


def components(seen: Look, *, shares_answers: bool) -> list[Component]:
    """Every part with its own verdict; `shares_answers`: a Redis for answers is named in the settings."""
    return [
        _database(seen.postgres),
        _redis(seen.lasting),
        _model(seen.lasting),
        _answers(seen.answers, shares_answers),
        _delivery(seen.lasting),
        _detector(seen.postgres),
        _worker(seen.postgres, RS_WORKER),
        _worker(seen.postgres, CACHE_BUILDER),
        _bars(seen.newest),
    ]


def _database(found: Vitals | None) -> Component:
    name = "postgresql"
    if found is None:
        return Component(name, "unhealthy", "does not answer, or is not migrated", critical=True)
    figures = {
        "answer_ms": _ms(found.answer_s),
        "version": found.version,
        "schema": found.schema,
        "connections": found.connections,
        "most_connections": found.most_connections,
        "oldest_unsaid_s": found.oldest_unsaid_s,
    }
    status, reason = _speed(found.answer_s)
    if found.oldest_unsaid_s is not None and found.oldest_unsaid_s > UNSAID_S:
        status, reason = "degraded", f"a fact has been waiting to be said for {found.oldest_unsaid_s:.0f} s"
    return Component(name, status, reason, critical=True, figures=figures)


def _redis(found: Lasting | None) -> Component:
    name = "redis-streams"
    if found is None:
        return Component(name, "unhealthy", "does not answer", critical=True)
    policy = found.info.get("maxmemory_policy")
    figures = {
        "answer_ms": _ms(found.answer_s),
        "version": found.info.get("valkey_version") or found.info.get("redis_version"),
        "memory_bytes": found.info.get("used_memory"),
        "eviction_policy": policy,
        "operations_per_s": found.info.get("instantaneous_ops_per_sec"),
    }
    status, reason = _speed(found.answer_s)
    if policy != "noeviction":
        status, reason = "degraded", f"its policy {policy} may evict streams"
    return Component(name, status, reason, critical=True, figures=figures)


def _model(found: Lasting | None) -> Component:
    name = "read-model"
    if found is None:
        return Component(name, "unhealthy", "its Redis does not answer", critical=True)
    model = found.model
    figures = {
        "state": model.state,
        "entries": model.entries,
        "version": model.version,
        "rebuild_wanted": model.wanted,
        "tended": found.tended,
        "index_sizes": found.use.index_sizes if found.use else None,
    }
    if model.state != "sound":
        return Component(name, "unhealthy", f"it is {model.state}", critical=True, figures=figures)
    if not found.tended:
        reason = "no cache-builder has looked after it lately"
        return Component(name, "degraded", reason, critical=True, figures=figures)
    return Component(name, "healthy", critical=True, figures=figures)


def _answers(found: dict[str, Any] | None, shared: bool) -> Component:
    name = "redis-answers"
    if not shared:
        return Component(name, "healthy", "none is set: every process keeps its own answers")
    if found is None:
        return Component(name, "degraded", "does not answer; answers come from PostgreSQL")
    return Component(name, "healthy", figures=found)


def _delivery(found: Lasting | None) -> Component:
    name = "delivery"
    if found is None:
        return Component(name, "unhealthy", "the Redis of the streams does not answer")
    ages = [c.oldest_pending_s for c in found.consumers if c.oldest_pending_s is not None]
    lags = [c.lag for c in found.consumers]
    missing = sorted({c.group for c in found.consumers if c.missing})
    known = [lag for lag in lags if lag is not None]
    figures = {
        "lag": sum(known) if len(known) == len(lags) else None,
        "pending": sum(c.pending for c in found.consumers),
        "oldest_pending_s": max(ages, default=None),
        "missing_groups": missing,
    }
    reason = None
    if missing:
        reason = f"nobody has ever read for {', '.join(missing)}"
    elif ages and max(ages) > WAITING_S:
        reason = f"an entry has been waiting for its acknowledgement for {max(ages):.0f} s"
    return Component(name, "degraded" if reason else "healthy", reason, figures=figures)


def _detector(found: Vitals | None) -> Component:
    worker = _worker(found, DETECTOR)
    if found is None or worker.status != "healthy":
        return worker
    held = found.held.get(DETECTOR, 0)
    figures = worker.figures | {"partitions": held, "all_partitions": found.partitions}
    if held < found.partitions:
        reason = f"nobody works on {found.partitions - held} of {found.partitions} partitions"
        return Component(DETECTOR, "degraded", reason, figures=figures)
    return Component(DETECTOR, "healthy", figures=figures)


def _worker(found: Vitals | None, name: str) -> Component:
    if found is None:
        return Component(name, "degraded", "PostgreSQL, which knows, does not answer")
    connections = found.workers.get(name, 0)
    figures = {"connections": connections}
    if not connections:
        return Component(name, "unhealthy", "none is connected to PostgreSQL", figures=figures)
    return Component(name, "healthy", figures=figures)


def _bars(newest: list[freshness.Newest] | None) -> Component:
    name = "bars"
    if newest is None:
        return Component(name, "degraded", "PostgreSQL, which knows, does not answer")
    figures = {n.timeframe: n.state for n in newest}
    late = [n.timeframe for n in newest if n.state == "late"]
    if late:
        return Component(name, "degraded", f"late: {', '.join(late)}", figures=figures)
    if not any(n.state == "fresh" for n in newest):
        reason = "no bars come any more" if newest else "no bar has ever come"
        return Component(name, "degraded", reason, figures=figures)
    return Component(name, "healthy", figures=figures)


def _speed(answer_s: float) -> tuple[Status, str | None]:
    if answer_s > SLOW_S:
        return "degraded", f"took {answer_s:.1f} s to answer"
    return "healthy", None


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
