"""`rollo gaps`: which bars are missing, and who was asked for them."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from rollotape.cli import ends, moments
from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.bars import timeframe as known_timeframe
from rollotape.postgres import gaps as stored
from rollotape.postgres.gaps import Choice, Listed, Standing
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.settings import Settings

_ANSWERS = {"sent": "sent bars", "nothing": "nothing traded", "unknown": "cannot tell"}


def gaps(
    symbols: Annotated[
        list[str] | None, typer.Option(help="Only of these; repeat the option or separate by commas.")
    ] = None,
    timeframes: Annotated[
        list[str] | None, typer.Option("--timeframes", help="Likewise: 1m 5m 15m 30m 1h 4h 1d 1w.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="WHEN", help="A day, or a time with its zone.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="WHEN", help="Up to then; of a day the whole.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also pauses, and where a producer says that nothing traded.")
    ] = False,
    ask: Annotated[
        bool, typer.Option("--ask", help="Have producers asked for these at once, also where it was in vain.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Have everything that is stored looked at again.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
) -> None:
    """List bars that are missing, the newest first: what the exchange's calendar expects and is not stored.

    A bar that is not there is no error where nothing traded. So days and weeks are missed of every symbol
    that has most of them; shorter bars of a symbol that has 19 of 20, and of others after a silence that
    chance does not explain. Nothing is missed before the first bar of a symbol, nor five sessions after its
    last one. cache-builder looks at what has come every ROLLO_GAPS_EVERY_S seconds.

    Producers that can are asked for every gap: live feeds, which ask their vendors. Bars of files are sent
    by `rollo import FILE --missing`. A gap goes when its bars are stored. The exit code is 1 when anything
    is missing.

    Example: rollo gaps --symbols AAPL,MSFT --timeframes 1m --from 2026-01-05
    """
    choice = Choice(
        symbols=[name.upper() for name in _split(symbols)] or None,
        timeframes=_timeframes(timeframes),
        since=_instant("--from", since),
        before=_instant("--to", until, end_of_day=True),
        everything=everything,
    )
    settings = ends.database_of(data)
    if ask or again:
        typer.echo(ends.run(_have_done(settings, choice, ask=ask, again=again)))
        return
    found, standing = ends.run(_read(settings, choice, limit))
    if as_json:
        said = _as_json(found, standing)
        typer.echo(orjson.dumps(said, option=orjson.OPT_UTC_Z | orjson.OPT_INDENT_2).decode())
    else:
        _print(found, standing, choice)
    if any(gap.kind == "gap" and gap.answer != "nothing" for gap in found):
        raise typer.Exit(ends.FAILURE)


async def _read(settings: Settings, choice: Choice, limit: int) -> tuple[list[Listed], Standing]:
    async with await open_pool(settings, service="gaps", size=1) as pool:
        with unavailable("postgres"):
            return await stored.listed(pool, choice, limit), await stored.standing(pool, choice)


async def _have_done(settings: Settings, choice: Choice, *, ask: bool, again: bool) -> str:
    said = []
    async with await open_pool(settings, service="gaps", size=1) as pool:
        with unavailable("postgres"):
            if ask:
                said.append(f"{await stored.ask_again(pool, choice):,} gaps will be asked for")
            if again:
                await stored.mark_all(pool)
                said.append("everything will be looked at again, within ROLLO_GAPS_EVERY_S seconds")
    return "; ".join(said)


def _timeframes(given: list[str] | None) -> list[str] | None:
    found = []
    for name in _split(given):
        known = known_timeframe(name)
        if known is None:
            ends.stop(f"--timeframes {name}: must be of {' '.join(TIMEFRAMES)}", ends.USAGE)
        found.append(known.name)
    return found or None


def _split(given: list[str] | None) -> list[str]:
    return [word.strip() for part in given or () for word in part.split(",") if word.strip()]


def _instant(option: str, text: str | None, *, end_of_day: bool = False) -> datetime | None:
    if text is None:
        return None
    us = moments.moment(option, text, end_of_day=end_of_day)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def _as_json(found: list[Listed], standing: Standing) -> dict[str, object]:
    return {
        "gaps": [asdict(gap) for gap in found],
        "gaps_in_all": standing.gaps,
        "missing_bars": standing.bars,
        "series": standing.series,
        "series_waiting": standing.waiting,
    }


def _print(found: list[Listed], standing: Standing, choice: Choice) -> None:
    if found:
        table = Table(box=None, pad_edge=False)
        for name in ("symbol", "timeframe", "first", "last", "bars", "kind", "found", "asked"):
            table.add_column(name, no_wrap=name != "asked", justify="right" if name == "bars" else "left")
        for gap in found:
            span = _start(gap, gap.first_ts), _start(gap, gap.last_ts)
            found_at = f"{gap.found_at:%Y-%m-%d %H:%M}"
            table.add_row(gap.symbol, gap.timeframe, *span, f"{gap.bars:,}", gap.kind, found_at, _asked(gap))
        console = Console(highlight=False, markup=False)
        if not console.is_terminal:
            console.width = 1_000  # lines of a pipe are not folded
        console.print(table)
    typer.echo(_in_words(len(found), standing, choice))


def _start(gap: Listed, when: datetime) -> str:
    return f"{when:%Y-%m-%d}" if not TIMEFRAMES[gap.timeframe].intraday else f"{when:%Y-%m-%d %H:%M}"


def _asked(gap: Listed) -> str:
    if gap.kind == "pause":
        return "nobody is"
    if gap.asked_of is None:
        return "not yet"
    answer = f": {_ANSWERS[gap.answer]}" if gap.answer else ""
    often = f", {gap.asks} times" if gap.asks > 1 else ""
    return f"{gap.asked_of}{answer}{often}"


def _in_words(shown: int, standing: Standing, choice: Choice) -> str:
    lines = []
    if standing.gaps > shown:
        lines.append(f"the newest {shown:,} of them; --limit shows more")
    if standing.gaps:
        lines.append(f"{standing.bars:,} bars in {standing.gaps:,} gaps")
    elif standing.series:
        lines.append("nothing is missing" + ("" if choice.span == (None,) * 4 else " there"))
    if not standing.series:
        lines.append("nobody has looked yet: a cache-builder does so every ROLLO_GAPS_EVERY_S seconds")
    elif standing.waiting:
        lines.append(f"bars of {standing.waiting:,} symbols and timeframes have come since anybody looked")
    return "\n".join(lines)
