"""One sender at a time: a lease in PostgreSQL that a second process of the same feed waits for."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NoReturn, Protocol

from rollotape.errors import Unavailable

RENEWALS_PER_LEASE = 4


class LeaseTable(Protocol):
    """What a turn needs of the database; `rollotape.postgres.leases.Leases` is the real one."""

    async def renew(self) -> set[int]: ...
    async def grab(self, partitions: int, most: int) -> set[int]: ...
    async def retire(self) -> None: ...


class Lost(Unavailable):
    """The lease ran out, or has another owner: stop sending and wait again."""


class Turn:
    """The right to send. Two senders at once would only cost speed; a service that allows one connection for
    a key would cut off both."""

    def __init__(
        self, table: LeaseTable, lease_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._lease_s = lease_s
        self._clock = clock
        self._valid_until = 0.0

    @property
    def every_s(self) -> float:
        return self._lease_s / RENEWALS_PER_LEASE

    async def wait(self, waiting: Callable[[str], object] = lambda _: None) -> None:
        """Return when it is ours; `waiting` hears why it is not, every time."""
        while True:
            started = self._clock()
            try:
                async with asyncio.timeout(self._lease_s / 2):
                    held = await self._table.renew() or await self._table.grab(1, 1)
            except (Unavailable, TimeoutError) as error:
                waiting(f"PostgreSQL is away: {error}")
            else:
                if held:
                    self._valid_until = started + self._lease_s
                    return
                waiting("another process of this feed is at work")
            await asyncio.sleep(self.every_s)

    async def keep(self) -> NoReturn:
        """Renew it again and again.

        Raises:
            Lost: it is no longer ours, or may not be.
        """
        while True:
            await asyncio.sleep(self.every_s)
            started = self._clock()
            try:
                async with asyncio.timeout(self._lease_s / 2):
                    held = await self._table.renew()
            except (Unavailable, TimeoutError) as error:
                if self._clock() >= self._valid_until:
                    raise Lost(f"the lease ran out while PostgreSQL was away: {error}") from error
                continue
            if not held:
                raise Lost("another process of this feed has taken over")
            self._valid_until = started + self._lease_s

    async def leave(self) -> None:
        """Free it at once for whoever waits; without PostgreSQL it expires by itself."""
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(2.0):
                await self._table.retire()


async def together(*parts: Coroutine[Any, Any, object]) -> None:
    """Run them side by side until one ends or fails; the others are cancelled, and its error is raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    ended: set[asyncio.Task[object]] = set()
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        while running := [task for task in tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=0.5)  # redis-py loses a cancellation now and then
    for task in ended:
        task.result()
