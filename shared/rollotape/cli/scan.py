"""`rollo scan`: what is setting up right now, asked of the gateway as anybody would."""

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rollotape.cli import ends, stack
from rollotape.errors import Refused, Unavailable

LOOK_EVERY_S = 1.0
ANSWER_S = 10.0
_OPEN = build_opener(ProxyHandler({}))  # a stack of this machine is never behind a proxy
_HEADS = (
    "symbol", "", "pattern", "side", "ph", "conf", "price", "chg", "rs", "excess", "vol", "sector", "since",
    "until",
)  # fmt: skip


def scan(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    symbols: Annotated[str | None, typer.Option(help="Like AAPL,MSFT.")] = None,
    types: Annotated[str | None, typer.Option(help="Like SPRING,SOS.")] = None,
    sectors: Annotated[str | None, typer.Option(help="Like Energy,Technology.")] = None,
    confidence: Annotated[float, typer.Option(min=0, max=1, help="At least.")] = 0.5,
    sort: Annotated[str, typer.Option(help="confidence, detected_at, symbol, rs or volume.")] = "confidence",
    count: Annotated[int, typer.Option(min=1, max=100, help="Patterns to show.")] = 30,
    url: Annotated[str | None, typer.Option(help="Of another gateway than the stack's own.")] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the gateway's answer as it is.")] = False,
) -> None:
    """Show active patterns, the best first. A gateway that asks for a key gets that of ROLLO_API_KEY.

    Example: rollo scan --watch --sectors Energy --sort rs
    """
    asked = {
        "symbols": symbols, "pattern_types": types, "sectors": sectors, "confidence_min": f"{confidence:.9f}",
        "sort_by": sort, "sort_order": "asc" if sort == "symbol" else "desc", "per_page": count,
        "display": "true",
    }  # fmt: skip
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    ends.run(_scan(f"{_gateway(url, data)}/api/patterns/scan?{query}", watch, as_json))


def _gateway(url: str | None, data: Path | None) -> str:
    if url:
        if not url.startswith(("http://", "https://")):
            raise typer.BadParameter("must begin with http:// or https://", param_hint="--url")
        return url.rstrip("/")
    try:
        return stack.find(data).gateway_url
    except Refused as error:
        ends.stop(str(error), ends.USAGE)


async def _scan(target: str, watch: bool, as_json: bool) -> None:
    said = await asyncio.to_thread(_ask, target)
    console = Console()
    if as_json:
        typer.echo(json.dumps(said))
    elif watch:
        await _watch(console, target, said)
    else:
        console.print(_table(said))


async def _watch(console: Console, target: str, said: Any) -> None:
    """While the gateway is away the last picture stays, and says so."""
    with Live(_table(said), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                said = await asyncio.to_thread(_ask, target)
                live.update(_table(said), refresh=True)
            except Unavailable as error:
                live.update(_table(said, f"  {error}"), refresh=True)


def _ask(target: str) -> Any:
    """The answer of the gateway.

    Raises:
        Refused: it does not take the question; Unavailable: it does not answer now.
    """
    key = os.environ.get("ROLLO_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = Request(target, headers=headers)  # noqa: S310 - its scheme was looked at
    try:
        with _OPEN.open(request, timeout=ANSWER_S) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            reason = _reason(error)
        kind = Refused if error.code < 500 else Unavailable
        raise kind(f"the gateway answers {error.code}: {reason}") from None
    except (URLError, OSError, ValueError) as error:
        raise Unavailable(f"the gateway cannot be asked: {error}") from None


def _reason(error: HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


def _table(said: Any, trouble: str = "") -> Table:
    shown, total = said["patterns"], said["pagination"]["total"]
    state = " (stale)" if said["stale"] else ""
    when = said["as_of"][:19].replace("T", " ")
    title = f"{len(shown)} of {total:,} patterns as of {when} UTC{state}{trouble}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for head in _HEADS:
        right = head in ("conf", "price", "chg", "rs", "excess", "vol")
        table.add_column(head, header_style="dim", justify="right" if right else "left", no_wrap=True)
    for item in shown:
        table.add_row(*_cells(item))
    return table


def _cells(item: Any) -> list[Text | str]:
    short, side = item["display"], item["side"]
    colour = {"accumulation": "green", "distribution": "red"}.get(side, "")
    excess = "-" if item["rs_excess"] is None else f"{item['rs_excess']:+.1f}"
    star = " *" if item["is_sector_leader"] else ""
    return [
        f"{item['symbol']}{star}", item["timeframe"], item["pattern_type"], Text(side or "-", colour),
        item["phase"] or "-", short["conf"], short["price"], short["chg"], short["rs"], excess, short["vol"],
        item["sector"] or "-", short["time"], short["exp"],
    ]  # fmt: skip
