"""Table `audit_log`: who wrote what over HTTP. Written and cut by the gateway."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rollotape.postgres.sql import queries

MOST_CUT = 10_000

_SQL = queries("audit")


async def store(connection: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows as (at, request_id, key_id, owner, address, method, path, status)."""
    await connection.execute(_SQL["store"], *zip(*rows, strict=True))


async def cut(connection: Any, before: datetime) -> int:
    """Remove rows older than that, some thousands of them; how many it were."""
    return int((await connection.execute(_SQL["cut"], before, MOST_CUT)).rpartition(" ")[2])
