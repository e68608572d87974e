"""Trades of outside systems; those on our own patterns are written where these are read from the tape."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from rollotape import facts
from rollotape.postgres.sql import queries
from rollotape.postgres.states import States
from rollotape.postgres.versions import Version

COLUMNS = (
    "id", "origin", "source", "revision", "hash", "symbol", "timeframe", "pattern_id", "pattern_type",
    "direction", "status", "generated_at", "changed_at", "entry_date", "entry_price", "stop", "target",
    "planned_r", "exit_date", "exit_price", "exit_reason", "realized_r",
)  # fmt: skip
_GREATER = "s.origin = 'external' AND (EXCLUDED.revision, EXCLUDED.hash) > (s.revision, s.hash)"


class Signals(States):
    """Trades of outside systems."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        super().__init__(pool, "signals", COLUMNS, _GREATER)

    async def _told(
        self, connection: Any, ids: Sequence[UUID], known: Collection[UUID], moved: Mapping[str, Version]
    ) -> list[facts.Message]:
        stored = await connection.fetch(queries("signals")["signals"], list(ids))
        return [facts.signal_update(dict(r), r["id"] in known, moved[r["symbol"]]) for r in stored]
