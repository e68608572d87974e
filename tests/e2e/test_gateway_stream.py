"""Patterns as they come: resumed through kills without a loss over both streams, and gaps that are said."""

import asyncio
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from api_gateway import tail
from rollotape.embedded.server import free_port
from rollotape.settings import Settings
from support.databases import execute, fetch
from support.following import Follower, Over, follow_through_kills, happened, say
from support.gateway import serve

FACTS = 2_000
KILLS = 3
"""`make chaos` has more of both."""


@pytest.mark.parametrize(
    ("over", "replicas"),
    [
        ("socket", 2),
        pytest.param("events", 2, marks=pytest.mark.long),
        pytest.param("socket", 1, marks=pytest.mark.long),
    ],
)
async def test_a_client_sees_each_fact_once_though_its_gateway_is_killed_again_and_again(
    settings: Settings, redis_client: Redis, over: Over, replicas: int
) -> None:
    follower = await follow_through_kills(
        settings, redis_client, facts=FACTS, kills=KILLS, over=over, replicas=replicas
    )
    assert follower.seen == list(range(FACTS))
    assert follower.gaps == 0
    assert follower.repeats > 0
    assert follower.connections > KILLS


async def _resumed(settings: Settings, last_id: str) -> list[str]:
    """Kinds of the first events after an id."""
    with serve(settings) as url:
        async with asyncio.timeout(30):
            return await Follower(url, since=last_id).kinds(3)


async def test_an_id_that_is_not_there_any_more_is_answered_by_a_gap(
    settings: Settings, redis_client: Redis
) -> None:
    await say(redis_client, range(10))
    [[epoch]] = fetch(settings.database_url, "SELECT epoch FROM installation")
    entries: Any = await redis_client.xrange("updates")
    ids = [entry_id.decode() for entry_id, _ in entries]

    assert await _resumed(settings, f"{epoch.hex}-{ids[3]}") == ["pattern.updated"] * 3
    assert await _resumed(settings, f"{'0' * 32}-{ids[3]}") == ["gap"]
    assert await _resumed(settings, f"{epoch.hex}-{2**62}-0") == ["gap"]
    assert await _resumed(settings, "nonsense") == ["gap"]
    await redis_client.xtrim("updates", minid=ids[10], approximate=False)
    assert await _resumed(settings, f"{epoch.hex}-{ids[3]}") == ["gap"]
    assert await _resumed(settings, f"{epoch.hex}-{ids[10]}") == ["pattern.updated"] * 3
    execute(settings.database_url, "UPDATE installation SET epoch = gen_random_uuid()")
    assert await _resumed(settings, f"{epoch.hex}-{ids[10]}") == ["gap"]


async def test_a_redis_that_lost_its_stream_is_a_gap_to_those_who_listen(
    settings: Settings, redis_client: Redis
) -> None:
    with serve(settings) as url:
        follower = Follower(url)
        following = asyncio.create_task(follower.follow(until=29))
        await happened(lambda: follower.last_id is not None, "a first event")
        await say(redis_client, range(10))
        await happened(lambda: len(follower.seen) == 10, "ten facts")
        await redis_client.delete("updates")
        await say(redis_client, range(10, 20))
        await happened(lambda: follower.gaps == 1, "a gap")
        await say(redis_client, range(20, 30))
        await asyncio.wait_for(following, 90)

    assert follower.seen == [*range(10), *range(20, 30)]


async def test_a_client_that_is_too_slow_is_cut_off_and_misses_nothing(
    settings: Settings, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MOST_QUEUED", 50)
    with serve(settings) as url:
        follower = Follower(url)
        following = asyncio.create_task(follower.follow(until=199))
        await happened(lambda: follower.last_id is not None, "a first event")
        await say(redis_client, range(200))  # at once: more than may wait

        await asyncio.wait_for(following, 90)

        assert follower.connections > 1
        assert (follower.seen, follower.gaps) == (list(range(200)), 0)


def test_the_stream_is_503_without_redis_and_has_a_head(settings: Settings) -> None:
    with serve(settings) as url:
        head = httpx.head(f"{url}/api/patterns/stream")
        assert (head.status_code, head.headers["cache-control"], head.content) == (200, "no-store", b"")
    with serve(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})) as url:
        assert httpx.get(f"{url}/api/patterns/stream").status_code == 503
