"""Marks of trades become rollups, and a new generation of answers."""

from time import monotonic

import asyncpg
import structlog

from rollotape import metrics, tracing
from rollotape.outcomes import telling
from rollotape.postgres.pool import unavailable
from rollotape.postgres.rollups import Defective, Rollups, Run

SERVICE = "cache-builder"
LONG_DAYS = 20
"""So many days that are left are worth a line in the log."""
TOLD_EVERY_S = 5.0

log = structlog.get_logger()


class Roll:
    """Works off what is due, a bounded part at each turn; any number of them may do so, one at a time."""

    def __init__(self, rollups: Rollups) -> None:
        self._rollups = rollups
        self._told_at = -TOLD_EVERY_S
        self._behind = False
        self._defective: set[int] = set()
        """Left alone until we start again: a bug must not keep the other days from being rolled."""

    async def turn(self) -> None:
        """One run, if anything is due and nobody else is at it.

        Raises:
            Unavailable: PostgreSQL is away. What was begun is due again.
        """
        with unavailable(SERVICE), telling("rollups"):
            try:
                run = await self._rollups.run(without=self._defective)
            except asyncpg.SerializationError:  # another one was quicker by a moment
                run = None
            except Defective as defective:
                self._defective.add(defective.day)
                log.exception("rollups_defective", day=str(defective))
                run = None
            waiting = await self._rollups.waiting()
            if run is not None:
                tracing.note(days=run.days, left=run.left, generation=run.generation)
        metrics.ROLLUPS_BACKLOG.set(waiting.days)
        metrics.ROLLUPS_OLDEST.set(waiting.oldest_s)
        if run is not None:
            metrics.ROLLUPS_DAYS.inc(run.days)
            self._tell(run)

    def _tell(self, run: Run) -> None:
        """Of a long backlog how it shrinks, and that it is done."""
        now, long = monotonic(), run.left > LONG_DAYS
        if long and now - self._told_at >= TOLD_EVERY_S:
            log.info("rollups_behind", days_left=run.left)
            self._told_at = now
        elif self._behind and not run.left:
            log.info("rollups_caught_up", generation=run.generation)
        self._behind = long or (self._behind and run.left > 0)
