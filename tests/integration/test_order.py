"""Order, repetition, lateness and restatement of feeds change nothing, though three detectors share them."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from rollotape.embedded import Children, Urls
from support import calm, databases, feeds, pattern_feeds, signal_feeds
from support.calm import Outcome
from support.feeds import Bar, Message
from support.folders import open_folder
from support.stack import Crew, Stack
from support.workers import programs

SEED = 20_180_207
DRAIN_S = 300.0
SAME_BARS = ("sorted", "shuffled", "twice", "late")
LIVES, TRADES = 100, 100


@pytest.fixture(scope="module")
def history(request: pytest.FixtureRequest) -> list[Bar]:
    """Bad rows, extended hours and synthetic bars included."""
    try:
        market: Path | None = request.getfixturevalue("shared_data")
    except pytest.skip.Exception:
        market = None
    bars = feeds.market(market, SEED, members=5, days=265)
    return sorted(bars, key=lambda b: (b.ts, b.symbol))


@pytest.fixture
async def stack(servers: Urls, redis_url: str, template: str) -> AsyncIterator[Stack]:
    with (
        open_folder() as folder,
        Children(folder / "children.json") as children,
        databases.copy_of(template, servers.database_url) as url,
    ):
        stack = Stack(lambda: servers, url.rpartition("/")[2], folder)
        async with stack.running(programs(children), Crew(3, 1, 1), batch_entries=250):
            yield stack


@pytest.mark.parametrize(
    "orders", [("shuffled", "storm"), pytest.param(tuple(feeds.ORDERS), marks=pytest.mark.long)], ids=len
)
async def test_every_order_of_a_feed_ends_in_the_same_bytes(
    stack: Stack, history: list[Bar], servers: Urls, template: str, orders: tuple[str, ...]
) -> None:
    """What was stored and said of the feed before is cleared away under the workers' feet."""
    as_sorted = feeds.expected(history)
    told = pattern_feeds.told(history, Random(SEED), lives=LIVES)
    traded = signal_feeds.told(history, Random(SEED), lives=TRADES)
    ends = Counter(row["status"] for row in signal_feeds.expected(traded))
    assert min(ends[status] for status in ("PENDING", "OPEN", "CLOSED", "CANCELLED")) > 0, ends
    undisturbed = await _undisturbed(servers, template, history, [*told, *traded])
    assert undisturbed.exports["rs_scores"].count(",t\n") > 50
    assert undisturbed.exports["wyckoff_events"].count("\n") > 20
    assert undisturbed.exports["signals"].count(",paper,") > 5
    for name in orders:
        rng = Random(f"{SEED} {name}")
        sent = feeds.ORDERS[name](history, rng)
        expected = feeds.expected(sent)
        assert expected.vsa_events.count("\n") > 50
        if name in SAME_BARS:
            assert expected.bars == as_sorted.bars
        if name != "storm":
            assert expected.unrevised == as_sorted.unrevised
            assert expected.vsa_events == as_sorted.vsa_events
        else:
            undisturbed = await _undisturbed(servers, template, sent, [*told, *traded])

        stack.listener.start()
        outside = ORDERS[name]([*told, *traded], rng)
        await stack.send(pattern_feeds.woven(feeds.mixed(sent, rng), outside, rng))
        await stack.drain(DRAIN_S)
        await stack.judge(expected, undisturbed, traded=traded)
        await stack.clear()


async def _undisturbed(
    servers: Urls, template: str, bars: Sequence[Bar], told: Sequence[Message]
) -> Outcome:
    with databases.copy_of(template, servers.database_url) as url:
        return await calm.outcome(url, [*feeds.singles(bars), *told])


def _shuffled(told: Sequence[Message], rng: Random) -> list[Message]:
    return rng.sample(told, len(told))


ORDERS: Mapping[str, Callable[[Sequence[Message], Random], Sequence[Message]]] = {
    "sorted": lambda told, _: told,
    "shuffled": _shuffled,
    "twice": lambda told, _: [*told, *told],
    "late": pattern_feeds.storm,
    "restated": pattern_feeds.storm,
    "storm": pattern_feeds.storm,
}
"""What is told of patterns and trades, in an order that is like that of the bars."""
assert ORDERS.keys() == feeds.ORDERS.keys()
