"""Where every stream and every group of readers stands, asked of Redis by those who only watch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rollotape.events import STREAMS, StreamContract
from rollotape.streams.partitions import stream_name
from rollotape.streams.position import order


@dataclass(frozen=True, slots=True)
class Group:
    """One group of one stream."""

    delivered: str
    read: int | None
    """Entries ever delivered; None where Redis cannot tell."""
    lag: int | None
    """Entries not yet delivered; None where Redis cannot tell."""
    pending: int
    oldest_pending_ms: int | None
    """Age of the oldest entry that was delivered and not acknowledged."""
    consumers: int


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream; `groups` are those that there are, `missing` those that should be there."""

    name: str
    kind: str
    length: int
    added: int
    last_id: str
    groups: dict[str, Group] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def waiting(self, group: str) -> int:
        """Entries that the group has not acknowledged, at most."""
        found = self.groups.get(group)
        if found is None:
            return self.length
        return found.pending + (self.length if found.lag is None else found.lag)


async def look(
    redis: Redis, partitions: int, contracts: Mapping[str, StreamContract] = STREAMS
) -> list[Stream]:
    """Every stream of the contracts that exists, in their order."""
    names = list(_names(partitions, contracts))
    seconds, micros = await redis.time()
    now_ms = seconds * 1_000 + micros // 1_000
    pipeline = redis.pipeline(transaction=False)
    for name, _ in names:
        pipeline.xinfo_stream(name)
        pipeline.xinfo_groups(name)
    answers = await _answers(pipeline)
    there = [
        (name, contract, stream, groups or ())
        for (name, contract), stream, groups in zip(names, answers[::2], answers[1::2], strict=True)
        if stream is not None
    ]
    oldest = await _oldest(redis, [(name, g) for name, _, _, groups in there for g in groups])
    return [
        _stream(name, contract, stream, {_text(g["name"]): _group(name, g, oldest, now_ms) for g in groups})
        for name, contract, stream, groups in there
    ]


def _names(
    partitions: int, contracts: Mapping[str, StreamContract]
) -> Iterator[tuple[str, StreamContract]]:
    for contract in contracts.values():
        for partition in range(partitions) if contract.partitioned else (None,):
            yield stream_name(contract.name, partition), contract


def _stream(name: str, contract: StreamContract, info: Any, groups: dict[str, Group]) -> Stream:
    length, last_id = int(info["length"]), _text(info["last-generated-id"])
    added = int(info.get("entries-added", length))
    missing = tuple(g for g in contract.groups if g not in groups)
    return Stream(name, contract.name, length, added, last_id, groups, missing)


def _group(stream: str, info: Any, oldest: Mapping[tuple[str, str], str], now_ms: int) -> Group:
    first = oldest.get((stream, _text(info["name"])))
    return Group(
        delivered=_text(info["last-delivered-id"]),
        read=info.get("entries-read"),
        lag=info.get("lag"),
        pending=int(info["pending"]),
        oldest_pending_ms=None if first is None else max(0, now_ms - order(first)[0]),
        consumers=int(info["consumers"]),
    )


async def _oldest(redis: Redis, groups: Sequence[tuple[str, Any]]) -> dict[tuple[str, str], str]:
    """The lowest pending id of every group that has any."""
    asked = [(stream, _text(g["name"])) for stream, g in groups if g["pending"]]
    pipeline = redis.pipeline(transaction=False)
    for stream, group in asked:
        pipeline.xpending(stream, group)
    answers = zip(asked, await _answers(pipeline), strict=True)
    return {key: _text(answer["min"]) for key, answer in answers if answer and answer["min"]}


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
