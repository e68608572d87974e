"""Sends a simulated market: its past at once, then minutes in accelerated time up to now."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rollotape.postgres.gaps import Request, Serves
from rollotape.producers.frames import Bars, Framer, Message
from rollotape.producers.simulator import Market

HISTORY_SESSIONS = 756
"""Three years of days."""
QUARTER_SESSIONS = 10
"""Of quarter hours before the first minute, so that ranges of them are open when it comes."""

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
    """One producer of a market.

    `now` and `sleep` are the world's, or a test's.
    """

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
        """Send the past up to some sessions ago, from there on minute after minute, for ever.

        Minutes that were over by `after` have been sent by a predecessor: they are passed by, and what
        follows from them is sent again.
        """
        closed = self._market.closed_before(self._now())
        session = max(0, closed - sessions_back)
        await self._past(session)
        while True:
            quarters = dict(await asyncio.to_thread(self._market.quarters, session))
            for over, bars in await asyncio.to_thread(self._market.minutes, session):
                if after is None or over > after:
                    await self._pace(over)
                    await self._publish(bars)
                    self.progress.until = over
                if over in quarters:
                    await self._publish(quarters[over])
            await self._publish(self._market.days(session, session + 1))
            session += 1

    async def _past(self, session: int) -> None:
        days = await asyncio.to_thread(self._market.days, session - HISTORY_SESSIONS, session)
        await self._publish(days)
        for before in range(max(0, session - QUARTER_SESSIONS), session):
            quarters = await asyncio.to_thread(self._market.quarters, before)
            await self._publish(*(bars for _, bars in quarters))

    async def _pace(self, over: datetime) -> None:
        """Return when a minute that is over at that time may be sent: a finished bar has no future."""
        ahead_s = (over - self._now()).total_seconds()
        self.progress.live = ahead_s > -60
        await self._sleep(max(60 / self._speed, ahead_s))

    async def _publish(self, *parts: Bars) -> None:
        full = [message for bars in parts for message in self._framer.add(bars)]
        await self._send([*full, *self._framer.flush()])
        self.progress.bars += sum(map(len, parts))


class Told:
    """What a market can be asked for again: all of it, for it tells the same each time."""

    name = "simulator"

    def __init__(self, market: Market) -> None:
        self._market = market

    def serves(self) -> Serves:
        return Serves(frozenset(self._market.symbols), frozenset({"1m", "15m", "1d"}))

    async def again(self, request: Request) -> Bars:
        asked = request.symbol, request.timeframe, request.first_us, request.last_us
        return await asyncio.to_thread(self._market.again, *asked)
