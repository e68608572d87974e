"""`rollo scan`: what is setting up right now, asked of the gateway as anybody would."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rollotape.cli import ends, setups, stack
from rollotape.cli.asking import ask
from rollotape.errors import Refused, Unavailable

LOOK_EVERY_S = 1.0
FRAME_LINES = 4
"""Of a screen: title, heads, a blank line and the foot."""


def scan(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    symbols: Annotated[str | None, typer.Option(help="Like AAPL,MSFT.")] = None,
    types: Annotated[str | None, typer.Option(help="Like SPRING,SOS.")] = None,
    sectors: Annotated[str | None, typer.Option(help="Like Energy,Technology.")] = None,
    timeframes: Annotated[str | None, typer.Option(help="Like 1d,15m.")] = None,
    side: Annotated[str | None, typer.Option(help="accumulation or distribution.")] = None,
    confidence: Annotated[float, typer.Option(min=0, max=1, help="At least.")] = 0.5,
    excess: Annotated[
        float | None, typer.Option(help="At least so many percentage points ahead of the market in a month.")
    ] = None,
    sort: Annotated[str, typer.Option(help="confidence, detected_at, symbol, rs or volume.")] = "confidence",
    count: Annotated[int, typer.Option(min=1, max=100, help="Patterns to show.")] = 30,
    url: Annotated[str | None, typer.Option(help="Of another gateway than the stack's own.")] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the gateway's answer; watching, whenever it changes.")
    ] = False,
) -> None:
    """Show active patterns, the best first. A gateway that asks for a key gets that of ROLLO_API_KEY.

    An asterisk marks the leaders of a sector. Watching in a terminal, new patterns are bold and prices that
    moved are coloured; elsewhere every change is a line: + new, - over, = no longer among the first.

    Example: rollo scan --watch --sectors Energy --sort rs
    """
    asked = {
        "symbols": symbols, "pattern_types": types, "sectors": sectors, "timeframes": timeframes,
        "side": side, "confidence_min": f"{confidence:.9f}", "rs_excess_min": excess, "sort_by": sort,
        "sort_order": "asc" if sort == "symbol" else "desc", "per_page": count, "display": "true",
    }  # fmt: skip
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    with ends.refusals():
        gateway(url, data)  # before anything is drawn
    ends.run(_scan(lambda: f"{gateway(url, data)}/api/patterns/scan?{query}", watch, as_json))


def gateway(url: str | None, data: Path | None) -> str:
    """Where to ask: a stack that was started again may be elsewhere.

    Raises:
        Refused: no stack runs.
    """
    if not url:
        return stack.find(data).gateway_url
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter("must begin with http:// or https://", param_hint="--url")
    return url.rstrip("/")


Target = Callable[[], str]


async def _scan(target: Target, watch: bool, as_json: bool) -> None:
    console = Console()
    if watch:
        await _watch(target, _view(console, as_json))
        return
    said = await asyncio.to_thread(ask, target())
    if as_json:
        typer.echo(json.dumps(said))
    else:
        console.print(setups.table(said["patterns"], console.width, title=Text(_title(said))))


class View(Protocol):
    """Shows answers as they come, and says what is wrong while none come."""

    def __enter__(self) -> "View": ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, said: Any) -> None: ...
    def trouble(self, sentence: str) -> None: ...


def _view(console: Console, as_json: bool) -> View:
    if as_json:
        return Answers()
    return Screen(console) if console.is_terminal else Changes()


async def _watch(target: Target, view: View) -> None:
    """Until Ctrl-C. While the stack is away the last picture stays, and says so."""
    with view:
        while True:
            try:
                view.show(await asyncio.to_thread(lambda: ask(_or_away(target))))
            except Unavailable as error:
                view.trouble(str(error))
            await asyncio.sleep(LOOK_EVERY_S)


def _or_away(target: Target) -> str:
    """A stack that was there when the command began may come back."""
    try:
        return target()
    except Refused as error:
        raise Unavailable(str(error)) from None


class Screen:
    """A table that is drawn again and again on a screen of its own."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, screen=True)
        self._console = console
        self._seen = setups.Seen()
        self._said: Any = None

    def __enter__(self) -> "Screen":
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)
        if self._said:  # the last picture stays where the command was typed
            self._console.print(self._picture("", self._rows()))

    def show(self, said: Any) -> None:
        self._said = said
        self._seen.look(said["patterns"])
        self._live.update(self._picture("Ctrl-C ends", self._rows()), refresh=True)

    def trouble(self, sentence: str) -> None:
        foot = Text(f"{sentence}. Asking again every second; Ctrl-C ends", "yellow")
        self._live.update(self._picture(foot, self._rows()) if self._said else foot, refresh=True)

    def _rows(self) -> int:
        return max(1, self._console.height - FRAME_LINES)

    def _picture(self, foot: str | Text, rows: int) -> RenderableType:
        items = self._said["patterns"]
        title = Text(_title(self._said), "bold", no_wrap=True, overflow="ellipsis")
        made = setups.table(items[:rows], self._console.width, self._seen, title)
        if len(items) > rows:
            foot = Text.assemble(f"{len(items) - rows} more; ", foot or "a higher terminal shows them")
        return Group(made, "", foot) if foot else made


class Changes:
    """Lines for files and pipes: what is there, then what comes and goes."""

    def __init__(self) -> None:
        self._items: dict[str, Any] | None = None
        self._trouble = ""

    def __enter__(self) -> "Changes":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, said: Any) -> None:
        items = {item["id"]: item for item in said["patterns"]}
        if self._items is None or self._trouble:
            typer.echo(_title(said))
        self._trouble = ""
        before = self._items or {}
        complete = len(items) == said["pagination"]["total"]
        for name in before.keys() - items.keys():
            typer.echo(f"{'-' if complete else '='} {setups.line(before[name])}")
        for name, item in items.items():
            if name not in before:
                typer.echo(f"+ {setups.line(item)}")
        self._items = items

    def trouble(self, sentence: str) -> None:
        if sentence != self._trouble:
            typer.echo(f"{sentence}. Asking again every second", err=True)
        self._trouble = sentence


class Answers:
    """An answer per line, whenever its patterns are others."""

    def __init__(self) -> None:
        self._patterns: Any = None

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, said: Any) -> None:
        if said["patterns"] != self._patterns:
            typer.echo(json.dumps(said))
        self._patterns = said["patterns"]

    def trouble(self, sentence: str) -> None:
        typer.echo(sentence, err=True)


def _title(said: Any) -> str:
    shown, total = len(said["patterns"]), said["pagination"]["total"]
    state = " (stale)" if said["stale"] else ""
    when = datetime.fromisoformat(said["as_of"])
    return f"{shown} of {total:,} patterns as of {when:%Y-%m-%d %H:%M:%S} UTC{state}"
