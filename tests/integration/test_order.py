"""Order, repetition, lateness and restatement of a feed change nothing, for one detector and for three."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from rollotape.embedded import Children, Urls
from support import databases, feeds
from support.feeds import Bar
from support.folders import open_folder
from support.stack import Crew, Stack
from support.workers import programs

SEED = 20_180_207
DRAIN_S = 60.0
SAME_BARS = ("sorted", "shuffled", "twice", "late")


@pytest.fixture(scope="module")
def history(request: pytest.FixtureRequest) -> list[Bar]:
    """Bad rows, extended hours and synthetic bars included."""
    try:
        market: Path | None = request.getfixturevalue("shared_data")
    except pytest.skip.Exception:
        market = None
    bars = feeds.history(market, SEED, symbols=12)
    return sorted(bars, key=lambda b: (b.ts, b.symbol))


@pytest.fixture(params=[1, 3], ids=["one-detector", "three-detectors"])
async def stack(
    request: pytest.FixtureRequest, servers: Urls, redis_url: str, template: str
) -> AsyncIterator[Stack]:
    with (
        open_folder() as folder,
        Children(folder / "children.json") as children,
        databases.copy_of(template, servers.database_url) as url,
    ):
        stack = Stack(lambda: servers, url.rpartition("/")[2], folder)
        async with stack.running(programs(children), Crew(request.param), batch_entries=250):
            yield stack


async def test_every_order_of_a_feed_ends_in_the_same_bytes(stack: Stack, history: list[Bar]) -> None:
    """What was stored and said of the feed before is cleared away under the detectors' feet."""
    as_sorted = feeds.expected(history)
    for name, reorder in feeds.ORDERS.items():
        rng = Random(f"{SEED} {name}")
        sent = reorder(history, rng)
        expected = feeds.expected(sent)
        assert expected.vsa_events.count("\n") > 50
        if name in SAME_BARS:
            assert expected.bars == as_sorted.bars
        if name != "storm":
            assert expected.unrevised == as_sorted.unrevised
            assert expected.vsa_events == as_sorted.vsa_events

        stack.listener.start()
        await stack.send(feeds.mixed(sent, rng))
        await stack.drain(DRAIN_S)
        await stack.judge(expected)
        await stack.clear()
