"""`rollo key`: who may ask the gateway."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from rollotape import keys
from rollotape.cli import ends
from rollotape.postgres import keys as stored
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Make, list, replace and revoke API keys.\n\nExample: rollo key create --scope read --name kitchen",
)

DataOption = Annotated[Path | None, typer.Option(help="Directory of the running stack.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
MOST_RATE = 10_000_000
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@app.command()
def create(
    scope: Annotated[str, typer.Option(help="read, write or admin; each includes those before it.")],
    name: Annotated[str, typer.Option(help="Whose it is, for the list.")],
    owner: Annotated[
        str | None,
        typer.Option(help="Whose watchlists and saved scans it sees. [default: its own]"),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_RATE, help="Requests in a window. [default: ROLLO_RATE_REQUESTS]"),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="Ends then: 12h, 30d, 8w, or a date. [default: never]")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it. It is shown this once: only its hash is kept.

    Example: rollo key create --scope read --name "the terminal in the kitchen" --expires 30d
    """
    if scope not in keys.SCOPES:
        raise typer.BadParameter(f"{scope!r} is none of {', '.join(keys.SCOPES)}", param_hint="--scope")
    _must_be_printable(name, "--name")
    if owner is not None:
        _must_be_printable(owner, "--owner")
    until = None if expires is None else _until(expires, datetime.now(UTC))
    key = keys.make()
    ends.run(_with(ends.database_of(data), lambda c: stored.store(c, key, name, scope, until, owner, rate)))
    said = {"scope": scope, "name": name, "owner": owner or key.id, "expires_at": until}
    _show(key, said, as_json)


@app.command("list")
def list_keys(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Every key that ever was, the oldest first; never the keys themselves.

    Example: rollo key list
    """
    rows = [dict(row) for row in ends.run(_with(ends.database_of(data), stored.listed))]
    if as_json:
        typer.echo(orjson.dumps(rows, option=orjson.OPT_UTC_Z | orjson.OPT_INDENT_2).decode())
        return
    for row in rows or ():
        owner = "" if row["owner"] == row["id"] else f"  (of {row['owner']})"
        typer.echo(f"{row['id']}  {row['scope']:<5}  {_state(row):<22}  {row['name']}{owner}")
    if not rows:
        typer.echo("no keys: make one with `rollo key create`", err=True)


@app.command()
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `rollo key list` shows it.")],
    grace: Annotated[str, typer.Option(help="The old key goes on for so long: 12h, 1d, 2w, or 0h.")] = "1d",
    expires: Annotated[
        str | None,
        typer.Option(help="The new one ends then: 30d, or a date. [default: after as long as the old one]"),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key in the place of another: same name, scope, owner and rate. Both are good for a while.

    Example: rollo key rotate 4f1c --grace 1d
    """
    until = None if expires is None else _until(expires, datetime.now(UTC))
    key, rest = keys.make(), _grace(grace)
    try:
        new, ending = ends.run(
            _with(ends.database_of(data), lambda pool: _rotate(pool, key_id, key, rest, until))
        )
    except stored.NotReplaced as error:
        ends.stop(f"{error}: see `rollo key list`", ends.FAILURE)
    said = {name: new[name] for name in ("scope", "name", "owner", "expires_at")}
    _show(key, said | {"rotated_from": key_id, "old_until": ending}, as_json)
    if not as_json:
        typer.echo(f"{key_id} goes on until {ending:%Y-%m-%d %H:%M} UTC.", err=True)


async def _rotate(
    pool: Any, key_id: str, key: keys.NewKey, grace: timedelta, until: datetime | None
) -> stored.Rotated:
    async with pool.acquire() as connection:
        return await stored.rotate(connection, key_id, key, grace, until)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `rollo key list` shows it.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a key. Gateways forget it within seconds. Revoking it again changes nothing.

    Example: rollo key revoke 4f1c
    """
    name = ends.run(_with(ends.database_of(data), lambda c: stored.revoke(c, key_id)))
    if name is None:
        ends.stop(f"there is no key {key_id}: see `rollo key list`", ends.FAILURE)
    if as_json:
        typer.echo(orjson.dumps({"id": key_id, "name": name, "revoked": True}).decode())
    else:
        typer.echo(f"revoked {key_id} ({name})")


def _show(key: keys.NewKey, said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps({"id": key.id, "key": key.text} | said, option=orjson.OPT_UTC_Z).decode())
    else:
        typer.echo(key.text)
        typer.echo("Keep it: it is not shown again. Send it as  Authorization: Bearer KEY", err=True)


def _must_be_printable(text: str, option: str) -> None:
    if not text.strip() or not text.isprintable():
        raise typer.BadParameter("must be printable characters", param_hint=option)


def _grace(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and number.isdecimal():
            return int(number) * _UNITS[unit]
    except OverflowError:
        pass
    raise typer.BadParameter(f"{text!r} is not like 12h, 1d or 0h", param_hint="--grace")


def _state(row: dict[str, Any]) -> str:
    if row["revoked_at"]:
        return f"revoked {row['revoked_at']:%Y-%m-%d}"
    if row["expires_at"] is None:
        return "valid"
    return f"{'valid until' if row['valid'] else 'expired'} {row['expires_at']:%Y-%m-%d}"


def _until(text: str, now: datetime) -> datetime:
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and number.isdecimal() and int(number):
            return now + int(number) * _UNITS[unit]
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is neither like 30d nor a date", param_hint="--expires") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    if when <= now:
        raise typer.BadParameter(f"{text} is over already", param_hint="--expires")
    return when


async def _with(settings: Settings, work: Any) -> Any:
    async with await open_pool(settings, service="key", size=1) as pool:
        with unavailable("postgres"):
            return await work(pool)
