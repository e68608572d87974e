"""Has the answers that somebody will ask for ready after every change, before anybody asks."""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import asyncpg

from rollotape import analytics, metrics
from rollotape.analytics import Question
from rollotape.cache.answers import Answers
from rollotape.cache.generations import Generations
from rollotape.errors import Unavailable
from rollotape.postgres import generations as stored
from rollotape.postgres.generations import Moment
from rollotape.postgres.pool import unavailable

LOOK_EVERY_S = 0.25


def follow(pool: "asyncpg.Pool[Any]") -> Generations:
    """The generation of analytics; `pool` speaks of times as datetimes."""

    async def ask() -> Moment:
        with unavailable("postgres"):
            async with pool.acquire() as connection:
                return await stored.moment(connection)

    return Generations(ask)


class Warming:
    """One run at a time. A generation that comes meanwhile is the one that the rest is computed for."""

    def __init__(
        self,
        answers: Answers,
        generations: Generations,
        pool: "asyncpg.Pool[Any]",
        questions: Iterable[Question] = (),
    ) -> None:
        self._answers = answers
        self._generations = generations
        self._pool = pool
        self._waiting = deque(questions or analytics.defaults())
        """Those looked at longest ago come first: all have their turn, however fast things change."""
        self._warm: dict[Question, str] = {}
        """By question the moment that it has been answered for."""
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something may have changed: do not wait for the next look."""
        self._woken.set()

    async def turn(self) -> None:
        """A run when woken, or else after a while: another builder may have changed something."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._woken.wait()
        self._woken.clear()
        await self.run()

    async def run(self) -> int:
        """Answer every question that has changed; how many there were. Without Redis nobody would know."""
        if not await self._answers.are_shared():
            return 0
        await self._generations.next()
        for done in range(len(self._waiting)):
            question = await self._next()
            if question is None:
                return done
            answer = await self._answers.get(question.words, self._computing(question))
            metrics.ANSWERS_WARMED.labels(answer.source).inc()
            if answer.source == "stale":
                return done
            self._warm[question] = answer.moment.name
        return len(self._waiting)

    async def _next(self) -> Question | None:
        """A question whose answer is of an older moment; it goes to the end of the line."""
        standing = await self._generations.current()
        if standing.away or standing.moment is None:
            return None
        name = standing.moment.name
        found = next((question for question in self._waiting if self._warm.get(question) != name), None)
        if found is not None:
            self._waiting.remove(found)
            self._waiting.append(found)
        return found

    def _computing(self, question: Question) -> Any:
        async def compute(moment: Moment) -> bytes:
            try:
                with unavailable("postgres"):
                    async with self._pool.acquire() as connection:
                        return await analytics.answer(connection, question, moment)
            except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
                raise Unavailable(f"postgres: not migrated, run `rollo migrate`: {error}") from error

        return compute
