"""`rollo replay`: a file's bars through the live streams, as the market made them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import numpy as np
import orjson
import typer
from redis.asyncio import Redis

from rollotape import calendars
from rollotape.cli import ends, stack
from rollotape.cli.files import FilesArgument, SymbolOption, ThousandsOption, TimezoneOption, options_of
from rollotape.cli.keyboard import keys
from rollotape.cli.meters import Meter
from rollotape.cli.waiting import keeps_streams, watched
from rollotape.domain.bars import timeframe as known_timeframe
from rollotape.errors import Refused
from rollotape.postgres import arrivals
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.producers.csv import CsvFile, Options
from rollotape.producers.frames import Framer
from rollotape.producers.importer import Readers
from rollotape.producers.replay import Choice, Position, Replay, Tape, read
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.producer import Producer

KEYS_AT_ONCE = 100
PAUSE_KEYS = " pP"


def replay(
    files: FilesArgument,
    speed: Annotated[float, typer.Option(help="Seconds of market time in a second.")] = 60.0,
    first: Annotated[
        str | None, typer.Option("--from", help="Bars that start then or later: 2018-02-05, or a timestamp.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Bars that start before; of a day without a time, its end.")
    ] = None,
    timeframe: Annotated[
        str | None,
        typer.Option(help="Of the bars in the file. Of a file with a column of timeframes, only these."),
    ] = None,
    symbols: Annotated[
        list[str] | None, typer.Option(help="Only these; repeat the option or separate by commas.")
    ] = None,
    quiet: Annotated[
        float | None,
        typer.Option(
            min=0, help="Longest stretch without bars, in seconds of market time. [default: one bar]"
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Only bars that the stack does not hold.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also bars that the stack holds.")] = False,
    symbol: SymbolOption = None,
    timezone: TimezoneOption = None,
    thousands: ThousandsOption = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Send the bars of CSV files through the live streams in the order of the market, at a chosen speed.

    A bar is sent when it is over: a minute a minute after its start, a day at the close of its session. So
    everything behind the streams sees what it would have seen then. Stretches in which no bar of the
    files is over (nights, weekends) are cut to the length of one bar of their finest timeframe, or to
    --quiet. Daily bars at --speed 86400 go by at a day a second, minutes at --speed 60 at one a second.

    The space bar, or p, pauses and goes on. Ctrl-C stops; --resume goes on later with what is missing.
    Files are read as by `rollo import`; rows that no bar can come from are counted and left out.

    Example: rollo replay bars_daily.csv.gz --from 2018-01-02 --to 2018-02-07 --speed 86400
    """
    if not 0 < speed < float("inf"):
        raise typer.BadParameter(f"must be above 0, got {speed:g}", param_hint="--speed")
    if resume and again:
        ends.stop("say --resume or --again, not both", ends.USAGE)
    choice = _choice(timeframe, symbols, first, last)
    options = options_of(timeframe, None, symbol, timezone, thousands)
    settings = ends.stack_of(data)
    quiet_us = None if quiet is None else int(quiet * 1e6)
    job = ReplayJob(settings, files, options, choice, speed, quiet_us, resume, again)
    summary = ends.run(job.run(), interrupted=job.interrupted)
    typer.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode() if as_json else _in_words(summary))


def _choice(
    timeframe: str | None, symbols: list[str] | None, first: str | None, last: str | None
) -> Choice:
    known = known_timeframe(timeframe) if timeframe else None
    wanted = {s.strip().upper() for part in symbols or () for s in part.split(",") if s.strip()}
    first_us = moment("--from", first, timedelta(0)) if first else None
    before_us = moment("--to", last, timedelta(days=1)) if last else None
    if first_us is not None and before_us is not None and first_us >= before_us:
        ends.stop(f"--from {first} is not before --to {last}", ends.USAGE)
    return Choice(known.name if known else None, wanted or None, first_us, before_us)


def moment(option: str, text: str, of_day: timedelta) -> int:
    """Microseconds since 1970; `of_day` is added to a day without a time."""
    try:
        try:
            day = date.fromisoformat(text)
            when = datetime(day.year, day.month, day.day, tzinfo=UTC) + of_day
        except ValueError:
            when = datetime.fromisoformat(text)
            if when.tzinfo is None:
                raise typer.BadParameter(
                    f"{text} names no time zone: write {text}Z for UTC", param_hint=option
                ) from None
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither a day like 2018-02-05 nor a time like 2018-02-05T14:30Z", param_hint=option
        ) from None
    return round(when.timestamp() * 1e6)


@dataclass(slots=True)
class ReplayJob:
    """One run of the command; knows at every moment what holds if it is interrupted."""

    settings: Settings
    files: list[Path]
    options: Options
    choice: Choice
    speed: float
    quiet_us: int | None
    resume: bool
    again: bool
    replay: Replay | None = None
    total: int = 0
    meter: Meter = field(default_factory=Meter)

    async def run(self) -> dict[str, Any]:
        sources = [self._source(path) for path in self.files]
        tape = await asyncio.to_thread(self._read, sources)
        if not len(tape):
            raise Refused(_nothing(tape))
        for source in sources:
            for doubt in source.doubts:
                self.meter.note(f"numbers: {doubt.says}: see --thousands")
        redis_url = self.settings.redis_url
        async with watched(redis_url, self.meter.note), _connected(self.settings) as (redis, pool):
            with unavailable("postgres"):
                partitions = await arrivals.partitions(pool)
                tape = await self._not_held(pool, tape)
            if not len(tape):
                return self._summary(tape, 0.0)
            readers = Readers(redis, partitions, quiet=self._quiet)
            return await self._play(tape, Producer(redis), Framer(partitions), readers)

    def _source(self, path: Path) -> CsvFile:
        """The file, with its timeframe only where it has no column that says so."""
        bare = replace(self.options, timeframe=None)
        source = CsvFile(path, bare)
        return source if "timeframe" in source.layout.at else CsvFile(path, self.options)

    def _read(self, sources: list[CsvFile]) -> Tape:
        with Meter() as meter:
            advance = {id(source): meter.file(source.path.name, source.size) for source in sources}
            return read(
                sources,
                self.choice,
                calendars.sessions(),
                time.time_ns() // 1_000_000,
                lambda source, rows, position: advance[id(source)](rows, position),
            )

    async def _not_held(self, pool: asyncpg.Pool, tape: Tape) -> Tape:
        """What is to be sent of the tape.

        Raises:
            Refused: the stack holds some of it, and nobody said what to do about it.
        """
        if self.again or not await arrivals.has_bars(pool):
            return tape
        held = await self._held(pool, tape)
        count = int(np.count_nonzero(held))
        if count and not self.resume:
            raise Refused(
                f"the stack holds {count:,} of these {len(tape):,} bars already, and would derive nothing"
                " new from them: --resume sends the others only, --again sends all; or replay into an empty"
                " stack, like one of `rollo up --data DIR`"
            )
        return tape.only(~held)

    async def _held(self, pool: asyncpg.Pool, tape: Tape) -> Any:
        held = np.zeros(len(tape), bool)
        found = list(tape.keys())
        for start in range(0, len(found), KEYS_AT_ONCE):
            part = found[start : start + KEYS_AT_ONCE]
            asked = [(s, t, int(tape.ts[at].min()), int(tape.ts[at].max())) for s, t, at in part]
            for (_, _, at), stored in zip(part, await arrivals.held(pool, asked), strict=True):
                held[at] = np.isin(tape.ts[at], list(stored))
        return held

    async def _play(self, tape: Tape, producer: Producer, framer: Framer, readers: Readers) -> dict[str, Any]:
        self.total = len(tape)
        self.replay = player = Replay(
            tape, producer.send_many, framer, speed=self.speed, quiet_us=self.quiet_us, breathe=readers.pause
        )
        began = time.monotonic()

        def pressed(key: str) -> None:
            if key in PAUSE_KEYS:
                player.pause_or_go_on()

        with keys(pressed) as listening:
            self.meter.note(self._opening(tape, player, listening))
            with self.meter:
                show = self.meter.said("replay", self.total)
                await player.run(lambda position: show(position.rows, _standing(position, listening)))
        return self._summary(tape, time.monotonic() - began)

    def _opening(self, tape: Tape, player: Replay, listening: bool) -> str:
        left_out = f" {tape.unusable:,} rows that no bar can come from are left out." if tape.unusable else ""
        pause = " The space bar pauses." if listening else ""
        return (
            f"{len(tape):,} bars of {len(set(tape.symbol.tolist())):,} symbols, known from"
            f" {_time(int(tape.due[0]))} to {_time(int(tape.due[-1]))}: {_duration(player.takes_s)} at"
            f" {self.speed:,.10g} seconds a second.{left_out}{pause}"
        )

    def _summary(self, tape: Tape, seconds: float) -> dict[str, Any]:
        position = self.replay.position if self.replay else Position()
        return {
            "files": [str(path) for path in self.files],
            "bars": position.rows,
            "entries": position.entry_count,
            "symbols": len(set(tape.symbol.tolist())),
            "unusable": tape.unusable,
            "first": _rfc_3339(tape.due[0]) if len(tape) else None,
            "last": _rfc_3339(tape.due[-1]) if len(tape) else None,
            "speed": self.speed,
            "seconds": round(seconds, 3),
        }

    def _quiet(self, why: str) -> None:
        self.meter.note(
            f"{why}: nothing has moved for a few seconds. Is a detector running?{stack.starts_one()} "
            "What was sent waits in the streams."
        )

    def interrupted(self) -> str:
        if self.replay is None or self.replay.position.until_us is None:
            return "stopped before anything was sent"
        position = self.replay.position
        return (
            f"stopped at {_time(position.until_us or 0)} of the market:"
            f" {position.rows:,} of {self.total:,} bars were sent;"
            " the same command with --resume goes on from there"
        )


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[tuple[Redis, asyncpg.Pool]]:
    await keeps_streams(settings.redis_url)
    redis = open_client(settings.redis_url)
    try:
        async with await open_pool(settings, service="replay", size=1, raw_times=True) as pool:
            yield redis, pool
    finally:
        await redis.aclose()


def _nothing(tape: Tape) -> str:
    others = f"; {tape.unusable:,} rows were no bars: `rollo import` tells why" if tape.unusable else ""
    return f"no bar of the files matches --from, --to, --symbols and --timeframe{others}"


def _standing(position: Position, listening: bool) -> str:
    at = _time(position.until_us) if position.until_us is not None else "the beginning"
    if position.paused:
        return f"{at}  paused; the space bar goes on" if listening else f"{at}  paused"
    return f"{at}  {position.rows:,} bars"


def _time(us: int) -> str:
    return f"{datetime.fromtimestamp(us / 1e6, UTC):%a %Y-%m-%d %H:%M} UTC"


def _rfc_3339(us: Any) -> str:
    return datetime.fromtimestamp(int(us) / 1e6, UTC).isoformat().replace("+00:00", "Z")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _in_words(s: dict[str, Any]) -> str:
    if not s["bars"]:
        return "the stack holds all of these bars already: nothing was sent"
    return (
        f"{s['bars']:,} bars of {s['symbols']:,} symbols sent in {s['entries']:,} entries"
        f" and {s['seconds']:.1f} s"
    )
