"""Two gateways, the one in use killed again and again under a client that follows their stream."""

import time

import pytest
from redis.asyncio import Redis

from rollotape.settings import Settings
from support.following import Over, follow_through_kills
from support.runs import Hits

pytestmark = [pytest.mark.chaos, pytest.mark.long]

FACTS = 10_000
KILLS = 10


@pytest.mark.parametrize("over", ["events", "socket"])
async def test_a_client_sees_each_of_many_facts_once_through_many_kills(
    settings: Settings, redis_client: Redis, tally: Hits, over: Over
) -> None:
    began = time.monotonic()
    follower = await follow_through_kills(settings, redis_client, facts=FACTS, kills=KILLS, over=over)
    assert follower.seen == list(range(FACTS))
    assert follower.gaps == 0
    assert follower.repeats > 0
    assert follower.connections > KILLS
    took_s = time.monotonic() - began
    tally(
        f"one of two gateways killed {KILLS} times during {FACTS} facts over {over}: each seen once, "
        f"{follower.repeats} repeats dropped; {took_s:.0f} s"
    )
