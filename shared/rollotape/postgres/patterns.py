"""Patterns, and the counts of volume-spread events that follow from where they stand."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from rollotape import facts
from rollotape.domain.analysis import Key
from rollotape.domain.patterns import PatternFact, Rank
from rollotape.postgres import dead_letters as graveyard
from rollotape.postgres import outbox, versions
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.sql import queries
from rollotape.postgres.versions import Version

COLUMNS = (
    "id", "source", "symbol", "timeframe", "pattern_type", "side", "phase", "status", "revision", "hash",
    "confidence", "price", "change_pct", "vol_ratio", "rsi", "sma_20", "sma_50", "rs_ratio", "rs_excess",
    "entry", "stop", "target_1", "target_2", "planned_r", "test_confirmed", "range_id", "rule_set",
    "detected_at", "confirmed_at", "expires_at",
)  # fmt: skip
_STORE = f"""
INSERT INTO patterns AS p ({", ".join(COLUMNS)})
VALUES ({", ".join(f"${i}" for i in range(1, len(COLUMNS) + 1))})
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{c} = EXCLUDED.{c}" for c in COLUMNS[1:])}
WHERE (EXCLUDED.status = 'expired', EXCLUDED.revision, EXCLUDED.hash)
    > (p.status = 'expired', p.revision, p.hash)
"""  # noqa: S608 - names of our own columns only


class Patterns:
    """Needs a pool opened with `raw_times`: times are integer microseconds."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def versions(self, symbols: Collection[str]) -> dict[str, Version]:
        return await versions.current(self._pool, symbols)

    async def ranks(self, ids: Collection[UUID]) -> dict[UUID, Rank]:
        """By id what another event about a stored pattern has to exceed."""
        found = await self._pool.fetch(queries("patterns")["ranks"], list(ids))
        return {pattern_id: (expired, revision, digest) for pattern_id, expired, revision, digest in found}

    async def commit(
        self,
        winners: Mapping[UUID, PatternFact],
        known: Collection[UUID],
        expected: Mapping[str, Version],
        refused: Sequence[DeadLetter],
    ) -> Unsaid | None:
        """Write everything in one short transaction.

        Raises:
            Moved: a symbol's version is no longer the one expected.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            messages: list[facts.Message] = []
            if winners:
                moved = await versions.lock(connection, {w.symbol for w in winners.values()}, expected)
                rows = [[w.state[c] for c in COLUMNS] for _, w in sorted(winners.items())]
                await connection.executemany(_STORE, rows)
                await recount(connection, ids=list(winners))
                messages = await updates(connection, list(winners), known, moved)
            if refused:
                await graveyard.store(connection, refused)
            return await outbox.add(connection, messages)


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
