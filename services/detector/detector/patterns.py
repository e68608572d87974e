"""Pattern events become committed patterns: gather, decide, apply, say."""

from collections.abc import Sequence

from detector.handlers import SERVICE, defect
from rollotape import metrics, patterns
from rollotape.domain.patterns import PatternFact, Settled, settle
from rollotape.errors import Unprocessable
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.patterns import Patterns
from rollotape.postgres.pool import unavailable
from rollotape.postgres.versions import Moved
from rollotape.streams.entries import Entry
from rollotape.streams.outbox import Outbox


class ApplyPatterns:
    """Applies entries of the `patterns` streams; the delivery acknowledges what this returns from."""

    def __init__(self, store: Patterns, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    async def apply(self, entries: Sequence[Entry]) -> None:
        known, refused = _read(entries)
        with unavailable(SERVICE):
            settled = await self._until_unmoved(known, refused)
        outcomes = {
            "applied": settled.applied,
            "duplicate": settled.duplicate,
            "superseded": settled.superseded,
            "refused": len(refused),
        }
        for outcome, count in outcomes.items():
            metrics.PATTERNS.labels(outcome).inc(count)
        metrics.PATTERNS_CONFLICTS.inc(settled.conflict)

    async def bury(self, entry: Entry, error: Exception) -> None:
        """Keep an event that we cannot apply though it is sound: a bug must not block its partition."""
        with unavailable(SERVICE):
            await self._store.commit({}, (), {}, [defect(entry, error)])

    async def _until_unmoved(self, known: Sequence[PatternFact], refused: Sequence[DeadLetter]) -> Settled:
        while True:
            try:
                settled, unsaid = await self._once(known, refused)
            except Moved:
                metrics.BATCHES_MOVED.labels(SERVICE).inc()
            else:
                if unsaid is not None:
                    await self._outbox.say(unsaid)
                return settled

    async def _once(
        self, incoming: Sequence[PatternFact], refused: Sequence[DeadLetter]
    ) -> tuple[Settled, Unsaid | None]:
        versions = await self._store.versions({fact.symbol for fact in incoming})
        stored = await self._store.ranks({fact.id for fact in incoming})

        settled = settle(stored, incoming)

        if not settled.winners and not refused:
            return settled, None
        return settled, await self._store.commit(settled.winners, stored.keys(), versions, refused)


def _read(entries: Sequence[Entry]) -> tuple[list[PatternFact], list[DeadLetter]]:
    known, refused = [], []
    for entry in entries:
        try:
            known.append(patterns.read(entry.payload, entry.arrived_ms))
        except Unprocessable as error:
            letter = DeadLetter(
                stream=entry.stream,
                entry_id=entry.id,
                row=0,
                service=SERVICE,
                faults=error.faults,
                payload=entry.payload or b"",
                arrived_us=entry.arrived_ms * 1_000,
            )
            refused.append(letter)
    return known, refused
