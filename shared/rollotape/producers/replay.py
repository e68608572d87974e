"""Bars of files sent as the market made them: in the order in which they became known, at a chosen speed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollotape.domain import bars as domain
from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.sessions import Sessions, Times
from rollotape.errors import Refused
from rollotape.producers.csv import Columns, CsvFile
from rollotape.producers.frames import Bars, Framer, Message

AT_ONCE = 20_000
"""Bars sent without looking at the clock, the space bar or the readers in between."""
LATE_S = 1.0
"""Who is later than this has been held up: the market's clock waits for them, and nothing is hurried."""
LOOK_EVERY_S = 0.1

Send = Callable[[Sequence[Message]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which bars of a file are wanted; None where all are. Times are microseconds since 1970."""

    timeframe: str | None = None
    symbols: Collection[str] | None = None
    first_us: int | None = None
    """Bars that start then or later."""
    before_us: int | None = None
    """Bars that start before."""


@dataclass(frozen=True, slots=True)
class Tape:
    """Bars in the order in which they became known, then by symbol; columns of equal length."""

    timeframe: NDArray[Any]
    symbol: NDArray[Any]
    text: NDArray[Any]
    """The start of each bar, as its file has it."""
    ts: Times
    due: Times
    """When each bar was over."""
    numbers: dict[str, NDArray[Any]]
    revision: Times
    unusable: int = 0
    """Rows that no bar can come from, or only in the future."""

    def __len__(self) -> int:
        return len(self.ts)

    def only(self, chosen: NDArray[Any]) -> "Tape":
        """Those bars, by a mask or by places."""
        return Tape(
            self.timeframe[chosen],
            self.symbol[chosen],
            self.text[chosen],
            self.ts[chosen],
            self.due[chosen],
            {name: column[chosen] for name, column in self.numbers.items()},
            self.revision[chosen],
            self.unusable,
        )

    def keys(self) -> Iterator[tuple[str, str, NDArray[Any]]]:
        """Every symbol with each of its timeframes, and the places of its bars."""
        for name in np.unique(self.timeframe):
            at = np.flatnonzero(self.timeframe == name)
            at = at[np.argsort(self.symbol[at], kind="stable")]
            symbols, starts = np.unique(self.symbol[at], return_index=True)
            for symbol, places in zip(symbols, np.split(at, starts[1:]), strict=True):
                yield str(symbol), str(name), places

    def bars(self, start: int, stop: int) -> Iterator[Bars]:
        """Some bars as they are sent, a set of columns for each timeframe."""
        names = self.timeframe[start:stop]
        for name in dict.fromkeys(names.tolist()):
            at = start + np.flatnonzero(names == name)
            numbers = {field: column[at].tolist() for field, column in self.numbers.items()}
            yield Bars(
                timeframe=name,
                symbol=self.symbol[at].tolist(),
                ts=self.text[at].tolist(),
                revision=self.revision[at].tolist(),
                **numbers,
            )


def read(
    sources: Iterable[CsvFile],
    choice: Choice,
    sessions: Sessions,
    now_ms: int,
    progress: Callable[[CsvFile, int, int], None] = lambda _source, _rows, _position: None,
) -> Tape:
    """The chosen bars of some files as one tape; `progress` hears rows and bytes read of a file.

    Raises:
        Refused: a file is damaged, or its dates cannot be read.
    """
    parts, unusable = [], 0
    for source in sources:
        for block in source.blocks():
            unusable += sum(_is_wanted(odd.symbol, choice) for odd in block.odd)
            for columns in block.columns:
                part, broken = _part(columns, choice, sessions, now_ms)
                parts.append(part)
                unusable += broken
            progress(source, block.rows, block.position)
    return _joined(parts, unusable)


def _is_wanted(symbol: str, choice: Choice) -> bool:
    return choice.symbols is None or symbol in choice.symbols


def _part(columns: Columns, choice: Choice, sessions: Sessions, now_ms: int) -> tuple[Tape, int]:
    """What is wanted of some rows of one timeframe, and how many of the wanted are unusable."""
    bars, count = columns.bars, len(columns.bars)
    found = domain.candidates(
        bars.timeframe,
        bars.symbol,
        columns.seconds,
        {name: getattr(bars, name) for name in domain.NUMBERS},
        bars.revision,
        [False] * count,
        [now_ms] * count,
    )
    ts, symbols = found.bars["ts"], np.array(bars.symbol, object)
    wanted = np.full(count, choice.timeframe in (None, bars.timeframe))
    if choice.symbols is not None:
        wanted &= np.isin(symbols, list(choice.symbols))
    if choice.first_us is not None:
        wanted &= ts >= choice.first_us
    if choice.before_us is not None:
        wanted &= ts < choice.before_us
    usable = wanted & domain.valid(found, sessions)
    tape = Tape(
        timeframe=np.full(count, bars.timeframe, object),
        symbol=symbols,
        text=np.array(bars.ts, object),
        ts=ts,
        due=domain.end_ts(TIMEFRAMES[bars.timeframe], ts, sessions),
        numbers={name: found.bars[name] for name in domain.NUMBERS},
        revision=found.bars["revision"],
    )
    return tape.only(usable), int(np.count_nonzero(wanted & ~usable))


def _joined(parts: Sequence[Tape], unusable: int) -> Tape:
    if not parts:
        raise Refused("there are no rows in it")

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    numbers = {name: np.concatenate([part.numbers[name] for part in parts]) for name in domain.NUMBERS}
    timeframe, symbol, text, ts, due = map(column, ("timeframe", "symbol", "text", "ts", "due"))
    whole = Tape(timeframe, symbol, text, ts, due, numbers, column("revision"), unusable)
    return whole.only(np.lexsort((whole.symbol.astype(str), whole.due)))


def moments(tape: Tape, quiet_us: int | None = None) -> NDArray[np.float64]:
    """Seconds from the first bar until each is due, on a clock that skips what is quiet.

    A stretch in which nothing becomes due (a night, a weekend) lasts `quiet_us` at most: if not given, as
    long as one bar of the finest timeframe.
    """
    if quiet_us is None:
        quiet_us = min(TIMEFRAMES[name].length_us for name in set(tape.timeframe.tolist()))
    steps = np.minimum(np.diff(tape.due, prepend=tape.due[:1]), quiet_us)
    offsets: NDArray[np.float64] = np.cumsum(steps) / 1e6
    return offsets


@dataclass(slots=True)
class Position:
    """How far a replay is, for those who watch."""

    rows: int = 0
    entry_count: int = 0
    until_us: int | None = None
    """The market's clock: everything up to here has been sent."""
    paused: bool = False


class Replay:
    """Sends a tape at `speed` seconds of market time a second; may be paused between any two moments."""

    def __init__(
        self,
        tape: Tape,
        send: Send,
        framer: Framer,
        *,
        speed: float,
        quiet_us: int | None = None,
        breathe: Callable[[Position], Awaitable[object]],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`breathe` is awaited after all that is sent: it may wait for those who read."""
        self.position = Position()
        self._tape = tape
        self._send = send
        self._framer = framer
        self._offsets = moments(tape, quiet_us) / speed
        self._breathe = breathe
        self._clock = clock
        self._sleep = sleep

    @property
    def takes_s(self) -> float:
        """How long all of it takes if nothing holds it up."""
        return float(self._offsets[-1])

    def pause_or_go_on(self) -> None:
        self.position.paused = not self.position.paused

    async def run(self, progress: Callable[[Position], None]) -> None:
        """Return when everything was sent. `progress` is told again and again, also while nothing is due."""
        began = self._clock()
        while self.position.rows < len(self._tape):
            next_at = self._offsets[self.position.rows]
            if self.position.paused:
                began = await self._stand_still(began, progress)
            elif (ahead_s := began + next_at - self._clock()) > 0:
                await self._sleep(min(ahead_s, LOOK_EVERY_S))
            else:
                await self._send_due(self._clock() - began)
                late_s = self._clock() - began - self._offsets[self.position.rows - 1]
                began += late_s if late_s > LATE_S else 0.0
            progress(self.position)

    async def _stand_still(self, began: float, progress: Callable[[Position], None]) -> float:
        stopped = self._clock()
        while self.position.paused:
            progress(self.position)
            await self._sleep(LOOK_EVERY_S)
        return began + self._clock() - stopped

    async def _send_due(self, elapsed_s: float) -> None:
        start = self.position.rows
        stop = int(np.searchsorted(self._offsets, elapsed_s, side="right"))
        stop = min(max(stop, start + 1), start + AT_ONCE)
        messages = [m for bars in self._tape.bars(start, stop) for m in self._framer.add(bars)]
        messages += self._framer.flush()
        await self._send(messages)
        self.position.rows = stop
        self.position.entry_count += len(messages)
        self.position.until_us = int(self._tape.due[stop - 1])
        await self._breathe(self.position)
