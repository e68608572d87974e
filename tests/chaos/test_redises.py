"""A primary dies while bars flow: what it took with it is in the journal of its sender, and becomes late."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from rollotape import calendars
from rollotape.embedded import Urls
from rollotape.postgres.pool import open_pool
from rollotape.producers.journal import Journal
from rollotape.producers.keeper import Keeper
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.producer import Producer
from rollotape.verify import verify
from support import databases, feeds
from support.feeds import Bar
from support.folders import open_folder
from support.redises import KINDS, ClusterOfServers, Redises, open_redises
from support.runs import Hits, Place
from support.stack import Crew, Stack
from support.waiting import eventually
from support.workers import forks

pytestmark = pytest.mark.chaos

AT_ONCE = 200
GIVE_UP_S = 120.0
DRAIN_S = 600.0
UNSEEN = 10
"""So many times the primary takes what its replicas never see, before it dies."""
_UNAUDITED = "SELECT NOT EXISTS (SELECT FROM unaudited_bars) AND EXISTS (SELECT FROM audited_series)"
_STORED = "SELECT symbol, timeframe, extract(epoch FROM ts)::bigint FROM bars"


@dataclass
class Feed:
    """Bars on their way, a part at a time."""

    redises: Redises
    left: list[Bar]
    sent: list[Bar] = field(default_factory=list)
    at_risk: list[Bar] = field(default_factory=list)
    """What was sent while a primary was alone, and until another had taken its place."""

    async def send(self, keeper: Keeper, count: int) -> None:
        while count > 0 and self.left:
            part, self.left = self.left[:AT_ONCE], self.left[AT_ONCE:]
            await keeper.send(feeds.singles(part))
            self.sent += part
            count -= len(part)


@pytest.mark.parametrize("kind", ["cluster", pytest.param("sentinel", marks=pytest.mark.long)])
async def test_what_a_dead_primary_took_with_it_becomes_late(kind: str, place: Place, tally: Hits) -> None:
    await _run(kind, place, feeds.made_up(5, symbols=40, days=250), tally)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_two_hundred_thousand_bars_outlive_a_primary(kind: str, place: Place, tally: Hits) -> None:
    await _run(kind, place, feeds.made_up(6, symbols=160, days=1_250), tally)


async def _run(kind: str, place: Place, made: Sequence[Bar], tally: Hits) -> None:
    bars = feeds.sound(made)
    with open_redises(kind) as redises, open_folder() as folder:
        servers = place.servers.urls
        with databases.copy_of(place.template, servers.database_url) as database_url:
            urls = Urls(redises.url, servers.cache_url, servers.database_url)
            stack = Stack(lambda: urls, database_url.rpartition("/")[2], folder)
            settings = Settings(redis_url=redises.url, database_url=database_url)
            async with stack.running(forks(), Crew(2, 1, 1), claim_ms=2_000, lease_s=3, gaps_every_s=1):
                feed = Feed(redises, Random(kind).sample(bars, len(bars)))
                async with _keeper(settings, folder) as keeper:
                    await _flow(feed, keeper)
                    assert len(feed.sent) == len(bars)
                    await stack.drain(DRAIN_S)
                    assert await keeper.settle(DRAIN_S), "something that was sent is not stored"
                    assert keeper.given_up == 0
                assert keeper.sent_again, "nothing was lost: the replicas saw what they were not to see"
                assert keeper.sent_again <= len(feed.at_risk), "more was sent again than can have been lost"
                await stack.drain(DRAIN_S)
                assert _lost(settings, bars) == []
                await eventually(lambda: _is_audited(settings), within_s=DRAIN_S, what="a look at all bars")
                await stack.stop()
            async with await open_pool(settings, service="verify", raw_times=True, size=1) as pool:
                report = await verify(pool)
    assert (report.differences, report.keys_unaudited) == ([], 0)
    tally(f"{kind}: {len(bars):,} bars, {keeper.sent_again} lost with a primary and late")


@asynccontextmanager
async def _keeper(settings: Settings, folder: Path) -> AsyncIterator[Keeper]:
    """A producer as ours are, at work."""
    async with (
        open_client(settings.redis_url, answer_s=5, connect_s=2) as client,
        await open_pool(settings, service="feed", size=2) as pool,
    ):
        with Journal(folder / "journal") as journal:
            producer = Producer(client, give_up_s=GIVE_UP_S)
            keeper = Keeper(producer, pool, client, journal, calendars.sessions)
            running = asyncio.create_task(keeper.run())
            try:
                yield keeper
            finally:
                while not running.done():  # redis-py loses a cancellation now and then
                    running.cancel()
                    await asyncio.wait({running}, timeout=0.2)


async def _is_audited(settings: Settings) -> bool:
    """Every symbol was looked at for gaps since its last bar came."""
    [row] = await asyncio.to_thread(databases.fetch, settings.database_url, _UNAUDITED)
    return bool(row[0])


async def _flow(feed: Feed, keeper: Keeper) -> None:
    """A third, then a primary dies; a third, then a slot moves, if there are any; then the rest."""
    share = len(feed.left) // 3
    await feed.send(keeper, share)
    await _die(feed, keeper)
    await feed.send(keeper, share // 2)
    if isinstance(feed.redises, ClusterOfServers):
        moving = asyncio.create_task(asyncio.to_thread(feed.redises.move, "bars.5"))
        await feed.send(keeper, share // 2)
        await moving
    reviving = asyncio.create_task(asyncio.to_thread(feed.redises.revive))
    await feed.send(keeper, len(feed.left))
    await reviving


async def _die(feed: Feed, keeper: Keeper) -> None:
    """Its replicas hear nothing of its last moments; bars go on coming while another takes its place."""
    before = len(feed.sent)
    await asyncio.to_thread(feed.redises.deafen, "bars.3")
    for _ in range(UNSEEN):
        await feed.send(keeper, AT_ONCE)
    replacing = asyncio.create_task(asyncio.to_thread(feed.redises.replace, "bars.3"))
    while not replacing.done():
        await feed.send(keeper, AT_ONCE)
        await asyncio.sleep(0.02)
    await replacing
    feed.at_risk = feed.sent[before:]


def _lost(settings: Settings, bars: Sequence[Bar]) -> list[Bar]:
    """Of what was sent, what is not stored, by keys."""
    stored = {tuple(row) for row in databases.fetch(settings.database_url, _STORED)}
    return [bar for bar in bars if (bar.symbol, bar.timeframe, bar.ts) not in stored]
