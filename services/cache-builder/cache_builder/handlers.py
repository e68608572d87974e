"""Facts become hints, hints become what PostgreSQL says now."""

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from rollotape import tracing
from rollotape.cache.patterns import PatternModel
from rollotape.errors import Fault
from rollotape.postgres import dead_letters as graveyard
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.pool import unavailable
from rollotape.streams.entries import Entry

SERVICE = "cache-builder"


class ApplyUpdates:
    """Applies entries of `updates`; the delivery acknowledges what this returns from."""

    def __init__(self, model: PatternModel, pool: "asyncpg.Pool[Any]") -> None:
        self._model = model
        self._pool = pool

    async def apply(self, entries: Sequence[Entry]) -> None:
        """One change of the model for all entries, however often they name a pattern."""
        facts, refused = _read(entries)
        traces = {fact["trace_id"] for fact in facts if "trace_id" in fact}
        tracing.note(facts=len(facts), traces=sorted(traces))
        patterns = {fact["id"] for fact in facts if fact["type"].startswith("pattern.")}
        await self._model.refresh(patterns)
        scored = sorted(fact["as_of"] for fact in facts if fact["type"] == "rs.scored")
        if scored:
            await self._model.refresh_detected(scored[0], scored[-1])
        if any(fact["type"].startswith("rs.") for fact in facts):
            await self._model.refresh_strength()
        if refused:
            await self._keep(refused)
        if facts:
            await self._model.count_events(len(facts), max(e.arrived_ms for e in entries))

    async def bury(self, entry: Entry, error: Exception) -> None:
        """Keep a fact that we fail on: a bug must not hold up the others. The minute's comparison heals."""
        await self._keep([_letter(entry, Fault("defect", repr(error)))])

    async def _keep(self, letters: Sequence[DeadLetter]) -> None:
        with unavailable(SERVICE):
            async with self._pool.acquire() as connection:
                await graveyard.store(connection, letters)


def _read(entries: Sequence[Entry]) -> tuple[list[dict[str, str]], list[DeadLetter]]:
    """Facts, also of kinds that nobody here knows; what is no fact at all is refused."""
    facts, refused = [], []
    for entry in entries:
        try:
            fact = orjson.loads(entry.payload or b"")
            read = {"type": str(fact["type"]), "id": str(UUID(fact["id"]))}
            if read["type"] == "rs.scored":
                read["as_of"] = date.fromisoformat(fact["as_of"]).isoformat()
            if trace_id := tracing.told(fact):
                read["trace_id"] = trace_id
            facts.append(read)
        except (ValueError, KeyError, TypeError, AttributeError):
            refused.append(_letter(entry, Fault("json", "must be a fact: an object with a type and an id")))
    return facts, refused


def _letter(entry: Entry, fault: Fault) -> DeadLetter:
    return DeadLetter(
        stream=entry.stream,
        entry_id=entry.id,
        row=0,
        service=SERVICE,
        faults=[fault],
        payload=entry.payload or b"",
        arrived_us=entry.arrived_ms * 1_000,
    )
