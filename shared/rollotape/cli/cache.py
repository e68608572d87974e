"""`rollo cache`: look after what is kept for quick answers."""

import json
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from rollotape.cache.patterns import PatternModel, Rebuilt
from rollotape.cli import ends
from rollotape.postgres.active import ActivePatterns
from rollotape.postgres.pool import open_pool
from rollotape.redis.clients import open_client
from rollotape.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="What is kept for quick answers; all of it can be made again.\n\nExample: rollo cache rebuild",
)
Data = Annotated[Path | None, typer.Option(help="Directory of the running stack.")]


@app.callback()
def cache() -> None:
    """What is kept for quick answers; all of it can be made again."""


@app.command()
def rebuild(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Build the read model of active patterns anew from PostgreSQL, whether or not it is sound.

    Readers go on with the old one until the new one takes its place. Services do this by themselves when
    the model is missing or broken.

    Example: rollo cache rebuild
    """
    settings, started = ends.stack_of(data), perf_counter()
    built = ends.run(_rebuild(settings), interrupted=lambda: "stopped; the model is as it was")
    took_s = perf_counter() - started
    if as_json:
        told = {"entries": built.entries, "version": built.version, "seconds": round(took_s, 3)}
        typer.echo(json.dumps(told))
        return
    typer.echo(f"{built.entries:,} active patterns, version {built.version}, in {took_s:.1f} s")


async def _rebuild(settings: Settings) -> Rebuilt:
    redis = open_client(settings.redis_url)
    try:
        async with await open_pool(settings, service="cache", raw_times=True, size=1) as pool:
            return await PatternModel(ActivePatterns(pool), redis).rebuild()
    finally:
        await redis.aclose()
