"""`rollo doctor`: what is wrong with a stack, and what to do about it."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollotape.cli import ends, stack
from rollotape.diagnosis import Finding, Level, Place, broken, diagnose, variables, without_secrets, worst
from rollotape.errors import Refused
from rollotape.observer import observe
from rollotape.postgres import migrate
from rollotape.settings import Settings

EXIT_CODES = {Level.OK: 0, Level.WARNING: 1, Level.BROKEN: 2}
STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.BROKEN: "bold red"}


def doctor(
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at everything a stack is made of, and say what is wrong and what to do about it.

    Nothing is changed. The exit code is 0 when all is well, 1 with warnings, 2 when something is broken,
    also when no stack runs.

    Example: rollo doctor
    """
    findings = _findings(data)
    level = worst(findings)
    if as_json:
        told = {"level": level, "findings": [asdict(finding) for finding in findings]}
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(findings)
    raise typer.Exit(EXIT_CODES[level])


def _findings(data: Path | None) -> list[Finding]:
    try:
        settings = stack.address(data)
    except Refused as error:
        return [*variables(os.environ), broken("stack", f"{error}", "then run `rollo doctor` again")]
    place = _place(data, settings)
    seen = ends.run(observe(settings, services(data)))
    secrets = [urlsplit(url or "").password or "" for url in _urls(settings)]
    return without_secrets(diagnose(seen, settings, place), secrets)


def services(data: Path | None) -> Mapping[str, str]:
    """Where the replicas of this machine's stack answer, by name; of named servers, nobody knows."""
    if stack.is_named():
        return {}
    try:
        return {name: service.ops_url for name, service in stack.find(data).services.items()}
    except Refused:
        return {}


def _urls(settings: Settings) -> tuple[str | None, ...]:
    return settings.redis_url, settings.cache_url, settings.database_url


def _place(data: Path | None, settings: Settings) -> Place:
    folder = stack.folder(data)
    if not (folder / "servers.json").exists():
        return Place(os.environ, migrate.revisions())
    return Place(os.environ, migrate.revisions(), str(folder), shutil.disk_usage(folder).free)


def _print(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_table(findings))
    else:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            typer.echo(f"{finding.level:<7}  {finding.check}: {finding.says}{remedy}")
    counts = {level: len([f for f in findings if f.level == level]) for level in Level}
    typer.echo(f"{counts[Level.BROKEN]} broken, {counts[Level.WARNING]} warnings, {counts[Level.OK]} fine")


def _table(findings: Sequence[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        says = Text(finding.says)
        if finding.remedy:
            says.append(f"\n→ {finding.remedy}", "bold")
        table.add_row(Text(finding.level, STYLES[finding.level]), Text(finding.check), says)
    return table
