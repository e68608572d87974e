"""A gateway killed again and again under those who follow its stream."""

import time

import pytest
from redis.asyncio import Redis

from rollotape.settings import Settings
from support.following import follow_through_kills
from support.runs import Hits

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("whole")]

FACTS = 10_000
KILLS = 10


async def test_a_client_sees_each_of_many_facts_once_through_many_kills(
    settings: Settings, redis_client: Redis, tally: Hits
) -> None:
    began = time.monotonic()
    client = await follow_through_kills(settings, redis_client, facts=FACTS, kills=KILLS)
    assert client.seen == list(range(FACTS))
    assert client.gaps == 0
    took_s = time.monotonic() - began
    tally(
        f"gateway killed {KILLS} times during {FACTS} facts: each seen once, "
        f"{client.repeats} repeats dropped; {took_s:.0f} s"
    )
