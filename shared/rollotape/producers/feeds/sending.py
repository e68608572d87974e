"""A feed from its turn to its end: sessions one after the other, each catching up with what is missing."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NoReturn

from rollotape import metrics
from rollotape.domain.sessions import Sessions
from rollotape.errors import Unavailable
from rollotape.producers.feeds.closing import next_look_us
from rollotape.producers.feeds.history import CatchUp
from rollotape.producers.feeds.standing import Standing, Watcher
from rollotape.producers.feeds.turns import Lost, Turn, together
from rollotape.streams.backoff import Backoff

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
STEADY_S = 60.0
"""A session that lived so long was a good one: the next pause is short again."""

Live = Callable[[], None]
"""Called when everything that was missing has been sent."""
Session = Callable[[Live], Awaitable[object]]
Sleep = Callable[[float], Awaitable[object]]


Work = Callable[[], Coroutine[Any, Any, object]]


async def take_turns(turn: Turn, work: Work, watcher: Watcher) -> None:
    """Wait for the turn and work as long as it lasts, again and again until the work is done."""
    while True:
        said: list[str] = []

        def waiting(why: str, said: list[str] = said) -> None:
            if why not in said:
                said.append(why)
                watcher.happened("waiting", f"{why}: waiting for the turn", reason=why)

        await turn.wait(waiting)
        watcher.happened("turn", "it is this process's turn to send")
        try:
            await together(turn.keep(), work())
            return
        except Lost as error:
            watcher.happened("turn_lost", f"{error}: nothing is sent until it is our turn again")
        finally:
            await turn.leave()


async def sessions_of(
    session: Session,
    feed: str,
    watcher: Watcher,
    standing: Standing,
    *,
    sleep: Sleep = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> NoReturn:
    """One session after the other, with longer pauses while they fail.

    Raises:
        Refused: no other session would do better.
    """
    backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
    while True:
        live_since: list[float] = []

        def live(live_since: list[float] = live_since) -> None:
            live_since.append(clock())
            standing.phase = "live"
            metrics.FEED_LIVE.labels(feed).set(1)
            watcher.happened("live", "everything that was missing has been sent; bars follow as they close")

        standing.phase = "connecting"
        try:
            await session(live)
            reason = "the source has ended the session"
        except Lost:
            raise
        except Unavailable as error:
            reason = str(error)
        finally:
            metrics.FEED_LIVE.labels(feed).set(0)
        if live_since and clock() - live_since[0] >= STEADY_S:
            backoff.reset()
        pause_s = backoff.delay_s()
        standing.phase, standing.interruptions = "reconnecting", standing.interruptions + 1
        metrics.FEED_INTERRUPTIONS.labels(feed).inc()
        sentence = f"{reason}; trying again in {pause_s:.0f} s"
        watcher.happened("interrupted", sentence, reason=reason, pause_s=round(pause_s, 1))
        await sleep(pause_s)


class Polls:
    """Asks a history whenever bars may be over."""

    def __init__(
        self,
        catch_up: CatchUp,
        symbols: Sequence[str],
        sessions: Sessions,
        watcher: Watcher,
        standing: Standing,
        *,
        delay_s: float,
        extended: bool = False,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`delay_s` after the end of a bar the source is expected to have it."""
        self._catch_up = catch_up
        self._symbols = symbols
        self._sessions = sessions
        self._watcher = watcher
        self._standing = standing
        self._delay_us = int(delay_s * 1e6)
        self._extended = extended
        self._now_us = now_us
        self._sleep = sleep

    async def catch_up(self, timeframes: Sequence[str]) -> None:
        """What is missing now.

        Raises:
            Unavailable: the source, or PostgreSQL, or Redis is away. Refused: it knows none of the symbols.
        """
        self._standing.phase = "catching up"
        self._watcher.stands(self._standing)
        for timeframe in timeframes:
            before = self._standing.sent
            heard = await self._catch_up.run(timeframe, self._symbols)
            sent, silent = self._standing.sent - before, sorted(set(self._symbols) - heard)
            sentence = f"{timeframe}: {sent:,} bars were missing"
            if silent:
                shown = ", ".join(silent[:5]) + (", ..." if len(silent) > 5 else "")
                sentence += f"; of {len(silent)} symbols the source has none of that time: {shown}"
            self._watcher.happened(
                "caught_up", sentence, timeframe=timeframe, sent=sent, without_bars=silent[:20]
            )

    async def follow(self, timeframe: str, *, every_us: int = 0) -> NoReturn:
        """Ask again at every moment at which a bar of this timeframe may be over."""
        while True:
            at_us = next_look_us(
                timeframe,
                self._now_us() - self._delay_us,
                self._sessions,
                extended=self._extended,
                every_us=every_us,
            )
            await self._sleep(max(0.0, (at_us + self._delay_us - self._now_us()) / 1e6))
            await self._patiently(timeframe)
            self._watcher.stands(self._standing)

    async def _patiently(self, timeframe: str) -> None:
        """Ask until there is an answer: the next look may be a day away, and a stream goes on meanwhile."""
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                await self._catch_up.run(timeframe, self._symbols)
                return
            except Unavailable as error:
                pause_s = backoff.delay_s()
                sentence = f"{timeframe}: {error}; asking again in {pause_s:.0f} s"
                self._watcher.happened("asked_later", sentence, timeframe=timeframe, reason=str(error))
            await self._sleep(pause_s)


async def polled(polls: Polls, timeframes: Sequence[str], live: Live) -> None:
    """A session of a source that only answers."""
    await polls.catch_up(timeframes)
    live()
    await together(*(polls.follow(timeframe) for timeframe in timeframes))
