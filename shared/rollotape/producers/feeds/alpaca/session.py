"""A session with Alpaca: connect, catch up with what is missing, then minutes as they close."""

import time
from collections.abc import Callable, Sequence

from rollotape.producers.feeds.alpaca import live as stream
from rollotape.producers.feeds.alpaca.history import Account
from rollotape.producers.feeds.alpaca.live import Minutes
from rollotape.producers.feeds.alpaca.protocol import MINUTES
from rollotape.producers.feeds.outgoing import Outgoing
from rollotape.producers.feeds.sending import Live, Polls, polled
from rollotape.producers.feeds.standing import Standing, Watcher
from rollotape.producers.feeds.turns import together

CHECK_US = 15 * 60_000_000
"""So often minutes are compared with the history: what the stream has withheld is late, not lost."""


class AlpacaSession:
    """Called once per connection. Without minutes there is no connection, only questions."""

    def __init__(
        self,
        account: Account,
        stream_url: str,
        symbols: Sequence[str],
        timeframes: Sequence[str],
        outgoing: Outgoing,
        polls: Polls,
        watcher: Watcher,
        standing: Standing,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._account = account
        self._stream_url = stream_url
        self._symbols = symbols
        self._timeframes = timeframes
        self._outgoing = outgoing
        self._polls = polls
        self._watcher = watcher
        self._standing = standing
        self._now_us = now_us

    async def __call__(self, live: Live) -> None:
        if MINUTES not in self._timeframes:
            await polled(self._polls, self._timeframes, live)
            return
        async with stream.connected(
            self._account, self._stream_url, self._symbols, now_us=self._now_us
        ) as minutes:
            await together(minutes.listen(), self._work(minutes, live))

    async def _work(self, minutes: Minutes, live: Live) -> None:
        """Bars that come meanwhile wait: the past goes first, so that each symbol is sent in its order."""
        await self._polls.catch_up(self._timeframes)
        live()
        others = [timeframe for timeframe in self._timeframes if timeframe != MINUTES]
        await together(
            self._pass_on(minutes),
            self._polls.follow(MINUTES, every_us=CHECK_US),
            *(self._polls.follow(timeframe) for timeframe in others),
        )

    async def _pass_on(self, minutes: Minutes) -> None:
        while True:
            await self._outgoing.tell(await minutes.next())
            self._watcher.stands(self._standing)
