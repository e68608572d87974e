"""Who comes into a saved scan is found, stored and told, a bounded part at each turn."""

from contextlib import suppress

import asyncpg

from rollotape import metrics, tracing
from rollotape.outcomes import telling
from rollotape.postgres.entrants import Entrants
from rollotape.postgres.entrants import Turn as Looked
from rollotape.postgres.pool import unavailable
from rollotape.streams.outbox import Outbox

SERVICE = "cache-builder"
MOST_TURNS = 20
"""One after the other, as long as something is due; then others have the connection."""


class Enter:
    """Works off what is due; any number of them may do so, one at a time."""

    def __init__(self, entrants: Entrants, outbox: Outbox) -> None:
        self._entrants = entrants
        self._outbox = outbox

    async def turn(self) -> None:
        """
        Raises:
            Unavailable: PostgreSQL is away, and what was begun is due again; or Redis, and what is to be told
                is in the outbox.
        """
        with unavailable(SERVICE):
            for _ in range(MOST_TURNS):
                with telling("newcomers"):
                    looked = await self._look()
                waiting = await self._entrants.waiting()
                metrics.ENTRANTS_BACKLOG.labels("symbols").set(waiting.symbols)
                metrics.ENTRANTS_BACKLOG.labels("scans").set(waiting.scans)
                metrics.ENTRANTS_OLDEST.set(waiting.oldest_s)
                if looked is None or not (waiting.symbols or waiting.scans):
                    return

    async def _look(self) -> Looked | None:
        looked: Looked | None = None
        with suppress(asyncpg.SerializationError):  # another one was quicker by a moment
            looked = await self._entrants.turn()
        if looked is not None:
            await self._tell(looked)
        return looked

    async def _tell(self, looked: Looked) -> None:
        metrics.ENTRANTS_ROWS.labels("told").inc(looked.told)
        metrics.ENTRANTS_ROWS.labels("silent").inc(looked.entered - looked.told)
        metrics.ENTRANTS_ROWS.labels("left").inc(looked.left)
        if looked.entered or looked.left:
            tracing.note(trace_id=looked.trace_id, entered=looked.entered, left=looked.left, told=looked.told)
        for unsaid in looked.unsaid:
            await self._outbox.say(unsaid)
