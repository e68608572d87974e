"""Yahoo's charts of many symbols, one question each, a few at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from urllib.parse import quote

from rollotape.domain.sessions import Sessions
from rollotape.errors import Refused, Unavailable
from rollotape.producers.feeds.said import Said
from rollotape.producers.feeds.yahoo import chart
from rollotape.producers.feeds.yahoo.chart import DEPTH_US, Unknown
from rollotape.producers.keeper import Request

AT_ONCE = 4

Fetch = Callable[[str, Mapping[str, str]], Awaitable[bytes]]
"""The body of the answer to a path with its parameters; Unavailable where there is none."""


class YahooHistory:
    """`producers.feeds.history.History` of Yahoo. What it does not know is asked for once, and told."""

    def __init__(
        self,
        fetch: Fetch,
        sessions: Sessions,
        *,
        extended: bool = False,
        unknown: Callable[[str], object] = lambda _: None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._fetch = fetch
        self._sessions = sessions
        self._extended = extended
        self._tell_unknown = unknown
        self._now_us = now_us
        self.unknown: set[str] = set()

    async def bars(
        self, timeframe: str, symbols: Sequence[str], first_us: int, last_us: int
    ) -> AsyncIterator[list[Said]]:
        if timeframe in DEPTH_US:
            first_us = max(first_us, self._now_us() - DEPTH_US[timeframe])
        asked = [symbol for symbol in symbols if symbol not in self.unknown]
        if not asked:
            raise Refused(f"--symbols: Yahoo knows none of them: {', '.join(sorted(self.unknown))}")
        failed: list[Unavailable] = []
        for at in range(0, len(asked) if first_us <= last_us else 0, AT_ONCE):
            part = asked[at : at + AT_ONCE]
            questions = [self._one(timeframe, symbol, first_us, last_us) for symbol in part]
            for answer in await asyncio.gather(*questions, return_exceptions=True):
                if isinstance(answer, Unavailable):
                    failed.append(answer)  # the others must not wait for it
                elif isinstance(answer, BaseException):
                    raise answer
                elif answer:
                    yield answer
        if failed:
            raise Unavailable(f"{len(failed)} of {len(asked)} questions failed, the last one: {failed[-1]}")

    def tells(self, request: Request) -> bool:
        """Whether that Yahoo has no bars of a span means that nothing traded then."""
        depth_us = DEPTH_US.get(request.timeframe)
        reaches = depth_us is None or request.first_us >= self._now_us() - depth_us
        return reaches and request.symbol not in self.unknown

    async def _one(self, timeframe: str, symbol: str, first_us: int, last_us: int) -> list[Said]:
        asked_us = self._now_us()
        body = await self._fetch(
            chart.path(quote(symbol, safe="")),
            chart.query(timeframe, first_us, last_us, extended=self._extended),
        )
        try:
            bars = chart.read(body, symbol, timeframe, asked_us, self._sessions)
        except Unknown as error:
            self.unknown.add(symbol)
            self._tell_unknown(str(error))
            return []
        return [said for said in bars if first_us <= said.ts_us <= last_us]
