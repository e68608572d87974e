"""`rollo import-sectors`: which sector each stock belongs to."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from rollotape.cli import ends
from rollotape.domain.sectors import WITHOUT_FUND
from rollotape.postgres import sectors
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.postgres.sectors import Stored
from rollotape.producers.sectors import SectorFile, read
from rollotape.settings import Settings

SHOWN = 20


def import_sectors(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV file, plain or gzipped.")],
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Tell which sector each stock belongs to. Strength, ranks and leaders follow by themselves.

    The first line names the columns, in any order: symbol (or ticker), sector, and name and industry where
    there are any. Sectors are the eleven of GICS; Technology and Healthcare are understood. A row that
    cannot be kept is refused with its reason, and the others are kept. Symbols that are not in the file
    stay as they are. Importing a file again changes nothing.

    Example: rollo import-sectors sectors.csv
    """
    settings = ends.database_of(data)
    found, stored = ends.run(_import(settings, file))
    if as_json:
        typer.echo(orjson.dumps(_summary(found, stored), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(_in_words(found, stored))
    if found.refused and not found.kept:
        raise typer.Exit(ends.FAILURE)


async def _import(settings: Settings, file: Path) -> tuple[SectorFile, Stored]:
    found = read(file)
    async with await open_pool(settings, service="import-sectors", size=1) as pool:
        with unavailable("postgres"):
            return found, await sectors.store(pool, found.kept)


def _summary(found: SectorFile, stored: Stored) -> dict[str, object]:
    return {
        "rows": found.rows,
        "kept": len(found.kept),
        "changed": stored.changed,
        "moved": stored.moved,
        "repeated": found.repeated,
        "without_fund": _without_fund(found),
        "refused": [asdict(refusal) for refusal in found.refused],
    }


def _without_fund(found: SectorFile) -> int:
    return len([s for s in found.kept if s.sector in WITHOUT_FUND])


def _in_words(found: SectorFile, stored: Stored) -> str:
    lines = [
        f"read     {found.rows:,} rows",
        f"kept     {len(found.kept):,}; {stored.changed:,} of them new or changed",
        f"moved    {stored.moved:,} symbols that are ranked anew",
        f"refused  {len(found.refused):,}",
        *(f"  {refusal}" for refusal in found.refused[:SHOWN]),
    ]
    if len(found.refused) > SHOWN:
        lines.append(f"  ... and {len(found.refused) - SHOWN:,} more (see --json)")
    if count := _without_fund(found):
        lines.append(f"{count:,} belong to {' or '.join(WITHOUT_FUND)}, which has no fund to be measured by")
    return "\n".join(lines)
