"""Patterns, and the counts of volume-spread events that follow from where they stand."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from rollotape import facts
from rollotape.domain.analysis import Key
from rollotape.postgres.sql import queries
from rollotape.postgres.states import States
from rollotape.postgres.versions import Version

COLUMNS = (
    "id", "source", "symbol", "timeframe", "pattern_type", "side", "phase", "status", "revision", "hash",
    "confidence", "price", "change_pct", "vol_ratio", "rsi", "sma_20", "sma_50", "rs_ratio", "rs_excess",
    "entry", "stop", "target_1", "target_2", "planned_r", "test_confirmed", "range_id", "rule_set",
    "detected_at", "confirmed_at", "expires_at",
)  # fmt: skip
_GREATER = """(EXCLUDED.status = 'expired', EXCLUDED.revision, EXCLUDED.hash)
    > (s.status = 'expired', s.revision, s.hash)"""


class Patterns(States):
    """Patterns of outside systems."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        super().__init__(pool, "patterns", COLUMNS, _GREATER)

    async def _told(
        self, connection: Any, ids: Sequence[UUID], known: Collection[UUID], moved: Mapping[str, Version]
    ) -> list[facts.Message]:
        await recount(connection, ids=ids)
        return await updates(connection, ids, known, moved)


async def recount(
    connection: Any,
    *,
    ids: Sequence[UUID] = (),
    first_changes: Mapping[Key, int] | None = None,
    own: bool = False,
) -> list[UUID]:
    """Take the counts anew of these patterns, and of those detected since a bar of theirs changed.

    Those are patterns of outside sources; with `own`, ours. Returns the ids of patterns whose counts are
    different now.
    """
    changed = first_changes or {}
    symbols, timeframes = [s for s, _ in changed], [t for _, t in changed]
    found = await connection.fetch(
        queries("patterns")["recount"], list(ids), symbols, timeframes, list(changed.values()), own
    )
    return [r[0] for r in found]


async def updates(
    connection: Any, ids: Sequence[UUID], known: Collection[UUID], moved: Mapping[str, Version]
) -> list[facts.Message]:
    """What there is to say about patterns as they stand in this transaction."""
    if not ids:
        return []
    rows = await connection.fetch(queries("patterns")["patterns"], list(ids))
    return [facts.pattern_update(dict(r), r["id"] in known, moved[r["symbol"]]) for r in rows]


async def recount_preliminary(connection: Any, first_changes: Mapping[Key, int]) -> list[UUID]:
    """Take the counts of Wyckoff events anew of our own patterns detected since a bar of theirs changed.

    Returns the ids of patterns whose counts are different now.
    """
    symbols, timeframes = [s for s, _ in first_changes], [t for _, t in first_changes]
    found = await connection.fetch(
        queries("patterns")["recount_preliminary"], symbols, timeframes, list(first_changes.values())
    )
    return [r[0] for r in found]
