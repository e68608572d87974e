"""`rollo verify`: recompute every derived row from the inputs and compare."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from rollotape import verify as engine
from rollotape.cli import ends
from rollotape.cli.meters import Meter
from rollotape.postgres import arrivals
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.settings import Settings

SHOWN = 20
"""Differences printed in words; all of them are in --json."""


def verify(
    symbols: Annotated[
        list[str] | None, typer.Option(help="Only these; repeat the option or separate by commas.")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Only so many symbols, chosen by chance.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
) -> None:
    """Recompute everything derived from the stored inputs, cold, one bar at a time, and compare.

    Everything is read from one snapshot, so the detectors may go on working. The exit code is 1 when
    anything differs.

    Example: rollo verify --sample 20
    """
    if symbols and sample:
        ends.stop("say --symbols or --sample, not both", ends.USAGE)
    chosen = sorted({s.strip().upper() for part in symbols for s in part.split(",")}) if symbols else None
    report = ends.run(_verify(ends.database_of(data), chosen, sample))
    if as_json:
        typer.echo(orjson.dumps(asdict(report), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(_in_words(report))
    if chosen and report.symbols_checked < len(chosen):
        missing = len(chosen) - report.symbols_checked
        ends.stop(f"{missing:,} of these symbols have no bars", ends.FAILURE)
    if report.differences:
        raise typer.Exit(ends.FAILURE)


async def _verify(settings: Settings, symbols: list[str] | None, sample: int | None) -> engine.Report:
    async with await open_pool(settings, service="verify", raw_times=True, size=1) as pool:
        with unavailable("postgres"):
            if sample is not None:
                symbols = await arrivals.sample(pool, sample)
            with Meter() as meter:
                return await engine.verify(pool, symbols=symbols, progress=meter.parts("verify", "symbols"))


def _in_words(report: engine.Report) -> str:
    lines = [
        f"{d.table} {d.key}: stored {d.stored or 'nothing'}, expected {d.expected or 'nothing'}"
        for d in report.differences[:SHOWN]
    ]
    if len(report.differences) > SHOWN:
        lines.append(f"... and {len(report.differences) - SHOWN:,} more (see --json)")
    lines.append(
        f"{len(report.differences):,} differences over {report.symbols_checked:,} symbols "
        f"({report.bars_checked:,} bars, {report.events_checked:,} events, {report.wyckoff_checked:,} of "
        f"Wyckoff, {report.patterns_checked:,} patterns, {report.scores_checked:,} scores)"
    )
    if report.keys_unread:
        lines.append(f"{report.keys_unread:,} symbols and timeframes are still being read for Wyckoff")
    if report.dates_pending:
        lines.append(f"{report.dates_pending:,} dates are waiting for their scores")
    if report.days_pending:
        lines.append(f"{report.days_pending:,} days are waiting for their rollups")
    if report.scans_pending or report.symbols_pending:
        lines.append(
            f"{report.scans_pending:,} saved scans and {report.symbols_pending:,} symbols are waiting to be "
            "looked at for newcomers"
        )
    if report.pending:
        lines.append(f"{report.pending:,} commits have not been told to others yet")
    return "\n".join(lines)
