"""`rollo backtest --list` and `--show`: runs that were stored."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import typer

from rollotape.backtest import stored
from rollotape.backtest.report import moment
from rollotape.cli import ends
from rollotape.cli.backtested import in_words, runs_in_words
from rollotape.errors import Refused
from rollotape.postgres.backtests import Backtests
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.settings import Settings

_BEGINNING = re.compile(r"[0-9a-f-]{1,36}")
_TIMES = ("from_ts", "to_ts", "first_bar", "last_bar", "started_at", "ended_at")


def look(show: str | None, *, cells: bool, data: Path | None, as_json: bool) -> None:
    """Print one run, or a line for each when none is named."""
    settings = ends.database_of(data)
    if show is not None:
        told = ends.run(_one(settings, show.lower()))
        typer.echo(_json(told) if as_json else in_words(told, cells=cells))
        return
    runs = ends.run(_all(settings))
    if as_json:
        typer.echo(_json(runs))
    elif runs:
        typer.echo(runs_in_words(runs))
    else:
        typer.echo("no runs: `rollo backtest` makes one", err=True)


def _json(told: Any) -> str:
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


async def _all(settings: Settings) -> list[dict[str, Any]]:
    async with await open_pool(settings, service="backtest", raw_times=True, size=1) as pool:
        with unavailable("postgres"):
            return [_listed(dict(run)) for run in await Backtests(pool).runs()]


def _listed(run: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: moment(run[name]) for name in _TIMES}
    return {**run, **times, "id": str(run["id"])}


async def _one(settings: Settings, beginning: str) -> dict[str, Any]:
    if not _BEGINNING.fullmatch(beginning):
        raise Refused(
            f"{beginning!r} is no id of a run, nor the beginning of one: see `rollo backtest --list`"
        )
    async with await open_pool(settings, service="backtest", raw_times=True, size=1) as pool:
        with unavailable("postgres"):
            runs = Backtests(pool)
            found = await runs.named(beginning)
            kept = await runs.read(found[0]) if len(found) == 1 else None
    if kept is None:
        what = "several runs have ids that begin" if found else "there is no run whose id begins"
        raise Refused(f"{what} with {beginning}: see `rollo backtest --list`")
    return stored.document(kept)
