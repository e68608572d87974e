"""The janitor on real servers: it never trims what a declared group may still need."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from rollotape.events import Bar, StreamContract
from rollotape.postgres.floors import Floors
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from rollotape.streams.janitor import Janitor, after
from rollotape.streams.position import order
from rollotape.streams.producer import Producer

GROUPS = ("detector", "auditor")
CONTRACTS = {
    "bars": StreamContract(name="bars", partitioned=True, groups=GROUPS, messages=(Bar,), summary="two"),
    "updates": StreamContract(name="updates", partitioned=False, groups=(), messages=(Bar,), summary="none"),
}


@pytest.fixture
async def pool(settings: Settings) -> "AsyncIterator[asyncpg.Pool[asyncpg.Record]]":
    async with await open_pool(settings, service="test") as pool:
        yield pool


@pytest.fixture
def floors(pool: "asyncpg.Pool[asyncpg.Record]") -> Floors:
    return Floors(pool)


@pytest.fixture
def janitor(redis_client: Redis, floors: Floors) -> Callable[..., Janitor]:
    def make(retention_s: float = 0, **limits: float) -> Janitor:
        return Janitor(
            redis_client, floors, partitions=2, retention_s=retention_s, contracts=CONTRACTS, **limits
        )

    return make


async def send(redis: Redis, stream: str, count: int) -> list[str]:
    sent = await Producer(redis).send(stream, [b"{}"] * count)
    await after_now(redis, sent[-1])
    return sent


async def after_now(redis: Redis, entry_id: str) -> None:
    """Wait for the millisecond of the newest entry to pass, so that it is older than a retention of 0 s."""
    while True:
        seconds, us = await redis.time()
        if seconds * 1_000 + us // 1_000 > int(entry_id.split("-")[0]):
            return
        await asyncio.sleep(0.001)


async def group(redis: Redis, name: str, *, read: int, acknowledge: list[int] | None = None) -> list[str]:
    """A group on bars.0 that has read that many entries and acknowledged those numbers (all by default)."""
    await redis.xgroup_create("bars.0", name, "0", mkstream=True)
    answer: Any = await redis.xreadgroup(name, "bars.0", {"bars.0": ">"}, count=read) if read else []
    ids = [entry_id.decode() for entry_id, _ in answer[0][1]] if answer else []
    done = ids if acknowledge is None else [ids[i] for i in acknowledge]
    if done:
        await redis.xack("bars.0", name, *done)
    return ids


async def kept(redis: Redis, stream: str = "bars.0") -> list[str]:
    entries: Any = await redis.xrange(stream)
    return [entry_id.decode() for entry_id, _ in entries]


async def test_what_every_group_acknowledged_is_trimmed_and_the_floor_recorded(
    redis_client: Redis, janitor: Callable[..., Janitor], floors: Floors
) -> None:
    sent = await send(redis_client, "bars.0", 300)
    await group(redis_client, "detector", read=200)
    await group(redis_client, "auditor", read=250)
    assert (await janitor().run_once() or {})["bars.0"] == 200
    assert await kept(redis_client) == sent[200:]
    assert await floors.of("bars.0") == after(sent[199])


async def test_the_lowest_pending_entry_is_kept_with_all_that_follow(
    redis_client: Redis, janitor: Callable[..., Janitor]
) -> None:
    sent = await send(redis_client, "bars.0", 100)
    await group(redis_client, "detector", read=100, acknowledge=[i for i in range(100) if i != 40])
    await group(redis_client, "auditor", read=100)
    await janitor().run_once()
    assert await kept(redis_client) == sent[40:]


async def test_nothing_is_trimmed_while_a_declared_group_is_missing(
    redis_client: Redis, janitor: Callable[..., Janitor], floors: Floors
) -> None:
    sent = await send(redis_client, "bars.0", 10)
    await group(redis_client, "detector", read=10)
    await janitor().run_once()
    assert await kept(redis_client) == sent
    assert await floors.of("bars.0") is None


async def test_a_group_that_has_read_nothing_keeps_everything(
    redis_client: Redis, janitor: Callable[..., Janitor]
) -> None:
    sent = await send(redis_client, "bars.0", 10)
    await group(redis_client, "detector", read=10)
    await group(redis_client, "auditor", read=0)
    await janitor().run_once()
    assert await kept(redis_client) == sent


async def test_what_is_younger_than_the_retention_stays(
    redis_client: Redis, janitor: Callable[..., Janitor]
) -> None:
    sent = await send(redis_client, "bars.0", 10)
    await group(redis_client, "detector", read=10)
    await group(redis_client, "auditor", read=10)
    await janitor(retention_s=60).run_once()
    assert await kept(redis_client) == sent


async def grow(redis: Redis, stream: str, entries: int = 40, size: int = 5_000) -> list[str]:
    """Entries of a size, of different milliseconds."""
    payload = b'"' + b"x" * size + b'"'
    sent: list[str] = []
    for _ in range(entries):
        sent += await Producer(redis).send(stream, [payload])
        await after_now(redis, sent[-1])
    return sent


async def test_for_want_of_room_the_oldest_of_what_is_done_goes_before_its_time(
    redis_client: Redis, janitor: Callable[..., Janitor], floors: Floors
) -> None:
    sent = await grow(redis_client, "bars.0")
    for name in GROUPS:
        await group(redis_client, name, read=len(sent))
    cleaner = janitor(retention_s=3_600, most_bytes=2 * 100_000)
    trimmed = (await cleaner.run_once() or {})["bars.0"]
    left = await kept(redis_client)
    assert left == sent[trimmed:]
    assert 30_000 < (await redis_client.memory_usage("bars.0", samples=0) or 0) <= 100_000
    assert left[-1] == sent[-1]
    floor = await floors.of("bars.0")
    assert floor is not None
    assert order(sent[trimmed - 1]) < order(floor) <= order(left[0])
    assert cleaner.pressed
    assert (await cleaner.run_once() or {})["bars.0"] == 0
    assert not cleaner.pressed


async def test_for_want_of_room_nothing_goes_that_a_group_has_not_acknowledged(
    redis_client: Redis, janitor: Callable[..., Janitor]
) -> None:
    sent = await grow(redis_client, "bars.0")
    await group(redis_client, "detector", read=len(sent))
    await group(redis_client, "auditor", read=30, acknowledge=[i for i in range(30) if i != 10])
    cleaner = janitor(retention_s=3_600, most_bytes=2 * 20_000)
    await cleaner.run_once()
    assert await kept(redis_client) == sent[10:]
    assert cleaner.pressed


async def test_a_stream_without_groups_has_no_more_room_than_others(
    redis_client: Redis, janitor: Callable[..., Janitor]
) -> None:
    sent = await grow(redis_client, "updates")
    await janitor(retention_s=3_600, most_bytes=100_000).run_once()
    left = await kept(redis_client, "updates")
    assert 0 < len(left) < len(sent)
    assert left == sent[-len(left) :]


async def test_a_stream_without_groups_is_trimmed_by_age_alone(
    redis_client: Redis, janitor: Callable[..., Janitor], floors: Floors
) -> None:
    sent = await send(redis_client, "updates", 10)
    await janitor(retention_s=60).run_once()
    assert await kept(redis_client, "updates") == sent
    await janitor().run_once()
    assert await kept(redis_client, "updates") == []
    floor = await floors.of("updates")
    assert floor is not None
    assert int(floor.split("-")[0]) > int(sent[-1].split("-")[0])


async def test_streams_that_do_not_exist_are_no_trouble(
    redis_client: Redis, janitor: Callable[..., Janitor]
) -> None:
    trimmed = await janitor().run_once()
    assert trimmed == {"bars.0": 0, "bars.1": 0, "updates": 0}
    assert await redis_client.keys("*") == []


async def test_one_janitor_works_at_a_time(janitor: Callable[..., Janitor], floors: Floors) -> None:
    async with floors.only_janitor() as mine:
        assert mine
        assert await janitor().run_once() is None
    assert await janitor().run_once() is not None


async def test_a_floor_is_never_lowered(floors: Floors) -> None:
    await floors.raise_to("bars.0", "100-5")
    await floors.raise_to("bars.0", "99-18446744073709551615")
    assert await floors.of("bars.0") == "100-5"
    await floors.raise_to("bars.0", "100-10")
    assert await floors.of("bars.0") == "100-10"


async def test_trimming_under_load_loses_nothing(
    redis_client: Redis, janitor: Callable[..., Janitor]
) -> None:
    for name in ("detector", "auditor"):
        await redis_client.xgroup_create("bars.0", name, "0", mkstream=True)
    cleaner, seen, sending = janitor(), {"detector": set[bytes](), "auditor": set[bytes]()}, True

    async def read(name: str) -> None:
        while True:
            answer: Any = await redis_client.xreadgroup(name, "bars.0", {"bars.0": ">"}, count=37)
            if not answer and not sending:
                return
            for entry_id, fields in answer[0][1] if answer else ():
                assert fields, "trimmed before it was read"
                seen[name].add(entry_id)
                await redis_client.xack("bars.0", name, entry_id)

    async def trim() -> None:
        while sending:
            await cleaner.run_once()

    tasks = [asyncio.create_task(work) for work in (read("detector"), read("auditor"), trim())]
    sent: list[str] = []
    for _ in range(30):
        sent += await Producer(redis_client).send("bars.0", [b"{}"] * 50)
    sending = False
    await asyncio.gather(*tasks)
    assert {i.decode() for i in seen["detector"]} == {i.decode() for i in seen["auditor"]} == set(sent)
    assert await redis_client.xlen("bars.0") < len(sent)
