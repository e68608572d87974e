"""A worker that stands still delays the others by at most a minute, with every setting as it is delivered."""

import asyncio
import time
from random import Random

import pytest

from support import feeds
from support.folders import open_folder
from support.gates import Gate, Point, Trap
from support.runs import Hits, Place, database
from support.stack import Crew, Stack
from support.workers import programs

pytestmark = [pytest.mark.chaos, pytest.mark.long]

MOST_S = 60.0
SEED = 7


@pytest.mark.parametrize("point", [Point.READ, Point.COPYING, Point.COMMITTING, Point.SAYING])
async def test_a_worker_that_stands_still_delays_the_others_by_a_minute_at_most(
    place: Place, point: Point, tally: Hits
) -> None:
    """It is stopped where it holds entries, locks, half a statement, or what it has to say."""
    rng = Random(SEED)
    sent = feeds.storm(feeds.some(place.history, rng, symbols=30), rng)
    messages = feeds.mixed(sent, rng)
    with database(place) as name, open_folder() as folder:
        stack = Stack(lambda: place.servers.urls, name, folder)
        stack.listener.start()
        async with stack.running(programs(place.servers.children), Crew(2), gated=True):
            go_on = asyncio.Event()
            stopped_at = await _stop_one(stack, point, messages[:1_000], go_on)
            await stack.send(messages[1_000:])
            assert (await stack.standing()).pending
            await stack.drain(MOST_S)
            delay_s = time.monotonic() - stopped_at
            for worker in stack.workers:
                worker.resume()
            go_on.set()
            await stack.drain(MOST_S)
            await stack.stop()
            await stack.judge(feeds.expected(sent))
    tally(f"stopped at {point}: the others were done with everything after {delay_s:.0f} s")
    assert delay_s < MOST_S


async def _stop_one(
    stack: Stack, point: Point, messages: list[feeds.Message], go_on: asyncio.Event
) -> float:
    """Stop whoever comes to the point first, with what it was about to send or to hear; when that was."""
    stopped: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def stop(gate: Gate) -> None:
        next(w for w in stack.workers if w.name == gate.worker).pause()
        stopped.set_result(time.monotonic())
        await go_on.wait()

    stack.set_trap(Trap(point, stop))
    await stack.send(messages)
    return await asyncio.wait_for(stopped, MOST_S)
