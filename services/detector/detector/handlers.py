"""Bars become committed bars and events: gather, decide, apply, say."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter, time_ns

import numpy as np

from detector.memory import Memory
from rollotape import facts, metrics, tracing
from rollotape.domain.analysis import ALWAYS, Counts, Key, Settled, Window, analyse, extents, settle
from rollotape.domain.bars import Rows
from rollotape.domain.sessions import Sessions
from rollotape.errors import Fault
from rollotape.intake import Intake, Message, Refusal, read
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.pool import unavailable
from rollotape.postgres.tape import NOTHING, Changes, Tape
from rollotape.postgres.versions import UNKNOWN, Moved, Version, draw
from rollotape.streams.entries import Entry
from rollotape.streams.outbox import Outbox

SERVICE = "detector"
LIVE_US = 3_600_000_000
"""A bar that arrives later after its end is history, and no measure of how quick we are."""


class ApplyBars:
    """Applies entries of the `bars` streams; the delivery acknowledges what this returns from."""

    def __init__(
        self,
        tape: Tape,
        memory: Memory,
        outbox: Outbox,
        sessions: Callable[[], Sessions],
        *,
        on_commit: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_commit` is called when bars were committed, and marks with them."""
        self._on_commit = on_commit
        self._tape = tape
        self._memory = memory
        self._outbox = outbox
        self._sessions = sessions

    async def apply(self, entries: Sequence[Entry]) -> None:
        started = perf_counter()
        intake = read([Message(e.payload, e.arrived_ms) for e in entries], self._sessions)
        refused = [_dead_letter(entries[r.entry], r) for r in intake.refused]
        metrics.STEP_SECONDS.labels(SERVICE, "parse").observe(perf_counter() - started)
        try:
            with unavailable("detector"):
                counts = await self._until_unmoved(intake, refused)
        except BaseException:
            self._memory.forget({symbol for symbol, _ in intake.keys})
            raise
        _count(intake, counts)

    async def bury(self, entry: Entry, error: Exception) -> None:
        """Keep an entry that we cannot apply though it is sound: a bug must not block its partition."""
        with unavailable("detector"):
            await self._tape.commit(Changes(None, {}, [defect(entry, error)], []))

    async def _until_unmoved(self, intake: Intake, refused: Sequence[DeadLetter]) -> Counts:
        if not len(intake.rows):
            if refused:
                await self._tape.commit(Changes(None, {}, refused, []))
            return Counts()
        while True:
            try:
                return await self._once(intake, refused)
            except Moved:
                metrics.BATCHES_MOVED.labels(SERVICE).inc()

    async def _once(self, intake: Intake, refused: Sequence[DeadLetter]) -> Counts:
        clock = _Steps()
        versions = await self._tape.versions({symbol for symbol, _ in intake.keys})
        windows = await self._windows(intake, versions)
        clock.lap("gather")

        settled = settle(windows, intake.keys, intake.key, intake.rows)
        clock.lap("decide")
        stored = await self._tape.events(settled.spans)
        clock.lap("gather")
        analysis = analyse(settled, stored)
        nonce = draw()
        said = facts.messages(analysis, versions, nonce)
        clock.lap("decide")

        committed = NOTHING
        if analysis.changes or refused:
            committed = await self._tape.commit(Changes(analysis, versions, refused, said, nonce))
            self._on_commit()
            _time(analysis.inserted[1])
            metrics.BARS_LATE.inc(_late(settled))
        self._memory.keep(analysis.windows, versions, versions | committed.versions)
        clock.lap("apply")
        if committed.unsaid is not None:
            await self._outbox.say(committed.unsaid)
            clock.lap("say")
        return analysis.counts

    async def _windows(self, intake: Intake, versions: Mapping[str, Version]) -> dict[Key, Window]:
        """From memory where it is of the right version and reaches far enough, else read."""
        windows: dict[Key, Window] = {}
        missing: list[tuple[Key, int, int]] = []
        firsts, lasts = extents(intake.key, intake.rows["ts"], len(intake.keys))
        for key, first, last in zip(intake.keys, firsts.tolist(), lasts.tolist(), strict=True):
            window = self._memory.recall(key, versions.get(key[0], UNKNOWN), first, last)
            if window is None:
                missing.append((key, first, last))
            else:
                windows[key] = window
        metrics.WINDOWS.labels("memory").inc(len(windows))
        metrics.WINDOWS.labels("read").inc(len(missing))
        return windows | await self._tape.windows(missing)


class _Steps:
    """Observes how long each step took since the last one."""

    def __init__(self) -> None:
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        now = perf_counter()
        metrics.STEP_SECONDS.labels(SERVICE, step).observe(now - self._last)
        self._last = now


def defect(entry: Entry, error: Exception) -> DeadLetter:
    """An entry that a bug of ours keeps from being applied."""
    return DeadLetter(
        stream=entry.stream,
        entry_id=entry.id,
        row=0,
        service=SERVICE,
        faults=[Fault("defect", f"{type(error).__name__}: {error}"[:500])],
        payload=entry.payload or b"",
        arrived_us=entry.arrived_ms * 1_000,
    )


def _dead_letter(entry: Entry, refusal: Refusal) -> DeadLetter:
    return DeadLetter(
        stream=entry.stream,
        entry_id=entry.id,
        row=refusal.row,
        service=SERVICE,
        faults=refusal.faults,
        payload=refusal.payload,
        arrived_us=entry.arrived_ms * 1_000,
    )


def _late(settled: Settled) -> int:
    """How many of the winners are older than what is stored of their key."""
    newest = np.array([w.bars["ts"][-1] if len(w.bars) else ALWAYS for w in settled.windows])
    return int(np.count_nonzero(settled.bars["ts"][settled.changed] < newest[settled.key[settled.changed]]))


def _time(committed: Rows) -> None:
    live = committed[committed["arrived"] - committed["end_ts"] < LIVE_US]
    if len(live):
        metrics.observe_all(metrics.BAR_COMMIT, np.maximum(0, time_ns() // 1_000 - live["end_ts"]) / 1e6)


def _count(intake: Intake, counts: Counts) -> None:
    """Input = applied + duplicate + superseded + running + dead letters; conflicts are counted beside."""
    outcomes = {
        "applied": counts.applied,
        "duplicate": counts.duplicate,
        "superseded": counts.superseded,
        "running": intake.running,
        "refused": len(intake.refused),
    }
    for outcome, count in outcomes.items():
        metrics.BARS.labels(outcome).inc(count)
    metrics.BARS_CONFLICTS.inc(counts.conflict)
    tracing.note(**{outcome: count for outcome, count in outcomes.items() if count})
    metrics.BATCH_BARS.observe(sum(outcomes.values()))
