"""Table `webhook_deliveries`: what is to be sent, and what became of it. Written by cache-builder."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from rollotape.postgres.sql import queries
from rollotape.webhooks.facts import Fact, Wish

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

MOST_WAITING = 1_000
"""For one webhook; what comes then is counted, and not told."""
_SQL = queries("webhooks")


class Sending(NamedTuple):
    """One attempt that somebody is to make."""

    id: int
    webhook_id: UUID
    type: str
    body: bytes
    attempts: int
    """With this one."""
    created_at: Any
    url: str
    secret: bytes


class Standing(NamedTuple):
    waiting: int
    oldest_s: float
    disabled: int


async def queue(pool: "asyncpg.Pool[Any]", facts: Sequence[Fact]) -> int:
    """Have facts sent to every webhook that wants to be told of them; how many are too many."""
    async with pool.acquire() as connection, connection.transaction():
        rows: list[tuple[Any, ...]] = []
        dropped: Counter[UUID] = Counter()
        for webhook_id, owner, content, waiting in await connection.fetch(_SQL["wishes"]):
            said = orjson.loads(content)
            wish = Wish(owner, said["events"], said.get("symbols"))
            wanted = [fact for fact in facts if wish.has(fact)]
            room = max(0, MOST_WAITING - waiting)
            rows += [(webhook_id, f.type, f.id, f.version, f.body) for f in wanted[:room]]
            if len(wanted) > room:
                dropped[webhook_id] = len(wanted) - room
        if rows:
            await connection.execute(_SQL["queue"], *map(list, zip(*rows, strict=True)))
        if dropped:
            await connection.execute(_SQL["count_dropped"], list(dropped), list(dropped.values()))
    return dropped.total()


async def lease(pool: "asyncpg.Pool[Any]", most: int, of_one: int, lease_s: float) -> list[Sending]:
    """What is due, to be sent within this time."""
    return [Sending(*row) for row in await pool.fetch(_SQL["lease"], most, of_one, lease_s)]


async def delivered(pool: "asyncpg.Pool[Any]", delivery_id: int, status: int) -> None:
    await pool.execute(_SQL["delivered"], delivery_id, status)


async def not_delivered(
    pool: "asyncpg.Pool[Any]",
    delivery_id: int,
    status: int | None,
    error: str,
    again_s: float,
    give_up_s: float,
) -> None:
    """It is due again after a while, or given up so long after it came."""
    await pool.execute(_SQL["not_delivered"], delivery_id, status, error, again_s, give_up_s)


async def disable(pool: "asyncpg.Pool[Any]", after_s: float) -> list[UUID]:
    """Those of which nothing was delivered for so long."""
    return [webhook_id for [webhook_id] in await pool.fetch(_SQL["disable"], after_s)]


async def cut(pool: "asyncpg.Pool[Any]", after_s: float) -> None:
    """Forget what was finished so long ago, a part of it."""
    await pool.execute(_SQL["cut"], after_s)


async def standing(pool: "asyncpg.Pool[Any]") -> Standing:
    return Standing._make(await pool.fetchrow(_SQL["standing"]) or ())


async def log(
    connection: Any, owner: str, webhook_id: UUID, before: int | None, limit: int
) -> "list[Record]":
    """Deliveries of one webhook of an owner, the newest first."""
    return list(await connection.fetch(_SQL["log"], owner, webhook_id, before, limit))
