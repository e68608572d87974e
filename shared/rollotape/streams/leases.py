"""An even share of the partitions for every live replica, for speed: correctness needs no owner."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from rollotape import metrics
from rollotape.errors import Unavailable

BEATS_PER_LEASE = 6
"""A dead replica is noticed within a lease and a beat; a slow one may miss several beats."""
HUNGRY_S = 0.5
"""A replica with less than its share looks again after this time, so that joining takes moments."""

log = structlog.get_logger()


class LeaseTable(Protocol):
    """What leases need of the database; `rollotape.postgres.leases.Leases` is the real one."""

    async def beat(self) -> list[str]: ...
    async def renew(self) -> set[int]: ...
    async def grab(self, partitions: int, most: int) -> set[int]: ...
    async def release(self, partitions: Collection[int]) -> None: ...
    async def retire(self) -> None: ...


def unique_name(instance: str) -> str:
    """Replicas may be given one name by mistake; as owners of leases they must differ."""
    return f"{instance}-{secrets.token_hex(3)}"


def fair_share(replica: str, live: Sequence[str], partitions: int) -> int:
    """Shares differ by one at most and add up to all partitions, if all see the same live replicas.

    >>> [fair_share(name, ["a", "b", "c"], 16) for name in "abc"]
    [6, 5, 5]
    """
    share, rest = divmod(partitions, len(live))
    return share + (sorted(live).index(replica) < rest)


class Leaseholder:
    """Keeps a replica's leases and calls `hold` with the partitions it is to work on, again and again.

    `hold` returns when the partitions given up are idle; only then are their leases released. It may take
    a batch's time, so it runs beside the heartbeat. Without PostgreSQL everything is kept until the lease
    time is over, and then dropped.
    """

    def __init__(
        self,
        table: LeaseTable,
        hold: Callable[[Collection[int]], Awaitable[None]],
        *,
        service: str,
        replica: str,
        partitions: int,
        lease_s: float,
        turns: Callable[[], bool] = lambda: True,
    ) -> None:
        """Without `turns` being true no lease is renewed: whoever is to do the work stands still."""
        self._turns = turns
        self._table = table
        self._hold = hold
        self._service = service
        self._replica = replica
        self._partitions = partitions
        self._lease_s = lease_s
        self._owned: set[int] = set()
        self._target: frozenset[int] = frozenset()
        self._valid_until = 0.0
        self._left = False
        self._rows = asyncio.Lock()
        self._moved = asyncio.Event()

    @property
    def target(self) -> frozenset[int]:
        """The partitions this replica works on, or is about to."""
        return self._target

    async def run(self) -> None:
        """Until cancelled, or until it has left."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beat_on())
            tasks.create_task(self._move_on())

    async def leave(self) -> None:
        """Stop working, for good, then free the leases at once for the others."""
        self._left = True
        self._aim(frozenset())
        await self._hold(())
        with suppress(Unavailable, TimeoutError):  # they expire by themselves
            async with asyncio.timeout(2.0), self._rows:
                await self._table.retire()

    async def _beat_on(self) -> None:
        while not self._left:
            hungry = False
            try:
                if not self._turns():
                    raise TimeoutError("the worker stands still")
                hungry = await self._beat()
            except (Unavailable, TimeoutError) as error:
                self._missed(error)
            await asyncio.sleep(min(HUNGRY_S, self._every_s) if hungry else self._every_s)

    @property
    def _every_s(self) -> float:
        return self._lease_s / BEATS_PER_LEASE

    async def _beat(self) -> bool:
        """Renew, then give up the surplus or grab what is missing; whether something is still missing."""
        started = time.monotonic()
        async with asyncio.timeout(self._lease_s / 2), self._rows:
            if self._left:
                return False
            live = await self._table.beat()
            owned = await self._table.renew()
            share = fair_share(self._replica, live, self._partitions)
            if len(owned) < share:
                owned |= await self._table.grab(self._partitions, share - len(owned))
            self._owned = owned
            self._valid_until = started + self._lease_s
            self._aim(_stay(owned, self._target, share))
            if owned - self._target:
                self._moved.set()  # else what could not be released once would be renewed for ever
        metrics.LEASES_REPLICAS.labels(self._service).set(len(live))
        return len(self._target) < share

    def _aim(self, target: frozenset[int]) -> None:
        if self._left:
            target = frozenset()  # an answer that was still under way
        if target != self._target:
            self._target = target
            self._moved.set()
        metrics.LEASES_HELD.labels(self._service).set(len(target))

    def _missed(self, error: Exception) -> None:
        metrics.LEASES_FAILURES.labels(self._service).inc()
        lost = time.monotonic() >= self._valid_until
        log.warning("heartbeat_missed", reason=repr(error), lost=lost)
        if lost:
            self._aim(frozenset())

    async def _move_on(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                await self._move()
            except Exception:  # try again: nobody else would start or stop these partitions
                log.exception("move_failed")
                self._moved.set()
                await asyncio.sleep(HUNGRY_S)

    async def _move(self) -> None:
        target = self._target
        await self._hold(target)
        with suppress(Unavailable):  # the next heartbeat has it tried again
            async with self._rows:
                surplus = self._owned - target - self._target
                if surplus:
                    await self._table.release(surplus)
                    self._owned -= surplus


def _stay(owned: set[int], target: frozenset[int], share: int) -> frozenset[int]:
    """Up to `share` of the owned partitions, those first that are being worked on already."""
    return frozenset(sorted(owned, key=lambda partition: (partition not in target, partition))[:share])
