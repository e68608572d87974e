"""Files into streams: read, judge locally, frame, send, and never far ahead of who reads."""

import asyncio
import csv
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import numpy as np
from redis.asyncio import Redis

from rollotape import intake
from rollotape.domain import bars as domain
from rollotape.domain.sessions import Sessions
from rollotape.errors import Fault, Unavailable
from rollotape.events import MAX_FRAME_BARS
from rollotape.producers.csv import Block, Columns, CsvFile
from rollotape.producers.frames import Framer, Message
from rollotape.producers.missing import Tally
from rollotape.producers.twice import Watch
from rollotape.streams.backoff import is_outage
from rollotape.streams.partitions import stream_name
from rollotape.streams.position import Position, finished, lost, positions

GROUP = "detector"
DAILY = "1d"
AHEAD_BARS = 200_000
"""A fast producer pauses when this many bars wait: streams live in memory and are never evicted."""
QUIET_S = 5.0
"""After this long without any progress, nobody seems to be reading."""
POLL_S = 0.1

NOBODY = "nobody reads the bars"

Answer = TypeVar("Answer")
Send = Callable[[Sequence[Message]], Awaitable[list[str]]]
Only = Callable[[Columns, int], Awaitable[Columns]]
"""Chooses bars; the time of day, in ms, is that by which they are judged."""


class Lost(Unavailable):
    """What was sent is not in Redis any more, and may not have been read."""


@dataclass(slots=True)
class Sent:
    """What has been read and sent so far."""

    rows: int = 0
    bars: int = 0
    """Rows that were sent: all of them, but for those that somebody knows to be stored."""
    refused: int = 0
    """Rows that the stream will refuse, judged by its own rules before they were sent."""
    entries: dict[str, list[str]] = field(default_factory=dict)
    symbols: set[str] = field(default_factory=set)
    first_day_s: float = math.inf
    last_day_s: float = -math.inf
    """Seconds since 1970 of the first and the last daily bar, of which relative strength comes."""

    @property
    def has_days(self) -> bool:
        return self.first_day_s <= self.last_day_s

    @property
    def entry_count(self) -> int:
        return sum(map(len, self.entries.values()))

    @property
    def last_ids(self) -> dict[str, str]:
        return {stream: ids[-1] for stream, ids in self.entries.items()}


class Amount(Protocol):
    """How much was sent."""

    @property
    def rows(self) -> int: ...
    @property
    def entry_count(self) -> int: ...


_COLUMNS = ["file", "line", "row", "reasons"]


class RefusedRows:
    """A CSV file of refused rows and their reasons, which is only there when a row was refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: IO[str] | None = None
        self._writer: Any = None

    def clear(self) -> None:
        """What an earlier import refused is not true of this one; a file of somebody else's stays."""
        try:
            with self.path.open("rb") as file:
                is_ours = file.readline(200).rstrip() == ",".join(_COLUMNS).encode()
        except OSError:
            return
        if is_ours:
            self.path.unlink()

    def add(self, source: Path, line: int, row: str, faults: Sequence[Fault]) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", newline="")
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerow(_COLUMNS)
        self._writer.writerow([source.name, line, row, "; ".join(map(str, faults))])
        self.count += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Importer:
    """Sends files one after the other; invalid rows too, for the stream keeps what it refuses."""

    def __init__(
        self,
        send: Send,
        framer: Framer,
        sessions: Callable[[], Sessions],
        *,
        pause: Callable[[Sent], Awaitable[None]],
        only: Only | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`only` chooses what is sent; without it, everything is."""
        self.sent = Sent()
        self.watch = Watch()
        self.tally = Tally()
        self._only = only
        self._send = send
        self._framer = framer
        self._sessions = sessions
        self._pause = pause
        self._now_ms = now_ms

    async def file(
        self, source: CsvFile, refused: RefusedRows | None, progress: Callable[[int, int], None]
    ) -> None:
        """Everything in one file; the last bars of a partition may wait for `flush`.

        `refused` is None where an earlier reading of the file has told of its rows. `progress` hears the rows
        of each block and the bytes of the file read so far.
        """
        for block in source.blocks():
            if refused is not None:
                self._judge(source, block, refused)
            await self._deliver(await self._messages(block))
            self.sent.rows += block.rows
            progress(block.rows, block.position)
            await self._pause(self.sent)

    async def flush(self) -> None:
        """Send the frames that are not full."""
        await self._deliver(self._framer.flush())

    async def _deliver(self, messages: list[Message]) -> None:
        for (stream, _), entry_id in zip(messages, await self._send(messages), strict=True):
            self.sent.entries.setdefault(stream, []).append(entry_id)

    async def _messages(self, block: Block) -> list[Message]:
        messages: list[Message] = []
        for read in block.columns:
            columns = read if self._only is None else await self._only(read, self._now_ms())
            self.sent.bars += len(columns.bars)
            self.sent.symbols.update(columns.bars.symbol)
            if columns.bars.timeframe == DAILY and columns.seconds:
                self.sent.first_day_s = min(self.sent.first_day_s, min(columns.seconds))
                self.sent.last_day_s = max(self.sent.last_day_s, max(columns.seconds))
            messages += self._framer.add(columns.bars)
        odd = block.odd if self._only is None else []  # they are never stored
        self.sent.bars += len(odd)
        return messages + [(self._framer.stream_of(row.symbol), row.payload) for row in odd]

    def _judge(self, source: CsvFile, block: Block, refused: RefusedRows) -> None:
        now_ms = self._now_ms()
        found = [(odd.line, intake.refusals(odd.payload, now_ms, self._sessions)) for odd in block.odd]
        for columns in block.columns:
            broken = list(_broken(columns, self._sessions(), now_ms))
            lines = {line for line, _ in broken}
            self.watch.add(source.path, columns, without=lines)
            self.tally.add(columns, without=lines)
            found += broken
        for line, faults in sorted(found):
            if faults:
                refused.add(source.path, line, block.text(line), faults)
                self.sent.refused += 1


def _broken(columns: Columns, sessions: Sessions, now_ms: int) -> Iterator[tuple[int, list[Fault]]]:
    bars, count = columns.bars, len(columns.bars)
    numbers = {name: getattr(bars, name) for name in domain.NUMBERS}
    real, arrived = [False] * count, [now_ms] * count
    candidates = domain.candidates(
        bars.timeframe, bars.symbol, columns.seconds, numbers, bars.revision, real, arrived
    )
    for i in np.flatnonzero(~domain.valid(candidates, sessions)).tolist():
        yield columns.lines[i], domain.faults(candidates.row(i), sessions)


class Readers:
    """Watches whether the readers of the bars come forward, to pause for them or to wait for them."""

    def __init__(
        self,
        redis: Redis,
        partitions: int,
        *,
        quiet: Callable[[str], None],
        ahead_bars: int = AHEAD_BARS,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`quiet` hears why, once, whenever something waits and nothing has moved for `quiet_s`."""
        self._redis = redis
        self._streams = [stream_name("bars", p) for p in range(partitions)]
        self._quiet = quiet
        self._ahead_bars = ahead_bars
        self._quiet_s = quiet_s
        self._clock = clock
        self._seen: dict[str, tuple[str, int]] = {}
        self._moved = clock()
        self._is_quiet = False

    async def pause(self, sent: Amount) -> None:
        """Return when few bars wait; or when nobody reads, for then a pause makes nothing better."""
        bars_per_entry = min(MAX_FRAME_BARS, sent.rows / max(1, sent.entry_count))
        while True:
            found = await self._ask(positions(self._redis, GROUP, self._streams))
            waiting = sum(position.waiting for position in found.values())
            self._notice(found, waiting > 0)
            if self._is_quiet or waiting * bars_per_entry <= self._ahead_bars:
                return
            await asyncio.sleep(POLL_S)

    async def wait(self, sent: Sent, progress: Callable[[int], None]) -> None:
        """Return when everything sent has been acknowledged; an outage only takes longer.

        Raises:
            Lost: Redis is back without what was sent.
        """
        while not await self._is_finished(sent, progress):
            if self._is_quiet and (gone := await self._lost(sent)):
                raise Lost(f"Redis lost what was sent to {', '.join(gone)}")
            await asyncio.sleep(POLL_S)

    async def _is_finished(self, sent: Sent, progress: Callable[[int], None]) -> bool:
        try:
            if await self._ask(finished(self._redis, GROUP, sent.last_ids)):
                return True
            found = await self._ask(positions(self._redis, GROUP, self._streams))
        except Unavailable as error:
            self._notice(None, True, str(error))
            return False
        unseen = sum(len(ids) for stream, ids in sent.entries.items() if stream not in found)
        progress(unseen + sum(position.waiting for position in found.values()))
        self._notice(found, True)
        return False

    async def _lost(self, sent: Sent) -> list[str]:
        try:
            return await self._ask(lost(self._redis, sent.last_ids))
        except Unavailable:
            return []

    async def _ask(self, question: Awaitable[Answer]) -> Answer:
        try:
            return await question
        except Exception as error:
            if is_outage(error):
                raise Unavailable(f"redis: {type(error).__name__}: {error}") from error
            raise

    def _notice(self, found: dict[str, Position] | None, waits: bool, why: str = NOBODY) -> None:
        seen = self._seen
        if found is not None:
            seen = {name: (p.delivered, p.pending) for name, p in found.items()}
        if seen != self._seen or not waits:
            self._seen, self._moved, self._is_quiet = seen, self._clock(), False
        elif not self._is_quiet and self._clock() - self._moved > self._quiet_s:
            self._is_quiet = True
            self._quiet(why)
