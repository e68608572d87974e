"""How a stack is doing, in plain values: what `rollo top` shows or prints."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rollotape.observer import Observation, Part, Server
from rollotape.streams.standing import Stream


def picture(seen: Observation, before: Observation | None = None) -> dict[str, Any]:
    """What is shown, in plain values; rates are null at the first look and after an outage."""
    parts: dict[str, Part[Any] | None] = {
        "redis": seen.redis, "cache": seen.cache, "postgres": seen.database, **seen.services,
    }  # fmt: skip
    away = {
        name: part.away or "no answer in time" for name, part in parts.items() if part and part.seen is None
    }
    return {
        "at": f"{datetime.fromtimestamp(seen.at_s, UTC):%Y-%m-%dT%H:%M:%S}Z",
        "away": away,
        "streams": _streams(seen, before),
        "bars_per_s": _bars(seen, before),
        "model": _model(seen),
        "redis": _memory(seen.redis),
        "cache": _cache(seen.cache),
        **_database(seen),
        "services": {
            name: {"ready": part.seen.ready, "checks": part.seen.checks}
            for name, part in seen.services.items()
            if part.seen
        },
    }


def _streams(seen: Observation, before: Observation | None) -> list[dict[str, Any]]:
    if seen.streams.seen is None:
        return []
    earlier = before.streams.seen.streams if before and before.streams.seen else None
    seconds = seen.at_s - before.at_s if before else 0.0
    kinds = dict.fromkeys(stream.kind for stream in seen.streams.seen.streams)
    return [
        row
        for kind in kinds
        for row in _kind(
            kind,
            [s for s in seen.streams.seen.streams if s.kind == kind],
            None if earlier is None else [s for s in earlier if s.kind == kind],
            seconds,
        )
    ]


def _kind(
    kind: str, now: Sequence[Stream], before: Sequence[Stream] | None, seconds: float
) -> Iterable[dict[str, Any]]:
    """One row for each group of a kind of streams; one without a group where there is none."""
    added = None if before is None else sum(s.added for s in now) - sum(s.added for s in before)
    common = {
        "stream": kind,
        "streams": len(now),
        "length": sum(s.length for s in now),
        "in_per_s": _rate(added, seconds),
    }
    names = dict.fromkeys(name for s in now for name in (*s.groups, *s.missing))
    for name in names or [None]:
        groups = [s.groups[name] for s in now if name in s.groups] if name else []
        ages = [g.oldest_pending_ms for g in groups if g.oldest_pending_ms is not None]
        yield common | {
            "group": name,
            "lag": sum(s.waiting(name) - _pending(s, name) for s in now) if name else None,
            "lag_known": all(g.lag is not None for g in groups),
            "pending": sum(g.pending for g in groups) if name else None,
            "oldest_pending_s": round(max(ages) / 1e3, 1) if ages else None,
            "out_per_s": _rate(_read(now, before, name), seconds),
            "missing": len([s for s in now if name in s.missing]),
        }


def _pending(stream: Stream, group: str) -> int:
    found = stream.groups.get(group)
    return found.pending if found else 0


def _read(now: Sequence[Stream], before: Sequence[Stream] | None, group: str | None) -> int | None:
    """Entries acknowledged in between: those that came, less those that wait more than before."""
    if before is None or group is None:
        return None
    done = [sum(s.added - s.waiting(group) for s in streams) for streams in (now, before)]
    return max(0, done[0] - done[1])


def _rate(count: float | None, seconds: float) -> float | None:
    return None if count is None or seconds <= 0 else round(max(0.0, count) / seconds, 1)


def _bars(seen: Observation, before: Observation | None) -> float | None:
    """Of those replicas that lived at both looks."""
    if before is None:
        return None
    came = [
        part.seen.bars - earlier.seen.bars
        for name, part in seen.services.items()
        if part.seen and part.seen.bars is not None
        if (earlier := before.services.get(name)) and earlier.seen and earlier.seen.bars is not None
    ]
    return _rate(sum(max(0.0, count) for count in came), seen.at_s - before.at_s) if came else None


def _model(seen: Observation) -> dict[str, Any] | None:
    if seen.streams.seen is None:
        return None
    model = seen.streams.seen.model
    tended = seen.streams.seen.model_is_tended
    return {"state": model.state, "version": model.version, "entries": model.entries, "tended": tended}


def _memory(part: Part[Server]) -> dict[str, Any] | None:
    if part.seen is None:
        return None
    return {
        "title": part.seen.title,
        "memory_bytes": part.seen.total("used_memory"),
        "max_bytes": part.seen.total("maxmemory"),
        "ops_per_s": part.seen.total("instantaneous_ops_per_sec"),
    }


def _cache(part: Part[Server] | None) -> dict[str, Any] | None:
    if part is None or part.seen is None:
        return None
    hits, misses = part.seen.total("keyspace_hits"), part.seen.total("keyspace_misses")
    told = _memory(part) or {}
    ratio = round(hits / (hits + misses), 4) if hits + misses else None
    return told | {"hit_ratio": ratio, "evicted": part.seen.total("evicted_keys")}


def _database(seen: Observation) -> dict[str, Any]:
    if seen.database.seen is None:
        unknown = ("postgres", "dead_letters", "unsaid", "oldest_unsaid_s", "marks", "dates_due")
        return {"replicas": [], **dict.fromkeys(unknown)}
    found = seen.database.seen.standing
    installed, strength = found.installation, found.strength
    return {
        "postgres": {
            "version": found.server.version,
            "bytes": found.server.bytes,
            "connections": found.server.connections,
            "schema": installed and installed.revision,
            "partitions": installed and installed.partitions,
            "at_work": found.at_work,
        },
        "replicas": [
            {"service": r.service, "name": r.name, "partitions": r.partitions, "seen_s": round(r.seen_s, 1)}
            for r in found.replicas
        ],
        "dead_letters": installed and installed.dead_letters,
        "unsaid": installed and installed.unsaid,
        "oldest_unsaid_s": installed and installed.oldest_unsaid_s,
        "marks": strength and strength.marks,
        "dates_due": strength and strength.dates,
    }
