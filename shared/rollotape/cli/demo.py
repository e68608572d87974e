"""`rollo demo`: everything at once, with a simulated market."""

import asyncio
import contextlib
import time
from collections import deque
from typing import Annotated, Protocol

import asyncpg
import typer
from redis.asyncio import Redis
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rollotape import calendars
from rollotape.cli import ends, stack
from rollotape.cli.up import DataOption, PortOption, ReplicasOption, Say, hold, options, speaker
from rollotape.errors import Unavailable
from rollotape.postgres import arrivals
from rollotape.postgres.overview import Event, Overview, newest_minute, overview
from rollotape.postgres.pool import open_pool
from rollotape.producers.feed import Feed, Progress
from rollotape.producers.simulator import STOCKS, Market
from rollotape.settings import Settings
from rollotape.streams.producer import Producer

LOOK_EVERY_S = 1.0
RATE_OVER_S = 10.0
NEWEST = 10
PLAIN_EVERY_S = 5.0


def demo(
    data: DataOption = None,
    port: PortOption = None,
    replicas: ReplicasOption = None,
    speed: Annotated[float, typer.Option(min=1, max=100_000, help="Simulated minutes in a real one.")] = 300,
    sessions: Annotated[int, typer.Option(min=1, max=250, help="Sessions before now to run through.")] = 10,
    seed: Annotated[int, typer.Option(help="Another seed, another market.")] = 1,
) -> None:
    """Everything, with a simulated market: three years of days at once, then minutes in accelerated time.

    Prints the URL and three curl lines to try. Ctrl-C stops everything; data stay.

    Example: rollo demo --speed 1000
    """
    console = Console()
    show = Show(speed, sessions, seed, console)
    ends.run(hold(options(data, port, replicas), speaker(console), show.run))


class Show:
    """The feed and what can be watched of it."""

    def __init__(self, speed: float, sessions: int, seed: int, console: Console) -> None:
        self._speed = speed
        self._sessions = sessions
        self._seed = seed
        self._console = console
        self._say: Say = speaker(console)

    async def run(self, found: stack.Stack) -> None:
        """Feed and watch, for ever."""
        try:
            await self._run(found)
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _run(self, found: stack.Stack) -> None:
        self._say(invitation(found.gateway_url))
        calendar = await asyncio.to_thread(calendars.sessions)
        settings = Settings(redis_url=found.redis_url, cache_url=None, database_url=found.database_url)
        pool = await open_pool(settings, service="demo", size=2)
        async with pool, Redis.from_url(found.redis_url) as redis, asyncio.TaskGroup() as tasks:
            feed = Feed(
                Market(calendar, seed=self._seed),
                Producer(redis, give_up_s=float("inf")).send_many,
                partitions=await arrivals.partitions(pool),
                speed=self._speed,
            )
            after = await newest_minute(pool)
            tasks.create_task(feed.run(self._sessions, after=after))
            with Screen(self._console) if self._console.is_terminal else Lines(self._say) as view:
                await watch(pool, feed.progress, view)


class View(Protocol):
    """Shows how it goes."""

    def show(self, seen: Overview, progress: Progress, bars_per_second: float) -> None: ...


async def watch(pool: asyncpg.Pool, progress: Progress, view: View) -> None:
    """Look once a second, for ever; while PostgreSQL is away, the last picture stays."""
    counts: deque[tuple[float, int]] = deque(maxlen=int(RATE_OVER_S / LOOK_EVERY_S) + 1)
    while True:
        with contextlib.suppress(Unavailable):
            seen = await overview(pool, newest=NEWEST)
            counts.append((time.monotonic(), seen.bars))
            (start, before), (end, after) = counts[0], counts[-1]
            view.show(seen, progress, (after - before) / (end - start) if end > start else 0.0)
        await asyncio.sleep(LOOK_EVERY_S)


class Screen(Live):
    """A table that is drawn again and again in one place."""

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, auto_refresh=False, transient=True)

    def show(self, seen: Overview, progress: Progress, bars_per_second: float) -> None:
        table = Table(box=None, pad_edge=False)
        for name in ("known (UTC)", "symbol", "", "rule set", "event", "direction"):
            table.add_column(name, header_style="dim")
        for event in seen.newest:
            colour = "green" if event.direction == "bullish" else "red"
            table.add_row(*words(event)[:-1], Text(event.direction, colour))
        self.update(Group(status(seen, progress, bars_per_second), "", table), refresh=True)


class Lines:
    """One line every few seconds, and one for each of some new events, for files and pipes."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said_at = 0.0
        self._told: set[Event] = set()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, seen: Overview, progress: Progress, bars_per_second: float) -> None:
        if time.monotonic() - self._said_at < PLAIN_EVERY_S:
            return
        self._said_at = time.monotonic()
        self._say(status(seen, progress, bars_per_second))
        for event in reversed([e for e in seen.newest if e not in self._told][:3]):
            self._say("  " + "  ".join(words(event)))
        self._told = set(seen.newest)


def invitation(url: str) -> str:
    """What to try, ready to be pasted."""
    first, second = STOCKS[0].symbol, STOCKS[1].symbol
    return f"""
Try, in another terminal:
  curl {url}/readyz
  curl '{url}/api/symbols/{first}/vsa?timeframe=1d&rule_set=all&sort=desc&limit=5'
  curl '{url}/api/bars?symbols={first},{second}&timeframe=1m&sort=desc&limit=5'
or open {url}/docs
"""


def status(seen: Overview, progress: Progress, bars_per_second: float) -> str:
    when = f"{progress.until:%Y-%m-%d %H:%M} UTC" if progress.until else "history"
    pace = "live" if progress.live else "accelerated"
    return f"{when} ({pace}): {seen.bars:,} bars stored, {bars_per_second:,.0f}/s, {seen.events:,} events"


def words(event: Event) -> tuple[str, ...]:
    """One event as a row of text."""
    return (
        f"{event.knowable_at:%Y-%m-%d %H:%M}", event.symbol, event.timeframe, event.rule_set,
        event.kind.replace("_", " "), event.direction,
    )  # fmt: skip
