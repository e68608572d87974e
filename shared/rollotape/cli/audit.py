"""`rollo audit`: who wrote what over HTTP."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from rollotape.cli import ends, moments
from rollotape.postgres import audit as stored
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.settings import Settings


def audit(
    owner: Annotated[str | None, typer.Option(help="Whose key or token it was.")] = None,
    key: Annotated[str | None, typer.Option(help="Id of the key, as `rollo key list` shows it.")] = None,
    method: Annotated[str | None, typer.Option(help="POST, PUT or DELETE.")] = None,
    path: Annotated[str | None, typer.Option(help="With which it begins: /api/users.")] = None,
    request: Annotated[str | None, typer.Option(help="X-Request-Id of the answer.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Those alone that were refused or broke.")] = False,
    since: Annotated[
        str | None, typer.Option("--from", metavar="WHEN", help="A day, or a time with its zone.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="WHEN", help="Up to then; of a day the whole.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = 50,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the requests that may write, the newest first: who, what, from where, and what became of it.

    They are kept for ROLLO_AUDIT_DAYS, and are there a moment after their answers.

    Example: rollo audit --owner ada --failed --from 2026-01-05
    """
    asked = stored.Asked(owner=owner, key_id=key, path=path, request_id=request, failed=failed)
    asked = asked._replace(method=method.upper() if method else None)
    if since is not None:
        asked = asked._replace(since=_instant("--from", since))
    if until is not None:
        asked = asked._replace(until=_instant("--to", until, end_of_day=True))
    rows = [dict(row) for row in ends.run(_read(ends.database_of(data), asked, limit))]
    if as_json:
        typer.echo(orjson.dumps(rows, option=orjson.OPT_UTC_Z | orjson.OPT_INDENT_2).decode())
        return
    for row in rows:
        typer.echo(_line(row))
    if not rows:
        typer.echo("nothing was written" + ("" if asked == stored.Asked() else " that matches"))


def _instant(option: str, text: str, *, end_of_day: bool = False) -> datetime:
    us = moments.moment(option, text, end_of_day=end_of_day)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def _line(row: dict[str, Any]) -> str:
    """The status is 0 where the connection broke before there was an answer."""
    who = (
        row["owner"]
        if row["key_id"] in (row["owner"], "local", "jwt")
        else f"{row['owner']} ({row['key_id']})"
    )
    return (
        f"{row['at']:%Y-%m-%d %H:%M:%S}  {row['status'] or '---'}  {row['method']:<6}  {row['path']}"
        f"  by {who} from {row['address'] or 'nowhere'}  {row['request_id']}"
    )


async def _read(settings: Settings, asked: stored.Asked, limit: int) -> Any:
    async with await open_pool(settings, service="audit", size=1) as pool:
        with unavailable("postgres"):
            return await stored.read(pool, asked, limit)
