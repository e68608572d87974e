"""How a simulated market is sent: its past at once, minutes by the clock, nothing before it is over."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollotape import calendars
from rollotape.producers.companies import STOCKS
from rollotape.producers.feed import QUARTER_SESSIONS, Feed
from rollotape.producers.frames import Message
from rollotape.producers.simulator import Market

OPENING = datetime(2026, 3, 4, 14, 30, tzinfo=UTC)


class World:
    """A clock that only sleeping moves, and a stream that remembers when it was written to."""

    def __init__(self, now: datetime, until: datetime) -> None:
        self.now = now
        self.until = until
        self.sent: list[tuple[datetime, dict[str, Any]]] = []

    async def send(self, messages: Sequence[Message]) -> None:
        self.sent += [(self.now, json.loads(payload)) for _, payload in messages]

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        if self.now > self.until:
            raise asyncio.CancelledError

    def rows(self, timeframe: str) -> list[tuple[datetime, datetime]]:
        """When each bar was sent, and its start."""
        return [
            (when, datetime.fromisoformat(ts))
            for when, sent in self.sent
            if sent["timeframe"] == timeframe and "frame" in sent
            for ts in sent["frame"]["ts"]
        ]


async def run(
    world: World,
    *,
    speed: float,
    sessions: int,
    after: datetime | None = None,
) -> Feed:
    market = Market(calendars.sessions(), stocks=STOCKS[:2], funds=())
    feed = Feed(
        market,
        world.send,
        partitions=4,
        speed=speed,
        now=lambda: world.now,
        sleep=world.sleep,
    )
    with pytest.raises(asyncio.CancelledError):
        await feed.run(sessions, after=after)
    return feed


async def test_three_years_of_days_and_the_last_quarter_hours_come_first_and_at_once() -> None:
    world = World(OPENING, OPENING)
    feed = await run(world, speed=300, sessions=2)
    days, quarters = world.rows("1d"), world.rows("15m")
    assert len(days) == 2 * 756
    assert len(quarters) == 2 * QUARTER_SESSIONS * 26
    assert feed.progress.bars == len(days) + len(quarters)
    assert not world.rows("1m")
    assert max(ts for _, ts in days) == datetime(2026, 2, 27, tzinfo=UTC)
    assert max(ts for _, ts in quarters) == datetime(2026, 2, 27, 20, 45, tzinfo=UTC)


async def test_speed_is_simulated_minutes_in_a_real_one() -> None:
    world = World(OPENING, OPENING + timedelta(seconds=10.01))
    await run(world, speed=300, sessions=2)
    minutes = [ts for _, ts in world.rows("1m")]
    assert len(minutes) == 2 * 50
    assert minutes[0] == datetime(2026, 3, 2, 14, 30, tzinfo=UTC)


async def test_a_second_start_goes_on_after_the_last_minute_of_the_first() -> None:
    world = World(OPENING, OPENING + timedelta(seconds=2.01))
    await run(world, speed=300, sessions=2, after=datetime(2026, 3, 2, 15, 0, tzinfo=UTC))
    assert min(ts for _, ts in world.rows("1m")) == datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


async def test_caught_up_it_goes_on_in_real_time_and_never_sends_what_is_not_over() -> None:
    now = OPENING + timedelta(minutes=10, seconds=20)
    world = World(now, now + timedelta(minutes=5))
    feed = await run(world, speed=6_000, sessions=1)
    today = [(when, ts) for when, ts in world.rows("1m") if ts >= OPENING]
    assert all(when >= ts + timedelta(minutes=1) for when, ts in today)
    assert all(when - ts < timedelta(minutes=1, seconds=5) for when, ts in today if ts >= now)
    assert max(ts for _, ts in today) == OPENING + timedelta(minutes=14)
    assert feed.progress.live


async def test_a_quarter_hour_is_what_its_minutes_were_and_is_sent_with_the_last_of_them() -> None:
    world = World(OPENING, OPENING + timedelta(seconds=3.01))
    await run(world, speed=300, sessions=2)
    first = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
    [(when, quarter)] = [(w, s["frame"]) for w, s in world.sent if s["timeframe"] == "15m"
                         and s["frame"]["ts"][0] == "2026-03-02T14:30:00Z"
                         and s["frame"]["symbol"] == [STOCKS[0].symbol]]  # fmt: skip
    minutes = [s["frame"] for _, s in world.sent if s["timeframe"] == "1m"
               and s["frame"]["symbol"] == [STOCKS[0].symbol]]  # fmt: skip
    assert when == OPENING + timedelta(seconds=3)
    assert world.rows("15m")[-1] == (when, first)
    assert quarter["open"] == minutes[0]["open"]
    assert quarter["high"] == [max(m["high"][0] for m in minutes)]
    assert quarter["low"] == [min(m["low"][0] for m in minutes)]
    assert quarter["close"] == minutes[-1]["close"]
    assert quarter["volume"] == [sum(m["volume"][0] for m in minutes)]


async def test_a_day_is_sent_when_its_session_closes() -> None:
    now = OPENING + timedelta(hours=6, minutes=25)
    world = World(now, now + timedelta(hours=24))
    await run(world, speed=6_000, sessions=1)
    [(when, ts)] = {row for row in world.rows("1d") if row[1] >= datetime(2026, 3, 4, tzinfo=UTC)}
    assert ts == datetime(2026, 3, 4, tzinfo=UTC)
    assert when >= OPENING + timedelta(hours=6, minutes=30)
