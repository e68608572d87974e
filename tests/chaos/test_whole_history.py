"""Five years of the S&P 500 in every order, through one and through three detectors: the same bytes.

What Wyckoff reads in them is among the bytes, and of the last order held against one bar at a time.
"""

import time
from pathlib import Path
from random import Random

import pytest

from support import feeds
from support.feeds import Expected
from support.folders import open_folder
from support.runs import Hits, Place, database
from support.stack import Crew, Stack
from support.workers import programs

pytestmark = pytest.mark.chaos

ROWS, REFUSED = 619_040, 23
DRAIN_S = 600.0
LEAST = {"wyckoff_events": 3_000, "patterns": 1_000, "signals": 1_000}
"""What the exports have at least; an empty one would equal every other."""
TIMES_SORTED = 10
"""Shuffled may cost this much more than sorted."""


@pytest.fixture(scope="module")
def history(shared_data: Path) -> list[feeds.Bar]:
    return feeds.daily(shared_data / "bars_daily_sp500.csv.gz")


@pytest.fixture(scope="module")
def as_sorted(history: list[feeds.Bar]) -> Expected:
    return feeds.expected(history)


@pytest.mark.parametrize(
    ("detectors", "orders"),
    [(1, ("sorted", "shuffled")), (3, ("sorted", "shuffled", "twice", "late", "restated"))],
    ids=["one-detector", "three-detectors"],
)
@pytest.mark.long
async def test_five_years_in_any_order_end_in_the_same_bytes(
    place: Place,
    history: list[feeds.Bar],
    as_sorted: Expected,
    detectors: int,
    orders: tuple[str, ...],
    tally: Hits,
) -> None:
    assert (len(history), as_sorted.refused) == (ROWS, REFUSED)
    took: dict[str, float] = {}
    read: dict[str, str] = {}
    with database(place) as name, open_folder() as folder:
        stack = Stack(lambda: place.servers.urls, name, folder)
        async with stack.running(programs(place.servers.children), Crew(detectors)):
            for order in orders:
                rng = Random(order)
                sent = feeds.ORDERS[order](history, rng)
                expected = as_sorted.times(2) if order == "twice" else as_sorted
                if order == "restated":
                    expected = feeds.expected(sent)
                assert expected.unrevised == as_sorted.unrevised
                assert expected.vsa_events == as_sorted.vsa_events

                stack.listener.start()
                began = time.monotonic()
                await stack.send(feeds.mixed(sent, rng))
                await stack.drain(DRAIN_S)
                took[order] = time.monotonic() - began
                await stack.judge(expected, recomputed=order == "restated")
                now = await stack.exports(*LEAST)
                read = read or now
                assert {table for table in LEAST if now[table] != read[table]} == set()
                await stack.clear()
    assert all(read[table].count("\n") > least for table, least in LEAST.items())
    tally(f"{detectors} detectors, {ROWS} bars: " + ", ".join(f"{o} {s:.0f} s" for o, s in took.items()))
    assert took["shuffled"] < TIMES_SORTED * took["sorted"]
