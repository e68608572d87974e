"""The command `rollo`. What a command needs is imported when it runs, so that `rollo --help` is quick."""

import sys
from importlib import import_module
from typing import Annotated, Any

import structlog
import typer
from typer.core import TyperCommand, TyperGroup

from rollotape import __version__

COMMANDS = {
    "demo": ("demo.demo", "Everything at once, with a simulated market: the quickest way to see something."),
    "up": ("up.up", "Start servers and services on this machine; Ctrl-C stops them."),
    "import": ("importing.import_bars", "Send the bars of CSV files into the streams."),
    "feed": ("feed.app", "Bring in bars as they are made: from Alpaca, from Yahoo, from files that grow."),
    "replay": ("replay.replay", "Send the bars of files as the market made them, at a chosen speed."),
    "import-sectors": ("sectors.import_sectors", "Tell which sector each stock belongs to."),
    "import-universe": ("universes.import_universe", "Tell which symbols are in a list, such as an index."),
    "bridge": ("bridge.bridge", "Bring in what older systems publish on their channels."),
    "top": ("top.top", "Show how a stack is doing: lag, rates, leases, what waits and what is away."),
    "doctor": ("doctor.doctor", "Say what is reachable, configured, behind or unsafe, and what to do."),
    "verify": ("verify.verify", "Recompute every derived row from the inputs and compare."),
    "gaps": ("gaps.gaps", "List bars that are missing, by the calendar, and have them asked for."),
    "export": ("export.export_table", "Write a table as CSV, in the order of its natural key."),
    "backup": ("backup.backup", "Write everything that is stored into one file."),
    "restore": ("backup.restore", "Put the content of a backup into an empty stack."),
    "dlq": ("dlq.app", "List, show, requeue or drop what could not be applied."),
    "cache": ("cache.app", "Build the read models anew."),
    "analytics": ("analytics.app", "Add up anew what trades have earned."),
    "simulate": ("simulate.simulate", "Make a market that does not exist, with labels for what is in it."),
    "score": ("score.score", "Compare detections with the labels of a simulated market."),
    "chart": ("chart.chart", "Draw a symbol with its ranges and with every event on its bar."),
    "backtest": ("backtest.backtest", "Say what the patterns of a rule set earned, and what chance earns."),
    "scan": ("scan.scan", "Show what is setting up right now, once or again and again."),
    "key": ("key.app", "Make, list and revoke API keys."),
    "audit": ("audit.audit", "Show who wrote what over HTTP, and what became of it."),
    "migrate": ("migrate.migrate", "Bring the database to the newest revision of the schema."),
    "contracts": ("contracts.contracts", "Print the contracts of streams and HTTP for other programs."),
}


class Lazy(TyperGroup):
    """Lists its commands by name and sentence; imports the one that is asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=said) for name, (_, said) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and _load(name), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _in_our_words(error)
            raise


app = typer.Typer(cls=Lazy, no_args_is_help=True, add_completion=True, pretty_exceptions_show_locals=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def rollo(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Rollo Tape: bars in through Redis Streams, volume-spread events out, PostgreSQL keeps the truth.

    Every command that works on a stack takes --data DIR (or ROLLO_DATA, default .rollo) to address the one
    that runs there; ROLLO_REDIS_URL and ROLLO_DATABASE_URL address any other.

    Start with: rollo demo
    """


def main() -> None:
    """What a command logs goes beside what it prints, which another program may read."""
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    app(prog_name="rollo")


def _in_our_words(error: typer.BadParameter) -> str:
    """Typer has values judged by pydantic, and would show what that says."""
    from pydantic import ValidationError  # help is quick without it

    from rollotape.wording import must, reason

    if not isinstance(error.__cause__, ValidationError):
        return error.message
    first = error.__cause__.errors()[0]
    return must(first) if first["type"] == "value_error" else reason(first)


def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name][0].partition(".")
    found = getattr(import_module(f"rollotape.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)
