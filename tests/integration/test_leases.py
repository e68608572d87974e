"""Leases on a real database: even shares, quick joins, and nobody waits long for the dead."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable

import asyncpg
import pytest

from rollotape.errors import Unavailable
from rollotape.postgres.leases import Leases
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from rollotape.streams.leases import Leaseholder, fair_share, unique_name
from support.waiting import eventually

LEASE_S = 1.2


class Replica:
    """A leaseholder whose partitions are only remembered; `death` stops it without a farewell."""

    def __init__(self, table: Leases, name: str, partitions: int) -> None:
        self.held: set[int] = set()
        self.letting_go = asyncio.Event()
        self.letting_go.set()
        self.leaseholder = Leaseholder(
            table,
            self._hold,
            service="detector",
            replica=name,
            partitions=partitions,
            lease_s=LEASE_S,
        )
        self._running = asyncio.create_task(self.leaseholder.run())

    async def _hold(self, partitions: Collection[int]) -> None:
        if self.held - set(partitions):
            await self.letting_go.wait()
        self.held = set(partitions)

    async def death(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])

    async def departure(self) -> None:
        await self.leaseholder.leave()
        await self.death()


class Fleet:
    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", partitions: int = 16) -> None:
        self.pool = pool
        self.partitions = partitions
        self.replicas: list[Replica] = []

    def join(self) -> Replica:
        name = unique_name("replica")
        replica = Replica(Leases(self.pool, "detector", name, LEASE_S), name, self.partitions)
        self.replicas.append(replica)
        return replica

    async def settled(self, among: Iterable[Replica], within_s: float = 40) -> None:
        """Every partition has exactly one owner, and shares differ by one at most."""
        replicas = list(among)

        async def even() -> bool:
            sizes = sorted(len(r.held) for r in replicas)
            everything = sorted(p for r in replicas for p in r.held)
            return everything == list(range(self.partitions)) and sizes[-1] - sizes[0] <= 1

        await eventually(even, within_s=within_s, what=f"an even share of {len(replicas)}")


@pytest.fixture
async def pool(settings: Settings) -> "AsyncIterator[asyncpg.Pool[asyncpg.Record]]":
    async with await open_pool(settings, service="test") as pool:
        yield pool


@pytest.fixture
async def fleet(pool: "asyncpg.Pool[asyncpg.Record]") -> AsyncIterator[Fleet]:
    fleet = Fleet(pool)
    yield fleet
    for replica in fleet.replicas:
        await replica.death()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
async def test_replicas_share_evenly(fleet: Fleet, count: int) -> None:
    await fleet.settled([fleet.join() for _ in range(count)])


async def test_shares_follow_joins_departures_and_deaths(fleet: Fleet) -> None:
    first = fleet.join()
    await fleet.settled([first])
    second = fleet.join()
    await fleet.settled([first, second])
    third = fleet.join()
    await fleet.settled([first, second, third])
    await first.departure()
    assert first.held == set()
    await fleet.settled([second, third])
    await second.death()
    await fleet.settled([third])


async def test_a_departure_frees_partitions_without_waiting_for_the_lease(fleet: Fleet) -> None:
    first, second = fleet.join(), fleet.join()
    await fleet.settled([first, second])
    await first.departure()
    assert await fleet.pool.fetchval("SELECT count(*) FROM leases") == 8
    assert await fleet.pool.fetchval("SELECT count(*) FROM replicas") == 1


async def test_a_partition_is_not_released_before_its_batch_has_finished(fleet: Fleet) -> None:
    first = fleet.join()
    await fleet.settled([first])
    first.letting_go.clear()
    second = fleet.join()

    async def asked_to_share() -> bool:
        return len(first.leaseholder.target) == 8

    await eventually(asked_to_share)
    renewed = await fleet.pool.fetchval("SELECT max(expires_at) FROM leases")

    async def renewed_meanwhile() -> bool:
        return bool(await fleet.pool.fetchval("SELECT min(expires_at) > $1 FROM leases", renewed))

    await eventually(renewed_meanwhile)
    assert second.held == set()
    first.letting_go.set()
    await fleet.settled([first, second])


async def test_more_replicas_than_partitions_leave_some_idle(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    fleet = Fleet(pool, partitions=2)
    replicas = [fleet.join() for _ in range(3)]
    await fleet.settled(replicas)
    for replica in replicas:
        await replica.death()


async def test_a_replica_that_was_paused_finds_out_and_shares_again(fleet: Fleet) -> None:
    first = fleet.join()
    await fleet.settled([first])
    await first.death()  # to the others a pause looks the same
    second = fleet.join()
    await fleet.settled([second])
    returned = Replica(first.leaseholder._table, first.leaseholder._replica, 16)  # type: ignore[arg-type]
    fleet.replicas.append(returned)
    await fleet.settled([second, returned])


class _Unreleasing(Leases):
    """PostgreSQL is away at the very moment of the first release."""

    failures = 1

    async def release(self, partitions: Iterable[int]) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("postgres: away")
        await super().release(partitions)


async def test_what_could_not_be_released_is_released_later(
    fleet: Fleet, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    name = unique_name("replica")
    first = Replica(_Unreleasing(pool, "detector", name, LEASE_S), name, fleet.partitions)
    fleet.replicas.append(first)
    await fleet.settled([first])
    await fleet.settled([first, fleet.join()])


class _Away(Leases):
    """A database that can be taken away."""

    away = False

    async def _fetch(self, query: str, *args: object) -> list[object]:
        if self.away:
            raise Unavailable("postgres is away")
        return await super()._fetch(query, *args)


async def test_without_a_database_partitions_are_kept_until_the_lease_is_over(
    pool: "asyncpg.Pool[asyncpg.Record]",
) -> None:
    name = unique_name("replica")
    table = _Away(pool, "detector", name, LEASE_S)
    replica = Replica(table, name, 4)

    async def holds(expected: set[int]) -> None:
        async def so() -> bool:
            return replica.held == expected

        await eventually(so)

    await holds({0, 1, 2, 3})
    lost_at = asyncio.get_running_loop().time()
    table.away = True
    await holds(set())
    assert asyncio.get_running_loop().time() - lost_at > LEASE_S / 2
    table.away = False
    await holds({0, 1, 2, 3})
    await replica.death()


async def test_a_lease_belongs_to_one_replica(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    one, two = (Leases(pool, "detector", name, 60) for name in ("one", "two"))
    both = await asyncio.gather(one.grab(16, 16), two.grab(16, 16))
    assert both[0] | both[1] == set(range(16))
    assert both[0] & both[1] == set()
    await two.release(range(16))
    assert await one.renew() == both[0]


async def test_a_service_does_not_see_the_leases_of_another(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    detector, rs_worker = (Leases(pool, service, "me", 60) for service in ("detector", "rs-worker"))
    assert await detector.grab(4, 4) == {0, 1, 2, 3}
    assert await rs_worker.grab(4, 4) == {0, 1, 2, 3}
    assert await detector.beat() == ["me"]


@pytest.mark.parametrize("partitions", [1, 2, 16, 17, 1024])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
def test_fair_shares_add_up_and_differ_by_one_at_most(partitions: int, count: int) -> None:
    live = [f"replica-{i}" for i in range(count)]
    shares = [fair_share(name, live, partitions) for name in live]
    assert sum(shares) == partitions
    assert max(shares) - min(shares) <= 1
