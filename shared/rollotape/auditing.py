"""The gap auditor: expected bars by the calendar against stored ones.

It looks at what came or changed (marks), and at how far the calendar has gone on since (series that are
followed); never at everything. What is missing is a row of `gaps`, which is a request to producers as well.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rollotape import metrics
from rollotape.domain import gaps as domain
from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.sessions import Sessions, Times
from rollotape.postgres import gaps
from rollotape.postgres.gaps import ALWAYS, NEVER, Key, Looked, Mark
from rollotape.postgres.pool import unavailable

if TYPE_CHECKING:
    import asyncpg

MINUTE_US = 60_000_000
GRACE_US = 15 * MINUTE_US
"""So long after its end a bar is not missed yet."""
GRACE_OF_DAYS_US = 12 * 60 * MINUTE_US
"""Vendors deliver days in the evening."""
SERIES = 50
"""Looked at in one transaction, which has to be short."""
MOST_BARS = 20_000
"""Of one series in one transaction; what is left of it is marked again."""
SETTLE_S = 60.0
"""So long a gap is only known before anybody is asked: bars that were sent out of order are on their way."""


class _Span(NamedTuple):
    """A part of a series that is to be judged: runs that touch bars from `first` to `last`."""

    symbol: str
    timeframe: str
    first: int
    last: int


@dataclass(slots=True)
class Round:
    """What was done."""

    series: int = 0
    bars: int = 0
    is_cut: bool = False
    """Something was too long for one turn, and is marked again."""


class Auditor:
    """Any number of them may run; one works at a time. The pool has raw times."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        sessions: Callable[[], Sessions],
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        settle_s: float = SETTLE_S,
        most_bars: int = MOST_BARS,
    ) -> None:
        self._pool, self._sessions = pool, sessions
        self._now_us, self._settle_s, self._most_bars = now_us, settle_s, most_bars

    async def turn(self) -> Round:
        """Look at everything that is to be looked at.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        done = Round()
        with unavailable("auditor"):
            newest = await self._newest_mark()
            targets = self.targets(await gaps.fronts(self._pool))
            while await self._marked(done, targets, newest):
                if done.is_cut:
                    newest, done.is_cut = await self._newest_mark(), False
            for timeframe in targets:
                while await self._due(done, targets, timeframe):
                    pass
        return done

    async def _newest_mark(self) -> int:
        await gaps.compact(self._pool, 1)
        return await gaps.newest_mark(self._pool)

    def targets(self, fronts: dict[str, int]) -> dict[str, int]:
        """Up to when bars are expected: nobody has any later, or they may still come."""
        now = self._now_us()
        return {
            name: min(front, now - (GRACE_US if TIMEFRAMES[name].intraday else GRACE_OF_DAYS_US))
            for name, front in fronts.items()
        }

    async def _marked(self, done: Round, targets: dict[str, int], newest: int) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            if not await gaps.only_auditor(connection):
                return False
            marks = await gaps.take_marks(connection, SERIES, newest)
            marks = [mark for mark in marks if mark.timeframe in targets]
            await self._look(connection, marks, targets, done)
        return bool(marks)

    async def _due(self, done: Round, targets: dict[str, int], timeframe: str) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            if not await gaps.only_auditor(connection):
                return False
            keys = await gaps.due(connection, timeframe, targets[timeframe], SERIES)
            marks = [Mark(*key, NEVER, NEVER) for key in keys]
            await self._look(connection, marks, targets, done)
        return bool(keys)

    async def _look(
        self, connection: Any, marks: Sequence[Mark], targets: dict[str, int], done: Round
    ) -> None:
        """Gather, decide, apply: for the series of these marks."""
        keys = sorted({(mark.symbol, mark.timeframe) for mark in marks})
        known = await gaps.audited(connection, keys)
        until = {key: max(known.get(key, ALWAYS), targets[key[1]]) for key in keys}
        spans = list(dict.fromkeys(span for mark in marks for span in _spans(mark, known, until)))
        followed = dict.fromkeys(keys, True)  # what is marked has a new bar
        windows = await self._windows(connection, spans)
        stored = await gaps.stored(connection, [w.read for w in windows], self._most_bars)

        looked: list[Looked] = []
        left: list[Mark] = []
        for window, starts in zip(windows, stored, strict=True):
            key, bars = (window.symbol, window.timeframe), np.array(starts, np.int64)
            found = self._judge(window, bars, until[key])
            looked.append(found.looked)
            followed[key] = found.followed
            left += found.left
            done.bars += len(bars)
        done.series += len(keys)
        metrics.GAPS_SERIES.inc(len(keys))

        await gaps.replace(connection, looked, self._settle_s)
        await gaps.mark(connection, left)
        await gaps.looked_at(connection, {key: (until[key], followed[key]) for key in keys})
        done.is_cut |= bool(left)

    async def _windows(self, connection: Any, spans: Sequence[_Span]) -> list["_Window"]:
        if not spans:
            return []
        edges = await gaps.edges(connection, [Mark(*span) for span in spans])
        return [self._window(span, *edge) for span, edge in zip(spans, edges, strict=True)]

    def _window(self, span: _Span, before: int | None, after: int | None) -> "_Window":
        """What has to be read to judge every run that the bars of a span bear on."""
        frame, sessions = TIMEFRAMES[span.timeframe], self._sessions()
        if span.timeframe in domain.WHOLE:
            return _Window(span.symbol, span.timeframe, ALWAYS, NEVER, ALWAYS, NEVER)
        first = ALWAYS if before is None else domain.before(frame, sessions, before)
        last = NEVER if after is None else domain.after(frame, sessions, after)
        return _Window(span.symbol, span.timeframe, first, last, ALWAYS if before is None else before, last)

    def _judge(self, window: "_Window", bars: Times, until: int) -> "_Found":
        frame, sessions = TIMEFRAMES[window.timeframe], self._sessions()
        key, last, left = (window.symbol, window.timeframe), window.last, []
        is_cut = len(bars) == self._most_bars
        ends = window.read.last == NEVER or not len(bars) or int(bars[-1]) < window.read.last
        if is_cut:
            last, ends = int(bars[-1]), False
            left = [Mark(*key, last, window.last)]
        closed = until if ends else min(until, int(bars[-1]) + frame.length_us)
        found = domain.gaps(frame, sessions, bars, closed) if len(bars) else []
        wanted = [gap for gap in found if window.after < gap.first <= last]
        followed = not ends or domain.followed(frame, sessions, bars, until)
        return _Found(Looked(*key, window.after, last, wanted), followed, left)


class _Window(NamedTuple):
    """Of a series: which bars are to be read, and which runs are judged by them."""

    symbol: str
    timeframe: str
    first: int
    until: int
    after: int
    last: int
    """Runs that start after `after`, up to `last`."""

    @property
    def read(self) -> Mark:
        return Mark(self.symbol, self.timeframe, self.first, self.until)


class _Found(NamedTuple):
    looked: Looked
    followed: bool
    left: list[Mark]


def _spans(mark: Mark, known: dict[Key, int], until: dict[Key, int]) -> Iterator[_Span]:
    """What a mark touches of what was looked at before, and what has never been looked at."""
    key = (mark.symbol, mark.timeframe)
    seen = known.get(key)
    if seen is None:
        yield _Span(*key, ALWAYS, NEVER)
        return
    fresh = seen - TIMEFRAMES[mark.timeframe].length_us + 1
    if mark.first < fresh:
        yield _Span(*key, mark.first, mark.last)
    if seen < until[key]:
        yield _Span(*key, fresh, NEVER)
