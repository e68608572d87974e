"""Follows the generation of a dataset: one question to PostgreSQL ten times a second, for all who ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from rollotape.errors import Unavailable
from rollotape.postgres.generations import Moment
from rollotape.postgres.questions import NEW_YORK

EVERY_S = 0.1
FRESH_S = 0.9
"""An older moment is not believed: whoever asks waits for the next one."""
PATIENCE_S = 1.0
"""Not answered within this long, PostgreSQL is away."""
IDLE_S = 30.0
"""Nobody having asked for this long, PostgreSQL is left alone until somebody does."""
BEHIND_US = 2_000_000
"""Changes that have waited for longer than this make answers stale."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the moment."""

    moment: Moment | None
    """The last one that was heard of; None before the first."""
    serial: int
    """Grows with every other moment, whatever clocks and generations do."""
    away: bool
    """PostgreSQL does not answer: the moment is one of the past."""
    since: float = 0.0
    """By the clock of this process: when the moment was first heard of."""

    @property
    def behind(self) -> bool:
        """Whether a change is waiting for so long that answers are older than they may be."""
        return self.away or self.moment is None or self.moment.waiting_us > BEHIND_US


class Generations:
    """One per process. `ask` raises `Unavailable` while PostgreSQL is away."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Moment]],
        *,
        every_s: float = EVERY_S,
        fresh_s: float = FRESH_S,
        patience_s: float = PATIENCE_S,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = ask
        self._every_s, self._fresh_s, self._patience_s, self._idle_s = every_s, fresh_s, patience_s, idle_s
        self._clock = clock
        self._standing = Standing(None, 0, away=True)
        self._known_until = clock()
        self._heard_at = clock()
        self._wanted_at = clock()
        self._said_away = False
        self._asking: asyncio.Task[Standing] | None = None
        self._following: asyncio.Task[None] | None = None

    async def current(self) -> Standing:
        """The standing now, give or take `fresh_s`. As a rule nobody waits for it."""
        self._wanted_at = now = self._clock()
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow())
        if now < self._known_until:
            return self._standing
        return await asyncio.shield(self._ask())  # who asked first may go away

    def at_hand(self) -> Standing | None:
        """The standing, if PostgreSQL is being followed and need not be asked now."""
        now = self._clock()
        if self._following is None or self._following.done() or now >= self._known_until:
            return None
        self._wanted_at = now
        return self._standing

    async def next(self) -> Standing:
        """What PostgreSQL says from now on: the answer to a question that is under way may be of before."""
        if self._asking is not None and not self._asking.done():
            await asyncio.shield(self._asking)
        return await asyncio.shield(self._ask())

    def moved_on(self, moment: Moment) -> Moment:
        """A moment by the clock of now, as long as that is all that changes.

        What is rolled up just before an answer is computed counts trades that ended after the moment was
        asked for: they would have to be told from those of before one by one.
        """
        latest = self._standing.moment
        if latest is None or self._standing.away:
            return moment
        now_us = latest.now_us + int((self._clock() - self._heard_at) * 1e6)
        day = datetime.fromtimestamp(now_us / 1e6, NEW_YORK).date().isoformat()
        over = moment.next_exit_us is not None and moment.next_exit_us <= now_us
        return moment if day != moment.day or over else moment._replace(now_us=max(now_us, moment.now_us))

    async def close(self) -> None:
        """Leave PostgreSQL alone; asking begins again with the next `current`."""
        tasks = [task for task in (self._following, self._asking) if task is not None]
        self._following = self._asking = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self) -> "asyncio.Task[Standing]":
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._asked())
        return self._asking

    async def _follow(self) -> None:
        while self._clock() - self._wanted_at < self._idle_s:
            await asyncio.sleep(self._every_s)
            try:
                await asyncio.shield(self._ask())
            except Exception:  # a bug; whoever asks meets it, too
                log.exception("generation_failed")

    async def _asked(self) -> Standing:
        """That PostgreSQL is away is believed for longer, so that nobody waits again while it is asked."""
        began = self._clock()
        try:
            async with asyncio.timeout(self._patience_s):
                moment = await self._source()
        except (Unavailable, TimeoutError) as error:
            self._lost(str(error) or "no answer in time")
            self._known_until = self._clock() + self._every_s + self._patience_s + self._fresh_s
        else:
            self._found(moment)
            self._known_until = began + self._fresh_s
        return self._standing

    def _found(self, moment: Moment) -> None:
        before = self._standing
        other = before.moment is None or before.moment.name != moment.name
        if self._said_away:
            log.info("generation_known_again", generation=moment.generation)
        self._said_away = False
        self._heard_at = self._clock()
        since = self._heard_at if other else before.since
        self._standing = Standing(moment, before.serial + other, away=False, since=since)

    def _lost(self, reason: str) -> None:
        if not self._said_away:
            log.warning("generation_unknown", reason=reason)
        self._said_away = True
        self._standing = replace(self._standing, away=True)
