"""`rollo import-universe`: lists of symbols to ask about, and where each symbol is listed."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from rollotape.cli import ends
from rollotape.errors import Refused
from rollotape.postgres import universes
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.postgres.universes import Stored
from rollotape.producers.universes import ListFile, read
from rollotape.settings import Settings

SHOWN = 20


def import_universe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV file, plain or gzipped.")],
    key: Annotated[str | None, typer.Option(help="Name of the list, such as sp500.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is, for people.")] = None,
    exchanges: Annotated[
        bool, typer.Option("--exchanges", help="Tell where each symbol is listed instead.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Tell which symbols belong to a list, such as an index: universe=KEY then asks for these alone.

    The first line names the columns; one of them is symbol (or ticker), with --exchanges another one is
    exchange (or market). The list has just the symbols of the file from then on. Exchanges are kept by
    symbol: those that are not in the file stay as they are. Importing a file again changes nothing.

    Example: rollo import-universe members.csv --key sp500
    """
    settings = ends.database_of(data)
    found, stored = ends.run(_import(settings, file, key, description, exchanges))
    if as_json:
        typer.echo(orjson.dumps(_summary(found, stored, key), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(_in_words(found, stored))
    if not found.kept:
        raise typer.Exit(ends.FAILURE)


async def _import(
    settings: Settings, file: Path, key: str | None, description: str | None, exchanges: bool
) -> tuple[ListFile, Stored]:
    """Of a file of which nothing can be kept, nothing is changed."""
    if (key is None) != exchanges:
        raise Refused("say which list the file is by --key, or --exchanges, and not both")
    if key is not None:
        universes.must_be_key(key)
    found = read(file, exchanges=exchanges)
    if not found.kept:
        return found, Stored(0, 0)
    async with await open_pool(settings, service="import-universe", size=1) as pool:
        with unavailable("postgres"):
            if key is None:
                return found, Stored(await universes.store_exchanges(pool, found.kept), 0)
            return found, await universes.store(pool, key, found.kept, description)


def _summary(found: ListFile, stored: Stored, key: str | None) -> dict[str, object]:
    return {
        "key": key,
        "rows": found.rows,
        "kept": len(found.kept),
        "changed" if key is None else "added": stored.added,
        **({} if key is None else {"removed": stored.removed}),
        "repeated": found.repeated,
        "refused": [asdict(refusal) for refusal in found.refused],
    }


def _in_words(found: ListFile, stored: Stored) -> str:
    lines = [
        f"read     {found.rows:,} rows",
        f"kept     {len(found.kept):,} symbols; {stored.added:,} of them new or changed",
        *([f"removed  {stored.removed:,} that are members no more"] if stored.removed else []),
        f"refused  {len(found.refused):,}",
        *(f"  {refusal}" for refusal in found.refused[:SHOWN]),
    ]
    if len(found.refused) > SHOWN:
        lines.append(f"  ... and {len(found.refused) - SHOWN:,} more (see --json)")
    return "\n".join(lines)
