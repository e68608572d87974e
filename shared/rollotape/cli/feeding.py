"""One run of `rollo feed`: its turn, its journal and its connections, and how it is watched."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import asyncpg
import structlog
from redis.asyncio import Redis
from rich.console import Console
from rich.status import Status

from rollotape import calendars, logs, metrics
from rollotape.cli import stack
from rollotape.cli.waiting import keeps_streams, watched
from rollotape.domain.sessions import Sessions
from rollotape.errors import Refused, Unavailable
from rollotape.health import Health, make_plain_app, serve
from rollotape.postgres import arrivals
from rollotape.postgres.feeds import Stored
from rollotape.postgres.leases import Leases
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.producers.feeds.outgoing import Outgoing
from rollotape.producers.feeds.sending import Session, sessions_of, take_turns
from rollotape.producers.feeds.standing import Standing, Watcher
from rollotape.producers.feeds.turns import Turn, together
from rollotape.producers.frames import Framer, Message
from rollotape.producers.journal import Journal
from rollotape.producers.keeper import Keeper, Source
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.leases import unique_name
from rollotape.streams.producer import Producer

JOURNAL_S = 60.0
"""So long the journal of a predecessor that is just ending is waited for."""
SETTLE_S = 3.0
LINE_EVERY_S = 60.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Desk:
    """What a source works with while it is its turn."""

    outgoing: Outgoing
    stored: Stored
    sessions: Sessions
    watcher: Watcher
    standing: Standing


class Kind(Protocol):
    """A source of bars, as the command was asked for it."""

    @property
    def feed(self) -> str:
        """alpaca, yfinance or csv: a label of metrics."""
        ...

    @property
    def follows(self) -> bool:
        """Whether it goes on for ever."""
        ...

    def open(self, desk: Desk) -> tuple[Session, Source]:
        """What it does once connected, and what it can be asked for again."""
        ...


@dataclass(slots=True)
class Feeding:
    """One process of a feed."""

    settings: Settings
    kind: Kind
    name: str
    """Of the feed: one process of a name sends at a time, on whatever machine."""
    data: Path | None
    standing: Standing = field(default_factory=Standing)

    async def run(self) -> None:
        """Until SIGTERM, or until there is nothing left to do.

        Raises:
            Refused: it cannot work like this.
        """
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        with watching(self.kind.feed, self.settings) as watcher:
            async with _answering(self.settings, self.standing):
                await together(stop.wait(), self._hold(watcher))
            watcher.happened("stopped", self.summary())

    async def _hold(self, watcher: Watcher) -> None:
        """Connect, wait for the turn, and work."""
        settings, feed = self.settings, self.kind.feed
        async with (
            watched(settings.redis_url, _noting(watcher)),
            _connected(settings, feed) as (redis, pool),
        ):
            with unavailable("postgres"):
                partitions = await arrivals.partitions(pool)
            table = Leases(pool, f"feed-{self.name}", unique_name(settings.instance), settings.lease_s)
            self.standing.phase = "waiting"

            async def work() -> None:
                await self._work(redis, pool, partitions, watcher)

            await take_turns(Turn(table, settings.lease_s), work, watcher)

    async def _work(
        self, redis: Redis, pool: "asyncpg.Pool[asyncpg.Record]", partitions: int, watcher: Watcher
    ) -> None:
        """While it is our turn."""
        sessions = await asyncio.to_thread(calendars.sessions)
        async with _journal(stack.folder(self.data) / "journal" / self.name) as journal:
            senders: list[Keeper] = []

            async def send(messages: Sequence[Message]) -> None:
                await senders[0].send(messages)

            outgoing = Outgoing(self.kind.feed, send, Framer(partitions), sessions, self.standing)
            desk = Desk(outgoing, Stored(pool), sessions, watcher, self.standing)
            session, source = self.kind.open(desk)
            keeper = Keeper(Producer(redis), pool, redis, journal, calendars.sessions, source=source)
            senders.append(keeper)
            try:
                await together(keeper.run(), self._sessions(session, watcher))
            finally:
                if not self.kind.follows:
                    await keeper.settle(SETTLE_S)

    async def _sessions(self, session: Session, watcher: Watcher) -> None:
        if self.kind.follows:
            await sessions_of(session, self.kind.feed, watcher, self.standing)
        else:
            await session(lambda: None)

    def summary(self) -> str:
        s = self.standing
        newest = f", the newest of {_time(s.newest_us)}" if s.newest_us is not None else ""
        said = f"{s.sent:,} bars sent{newest}"
        said += f"; {s.restated:,} of them restated" if s.restated else ""
        said += f"; {s.left:,} left as they were corrected by hand" if s.left else ""
        return said

    def interrupted(self) -> str:
        return f"stopped: {self.summary()}; started again, it goes on with what is missing"


@asynccontextmanager
async def _connected(
    settings: Settings, feed: str
) -> "AsyncIterator[tuple[Redis, asyncpg.Pool[asyncpg.Record]]]":
    await keeps_streams(settings.redis_url, give_up_s=float("inf"))
    async with (
        open_client(settings.redis_url) as redis,
        await open_pool(settings, service=f"feed-{feed}", size=3, raw_times=True) as pool,
    ):
        yield redis, pool


@asynccontextmanager
async def _journal(folder: Path) -> AsyncIterator[Journal]:
    """The journal, as soon as a predecessor on this machine has let it go."""
    deadline = time.monotonic() + JOURNAL_S
    while True:
        try:
            journal = Journal(folder).__enter__()
            break
        except Refused:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(0.2)
    try:
        yield journal
    finally:
        journal.__exit__(None, None, None)


@asynccontextmanager
async def _answering(settings: Settings, standing: Standing) -> AsyncIterator[None]:
    """/livez, /readyz and /metrics, where a port is named for them."""
    if not settings.ops_port:
        yield
        return
    health = Health()
    health.phase = None

    async def heard() -> None:
        if standing.phase in ("reconnecting", "starting"):
            raise Unavailable(standing.phase)

    health.ready_when("source", heard)
    metrics.say_build("feed")
    async with serve(make_plain_app(health), settings.ops_host, settings.ops_port):
        yield


def watching(feed: str, settings: Settings) -> AbstractContextManager[Watcher]:
    """On a terminal sentences above one line that changes; elsewhere JSON lines, as services write them."""
    console = Console(stderr=True)
    return Terminal(feed, console) if console.is_terminal else Lines(feed, settings)


class Terminal:
    """A `Watcher` for a person."""

    def __init__(self, feed: str, console: Console) -> None:
        self._feed = feed
        self._console = console
        self._status = Status(f"{feed}  starting", console=console)

    def __enter__(self) -> "Terminal":
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def happened(self, event: str, sentence: str, **fields: object) -> None:
        del fields
        if event == "stopped":
            return  # printed at the end
        self._console.print(
            f"{datetime.now(UTC):%H:%M:%S}  {sentence}", highlight=False, markup=False, soft_wrap=True
        )

    def stands(self, standing: Standing) -> None:
        self._status.update(f"{self._feed}  {line(standing)}")


class Lines:
    """A `Watcher` for a log."""

    def __init__(self, feed: str, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._feed = feed
        self._settings = settings
        self._clock = clock
        self._said = -LINE_EVERY_S

    def __enter__(self) -> "Lines":
        logs.configure(f"feed-{self._feed}", self._settings.instance, self._settings.log_level)
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def happened(self, event: str, sentence: str, **fields: object) -> None:
        log.info(f"feed_{event}", said=sentence, **fields)

    def stands(self, standing: Standing) -> None:
        if self._clock() - self._said >= LINE_EVERY_S:
            self._said = self._clock()
            log.info("feed_stands", phase=standing.phase, sent=standing.sent, restated=standing.restated)


def _noting(watcher: Watcher) -> Callable[[str], object]:
    return lambda sentence: watcher.happened("redis_away", sentence)


def line(standing: Standing) -> str:
    """One line: where it is, and what was sent."""
    parts = [standing.phase, f"{standing.sent:,} bars sent"]
    if standing.restated:
        parts.append(f"{standing.restated:,} restated")
    if standing.newest_us is not None:
        parts.append(f"newest {_time(standing.newest_us)}")
    if standing.interruptions:
        parts.append(f"{standing.interruptions:,} interruptions")
    return "  ".join(parts)


def _time(us: int) -> str:
    return f"{datetime.fromtimestamp(us / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
