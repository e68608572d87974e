"""`rollo backtest`: what a rule set's patterns would have earned on stored bars, and what chance earns."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import asyncpg
import orjson
import typer

from rollotape import calendars
from rollotape.backtest import files, stored
from rollotape.backtest.report import Asked, Found, document
from rollotape.backtest.run import Extent, Source, run
from rollotape.backtest.updates import Updates
from rollotape.cli import backtests, ends
from rollotape.cli.backtested import in_words, write
from rollotape.cli.files import options_of
from rollotape.cli.meters import Meter
from rollotape.cli.moments import moment
from rollotape.domain.wyckoff.derived import derived
from rollotape.domain.wyckoff.rules import CURRENT, RULE_SETS, Rules
from rollotape.errors import Refused, Unavailable
from rollotape.facts import Message
from rollotape.postgres.backtests import Backtests, Kept
from rollotape.postgres.history import History
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.producers import sectors as listings
from rollotape.producers.csv import CsvFile, Options
from rollotape.producers.replay import Choice
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.backoff import Backoff
from rollotape.streams.outbox import Outbox
from rollotape.streams.producer import Producer

TURNS = 200
FOREVER_US = 2**62
"""Later than any bar."""
PATIENCE_S = 30.0
"""So long a database may be away at the end: what was computed is not thrown away for a restart."""
BESIDE = {"listed", "show", "cells", "data", "as_json"}
"""Options that may stand with --list and --show."""


def backtest(
    ctx: typer.Context,
    file: Annotated[
        list[Path] | None, typer.Option(help="Bars of this CSV file instead of a stack's; repeat for more.")
    ] = None,
    rules: Annotated[str, typer.Option(help="Name of the rule set, like wyckoff-1.")] = CURRENT.name,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another value of a parameter; repeat for more."),
    ] = None,
    symbols: Annotated[
        list[str] | None, typer.Option(help="Only these; repeat the option or separate by commas.")
    ] = None,
    timeframe: Annotated[str, typer.Option(help="Of the bars.")] = "1d",
    first: Annotated[
        str | None, typer.Option("--from", help="Patterns confirmed then or later: 2018-02-05, or a time.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Bars that start before; of a day without a time, its end.")
    ] = None,
    sectors: Annotated[
        Path | None, typer.Option(help="Which sector each symbol belongs to, instead of what a stack knows.")
    ] = None,
    turns: Annotated[
        int, typer.Option("--null", min=0, max=10_000, help="Turns of the calendar to compare with; 0: none.")
    ] = TURNS,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="INTEGER", help="Of the turns.")] = 1,
    cells: Annotated[
        bool, typer.Option("--cells", help="Print each type, phase and sector together, too.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write every trade to this CSV file.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the runs that the stack holds.")] = False,
    show: Annotated[
        str | None, typer.Option(metavar="ID", help="Print a run again; the beginning of its id is enough.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Find the patterns of a rule set in bars, follow each as a paper trade, and say what they earned.

    Trades enter at the open after detection and end at the stop, at target 1 or at the 20th close. The
    table of chance holds the mean R beside that of the same trades at other dates: all entries are turned
    together around the calendar, so that p says how seldom dates without a meaning earn as much.

    Bars are those that the stack holds. What was found is stored there with the rules and every value of
    them, for --list and --show, and progress and result go out on the stream of updates as
    backtest.progress and backtest.result. With --file no stack is needed, nothing is stored and nothing
    is published. --set makes a rule set of its own, named like wyckoff-2+st_bars=80.

    Example: rollo backtest --file bars_daily.csv.gz --rules wyckoff-1 --set st_bars=60
    """
    if listed or show is not None:
        given = {n for n in ctx.params if (by := ctx.get_parameter_source(n)) and by.name != "DEFAULT"}
        if given - BESIDE or (listed and (show is not None or cells)):
            ends.stop("--list and --show stand alone, but for --data and --json", ends.USAGE)
        backtests.look(show, cells=cells, data=data, as_json=as_json)
        return
    if out is not None and not out.parent.is_dir():
        ends.stop(f"{out}: there is no folder {out.parent}", ends.USAGE)
    known = options_of(timeframe, None, None, None)
    since = None if first is None else moment("--from", first)
    before = None if last is None else moment("--to", last, end_of_day=True)
    if since is not None and before is not None and since >= before:
        ends.stop(f"--from {first} is not before --to {last}", ends.USAGE)
    with ends.refusals():
        chosen, frame = _rules(rules, change or []), known.timeframe or "1d"
        asked = Asked(chosen, frame, _named(symbols), since, before, turns, seed)
        job = Backtest(asked, None if sectors is None else _sectors(sectors))
        if file:
            work = job.of_files([_source(path, known) for path in file])
        else:
            work = job.of_stack(ends.stack_of(data))
    told, found = ends.run(work, interrupted=job.interrupted)
    if out is not None:
        write(out, found.followed)
    typer.echo(_json(told) if as_json else in_words(told, cells=cells))


def _rules(name: str, changes: list[str]) -> Rules:
    by_name = {rules.name: rules for rules in RULE_SETS}
    if name not in by_name:
        raise Refused(f"--rules is one of {', '.join(sorted(by_name))}; found {name!r}")
    values = dict(change.partition("=")[::2] for change in changes)
    return derived(by_name[name], {name.strip(): value for name, value in values.items()})


def _named(symbols: list[str] | None) -> set[str] | None:
    return {s.strip().upper() for part in symbols or () for s in part.split(",") if s.strip()} or None


def _sectors(file: Path) -> Mapping[str, str]:
    return {told.symbol: told.sector for told in listings.read(file).kept if told.sector is not None}


def _source(path: Path, options: Options) -> CsvFile:
    """The file, with a timeframe only where it has no column that says so."""
    bare = CsvFile(path, Options())
    return bare if "timeframe" in bare.layout.at else CsvFile(path, options)


Answer = tuple[dict[str, Any], Found]


def _json(told: Mapping[str, Any]) -> str:
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


@dataclass(slots=True)
class Backtest:
    """One run of the command."""

    asked: Asked
    sectors: Mapping[str, str] | None
    stored_as: str | None = None

    def interrupted(self) -> str:
        """What holds after Ctrl-C."""
        if self.stored_as is None:
            return "stopped; nothing is kept of it"
        return f"stopped; what it found is stored as run {self.stored_as}"

    async def of_files(self, sources: list[CsvFile]) -> Answer:
        sessions = calendars.sessions()
        choice = Choice(self.asked.timeframe, self.asked.only, None, self.asked.before_us)
        with Meter() as meter:
            bars = {id(source): meter.file(source.path.name, source.size) for source in sources}
            market = files.market(
                sources, choice, sessions, time.time_ns() // 1_000_000, lambda s, *more: bars[id(s)](*more)
            )

            async def one_by_one() -> Source:
                for history in market.histories(sessions):
                    yield history

            extent = Extent(len(market.symbols), market.first_us, market.last_us)
            return await self._run(extent, one_by_one(), self.sectors or {}, meter, market.tape.unusable)

    async def of_stack(self, settings: Settings) -> Answer:
        asked = self.asked
        async with (
            await open_pool(settings, service="backtest", raw_times=True, size=1) as pool,
            open_client(settings.redis_url) as redis,
        ):
            before = FOREVER_US if asked.before_us is None else asked.before_us
            stored = History(pool, asked.timeframe, before)
            with unavailable("postgres"):
                found = await stored.symbols(self.asked.only)
            if not found:
                raise Refused("the stack holds no bar that matches --symbols, --timeframe and --to")

            async def one_by_one() -> Source:
                for one in found:
                    with unavailable("postgres"):
                        bars = await stored.bars(one.symbol)
                    yield one.symbol, bars

            extent = Extent(len(found), min(s.first_us for s in found), max(s.last_us for s in found))
            sectors = self.sectors
            if sectors is None:
                sectors = {s.symbol: s.sector for s in found if s.sector}
            with Meter() as meter:
                return await self._kept(extent, one_by_one(), sectors, meter, pool, Producer(redis))

    async def _kept(
        self,
        extent: Extent,
        source: Source,
        sectors: Mapping[str, str],
        meter: Meter,
        pool: "asyncpg.Pool[Any]",
        producer: Producer,
    ) -> Answer:
        """Run, store what was found, and say so; a job that fails says that, if it still can."""
        updates = Updates(producer, str(uuid4()), time.monotonic)
        started_us = _now_us()
        try:
            told, found = await self._run(extent, source, sectors, meter, 0, updates)
            ended_us = _now_us()
            told = {**stored.heading(updates.job_id, started_us, ended_us), **told}
            kept = stored.kept(self.asked, found, told, updates.job_id, started_us, ended_us)
            unsaid = await _store(pool, kept, updates.completed(told))
        except Exception:
            await updates.failed()
            raise
        self.stored_as = updates.job_id
        if unsaid is not None:
            await _say(pool, producer, unsaid)
        return told, found

    async def _run(
        self,
        extent: Extent,
        source: Source,
        sectors: Mapping[str, str],
        meter: Meter,
        unusable: int,
        updates: Updates | None = None,
    ) -> Answer:
        done = meter.rows("symbols", extent.symbols)

        async def progress(count: int, symbol: str) -> None:
            done(count)
            if updates is not None:
                await updates.progress(count / extent.symbols, symbol)
            await asyncio.sleep(0)  # so that Ctrl-C is heard

        found, chance = await run(self.asked, extent, source, sectors, calendars.sessions(), progress)
        found.unusable = unusable
        return document(self.asked, found, chance), found


async def _store(pool: "asyncpg.Pool[Any]", kept: Kept, message: Message) -> Unsaid | None:
    """Tried again while the database is away, for a while: a run that is stored already stays as it is."""
    deadline, backoff = time.monotonic() + PATIENCE_S, Backoff()
    while True:
        try:
            with unavailable("postgres"):
                return await Backtests(pool).store(kept, [message])
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(backoff.delay_s())


async def _say(pool: "asyncpg.Pool[Any]", producer: Producer, unsaid: Unsaid) -> None:
    """What is committed is said, now or by the detectors' sweep."""
    try:
        with unavailable("postgres"):
            await Outbox(pool, producer).say(unsaid)
    except Unavailable as error:
        typer.echo(f"rollo: stored; a detector will say backtest.result later ({error})", err=True)


def _now_us() -> int:
    return time.time_ns() // 1_000
