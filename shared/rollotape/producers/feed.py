"""Sends a simulated market: its past at once, then minutes in accelerated time up to now."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rollotape.producers.finder import Finder
from rollotape.producers.frames import Bars, Framer, Message
from rollotape.producers.simulator import Market

HISTORY_SESSIONS = 756
"""Three years of days."""
QUARTER_SESSIONS = 3
"""Of quarter hours before the first minute, so that a scan of them does not begin with nothing."""
LONGER, LONGER_MINUTES = "15m", 15

Send = Callable[[Sequence[Message]], Awaitable[object]]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Progress:
    """What has been sent, for those who watch."""

    bars: int = 0
    patterns: int = 0
    """Events about them."""
    until: datetime | None = None
    """Simulated time: everything up to here has been sent."""
    live: bool = False
    """Caught up: the clock of the wall sets the pace."""


class Feed:
    """One producer of a market and of what a finder sees in it.

    `now` and `sleep` are the world's, or a test's.
    """

    def __init__(
        self,
        market: Market,
        send: Send,
        *,
        partitions: int,
        speed: float = 300.0,
        finder: Finder | None = None,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.progress = Progress()
        self._market = market
        self._send = send
        self._framer = Framer(partitions)
        self._speed = speed
        self._finder = finder
        self._now = now
        self._sleep = sleep
        self._minutes: list[Bars] = []
        """Of the quarter hour that is not over."""

    async def run(self, sessions_back: int, *, after: datetime | None = None) -> None:
        """Send the past up to some sessions ago, from there on minute after minute, for ever.

        Minutes that were over by `after` have been sent by a predecessor: they are passed by, and what
        follows from them is sent again.
        """
        closed = self._market.closed_before(self._now())
        session = max(0, closed - sessions_back)
        await self._past(session)
        while True:
            for over, bars in await asyncio.to_thread(self._market.minutes, session):
                if after is None or over > after:
                    await self._pace(over)
                    await self._publish(bars)
                    self.progress.until = over
                await self._lengthen(over, bars)
            await self._publish(self._market.days(session, session + 1))
            session += 1

    async def _past(self, session: int) -> None:
        days = await asyncio.to_thread(self._market.days, session - HISTORY_SESSIONS, session)
        await self._publish(days)
        for before in range(max(0, session - QUARTER_SESSIONS), session):
            for over, bars in await asyncio.to_thread(self._market.minutes, before):
                await self._lengthen(over, bars)

    async def _lengthen(self, over: datetime, bars: Bars) -> None:
        self._minutes.append(bars)
        if over.minute % LONGER_MINUTES == 0:
            await self._publish(Bars.joined(LONGER, self._minutes))
            self._minutes = []

    async def _pace(self, over: datetime) -> None:
        """Return when a minute that is over at that time may be sent: a finished bar has no future."""
        ahead_s = (over - self._now()).total_seconds()
        self.progress.live = ahead_s > -60
        await self._sleep(max(60 / self._speed, ahead_s))

    async def _publish(self, bars: Bars) -> None:
        await self._send([*self._framer.add(bars), *self._framer.flush()])
        self.progress.bars += len(bars)
        if self._finder:
            found = await asyncio.to_thread(self._finder.look, bars, self._now() - Finder.LIFETIME)
            if found:
                await self._send(found)
            self.progress.patterns += len(found)


assert timedelta(minutes=LONGER_MINUTES) < timedelta(hours=1)  # else `over.minute` would not tell
