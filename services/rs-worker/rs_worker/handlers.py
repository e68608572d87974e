"""Marks become days, days become scores, the newest day becomes the mapping: gather, decide, apply, say."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import structlog

from rollotape import facts, metrics, tracing
from rollotape.domain.strength import as_of, rows, score
from rollotape.domain.strength.rows import Changes, Row
from rollotape.outcomes import telling
from rollotape.postgres.pool import OUTAGES, unavailable
from rollotape.postgres.strength import Block, Strength
from rollotape.streams.outbox import Outbox

SERVICE = "rs-worker"
ROWS_AT_ONCE = 60_000
"""Scores of one transaction: a second or two of work."""
QUIET_S = 0.3
"""Bars are quiet when no mark came for so long: several symbols of one day are better scored together."""
PATIENCE_S = 3.0
"""Bars that keep coming are not waited for any longer."""

assert QUIET_S < PATIENCE_S

log = structlog.get_logger()


class Defective(Exception):
    """Days that we cannot score though nothing is away: a bug of ours. Their marks are where they were."""

    def __init__(self, days: Sequence[int]) -> None:
        super().__init__(f"days {days[0]} to {days[-1]}")
        self.days = days


class Score:
    """Works off what is due; any number of them may do so, on any machines."""

    def __init__(self, strength: Strength, outbox: Outbox) -> None:
        self._strength = strength
        self._outbox = outbox
        self._rows = ROWS_AT_ONCE
        self._defective: set[int] = set()
        """Left alone until something new is known: a bug must not keep the other days from their scores."""

    async def once(self) -> bool:
        """Take a turn; false when there was nothing to do.

        Raises:
            Unavailable: Redis or PostgreSQL is away. What was begun is due again.
        """
        with unavailable(SERVICE):
            await self._strength.drop_other_marks()
            expanded = await self._expand()
            worked = await self._work()
            metrics.STRENGTH_BACKLOG.set(await self._strength.backlog() if worked else 0)
        return expanded or worked

    async def _expand(self) -> bool:
        newest = await self._strength.newest_mark()
        if newest is None:
            return False
        await self._quiet(newest)
        self._defective.clear()
        while (await self._strength.expand()).marks:
            pass
        return True

    async def _quiet(self, newest: int | None) -> None:
        patience_over = perf_counter() + PATIENCE_S
        while newest is not None and perf_counter() < patience_over:
            await asyncio.sleep(QUIET_S)
            seen, newest = newest, await self._strength.newest_mark()
            if newest == seen:
                return

    async def _work(self) -> bool:
        try:
            with telling("scores"):
                worked = await self._block()
            self._rows = min(ROWS_AT_ONCE, self._rows * 2)
        except Defective as defective:
            if len(defective.days) == 1:
                self._defective.update(defective.days)
            self._rows = max(1, self._rows // 8)  # fewer at once, until it is one
            first = _day(defective.days[0])
            log.exception("strength_defective", first=first, count=len(defective.days))
            return True
        return worked

    async def _block(self) -> bool:
        """Score the oldest days that are due, all or none of them."""
        async with self._strength.due(self._rows, without=self._defective) as block:
            if block is None:
                return False
            trace_id = tracing.new()
            tracing.note(trace_id=trace_id, days=len(block.days), mapping=block.is_mapping)
            if not block.is_mapping:
                tracing.note(first=_day(block.days[0]), last=_day(block.days[-1]))
            try:
                said = await (_map if block.is_mapping else _score)(block, trace_id)
            except OUTAGES:
                raise
            except Exception as error:
                raise Defective(block.days) from error
            unsaid = await block.leave(said)
        if unsaid is not None:
            await self._outbox.say(unsaid)
        return True


def _day(days: int) -> str:
    return str(np.datetime64(days, "D"))


async def _score(block: Block, trace_id: str) -> list[facts.Message]:
    clock = _Steps()
    market = await block.market()
    stored = await block.scores()
    clock.lap("gather")
    # In a thread: this may take a second, and those who ask whether we live must not wait for it.
    changes: Changes = await asyncio.to_thread(lambda: rows.changes(score(market, block.days), stored))
    clock.lap("decide")
    versions = await block.write(changes)
    clock.lap("apply")
    metrics.STRENGTH_DATES.inc(len(block.days))
    metrics.STRENGTH_ROWS.labels("written").inc(len(changes.written))
    metrics.STRENGTH_ROWS.labels("removed").inc(len(changes.removed))
    counts = changes.by_day
    return [facts.rs_scored(day, version, counts[day], trace_id) for day, version in sorted(versions.items())]


async def _map(block: Block, trace_id: str) -> list[facts.Message]:
    newest = await block.newest_day()
    stocks = await block.mapped_stocks()
    scores = None if newest is None else as_of(await block.market([newest]), newest)
    wanted: list[Row] = rows.mapping(stocks, scores)
    changed, version = await block.rewrite_mapping(wanted)
    return [facts.rs_mapped(newest, version, changed, trace_id)] if changed else []


class _Steps:
    """Observes how long each step took since the last one."""

    def __init__(self) -> None:
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        now = perf_counter()
        metrics.STEP_SECONDS.labels(SERVICE, step).observe(now - self._last)
        self._last = now
