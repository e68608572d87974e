"""Events about patterns and trades become committed ones: gather, decide, apply, say."""

from collections.abc import Callable, Sequence
from uuid import UUID

from prometheus_client import Counter

from detector.handlers import SERVICE, defect
from rollotape import metrics, patterns, tracing
from rollotape.domain.patterns import PatternFact, Settled, Stored, settle
from rollotape.errors import Unprocessable
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.patterns import Patterns
from rollotape.postgres.pool import unavailable
from rollotape.postgres.states import States
from rollotape.postgres.versions import Moved, Version
from rollotape.streams.entries import Entry
from rollotape.streams.outbox import Outbox


class ApplyEvents:
    """Applies entries that carry the full state of something; the greatest rank is what is stored."""

    def __init__(
        self,
        store: States,
        outbox: Outbox,
        read: Callable[[bytes | None, int], PatternFact],
        outcomes: Counter,
        conflicts: Counter,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._read = read
        self._outcomes = outcomes
        self._conflicts = conflicts

    async def apply(self, entries: Sequence[Entry]) -> None:
        known, refused = self._sorted(entries)
        with unavailable(SERVICE):
            settled = await self._until_unmoved(known, refused)
        outcomes = {
            "applied": settled.applied,
            "duplicate": settled.duplicate,
            "superseded": settled.superseded,
            "refused": len(refused),
        }
        for outcome, count in outcomes.items():
            self._outcomes.labels(outcome).inc(count)
        self._conflicts.inc(settled.conflict)
        tracing.note(**{outcome: count for outcome, count in outcomes.items() if count})

    async def bury(self, entry: Entry, error: Exception) -> None:
        """Keep an event that we cannot apply though it is sound: a bug must not block its partition."""
        with unavailable(SERVICE):
            await self._store.commit({}, {}, {}, [defect(entry, error)])

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
        versions, stored = await self._gather(incoming)

        settled = settle(stored, incoming)

        if not settled.winners and not refused:
            return settled, None
        return settled, await self._store.commit(settled.winners, stored, versions, refused)

    async def _gather(self, incoming: Sequence[PatternFact]) -> tuple[dict[str, Version], dict[UUID, Stored]]:
        """States not older than the versions: also of those symbols under which things were kept so far."""
        symbols, ids = {fact.symbol for fact in incoming}, {fact.id for fact in incoming}
        while True:
            versions = await self._store.versions(symbols)
            stored = await self._store.stored(ids)
            others = {known.symbol for known in stored.values()} - symbols
            if not others:
                return versions, stored
            symbols |= others

    def _sorted(self, entries: Sequence[Entry]) -> tuple[list[PatternFact], list[DeadLetter]]:
        known: list[PatternFact] = []
        refused: list[DeadLetter] = []
        for entry in entries:
            try:
                known.append(self._read(entry.payload, entry.arrived_ms))
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


class ApplyPatterns(ApplyEvents):
    """Applies entries of the `patterns` streams; the delivery acknowledges what this returns from."""

    def __init__(self, store: Patterns, outbox: Outbox) -> None:
        super().__init__(store, outbox, patterns.read, metrics.PATTERNS, metrics.PATTERNS_CONFLICTS)
