"""Trades of outside systems; those on our own patterns are written where these are read from the tape."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg

from rollotape import calendars, facts
from rollotape.domain.patterns import PatternFact, Stored
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.sql import queries
from rollotape.postgres.states import States
from rollotape.postgres.versions import Version

COLUMNS = (
    "id", "origin", "source", "revision", "hash", "symbol", "timeframe", "pattern_id", "pattern_type",
    "direction", "status", "generated_at", "changed_at", "entry_date", "entry_price", "stop", "target",
    "planned_r", "exit_date", "exit_price", "exit_reason", "realized_r", "sessions_held",
)  # fmt: skip
_GREATER = "s.origin = 'external' AND (EXCLUDED.revision, EXCLUDED.hash) > (s.revision, s.hash)"


class Signals(States):
    """Trades of outside systems."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        super().__init__(pool, "signals", COLUMNS, _GREATER)

    async def commit(
        self,
        winners: Mapping[UUID, PatternFact],
        known: Mapping[UUID, Stored],
        expected: Mapping[str, Version],
        refused: Sequence[DeadLetter],
    ) -> Unsaid | None:
        held = {
            i: replace(fact, state={**fact.state, "sessions_held": _held(fact)})
            for i, fact in winners.items()
        }
        return await super().commit(held, known, expected, refused)

    async def _told(
        self, connection: Any, ids: Sequence[UUID], known: Collection[UUID], moved: Mapping[str, Version]
    ) -> list[facts.Message]:
        stored = await connection.fetch(queries("signals")["signals"], list(ids))
        return [facts.signal_update(dict(r), r["id"] in known, moved[r["symbol"]]) for r in stored]


def _held(fact: PatternFact) -> int | None:
    """Nobody says in which sessions an outside trade was entered and left: the days of New York count."""
    if fact.state["exit_date"] is None:
        return None
    entry, exit_ = (calendars.new_york_day(fact.state[name]) for name in ("entry_date", "exit_date"))
    return calendars.sessions_held(entry, exit_)
