"""A finding that costs something, made once for everybody who asks within a few seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Found(NamedTuple, Generic[T]):
    value: T
    age_s: float
    """How long ago it was looked for."""


class Kept(Generic[T]):
    """Looks at most once in `fresh_s`. What is away is a finding, too: `look` raises for bugs alone."""

    def __init__(
        self,
        look: Callable[[], Awaitable[T]],
        fresh_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._fresh_s = fresh_s
        self._clock = clock
        self._task: asyncio.Task[T] | None = None
        self._began = 0.0

    async def get(self) -> Found[T]:
        """What is there, or was a moment ago."""
        if self._task is None or (self._task.done() and self._clock() - self._began >= self._fresh_s):
            self._began = self._clock()
            self._task = asyncio.create_task(self._looked())
        task, began = self._task, self._began
        value = await asyncio.shield(task)  # who asked first may go away
        return Found(value, self._clock() - began)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _looked(self) -> T:
        return await self._look()
