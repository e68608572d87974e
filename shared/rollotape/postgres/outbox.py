"""What is committed and not yet said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from rollotape.facts import Message
from rollotape.postgres.sql import queries

_SQL = "outbox"


@dataclass(frozen=True, slots=True)
class Unsaid:
    """One row of the outbox and its messages."""

    outbox_id: int
    messages: Sequence[Message]


async def add(connection: Any, messages: Sequence[Message]) -> Unsaid | None:
    """One row for everything a commit has to say, in its transaction; None when that is nothing."""
    if not messages:
        return None
    packed = orjson.dumps([(stream, payload.decode()) for stream, payload in messages])
    return Unsaid(await connection.fetchval(queries(_SQL)["add"], packed), messages)


async def stale(connection: Any, older_than_s: float) -> list[Unsaid]:
    """What a crash left, locked until the transaction ends; other replicas see other rows."""
    rows = await connection.fetch(queries(_SQL)["stale"], older_than_s)
    return [Unsaid(i, [(s, p.encode()) for s, p in orjson.loads(packed)]) for i, packed in rows]


async def forget(connection: Any, said: Sequence[Unsaid]) -> None:
    await connection.execute(queries(_SQL)["said"], [u.outbox_id for u in said])
