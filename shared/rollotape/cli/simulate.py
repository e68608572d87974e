"""`rollo simulate`: a market that does not exist, with labels for what is in it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from rollotape.cli import ends
from rollotape.cli import simulated as options
from rollotape.cli.importing import ImportJob
from rollotape.cli.meters import Meter
from rollotape.producers.csv import Options
from rollotape.simulation import files
from rollotape.simulation.series import SCHEMATIC

FRAME_BARS = 500


def simulate(
    out: Annotated[Path, typer.Option(help="Folder for bars.csv, labels.csv and market.json.")] = Path(
        "simulated"
    ),
    symbols: options.Symbols = 20,
    years: options.Years = None,
    bars: options.BarCount = None,
    seed: options.Seed = 1,
    difficulty: options.Difficulty = "middle",
    kinds: options.Kinds = None,
    start: options.Start = options.START,
    end: options.End = None,
    timeframe: options.Timeframe = "1d",
    stack: Annotated[
        bool, typer.Option("--stack", help="Send the bars into the streams of the running stack, too.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With --stack: until events are there.")] = False,
    data: Annotated[Path | None, typer.Option(help="With --stack: directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Make a market that does not exist, with labels for what is in it.

    Of ten symbols seven go through whole schematics: a trend, preliminary support or supply, a climax, the
    automatic rally or reaction, secondary tests, a spring or upthrust or none, its test, the break on volume
    and the last point before the trend; some fail. The others have no events at all: plain trends, ranges
    without a climax, and news days.

    bars.csv is what `rollo import` takes; labels.csv says at which bar an analyst would mark what, and
    `rollo score` compares detections with it. Equal options give equal files.

    --kinds chooses: spring, no_spring, failed and failed_spring are the ways of a schematic to end; trend,
    range and news are series without events.

    Example: rollo simulate --symbols 100 --seed 7 --difficulty hard --out hard7
    """
    market = options.wanted(symbols, years, bars, seed, difficulty, kinds, start, end, timeframe)
    if wait and not stack:
        ends.stop("--wait is for what goes into a stack: say --stack, too", ends.USAGE)
    settings = ends.stack_of(data) if stack else None
    if settings and market.end() > datetime.now(UTC) + timedelta(minutes=5):
        ends.stop(
            f"the last bar would end on {market.end():%Y-%m-%d}, and a stack refuses bars that are not over: "
            "say an earlier --start or less",
            ends.USAGE,
        )
    summary = _write(out, market)
    if settings:
        job = ImportJob(settings, [out / files.BARS], Options(), FRAME_BARS, None)
        summary["stack"] = ends.run(job.run(wait=wait), interrupted=job.interrupted)
    if as_json:
        typer.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(_in_words(out, summary))


def _write(out: Path, wanted: options.Wanted) -> dict[str, Any]:
    try:
        with ends.refusals(), Meter() as meter:
            done = meter.rows("symbols", len(wanted.market.symbols))
            told = files.write(out, wanted.market.series(wanted.ts), wanted.made_of, done)
    except OSError as error:
        ends.stop(f"{error.filename or out}: {error.strerror}", ends.FAILURE)
    except KeyboardInterrupt:
        ends.stop(f"stopped; what is in {out} is not whole", ends.INTERRUPTED)
    first, last = (files.text_of(int(us)) for us in (wanted.ts[0], wanted.ts[-1]))
    return {**told, "first": first, "last": last, "folder": str(out)}


def _in_words(out: Path, s: dict[str, Any]) -> str:
    kinds = list(s["series"].values())
    told = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    days = f"{s['first'][:10]} to {s['last'][:10]}"
    lines = [
        f"market   {len(kinds):,} symbols ({told}), seed {s['seed']}, {s['difficulty']}",
        f"bars     {s['bars']:,} of {s['timeframe']}, {days}: {out / files.BARS}",
        f"labels   {s['labels']:,}: {out / files.LABELS}",
    ]
    if not s["labels"] and SCHEMATIC in kinds:
        lines.append("         no schematic ends before the last bar, so none is begun: try more --years")
    if "stack" in s:
        sent = s["stack"]
        lines.append(f"sent     {sent['sent']:,} bars in {sent['entries']:,} entries")
        if sent["derived"]:
            lines.append(f"derived  in {sent['derived_seconds']:.1f} s")
    else:
        lines.append(f"next     rollo import {out / files.BARS} --wait")
    return "\n".join(lines)
