"""How far a consumer group has come, asked of Redis from outside."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError


@dataclass(frozen=True, slots=True)
class Position:
    """Of one group on one stream; `unread` is None where Redis cannot tell."""

    delivered: str
    pending: int
    unread: int | None

    @property
    def waiting(self) -> int:
        """Entries that are not acknowledged, as far as Redis knows."""
        return self.pending + (self.unread or 0)


async def positions(redis: Redis, group: str, streams: Iterable[str]) -> dict[str, Position]:
    """Of every stream that exists and has the group."""
    names = list(streams)
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.xinfo_groups(name)
    found = {}
    for name, groups in zip(names, await _answers(pipeline), strict=True):
        for g in groups or ():
            if _text(g["name"]) == group:
                found[name] = Position(_text(g["last-delivered-id"]), g["pending"], g.get("lag"))
    return found


async def finished(redis: Redis, group: str, last_ids: Mapping[str, str]) -> bool:
    """Whether the group has acknowledged everything up to these ids."""
    found = await positions(redis, group, last_ids)
    if any(name not in found or order(found[name].delivered) < order(last_ids[name]) for name in last_ids):
        return False
    pipeline = redis.pipeline(transaction=False)
    for name, last in last_ids.items():
        pipeline.xpending_range(name, group, min="-", max=last, count=1)
    return not any(pending is None or len(pending) for pending in await _answers(pipeline))


async def lost(redis: Redis, last_ids: Mapping[str, str]) -> list[str]:
    """Streams that no longer reach these ids: Redis was emptied or went back to an earlier state."""
    pipeline = redis.pipeline(transaction=False)
    for name in last_ids:
        pipeline.xinfo_stream(name)
    answers = zip(last_ids.items(), await _answers(pipeline), strict=True)
    return [
        name
        for (name, last), stream in answers
        if stream is None or order(_text(stream["last-generated-id"])) < order(last)
    ]


def order(entry_id: str) -> tuple[int, int]:
    """The two numbers of an entry id, which compare as the stream orders them.

    >>> order("9-1") < order("10-0")
    True
    """
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)


async def _answers(pipeline: Any) -> list[Any]:
    """None where the stream or the group is not there; any other error is raised."""
    answers: list[Any] = await pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not _is_absence(answer):
            raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]


def _is_absence(error: Exception) -> bool:
    return isinstance(error, ResponseError) and ("no such key" in str(error) or "NOGROUP" in str(error))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
