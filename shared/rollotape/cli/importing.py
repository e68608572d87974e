"""`rollo import`: bars from CSV files into the streams."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import orjson
import typer
from redis.asyncio import Redis

from rollotape import calendars
from rollotape.cli import ends, stack
from rollotape.cli.files import (
    FilesArgument,
    RevisionOption,
    SymbolOption,
    ThousandsOption,
    TimeframeOption,
    TimezoneOption,
    options_of,
)
from rollotape.cli.meters import Meter
from rollotape.cli.scored import read_out, scored
from rollotape.cli.waiting import keeps_streams, watched
from rollotape.events import MAX_FRAME_BARS
from rollotape.postgres import arrivals, dead_letters
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.producers.csv import CsvFile, Options
from rollotape.producers.frames import Framer, Message
from rollotape.producers.importer import POLL_S, Importer, Lost, Readers, RefusedRows, Send, Sent  # fmt: skip
from rollotape.producers.missing import NotStored
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.producer import Producer

COUNTED_AT_ONCE = 50_000
PASSES = 5
"""So often what was lost is looked for: what then is still not there, somebody refuses to store."""
EPOCH = date(1970, 1, 1)
LEAST_DAY, MOST_DAY = (date.min - EPOCH).days, (date.max - EPOCH).days


def import_bars(
    files: FilesArgument,
    timeframe: TimeframeOption = None,
    revision: RevisionOption = None,
    symbol: SymbolOption = None,
    timezone: TimezoneOption = None,
    thousands: ThousandsOption = None,
    frame_bars: Annotated[
        int, typer.Option(min=1, max=MAX_FRAME_BARS, help="Bars sent in one stream entry.")
    ] = 500,
    missing: Annotated[
        bool, typer.Option("--missing", help="Send only what is not stored: after a loss, or to fill gaps.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until events and strength are there.")] = False,
    refused: Annotated[
        Path | None,
        typer.Option(help="Where refused rows and their reasons go. Unless given: <file>.refused.csv, here."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Send the bars of CSV files into the streams.

    The first line names the columns, in any order and case: symbol (or ticker), date or timestamp, open,
    high, low, close, volume. Commas, semicolons and tabs are told apart. Dates are ISO (2020-12-31),
    timestamps RFC 3339 (2020-12-31T14:30:00Z) and mean the START of the bar.

    Rows that no bar can come from are sent as well: the stream refuses them and keeps them with every
    reason (`rollo dlq list`), and they are written to a file here. Importing a file again changes nothing.

    With --wait the command ends when every bar is stored that is not refused, and what Redis lost meanwhile
    is sent again. Without it nobody knows: `rollo gaps` tells what is missing, and the same command with
    --missing sends it.

    Example: rollo import bars_daily.csv.gz --wait
    """
    options = options_of(timeframe, revision, symbol, timezone, thousands)
    settings = ends.stack_of(data)
    job = ImportJob(settings, files, options, frame_bars, refused, missing)
    summary = ends.run(job.run(wait=wait), interrupted=job.interrupted)
    if as_json:
        typer.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2, default=str).decode())
    else:
        typer.echo(_in_words(summary))
    if job.not_stored:
        ends.stop(
            f"{job.not_stored:,} rows are not stored though they were sent {PASSES + 1} times:"
            " the log of the detectors says what became of them, and `rollo doctor` looks at the stack",
            ends.FAILURE,
        )


async def _unsent(messages: Sequence[Message]) -> list[str]:
    """Nothing is sent: only counted."""
    return ["0-0"] * len(messages)


@dataclass(slots=True)
class ImportJob:
    """One run of the command; knows at every moment what holds if it is interrupted."""

    settings: Settings
    files: list[Path]
    options: Options
    frame_bars: int
    refused: Path | None
    only_missing: bool = False
    importer: Importer | None = None
    sent_again: int = 0
    """Rows that Redis had lost."""
    not_stored: int = 0
    """Of them, those that are not there after all the times that they were sent."""
    waiting: bool = False
    sources: list[CsvFile] = field(default_factory=list)
    outputs: list[RefusedRows] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)

    async def run(self, *, wait: bool) -> dict[str, Any]:
        self.sources = [CsvFile(path, self.options) for path in self.files]  # all headers before a bar
        for source in self.sources:
            if source.layout.ignored:
                self.meter.note(f"{source.path.name}: columns not read: {', '.join(source.layout.ignored)}")
        redis_url = self.settings.redis_url
        async with watched(redis_url, self.meter.note), _connected(self.settings) as (redis, pool):
            partitions = await arrivals.partitions(pool)
            readers = Readers(redis, partitions, quiet=self._quiet)
            framer = Framer(partitions, self.frame_bars)
            send = Producer(redis).send_many
            only = NotStored(pool, calendars.sessions).only if self.only_missing else None
            self.importer = Importer(send, framer, calendars.sessions, pause=readers.pause, only=only)
            with self.meter:
                began = time.monotonic()
                await self._send()
                sent_s = time.monotonic() - began
                summary = self._summary(sent_s)
                if wait:
                    self.waiting = True
                    await self._wait(readers, pool, self.importer.sent)
                    await self._again(readers, pool, send, framer)
                    summary |= await self._outcome(pool, time.monotonic() - began)
                    summary |= await self._wyckoff(pool, began)
                    if self.importer.sent.has_days:
                        summary |= await self._strength(pool, began)
        return summary

    async def _send(self) -> None:
        assert self.importer is not None
        try:
            for source in self.sources:
                advance = self.meter.file(source.path.name, source.size)
                await self.importer.file(source, self._output(source.path), advance)
            await self.importer.flush()
        finally:
            for output in self.outputs:
                output.close()

    def _output(self, path: Path) -> RefusedRows:
        if self.refused is None or not self.outputs:
            stem = path.name.removesuffix(".gz").removesuffix(".csv")
            self.outputs.append(RefusedRows(self.refused or Path(f"{stem}.refused.csv")))
            self.outputs[-1].clear()
        return self.outputs[-1]

    async def _again(self, readers: Readers, pool: asyncpg.Pool, send: Send, framer: Framer) -> None:
        """Send what Redis lost: the files are their own journal."""
        for _ in range(PASSES):
            sent = await self._sent_of_missing(readers, pool, send, framer)
            if not sent.bars:
                return
            self.sent_again += sent.bars
            self.meter.note(f"{sent.bars:,} rows were lost on their way: they are sent again")
            await self._wait(readers, pool, sent)
        self.not_stored = (await self._sent_of_missing(readers, pool, _unsent, framer)).bars

    async def _sent_of_missing(
        self, readers: Readers, pool: asyncpg.Pool, send: Send, framer: Framer
    ) -> Sent:
        """What was sent of the rows that are not stored, and would not be refused."""
        assert self.importer is not None
        series = await self.importer.tally.short(pool)
        only = NotStored(pool, calendars.sessions, series).only
        again = Importer(send, framer, calendars.sessions, pause=readers.pause, only=only)
        if series:
            for path in self.files:
                await again.file(CsvFile(path, self.options), None, lambda rows, position: None)
            await again.flush()
        return again.sent

    async def _wait(self, readers: Readers, pool: asyncpg.Pool, sent: Sent) -> None:
        try:
            await readers.wait(sent, self.meter.waiting(sent.entry_count))
        except Lost as lost:
            self.meter.note(str(lost))
        with unavailable("postgres"):
            newest = await arrivals.newest_unsaid(pool)
            while newest is not None:
                await asyncio.sleep(POLL_S)
                if not await arrivals.unsaid(pool, newest):
                    return

    def _summary(self, sent_s: float) -> dict[str, Any]:
        assert self.importer is not None
        sent, twice = self.importer.sent, self.importer.watch.found()
        return {
            "files": [str(path) for path in self.files],
            "rows": sent.rows,
            "sent": sent.bars,
            "entries": sent.entry_count,
            "symbols": len(sent.symbols),
            "refused": sent.refused,
            "refused_files": [str(output.path) for output in self.outputs if output.count],
            "twice": twice and {"bars": twice.bars, "file": str(twice.path), "line": twice.line},
            "numbers": [asdict(doubt) for source in self.sources for doubt in source.doubts],
            "seconds": round(sent_s, 3),
            "rows_per_second": round(sent.rows / max(sent_s, 1e-9)),
            "derived": False,
        }

    async def _outcome(self, pool: asyncpg.Pool, seconds: float) -> dict[str, Any]:
        """What the database says after the wait: the count of refused rows is now a fact."""
        assert self.importer is not None
        sent = self.importer.sent
        refused = 0
        for stream, ids in sent.entries.items():
            for start in range(0, len(ids), COUNTED_AT_ONCE):
                part = ids[start : start + COUNTED_AT_ONCE]
                refused += await dead_letters.count_entries(pool, {stream: part})
        refused = max(refused, sent.refused)  # where it was lost, its dead letter was, too
        accepted = sent.bars - refused
        return {
            "sent_again": self.sent_again,
            "not_stored": self.not_stored,
            "accepted": accepted,
            "refused": refused,
            "derived": True,
            "derived_seconds": round(seconds, 3),
            "bars_per_second": round(accepted / max(seconds, 1e-9)),
            "events": await arrivals.events(pool, sorted(sent.symbols)),
        }

    async def _wyckoff(self, pool: asyncpg.Pool, began: float) -> dict[str, Any]:
        assert self.importer is not None
        outcome = await read_out(pool, self.meter.parts("wyckoff", "series"))
        if not outcome.is_done:
            self.meter.note(f"the bars are not read for Wyckoff yet: {outcome.reason}")
            return {"wyckoff_events": None, "wyckoff_seconds": None}
        seconds = time.monotonic() - began
        with unavailable("postgres"):
            found = await arrivals.wyckoff_events(pool, sorted(self.importer.sent.symbols))
        return {"wyckoff_events": found, "wyckoff_seconds": round(seconds, 3)}

    async def _strength(self, pool: asyncpg.Pool, began: float) -> dict[str, Any]:
        assert self.importer is not None
        outcome = await scored(pool, self.meter.parts("strength", "dates"))
        if not outcome.is_done:
            self.meter.note(f"relative strength is not there yet: {outcome.reason}")
            return {"strength_dates": None, "strength_seconds": None}
        seconds, sent = time.monotonic() - began, self.importer.sent
        with unavailable("postgres"):
            dates = await arrivals.scored_dates(pool, _day(sent.first_day_s), _day(sent.last_day_s))
        return {"strength_dates": dates, "strength_seconds": round(seconds, 3)}

    def _quiet(self, why: str) -> None:
        self.meter.note(
            f"{why}: nothing has moved for a few seconds. Is a detector running?{stack.starts_one()} "
            "What was sent waits in the streams; Ctrl-C is safe."
        )

    def interrupted(self) -> str:
        if self.importer is None:
            return "stopped before anything was sent"
        if self.waiting:
            return "stopped waiting; everything was sent and will be derived, nothing needs to be repeated"
        rows = self.importer.sent.rows
        return f"stopped after {rows:,} rows; what was sent stays sent, and importing again is harmless"


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[tuple[Redis, asyncpg.Pool]]:
    await keeps_streams(settings.redis_url)
    pool = await open_pool(settings, service="import", size=2)
    redis = open_client(settings.redis_url)
    try:
        yield redis, pool
    finally:
        await redis.aclose()
        await pool.close()


def _day(seconds: float) -> date:
    """Years that no calendar of ours has are refused as bars, and have no scores."""
    return EPOCH + timedelta(days=min(max(seconds // 86_400, LEAST_DAY), MOST_DAY))


def _in_words(s: dict[str, Any]) -> str:
    where = f" (reasons: {', '.join(s['refused_files'])})" if s["refused_files"] else ""
    lines = [
        f"read      {s['rows']:,} rows in {s['seconds']:.1f} s, {s['rows_per_second']:,} a second",
        f"sent      {s['sent']:,} rows of {s['symbols']:,} symbols in {s['entries']:,} entries",
        f"refused   {s['refused']:,}{where}",
    ]
    if again := s.get("sent_again"):
        lines.append(f"again     {again:,} rows that were lost on their way")
    if twice := s["twice"]:
        where = f"{Path(twice['file']).name} line {twice['line']:,}"
        lines += [
            f"twice     {twice['bars']:,} bars have rows with other numbers, the first one at {where}:",
            "          one row of each is kept whatever their order; import the right one with --revision 1",
        ]
    for doubt in s["numbers"]:
        lines += [f"numbers   {doubt['says']}:", f"          {doubt['remedy']}"]
    if s["derived"]:
        lines += [
            f"accepted  {s['accepted']:,}",
            f"derived   in {s['derived_seconds']:.1f} s, {s['bars_per_second']:,} bars a second end to end",
            f"events    {s['events']:,} of these symbols",
        ]
    if s.get("wyckoff_events") is not None:
        lines.append(f"wyckoff   {s['wyckoff_events']:,} events in {s['wyckoff_seconds']:.1f} s")
    if s.get("strength_dates") is not None:
        lines.append(f"strength  {s['strength_dates']:,} dates in {s['strength_seconds']:.1f} s")
    return "\n".join(lines)
