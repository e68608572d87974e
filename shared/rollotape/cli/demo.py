"""`rollo demo`: everything at once, with a simulated market."""

import asyncio
import os
import shlex
import shutil
import sys
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import asyncpg
import structlog
import typer
from rich.console import Console

from rollotape import calendars
from rollotape.cli import ends, stack
from rollotape.cli.asking import ask
from rollotape.cli.board import MOST, Lines, Picture, Screen, View
from rollotape.cli.up import PortOption, ReplicasOption, Say, hold, options, speaker
from rollotape.domain.sectors import MARKET
from rollotape.errors import Refused, Unavailable
from rollotape.postgres import arrivals, sectors
from rollotape.postgres.overview import newest_days, newest_minute, overview
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.producers.companies import STOCKS, listings
from rollotape.producers.feed import Feed, Progress, Told
from rollotape.producers.journal import Journal
from rollotape.producers.keeper import Keeper
from rollotape.producers.simulator import Market
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.producer import Producer

LOOK_EVERY_S = 1.0
RATE_OVER_S = 10.0
COMPARED_DAYS = 20
SHOWN = "timeframes=1d,15m"
"""In which the market tells its stories; what is read in its minutes is chance."""
SILENT = structlog.wrap_logger(structlog.ReturnLogger())
"""What is sent again is no news on a screen that shows a market."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Directory for everything that stays. [default: .rollo/demo]")
    ] = None,
    port: PortOption = None,
    replicas: ReplicasOption = None,
    speed: Annotated[float, typer.Option(min=1, max=100_000, help="Simulated minutes in a real one.")] = 300,
    sessions: Annotated[int, typer.Option(min=1, max=250, help="Sessions before now to run through.")] = 10,
    seed: Annotated[int, typer.Option(help="Another seed, another market.")] = 1,
) -> None:
    """Everything, with a simulated market: three years of days at once, then minutes in accelerated time.

    Companies that do not exist in the eleven sectors go through accumulations and distributions, half of
    them in days and half in quarter hours; the funds that they make up (SPY, QQQ and those of the sectors)
    have real names and simulated prices. Shows patterns, ranges and leaders as they come, and what to try.
    Ctrl-C stops everything; data stay.

    Example: rollo demo --speed 1000
    """
    console = Console()
    place = data or (None if os.environ.get("ROLLO_DATA") else stack.DEMO)
    show = Show(speed, sessions, seed, console, stack.folder(place) / "journal" / "simulator")
    ends.run(hold(options(place, port, replicas), speaker(console), show.run))


class Show:
    """The feed and what can be watched of it."""

    def __init__(self, speed: float, sessions: int, seed: int, console: Console, journal: Path) -> None:
        self._journal = journal
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
        calendar = await asyncio.to_thread(calendars.sessions)
        settings = Settings(redis_url=found.redis_url, cache_url=None, database_url=found.database_url)
        pool = await open_pool(settings, service="demo", size=3)
        async with pool, open_client(found.redis_url) as redis:
            self._say("Making a market of companies that do not exist; the first leaders take half a minute.")
            market = await asyncio.to_thread(Market, calendar, seed=self._seed)
            await refuse_others(pool, market)
            with unavailable("postgres"):
                await sectors.store(pool, listings())
            partitions = await arrivals.partitions(pool)
            producer = Producer(redis, give_up_s=float("inf"))
            with Journal(self._journal) as journal:
                keeper = Keeper(
                    producer, pool, redis, journal, lambda: calendar, source=Told(market), log=SILENT
                )
                feed = Feed(market, keeper.send, partitions=partitions, speed=self._speed)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(keeper.run())
                    tasks.create_task(feed.run(self._sessions, after=await newest_minute(pool)))
                    await self._show(found, pool, feed.progress)

    async def _show(self, found: stack.Stack, pool: asyncpg.Pool, progress: Progress) -> None:
        hints = invitation(found)
        on_screen = self._console.is_terminal
        with Screen(self._console, hints) if on_screen else Lines(self._say, hints) as view:
            await watch(pool, found.gateway_url, progress, view)


async def refuse_others(pool: asyncpg.Pool, market: Market) -> None:
    """A market is judged by its funds, so simulated ones and real ones must never meet in one database.

    Raises:
        Refused: there are bars that this simulation did not make.
    """
    stored = await newest_days(pool, MARKET, COMPARED_DAYS)
    if stored is None:
        return
    since, until = (stored[-1].ts, stored[0].ts + timedelta(days=2)) if stored else (_NEVER, _NEVER)
    sessions = market.closed_before(since), market.closed_before(until)
    made = await asyncio.to_thread(market.days, *sessions)
    closes = set(zip(made.symbol, made.ts, made.close, strict=True))
    if not stored or any((MARKET, f"{d.ts:%Y-%m-%dT%H:%M:%SZ}", d.close) not in closes for d in stored):
        raise Refused(
            "the database holds bars that this demonstration did not make (real ones, or of another --seed or"
            " version), and simulated prices must not mix with them: name a new directory with --data"
        )


async def watch(pool: asyncpg.Pool, url: str, progress: Progress, view: View) -> None:
    """Look once a second, for ever; what is away keeps its last picture."""
    counts: deque[tuple[float, int]] = deque(maxlen=int(RATE_OVER_S / LOOK_EVERY_S) + 1)
    picture = Picture(progress)
    while True:
        picture.trouble = ""
        try:
            picture.seen = await overview(pool)
            counts.append((time.monotonic(), picture.seen.bars))
            (start, before), (end, after) = counts[0], counts[-1]
            picture.bars_per_second = (after - before) / (end - start) if end > start else 0.0
            await asyncio.to_thread(_ask, url, picture)
        except Unavailable as error:
            picture.trouble = str(error)
        view.show(picture)
        await asyncio.sleep(LOOK_EVERY_S)


def _ask(url: str, picture: Picture) -> None:
    """The same that anybody can ask; a gateway that wants keys shows nothing here."""
    try:
        scan = ask(f"{url}/api/patterns/scan?{SHOWN}&sort_by=detected_at&per_page={MOST}&display=true")
        picture.patterns, picture.active = scan["patterns"], scan["pagination"]["total"]
        leaders = ask(f"{url}/api/analytics/rs/leaders")["leaders"]
        picture.leaders = sorted(leaders, key=lambda leader: -leader["rs_score"])
    except Refused as error:
        picture.trouble = str(error)


def invitation(found: stack.Stack) -> list[str]:
    """What to try, ready to be pasted."""
    url, symbol = found.gateway_url, STOCKS[0].symbol
    return [
        "All of it is simulated: companies and prices (of SPY and the funds, too).",
        "Try, in another terminal:",
        f"  {_rollo()} scan --watch",
        f"  curl '{url}/api/analytics/rs/leaders'",
        f"  curl '{url}/api/patterns/scan?sort_by=detected_at&per_page=5'",
        f"  curl -N '{url}/api/patterns/stream'",
        f"  curl '{url}/api/markers?symbol={symbol}&timeframe=1d'",
        f"Ctrl-C here stops everything; the data stay. Every route: {url}/docs",
    ]


def _rollo() -> str:
    """As it can be called from here."""
    here = Path(sys.argv[0]).absolute()
    if shutil.which("rollo") == str(here) or not here.name.startswith("rollo"):
        return "rollo"
    return shlex.quote(os.path.relpath(here))
