"""Table `audit_log`: who wrote what over HTTP. Written and cut by the gateway, read by `rollo audit`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

MOST_CUT = 10_000

_SQL = queries("audit")


class Asked(NamedTuple):
    """Which rows; what is None is not asked for."""

    since: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    until: datetime = datetime(9999, 1, 1, tzinfo=UTC)
    """Not included."""
    owner: str | None = None
    key_id: str | None = None
    method: str | None = None
    path: str | None = None
    """With which it begins."""
    request_id: str | None = None
    failed: bool = False
    """Those alone that did not get what they asked for."""


async def store(connection: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows as (at, request_id, key_id, owner, address, method, path, status)."""
    await connection.execute(_SQL["store"], *zip(*rows, strict=True))


async def cut(connection: Any, before: datetime) -> int:
    """Remove rows older than that, some thousands of them; how many it were."""
    return int((await connection.execute(_SQL["cut"], before, MOST_CUT)).rpartition(" ")[2])


async def read(connection: Any, asked: Asked, limit: int) -> "list[Record]":
    """The newest rows first."""
    return list(await connection.fetch(_SQL["read"], *asked, limit))
