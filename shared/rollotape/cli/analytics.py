"""`rollo analytics`: look after what trades have earned, added up per day."""

import asyncio
import json
from pathlib import Path
from time import perf_counter
from typing import Annotated

import asyncpg
import typer

from rollotape.cli import ends
from rollotape.cli.meters import Meter
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.postgres.rollups import Rollups
from rollotape.settings import Settings

LOOK_AGAIN_S = 0.1
"""While a cache-builder is at it."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="What trades have earned, added up per day.\n\nExample: rollo analytics rebuild",
)
Data = Annotated[Path | None, typer.Option(help="Directory of the running stack.")]


@app.callback()
def analytics() -> None:
    """What trades have earned, added up per day; all of it can be made again."""


@app.command()
def rebuild(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Add up every day of closed trades anew, whether or not what is stored is sound.

    Readers see the old figures of a day until the new ones take their place. A cache-builder does this by
    itself for the days that a change touches.

    Example: rollo analytics rebuild
    """
    settings, started = ends.database_of(data), perf_counter()
    days = ends.run(_rebuild(settings), interrupted=lambda: "stopped; a cache-builder goes on with the rest")
    took_s = perf_counter() - started
    if as_json:
        typer.echo(json.dumps({"days": days, "seconds": round(took_s, 3)}))
        return
    typer.echo(f"{days:,} days added up anew in {took_s:.1f} s")


async def _rebuild(settings: Settings) -> int:
    with unavailable("postgres"), Meter() as meter:
        async with await open_pool(settings, service="analytics", raw_times=True, size=1) as pool:
            rollups, told = Rollups(pool), meter.parts("rebuild", "days")
            last = await rollups.mark_everything()
            days = await rollups.left(last)
            while left := await rollups.left(last):
                told(days - left, days)
                await _turn(rollups)
            told(days, days)
            return days


async def _turn(rollups: Rollups) -> None:
    try:
        run = await rollups.run()
    except asyncpg.SerializationError:  # a cache-builder was quicker by a moment
        run = None
    if run is None:
        await asyncio.sleep(LOOK_AGAIN_S)
