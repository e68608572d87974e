"""Rows of files that grow, told as bars when their line and their time are over."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import orjson

from rollotape.domain.bars import TIMEFRAMES
from rollotape.errors import Refused
from rollotape.producers.csv import Block, Columns, CsvFile, Odd, Options, Rows
from rollotape.producers.feeds.closing import overlap_us
from rollotape.producers.feeds.files.tail import Lines, Tail
from rollotape.producers.feeds.history import Stored
from rollotape.producers.feeds.outgoing import Outgoing, Place, columns
from rollotape.producers.feeds.said import Known, Said
from rollotape.producers.feeds.sending import Live
from rollotape.producers.feeds.standing import Standing, Watcher
from rollotape.producers.frames import Bars
from rollotape.producers.keeper import Request, Serves

LOOK_EVERY_S = 0.25
FIELDS = ("open", "high", "low", "close", "volume")


class _File:
    """One path, how its present file is understood, and its rows that are still running."""

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self.rows: Rows | None = None
        self.said_missing = False


class FilesSession:
    """Reads what is there, passes by what is stored, and goes on as the files grow.

    A bar of which the stack has a newer one is passed by, but for some bars that may have been restated
    meanwhile; with `again` none is.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        options: Options,
        outgoing: Outgoing,
        stored: Stored,
        watcher: Watcher,
        standing: Standing,
        *,
        follow: bool,
        again: bool = False,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._paths = paths
        self._options = options
        self._outgoing = outgoing
        self._stored = stored
        self._watcher = watcher
        self._standing = standing
        self._follow = follow
        self._again = again
        self._now_us = now_us
        self._starts: dict[tuple[str, str], int] = {}
        self._running: dict[Place, Said] = {}
        """Bars that are not over yet: the last row of each is sent when it is."""

    async def __call__(self, live: Live) -> None:
        self._starts.clear()
        self._running.clear()
        with ExitStack() as stack:
            files = [_File(stack.enter_context(Tail(path))) for path in self._paths]
            self._standing.phase = "catching up"
            while await self._turn(files):
                self._watcher.stands(self._standing)
            if not self._follow:
                return
            live()
            while True:
                await self._turn(files)
                self._watcher.stands(self._standing)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _turn(self, files: Sequence[_File]) -> bool:
        """Everything that the files have by now, about a megabyte of each at a time; whether it was any."""
        any_lines = False
        for file in files:
            lines = await asyncio.to_thread(file.tail.read)
            self._notice(file)
            if lines is not None:
                any_lines = True
                await self._take(file, lines)
        await self._release()
        return any_lines

    def _notice(self, file: _File) -> None:
        path = file.tail.path
        for text in file.tail.torn:
            self._watcher.happened(
                "torn",
                f"{path}: was replaced within its last line, which is left out: {text!r}",
                path=str(path),
            )
        file.tail.torn.clear()
        if not file.tail.is_there and not file.said_missing:
            file.said_missing = True
            if not self._follow:
                raise Refused(f"{path}: no such file; --follow waits for it")
            self._watcher.happened("missing", f"{path}: is not there yet: waiting for it", path=str(path))

    async def _take(self, file: _File, lines: Lines) -> None:
        texts, first_line = lines.texts, lines.first_line
        if lines.begins:
            if file.rows is not None:
                said = f"{file.tail.path}: begins anew: it was replaced, or cut to nothing"
                self._watcher.happened("rotated", said, path=str(file.tail.path))
            file.rows = None
        while file.rows is None and texts:
            header, *texts = texts
            first_line += 1
            if header.strip():
                file.rows = self._understood(file, header)
        if file.rows is not None and texts:
            try:
                block = file.rows.block(first_line, texts)
            except Refused as error:
                raise Refused(f"{file.tail.path}: {error}") from error
            is_fixed = "revision" in file.rows.layout.at or self._options.revision is not None
            await self._tell(block, is_fixed=is_fixed)

    def _understood(self, file: _File, header: str) -> Rows:
        path = file.tail.path
        try:
            rows = Rows(header, self._options)
        except Refused as error:
            raise Refused(f"{path}: {error}") from error
        if ignored := rows.layout.ignored:
            said = f"{path.name}: columns not read: {', '.join(ignored)}"
            self._watcher.happened("columns_ignored", said, path=str(path), columns=ignored)
        return rows

    async def _tell(self, block: Block, *, is_fixed: bool) -> None:
        bars = [row for part in block.columns for row in _rows(part, is_fixed=is_fixed)]
        await self._learn({said.key for _, said in bars})
        wanted = [(line, said) for line, said in bars if said.ts_us >= self._starts[said.key]]
        passed_by = max((line for line, said in bars if said.ts_us < self._starts[said.key]), default=0)
        over = self._outgoing.over([said for _, said in wanted], self._now_us())
        if len(over) < len(wanted):
            places = {(said.symbol, said.timeframe, said.ts_us) for said in over}
            new = {(said.symbol, said.timeframe, said.ts_us): said for _, said in wanted}
            self._running |= {place: said for place, said in new.items() if place not in places}
        await self._send(over)
        odd = [*block.odd, *(odd for part in block.columns for odd in _holes(part))]
        for row in odd:
            if row.line > passed_by:  # what stands before was sent, and refused, by who was here before
                await self._outgoing.give(row.symbol, row.payload)

    async def _learn(self, keys: set[tuple[str, str]]) -> None:
        """Where each symbol goes on."""
        unknown = [key for key in keys if key not in self._starts]
        for timeframe in {timeframe for _, timeframe in unknown}:
            symbols = sorted(symbol for symbol, of in unknown if of == timeframe)
            newest: Mapping[str, int] = {}
            if not self._again:
                newest = await self._stored.newest(symbols, timeframe)
            for symbol in symbols:
                since = newest[symbol] - overlap_us(timeframe) if symbol in newest else -(2**62)
                self._starts[symbol, timeframe] = since

    async def _release(self) -> None:
        over = self._outgoing.over(list(self._running.values()), self._now_us())
        await self._send(over)
        for said in over:
            del self._running[said.symbol, said.timeframe, said.ts_us]

    async def _send(self, bars: Sequence[Said]) -> None:
        """Of rows of one bar that came together the last one, unless they are numbered."""
        if not bars:
            return
        last = {(said.symbol, said.timeframe, said.ts_us): said for said in bars}
        known = await self._stored.known(list(last))
        told = bars if bars[0].is_fixed else last.values()
        await self._outgoing.tell(told, {place: Known(*version) for place, version in known.items()})


def _rows(part: Columns, *, is_fixed: bool) -> Iterator[tuple[int, Said]]:
    """Rows with all their numbers, each with its line."""
    bars = part.bars
    for i, (line, seconds) in enumerate(zip(part.lines, part.seconds, strict=True)):
        numbers = [getattr(bars, name)[i] for name in FIELDS]
        if None not in numbers:
            ts_us = round(seconds * 1_000_000)
            o, h, l, c, v = numbers  # noqa: E741 - the letters of the field
            yield line, Said(bars.symbol[i], bars.timeframe, ts_us, o, h, l, c, v, bars.revision[i], is_fixed)


def _holes(part: Columns) -> Iterator[Odd]:
    """Rows in which a number is missing: the stream refuses them, and keeps them with the reason."""
    bars = part.bars
    for i, line in enumerate(part.lines):
        numbers = {name: getattr(bars, name)[i] for name in FIELDS}
        if None in numbers.values():
            said = {"version": 1, "symbol": bars.symbol[i], "timeframe": bars.timeframe, "ts": bars.ts[i]}
            yield Odd(line, bars.symbol[i], orjson.dumps({**said, **numbers, "revision": bars.revision[i]}))


def _asked(part: Columns, request: Request) -> dict[int, Said]:
    if part.bars.timeframe != request.timeframe or request.symbol not in part.bars.symbol:
        return {}
    return {
        said.ts_us: said
        for _, said in _rows(part, is_fixed=True)
        if said.symbol == request.symbol and request.first_us <= said.ts_us <= request.last_us
    }


class FilesAgain:
    """`producers.keeper.Source` of the files as they are: what is in them can be read again."""

    name = "csv"

    def __init__(
        self, paths: Sequence[Path], options: Options, outgoing: Outgoing, now_us: Callable[[], int]
    ) -> None:
        self._paths = paths
        self._options = options
        self._outgoing = outgoing
        self._now_us = now_us

    def serves(self) -> Serves:
        known = self._options.timeframe
        return Serves(None, frozenset({known} if known else TIMEFRAMES))

    async def again(self, request: Request) -> Bars | None:
        """None where the files have nothing of it: that nothing traded is more than they can tell."""
        bars = await asyncio.to_thread(self._read, request)
        return columns(request.timeframe, bars) if bars else None

    def _read(self, request: Request) -> list[Said]:
        found: dict[int, Said] = {}
        for path in self._paths:
            try:
                for block in CsvFile(path, self._options).blocks():
                    for part in block.columns:
                        found |= _asked(part, request)
            except Refused:
                continue  # rotated away, or being written: somebody else may know
        return self._outgoing.over([said for _, said in sorted(found.items())], self._now_us())
