"""`rollo export`: a table as a CSV file."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, cast

import typer

from rollotape.cli import ends
from rollotape.cli.meters import Meter
from rollotape.postgres import export
from rollotape.settings import Settings


class Table(StrEnum):
    BARS = "bars"
    VSA_EVENTS = "vsa_events"
    PATTERNS = "patterns"
    RS_SCORES = "rs_scores"
    SECTOR_MAPPING = "sector_mapping"
    DEAD_LETTERS = "dead_letters"


assert tuple(Table) == export.TABLES


def export_table(
    table: Annotated[Table, typer.Argument(help="What to write.")],
    out: Annotated[Path, typer.Option(help="FILE.csv or FILE.csv.gz; - for standard output.")] = Path("-"),
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
) -> None:
    """Write a table as CSV, in the order of its natural key.

    Two databases with the same content give the same bytes. Times are ISO 8601 in UTC, what is unknown is
    empty, and numbers read back as exactly what they were.

    Example: rollo export vsa_events --out events.csv.gz
    """
    settings = ends.database_of(data)
    try:
        rows = ends.run(_export(settings, table, out), interrupted=lambda: "stopped; no file was written")
    except BrokenPipeError:  # whoever read standard output has seen enough
        sys.stderr.close()
        raise typer.Exit(0) from None
    if str(out) != "-":
        typer.echo(f"{rows:,} rows of {table} in {out}", err=True)


async def _export(settings: Settings, table: str, out: Path) -> int:
    async with export.connection(settings.database_url) as connection:
        with Meter() as meter, _target(out) as file:
            progress = meter.rows(table, await export.estimate(connection, table))
            return await export.export(connection, table, file.write, progress)


@contextmanager
def _target(out: Path) -> Iterator[IO[bytes]]:
    """The file under a passing name until it is whole, so that nobody takes a half for the table."""
    if str(out) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as raw:
            if out.suffix == ".gz":  # without name and time, so that equal content stays equal
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield raw
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
