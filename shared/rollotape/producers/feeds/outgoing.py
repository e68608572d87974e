"""The door through which every bar of a feed goes: nothing twice, nothing that is still running."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from rollotape import metrics
from rollotape.domain.sessions import Sessions
from rollotape.facts import instant
from rollotape.producers.feeds.closing import ends_us
from rollotape.producers.feeds.said import Known, Said, revision
from rollotape.producers.feeds.standing import Standing
from rollotape.producers.frames import Bars, Framer, Message

REMEMBERED = 64
"""Bars of one symbol and timeframe, the newest ones: as many as may still be restated by a live source."""

Send = Callable[[Sequence[Message]], Awaitable[Any]]
Place = tuple[str, str, int]
"""Symbol, timeframe and start of a bar."""


class Outgoing:
    """Sends what is new of what a source says, and remembers it.

    A bar is remembered once it was sent: what fails is said again by the source, and sent then.
    """

    def __init__(self, feed: str, send: Send, framer: Framer, sessions: Sessions, standing: Standing) -> None:
        self.standing = standing
        self._feed = feed
        self._send = send
        self._framer = framer
        self._sessions = sessions
        self._sent: dict[tuple[str, str], dict[int, Known]] = {}
        self._newest: dict[tuple[str, str], int] = {}

    def newest_us(self, symbol: str, timeframe: str) -> int | None:
        """Start of the newest bar that was sent, or was known already."""
        return self._newest.get((symbol, timeframe))

    def over(self, bars: Sequence[Said], now_us: int) -> list[Said]:
        """Those whose time is over, in their order."""
        ends: dict[tuple[str, int], int] = {}
        for timeframe in {said.timeframe for said in bars}:
            starts = list({said.ts_us for said in bars if said.timeframe == timeframe})
            found = ends_us(timeframe, starts, self._sessions)
            ends |= {(timeframe, ts_us): end for ts_us, end in zip(starts, found, strict=True)}
        return [said for said in bars if ends[said.timeframe, said.ts_us] <= now_us]

    async def tell(self, bars: Iterable[Said], stored: Mapping[Place, Known] | None = None) -> int:
        """Send those that say something new beside what was sent and is `stored`; how many.

        Raises:
            Unavailable: Redis did not take them; a part may have been sent.
        """
        news: dict[str, list[Said]] = {}
        known: dict[Place, Known] = dict(stored or {})
        restated = 0
        for said in bars:
            place = (said.symbol, said.timeframe, said.ts_us)
            before = _greater(known.get(place), self._sent.get(said.key, {}).get(said.ts_us))
            number = revision(said, before)
            if number is None:
                self._pass_by(said, before)
                continue
            restated += before is not None
            known[place] = Known(number, said.content)
            news.setdefault(said.timeframe, []).append(said._replace(revision=number))
        for timeframe, new in news.items():
            await self._send([*self._framer.add(columns(timeframe, new)), *self._framer.flush()])
            self._remember(new)
        self._count("restated", restated)
        return sum(map(len, news.values()))

    async def give(self, symbol: str, payload: bytes) -> None:
        """Send a bar as it stands, that the stream will refuse and keep with its reasons."""
        await self._send([(self._framer.stream_of(symbol), payload)])

    def _pass_by(self, said: Said, before: Known | None) -> None:
        is_same = before is not None and before.content == said.content
        self._newest[said.key] = max(said.ts_us, self._newest.get(said.key, said.ts_us))
        self._count("same" if is_same else "left", 1)

    def _remember(self, bars: Sequence[Said]) -> None:
        for said in bars:
            sent = self._sent.setdefault(said.key, {})
            sent[said.ts_us] = Known(said.revision, said.content)
            if len(sent) > REMEMBERED:
                del sent[min(sent)]
            self._newest[said.key] = max(said.ts_us, self._newest.get(said.key, said.ts_us))
        newest = max(said.ts_us for said in bars)
        self.standing.newest_us = max(newest, self.standing.newest_us or newest)
        metrics.FEED_NEWEST.labels(self._feed).set(self.standing.newest_us / 1e6)
        self._count("sent", len(bars))

    def _count(self, outcome: str, count: int) -> None:
        if count:
            setattr(self.standing, outcome, getattr(self.standing, outcome) + count)
            metrics.FEED_BARS.labels(self._feed, outcome).inc(count)


def _greater(stored: Known | None, sent: Known | None) -> Known | None:
    """What the stream will hold in the end; of equal revisions the one that was sent last."""
    if stored is None or sent is None:
        return stored or sent
    return stored if stored.revision > sent.revision else sent


def columns(timeframe: str, bars: Sequence[Said]) -> Bars:
    return Bars(
        timeframe=timeframe,
        symbol=[said.symbol for said in bars],
        ts=[instant(said.ts_us).isoformat().replace("+00:00", "Z") for said in bars],
        open=[said.open for said in bars],
        high=[said.high for said in bars],
        low=[said.low for said in bars],
        close=[said.close for said in bars],
        volume=[said.volume for said in bars],
        revision=[said.revision for said in bars],
    )
