"""`rollo top`: how a stack is doing, again and again; what is away is said, and the rest goes on."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.live import Live

from rollotape.cli import ends, stack
from rollotape.cli.doctor import services
from rollotape.cli.panels import line, screen
from rollotape.cli.picture import picture
from rollotape.errors import Refused
from rollotape.observer import Observation, observe
from rollotape.settings import Settings

RATE_S = 1.0
"""Apart at least: the two looks that rates come of."""


def top(
    once: Annotated[bool, typer.Option("--once", help="Look for a second, print, end.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for every look.")] = False,
) -> None:
    """Show how a stack is doing, until Ctrl-C: what waits in the streams, for how long, how much comes and
    goes, who holds partitions, dead letters, and what is due. What is away is said, and the rest goes on.

    Waiting entries are those not yet delivered (lag) and those not yet acknowledged (pending). Bars a
    second are known of the stack on this machine. On a terminal one screen, elsewhere a line for every look.
    The exit code of --once is 1 when something is away.

    Example: rollo top --once --json
    """
    settings = ends.stack_of(data)
    view = _view(as_json, once)
    away = ends.run(_watch(settings, data, view, once, max(every, RATE_S if once else 0.0)))
    if once and away:
        raise typer.Exit(ends.FAILURE)


async def _watch(settings: Settings, data: Path | None, view: "View", once: bool, every_s: float) -> bool:
    """Until Ctrl-C, or a second look; whether something was away at the last one."""
    before: Observation | None = None
    with view:
        while True:
            settings = _address(data, settings)
            began = time.monotonic()
            seen = await observe(settings, await asyncio.to_thread(services, data))
            if before or not once:
                shown = picture(seen, before)
                view.show(shown)
            if before and once:
                return bool(shown["away"])
            before = seen
            await asyncio.sleep(max(0.0, every_s - (time.monotonic() - began)))


def _address(data: Path | None, last: Settings) -> Settings:
    """A stack that was started again may be elsewhere; one that is away stays where it was."""
    try:
        return stack.address(data)
    except Refused:
        return last


class View:
    """Shows pictures one after the other; this one as JSON, one in a line."""

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, shown: Mapping[str, Any]) -> None:
        typer.echo(orjson.dumps(shown).decode())


class Lines(View):
    """A line for every picture, for files and pipes."""

    def show(self, shown: Mapping[str, Any]) -> None:
        typer.echo(line(shown))


class Once(View):
    """The whole picture, printed."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, shown: Mapping[str, Any]) -> None:
        self._console.print(screen(shown))


class Screen(View):
    """One screen, drawn again and again; the last picture stays."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> "Screen":
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, shown: Mapping[str, Any]) -> None:
        self._live.update(screen(shown), refresh=True)


def _view(as_json: bool, once: bool) -> View:
    if as_json:
        return View()
    console = Console(highlight=False)
    if once:
        return Once(console)
    return Screen(console) if console.is_terminal else Lines()
