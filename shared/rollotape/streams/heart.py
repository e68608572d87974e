"""Heartbeats in a thread with an event loop of its own: a batch that keeps a worker busy must cost no lease.

Leases can then be short: the partitions of a dead replica soon flow again, and a busy one keeps its own.
A worker whose loop does not turn at all any more is as good as dead: then its heart stops, too.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeVar

from rollotape.streams.leases import Leaseholder, LeaseTable

STILL_S = 10.0
"""A worker whose loop has not turned for so long loses its leases: nobody else would take its work."""
LEAVE_S = 10.0
"""Longer than a batch that runs may take to finish, and than it takes to say farewell."""

T = TypeVar("T")
Open = Callable[[], AbstractAsyncContextManager[LeaseTable]]
Hold = Callable[[Collection[int]], Awaitable[None]]
Make = Callable[[LeaseTable, Hold, Callable[[], bool]], Leaseholder]


class Heart:
    """Runs a leaseholder in a thread, and its `hold` in the loop that `run` is awaited in.

    `open_table` is entered in the thread: connections belong to the loop that opened them.
    """

    def __init__(self, open_table: Open, hold: Hold, make: Make, *, still_s: float = STILL_S) -> None:
        self._open_table = open_table
        self._hold = hold
        self._make = make
        self._still_s = still_s
        self._turned = time.monotonic()
        self._worker: asyncio.AbstractEventLoop | None = None
        self._thread: asyncio.AbstractEventLoop | None = None
        self._beating: asyncio.Task[Any] | None = None
        self._leaseholder: Leaseholder | None = None
        self._stopped = False

    async def run(self) -> None:
        """Until cancelled, or until it has left."""
        self._worker, ended, self._stopped = asyncio.get_running_loop(), asyncio.Event(), False
        failures: list[BaseException] = []
        thread = threading.Thread(target=self._live, args=(ended, failures), name="leases", daemon=True)
        thread.start()
        try:
            await self._turn_until(ended)
        finally:
            self._stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 1.0)
        if failures:
            raise failures[0]

    async def leave(self) -> None:
        """Stop working, for good, then free the leases at once for the others."""
        if self._leaseholder is None or self._thread is None:
            return
        with suppress(TimeoutError, RuntimeError):  # a thread that has ended: its leases expire by themselves
            async with asyncio.timeout(LEAVE_S):
                await _in(self._thread, self._leaseholder.leave())

    async def _turn_until(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            self._turned = time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), self._still_s / 10)

    # ---- in the thread

    def _live(self, ended: asyncio.Event, failures: list[BaseException]) -> None:
        try:
            asyncio.run(self._beat())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            failures.append(error)
        assert self._worker
        with suppress(RuntimeError):  # the worker has ended meanwhile
            self._worker.call_soon_threadsafe(ended.set)

    async def _beat(self) -> None:
        self._thread, self._beating = asyncio.get_running_loop(), asyncio.current_task()
        if self._stopped:
            return
        async with self._open_table() as table:
            self._leaseholder = self._make(table, self._hold_there, self._turns)
            await self._leaseholder.run()

    async def _hold_there(self, partitions: Collection[int]) -> None:
        assert self._worker
        await _in(self._worker, self._hold_now(partitions))

    async def _hold_now(self, partitions: Collection[int]) -> None:
        await self._hold(partitions)

    def _turns(self) -> bool:
        return time.monotonic() - self._turned < self._still_s

    def _stop(self) -> None:
        self._stopped = True
        thread, beating = self._thread, self._beating
        self._leaseholder = self._thread = self._beating = None
        if thread is not None and beating is not None:
            with suppress(RuntimeError):  # it has ended by itself
                thread.call_soon_threadsafe(beating.cancel)


async def _in(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Have another loop do it; to cancel this cancels that."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
