"""Sends a simulated market: days at once, then minutes in accelerated time until the clock is caught up."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rollotape.producers.frames import Bars, Framer, Message
from rollotape.producers.simulator import Market

HISTORY_SESSIONS = 756
"""Three years."""

Send = Callable[[Sequence[Message]], Awaitable[object]]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Progress:
    """What has been sent, for those who watch."""

    bars: int = 0
    until: datetime | None = None
    """Simulated time: everything up to here has been sent."""
    live: bool = False
    """Caught up: the clock of the wall sets the pace."""


class Feed:
    """One producer of a market; `now` and `sleep` are the world's, or a test's."""

    def __init__(
        self,
        market: Market,
        send: Send,
        *,
        partitions: int,
        speed: float = 300.0,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.progress = Progress()
        self._market = market
        self._send = send
        self._framer = Framer(partitions)
        self._speed = speed
        self._now = now
        self._sleep = sleep

    async def run(self, sessions_back: int, *, after: datetime | None = None) -> None:
        """Send the days that have closed, then minute after minute from some sessions ago on, for ever.

        Minutes that were over by `after` have been sent by a predecessor and are passed by.
        """
        closed = self._market.closed_before(self._now())
        await self._publish(await asyncio.to_thread(self._market.days, closed - HISTORY_SESSIONS, closed))
        session = max(0, closed - sessions_back)
        while True:
            for over, bars in await asyncio.to_thread(self._market.minutes, session):
                if after is not None and over <= after:
                    continue
                await self._pace(over)
                await self._publish(bars)
                self.progress.until = over
            if session >= closed:
                await self._publish(self._market.days(session, session + 1))
            session += 1

    async def _pace(self, over: datetime) -> None:
        """Return when a minute that is over at that time may be sent: a finished bar has no future."""
        ahead_s = (over - self._now()).total_seconds()
        self.progress.live = ahead_s > -60
        await self._sleep(max(60 / self._speed, ahead_s))

    async def _publish(self, bars: Bars) -> None:
        await self._send([*self._framer.add(bars), *self._framer.flush()])
        self.progress.bars += len(bars)
