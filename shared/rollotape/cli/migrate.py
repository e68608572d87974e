"""`rollo migrate`: bring the database to a revision of the schema."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rollotape.cli import ends, stack
from rollotape.postgres import migrate as schema


def migrate(
    to: Annotated[str, typer.Option(help="Revision to go up to, or `head`.")] = "head",
    down: Annotated[
        str | None, typer.Option(help="Revision to go back to, or `base`. Deletes what came after it.")
    ] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Only print the statements, from nothing on.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --down: do not ask.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only say which revision the database has; 1 unless the newest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
) -> None:
    """Bring the database to the newest revision of the schema. `rollo up` does it by itself.

    Safe to run from several places at once: one does it, the others wait and find it done.

    Example: ROLLO_REDIS_URL=... ROLLO_DATABASE_URL=... rollo migrate
    """
    with ends.refusals():
        schema.must_be_known(to, "head")
        if down is not None:
            schema.must_be_known(down, "base")
    if sql:
        typer.echo(schema.script(to=to))
        return
    if status:
        _say_status(data, as_json)
        return
    if down is not None and not yes:
        question = f"Take the database back to {down} and lose what came after it?"
        typer.confirm(question, abort=True, err=as_json)
    done = ends.run(asyncio.to_thread(_migrate, data, to, down))
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    for revision in done.applied:
        typer.echo(f"{'applied' if down is None else 'took back'} {revision}")
    typer.echo(f"schema {done.revision}, {done.partitions} partitions" if done.revision else "no schema")


def _say_status(data: Path | None, as_json: bool) -> None:
    current = ends.run(asyncio.to_thread(lambda: schema.current(stack.database(data).database_url)))
    known = schema.revisions()
    missing = known[known.index(current) + 1 :] if current in known else known if current is None else []
    is_newest = current == known[-1]
    if as_json:
        told = {"revision": current, "newest": known[-1], "missing": missing, "is_newest": is_newest}
        typer.echo(json.dumps(told))
    elif is_newest:
        typer.echo(f"schema {current}, the newest")
    elif missing:
        typer.echo(f"{f'schema {current}' if current else 'no schema'}; missing: {', '.join(missing)}")
    else:
        typer.echo(f"schema {current}, which this version does not know; its newest is {known[-1]}")
    if not is_newest:
        raise typer.Exit(ends.FAILURE)


def _migrate(data: Path | None, to: str, down: str | None) -> schema.Migrated:
    settings = stack.database(data)
    if down is not None:
        return schema.downgrade(settings.database_url, to=down)
    return schema.upgrade(settings.database_url, settings.partitions, to=to)
