"""Trades of outside systems; those on our own patterns are written where these are read from the tape."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from rollotape import facts
from rollotape.domain.patterns import PatternFact, Rank
from rollotape.postgres import dead_letters as graveyard
from rollotape.postgres import outbox, versions
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.sql import queries
from rollotape.postgres.versions import Version

COLUMNS = (
    "id", "origin", "source", "revision", "hash", "symbol", "timeframe", "pattern_id", "pattern_type",
    "direction", "status", "generated_at", "changed_at", "entry_date", "entry_price", "stop", "target",
    "planned_r", "exit_date", "exit_price", "exit_reason", "realized_r",
)  # fmt: skip
_STORE = f"""
INSERT INTO signals AS s ({", ".join(COLUMNS)})
VALUES ({", ".join(f"${i}" for i in range(1, len(COLUMNS) + 1))})
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{c} = EXCLUDED.{c}" for c in COLUMNS[1:])}
WHERE s.origin = 'external' AND (EXCLUDED.revision, EXCLUDED.hash) > (s.revision, s.hash)
"""  # noqa: S608 - names of our own columns only


class Signals:
    """Needs a pool opened with `raw_times`: times are integer microseconds."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def versions(self, symbols: Collection[str]) -> dict[str, Version]:
        return await versions.current(self._pool, symbols)

    async def ranks(self, ids: Collection[UUID]) -> dict[UUID, Rank]:
        """By id what another event about a stored trade has to exceed."""
        found = await self._pool.fetch(queries("signals")["ranks"], list(ids))
        return {signal_id: (False, revision, digest) for signal_id, revision, digest in found}

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
                stored = await connection.fetch(queries("signals")["signals"], list(winners))
                messages = [
                    facts.signal_update(dict(r), r["id"] in known, moved[r["symbol"]]) for r in stored
                ]
            if refused:
                await graveyard.store(connection, refused)
            return await outbox.add(connection, messages)
