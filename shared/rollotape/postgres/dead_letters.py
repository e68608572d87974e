"""Inputs that can never be applied, with their original bytes and every reason."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from rollotape.errors import Fault
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # asyncpg's classes are generic in their stubs only
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
Database: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any] | asyncpg.Pool"

STATEMENT_BYTES = 16 * 1024 * 1024
"""Payload bytes sent with one statement, far below PostgreSQL's message limit of 1 GB."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused input: `row` is its place within a frame, 0 where the whole entry was refused."""

    stream: str
    entry_id: str
    row: int
    service: str
    faults: list[Fault]
    payload: bytes
    arrived_us: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A dead letter without its bytes."""

    id: int
    stream: str
    entry_id: str
    row: int
    service: str
    fields: list[str]
    reasons: list[str]
    payload_bytes: int
    arrived_at: datetime


@dataclass(frozen=True, slots=True)
class Stored:
    """A dead letter as it lies in the table."""

    id: int
    stream: str
    entry_id: str
    row: int
    sha256: bytes
    service: str
    fields: list[str]
    reasons: list[str]
    payload: bytes
    arrived_at: datetime


@dataclass(frozen=True, slots=True)
class Resend:
    """What one XADD sends again, and the rows that are answered by it."""

    stream: str
    payload: bytes
    ids: list[int]


async def store(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Write inside the caller's transaction; what is there already stays as it is."""
    for part in _parts(letters):
        await connection.execute(
            queries("dead_letters")["store"],
            [x.stream for x in part],
            [x.entry_id for x in part],
            [x.row for x in part],
            [x.service for x in part],
            [_texts(f.field for f in x.faults) for x in part],
            [_texts(f.reason for f in x.faults) for x in part],
            [x.payload for x in part],
            [x.arrived_us for x in part],
        )


async def newest(
    database: Database, *, reason: str | None = None, stream: str | None = None, limit: int = 50
) -> list[Summary]:
    """Newest first; `reason` is any part of a reason or field name, in any case."""
    rows = await database.fetch(queries("dead_letters")["newest"], reason, stream, limit)
    return [Summary(**row) for row in rows]


async def show(database: Database, letter_id: int) -> Stored | None:
    row = await database.fetchrow(queries("dead_letters")["one"], letter_id)
    return Stored(**row) if row else None


async def ids(database: Database, *, stream: str | None = None) -> list[int]:
    """Ids of all dead letters (of one stream), oldest first."""
    return [row["id"] for row in await database.fetch(queries("dead_letters")["ids"], stream)]


async def payloads(database: Database, letter_ids: Sequence[int]) -> list[Resend]:
    """What to send again for these ids, oldest first; ids that are not there are left out."""
    rows = await database.fetch(queries("dead_letters")["payloads"], list(letter_ids))
    return [Resend(**row) for row in rows]


async def drop(database: Database, letter_ids: Sequence[int]) -> int:
    """Delete for good and return how many there were."""
    done = await database.execute(queries("dead_letters")["drop"], list(letter_ids))
    return int(done.rpartition(" ")[2])


async def count_entries(database: Database, entries: Mapping[str, Sequence[str]]) -> int:
    """How many rows of these entries (ids by stream) were refused."""
    streams = [stream for stream, entry_ids in entries.items() for _ in entry_ids]
    entry_ids = [entry_id for ids_ in entries.values() for entry_id in ids_]
    return int(await database.fetchval(queries("dead_letters")["count_entries"], streams, entry_ids))


async def count_range(database: Database, stream: str, first_id: str, last_id: str) -> int:
    """How many rows of entries from `first_id` to `last_id`, both included, were refused."""
    bounds = [int(part) for entry_id in (first_id, last_id) for part in entry_id.split("-")]
    return int(await database.fetchval(queries("dead_letters")["count_range"], stream, *bounds))


def _parts(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    part: list[DeadLetter] = []
    size = 0
    for letter in letters:
        if part and size + len(letter.payload) > STATEMENT_BYTES:
            yield part
            part, size = [], 0
        part.append(letter)
        size += len(letter.payload)
    if part:
        yield part


def _texts(texts: Iterator[str]) -> str:
    """As a JSON list that PostgreSQL can keep: it has no NUL and no half of a surrogate pair in text."""
    return json.dumps([t.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode() for t in texts])
