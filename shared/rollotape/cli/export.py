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
    WYCKOFF_EVENTS = "wyckoff_events"
    PATTERNS = "patterns"
    SIGNALS = "signals"
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
    if str(out) != "-":
        _check(out)
    settings = ends.database_of(data)
    try:
        rows = ends.run(_export(settings, table, out), interrupted=lambda: "stopped; no file was written")
    except BrokenPipeError:  # whoever read standard output has seen enough
        sys.stderr.close()
        raise typer.Exit(0) from None
    if str(out) != "-":
        typer.echo(f"{rows:,} rows of {table} in {out}", err=True)


def _check(out: Path) -> None:
    """Before anything is asked of the database."""
    if out.is_dir():
        ends.stop(f"{out} is a directory: name a file in it", ends.USAGE)
    if not out.parent.is_dir():
        ends.stop(f"{out}: there is no folder {out.parent}", ends.USAGE)


async def _export(settings: Settings, table: str, out: Path) -> int:
    async with export.connection(settings.database_url) as connection:
        with Meter() as meter, _target(out) as file:
            progress = meter.rows(table, await export.estimate(connection, table))
            return await export.export(connection, table, file.write, progress)


@contextmanager
def _target(out: Path) -> Iterator[IO[bytes]]:
    """Where the table goes. A file takes its name when it is whole: nobody takes a half for the table."""
    if str(out) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif out.exists() and not out.is_file():  # a device or a FIFO: a file must not take its place
        with naming(out), out.open("wb") as raw, _packed(out, raw) as file:
            yield file
    else:
        place = out.resolve()  # a link stays one, to a new file
        part = place.with_name(f"{place.name}.part")
        try:
            with naming(out):
                with part.open("wb") as raw, _packed(out, raw) as file:
                    yield file
                part.replace(place)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _packed(out: Path, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    if out.suffix != ".gz":
        yield raw
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:  # equal content stays equal
        yield cast(IO[bytes], packed)


@contextmanager
def naming(out: Path) -> Iterator[None]:
    """Errors of the file name what the user has named, not what we call it meanwhile."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError | TimeoutError | ConnectionError):
            raise
        raise OSError(error.errno, error.strerror, str(out)) from error
