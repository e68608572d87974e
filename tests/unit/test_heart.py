"""The heart of a worker beats while the worker is busy, and stops with one that stands still."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import pytest

from rollotape.errors import Unavailable
from rollotape.streams.heart import Heart, Hold
from rollotape.streams.leases import Leaseholder, LeaseTable
from support.waiting import eventually

LEASE_S = 0.3
PARTITIONS = 4


class Table:
    """Leases of one replica, in memory; remembers when it was asked."""

    def __init__(self) -> None:
        self.owned: set[int] = set()
        self.beats: list[float] = []
        self.retired = False
        self.away = False

    async def beat(self) -> list[str]:
        if self.away:
            raise Unavailable("away")
        self.beats.append(time.monotonic())
        return ["me"]

    async def renew(self) -> set[int]:
        return set(self.owned)

    async def grab(self, partitions: int, most: int) -> set[int]:
        self.owned |= set(range(most))
        return set(self.owned)

    async def release(self, partitions: Collection[int]) -> None:
        self.owned -= set(partitions)

    async def retire(self) -> None:
        self.owned, self.retired = set(), True


class Worker:
    """What a heart beats for; `held` is what it was last told to work on, `told` all that it ever was."""

    def __init__(self, *, still_s: float = 10.0) -> None:
        self.table = Table()
        self.held: set[int] = set()
        self.told: list[set[int]] = []
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.heart = Heart(self._open, self._hold, self._make, still_s=still_s)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[LeaseTable]:
        if self.table.away:
            raise Unavailable("away")
        yield self.table

    async def _hold(self, partitions: Collection[int]) -> None:
        self.loops.add(asyncio.get_running_loop())
        self.held = set(partitions)
        self.told.append(self.held)

    def _make(self, table: LeaseTable, hold: Hold, turns: Callable[[], bool]) -> Leaseholder:
        return Leaseholder(
            table, hold, service="detector", replica="me", partitions=PARTITIONS, lease_s=LEASE_S, turns=turns
        )

    async def holds_all(self) -> bool:
        return self.held == set(range(PARTITIONS))

    async def was_told_to_stop(self) -> bool:
        """Even where it was given its partitions again a moment later."""
        return set() in self.told


@asynccontextmanager
async def beating(worker: Worker) -> AsyncIterator[Worker]:
    running = asyncio.create_task(worker.heart.run())
    try:
        await eventually(worker.holds_all)
        yield worker
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_busy_worker_keeps_its_leases() -> None:
    async with beating(Worker()) as worker:
        began = time.monotonic()
        time.sleep(3 * LEASE_S)  # noqa: ASYNC251 - this is what a batch does to the loop
        ended = time.monotonic()
        assert sum(began < at < ended for at in worker.table.beats) >= 3  # without them the leases were over
        assert await worker.holds_all()


async def test_a_worker_that_stands_still_loses_its_leases_and_finds_out() -> None:
    async with beating(Worker(still_s=2 * LEASE_S)) as worker:
        assert not await worker.was_told_to_stop()
        began = time.monotonic()
        time.sleep(6 * LEASE_S)  # noqa: ASYNC251 - as one that hangs
        assert max(worker.table.beats) - began < 4 * LEASE_S
        await eventually(worker.was_told_to_stop)
        await eventually(worker.holds_all)


async def test_work_is_begun_and_ended_in_the_loop_of_the_worker() -> None:
    async with beating(Worker()) as worker:
        await worker.heart.leave()
        assert worker.held == set()
        assert worker.table.retired
        assert worker.loops == {asyncio.get_running_loop()}


async def test_nobody_who_has_left_beats_any_more() -> None:
    async with beating(Worker()) as worker:
        await worker.heart.leave()
    count = len(worker.table.beats)
    await asyncio.wait_for(worker.heart.leave(), 1.0)  # nothing to leave
    assert len(worker.table.beats) == count


async def test_why_a_heart_stopped_is_told_to_who_started_it() -> None:
    worker = Worker()
    worker.table.away = True
    with pytest.raises(Unavailable):
        await worker.heart.run()
