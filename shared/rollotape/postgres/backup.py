"""Everything that a database of ours holds in one file, from one snapshot, and back.

The file is a ZIP archive: for each table `tables/<name>.copy`, as COPY writes it as text, and a
`manifest.json` with the revision of the schema and, for each table, its columns, rows and SHA-256. It needs
no program of PostgreSQL, and any tool can read it.
"""

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import asyncpg
import orjson

from rollotape import __version__
from rollotape.errors import Refused
from rollotape.postgres import migrate
from rollotape.postgres.pool import unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]

FORMAT = 1
NOT_KEPT = ("alembic_version", "leases", "replicas", "stream_floors")
"""What speaks of running processes, or of one Redis; the revision is in the manifest."""
OWN = (
    "installation", "sectors", "sector_mapping", "rs_dates", "dirty_dates", "generations", "unrolled_days",
    "changed_answers", "universes", "unscanned", "scan_clocks", "scan_turns", "sector_standings",
)  # fmt: skip
"""Tables that an installation has rows in before its first bar: listed stocks, their mapping, a counter."""
SERVICES = ("detector", "rs-worker", "cache-builder", "api-gateway")
ALIVE_S = 30
CHUNK_BYTES = 1 << 18
LEVEL = 3
"""Of compression: the next ones cost twice the time for a few percent."""
_MANIFEST = "manifest.json"

Progress = Callable[[str, int, int | None], None]
"""Called with a table, its rows so far, and about how many it has."""


def _silent(_table: str, _rows: int, _total: int | None) -> None:
    """For those who do not watch."""


@dataclass(frozen=True, slots=True)
class Table:
    columns: list[str]
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a backup, and what it was made of."""

    format: int
    made_at: str
    version: str
    schema: str
    postgres: str
    partitions: int
    epoch: str
    waiting: int | None
    """Entries that were sent and not applied, which are not in it; None where Redis could not be asked."""
    tables: dict[str, Table] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())


@asynccontextmanager
async def connection(database_url: str) -> "AsyncIterator[Connection]":
    """A connection without time limits: a table takes as long as it takes."""
    settings = {
        "application_name": "rollo-backup",
        "timezone": "UTC",
        "datestyle": "ISO",
        "intervalstyle": "iso_8601",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }
    with unavailable("postgres"):
        opened = await asyncpg.connect(database_url, server_settings=settings, timeout=10)
    try:
        yield opened
    finally:
        await opened.close(timeout=10)


async def save(
    connection: "Connection", target: IO[bytes], waiting: int | None, progress: Progress = _silent
) -> Manifest:
    """Write everything that was committed at one moment into a file that can be sought in.

    Raises:
        Refused: the database has no schema.
        Unavailable: PostgreSQL went away.
        OSError: the file cannot be written.
    """
    file = _Watched(target)
    try:
        with unavailable("postgres"):
            return await _save(connection, file, waiting, progress)
    except Exception:
        if file.error:  # a full disk is no outage of PostgreSQL
            raise file.error from None
        raise


class _Watched(io.RawIOBase):
    """A file that remembers why it could not be written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, part: Any) -> int:
        try:
            return self._file.write(part)
        except OSError as error:
            self.error = error
            raise

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


async def _save(
    connection: "Connection", target: io.RawIOBase, waiting: int | None, progress: Progress
) -> Manifest:
    sql = queries("backup")
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        manifest = await _describe(connection, waiting)
        file = cast(IO[bytes], target)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
            for name, about, columns in await connection.fetch(sql["tables"], NOT_KEPT):
                told = partial(_tell, progress, name, about if about > 0 else None)
                manifest.tables[name] = await _save_table(connection, archive, name, columns, told)
            manifest.sequences.update(await connection.fetch(sql["sequences"]))
            archive.writestr(_MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
    return manifest


def _tell(progress: Progress, name: str, total: int | None, rows: int) -> None:
    progress(name, rows, total)


async def _describe(connection: "Connection", waiting: int | None) -> Manifest:
    sql = queries("backup")
    try:
        schema = await connection.fetchval(sql["revision"])
        installed = await connection.fetchrow(sql["installation"])
    except asyncpg.UndefinedTableError:
        schema = installed = None
    if schema is None or installed is None:
        raise Refused("the database has no installation: there is nothing to back up")
    partitions, epoch, server = installed
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(FORMAT, made_at, __version__, schema, server, partitions, epoch, waiting)


async def _save_table(
    connection: "Connection",
    archive: zipfile.ZipFile,
    name: str,
    columns: list[str],
    progress: Callable[[int], None],
) -> Table:
    digest, rows = hashlib.sha256(), 0
    with archive.open(_member(name), "w", force_zip64=True) as member:

        async def receive(part: bytes) -> None:
            nonlocal rows
            try:
                member.write(part)
            except OSError:
                connection.terminate()  # asyncpg's own way to stop hangs when this was the last part
                raise
            digest.update(part)
            rows += part.count(b"\n")
            progress(rows)

        await connection.copy_from_table(name, columns=columns, output=receive, format="text")
    return Table(columns, rows, digest.hexdigest())


def _member(table: str) -> str:
    return f"tables/{table}.copy"


@contextmanager
def opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    """A backup and what it says about itself.

    Raises:
        Refused: this is no backup, it is damaged, or a newer version made it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, _manifest(path, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Refused(f"{path} is no backup, or is damaged or cut off: {error}") from None
    except OSError as error:
        if error.filename is None:
            raise
        raise Refused(f"{path}: {error.strerror}") from None


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    try:
        told = orjson.loads(archive.read(_MANIFEST))
        if told["format"] != FORMAT:
            raise Refused(
                f"{path} has format {told['format']}, and this version knows {FORMAT}:"
                f" restore it with version {told['version']} or newer"
            )
        tables = {name: Table(**table) for name, table in told.pop("tables").items()}
        return Manifest(**told, tables=tables)
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"{path} is no backup of ours: its manifest cannot be read ({error})") from None


def check(archive: zipfile.ZipFile, manifest: Manifest, progress: Progress = _silent) -> None:
    """Read everything and compare it with the manifest.

    Raises:
        Refused: something is damaged or missing; `opened` says so of what ZIP itself notices.
    """
    for name, table in manifest.tables.items():
        rows, digest = 0, hashlib.sha256()
        for part in _parts(archive, name):
            digest.update(part)
            rows += part.count(b"\n")
            progress(name, rows, table.rows)
        _must_match(name, table, rows, digest.hexdigest())


def _parts(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    try:
        member = archive.open(_member(name))
    except KeyError:
        raise Refused(f"the backup lacks the table {name} that its manifest lists") from None
    with member:
        while part := member.read(CHUNK_BYTES):
            yield part


def _must_match(name: str, table: Table, rows: int, sha256: str) -> None:
    if (rows, sha256) != (table.rows, table.sha256):
        raise Refused(f"the backup is damaged: table {name} is not what its manifest says")


async def must_be_idle(connection: "Connection") -> None:
    """Services that work on a database would mix what they know with what is restored.

    Raises:
        Refused: some do.
    """
    names = [f"rollo-{service}" for service in SERVICES]
    try:
        alive = [name for [name] in await connection.fetch(queries("backup")["alive"], names, ALIVE_S)]
    except asyncpg.UndefinedTableError:
        return
    if alive:
        raise Refused(
            f"services are at work on this database ({', '.join(alive)}): stop them first (of a stack of"
            " `rollo up`, the stack: its servers are started for the restore by themselves), and try again"
            f" {ALIVE_S} s after any that was killed"
        )


async def content(connection: "Connection") -> list[str]:
    """Tables that have rows which no new installation has."""
    tables = await connection.fetch(queries("backup")["tables"], [*NOT_KEPT, *OWN])
    return [
        name
        for name, *_ in tables
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {_q(name)})")  # noqa: S608
    ]


async def partitions(connection: "Connection") -> int | None:
    """P of the installation; None where there is none."""
    try:
        found: int | None = await connection.fetchval("SELECT partitions FROM installation")
    except asyncpg.UndefinedTableError:
        return None
    return found


def must_know(manifest: Manifest) -> list[str]:
    """Every revision, if that of the backup is among them.

    Raises:
        Refused: it is not.
    """
    known = migrate.revisions()
    if manifest.schema not in known:
        raise Refused(
            f"the backup has schema {manifest.schema}, and this version knows those up to {known[-1]}:"
            f" restore it with version {manifest.version} or newer"
        )
    return known


def bring_schema(database_url: str, manifest: Manifest) -> None:
    """Bring a database without content to the revision that a backup was made of.

    Blocks, as `migrate` does.

    Raises:
        Refused: this version does not know the revision of one of them.
    """
    known = must_know(manifest)
    now = migrate.current(database_url)
    if now is not None and now not in known:
        raise Refused(f"the database has schema {now}, which this version does not know")
    if now is None or known.index(now) < known.index(manifest.schema):
        migrate.upgrade(database_url, manifest.partitions, to=manifest.schema)
    elif now != manifest.schema:
        migrate.downgrade(database_url, to=manifest.schema)


async def load(
    connection: "Connection", archive: zipfile.ZipFile, manifest: Manifest, progress: Progress = _silent
) -> str:
    """Put the content of a backup in the place of what is there, wholly or not at all; the new epoch.

    The schema must have the revision of the backup.

    Raises:
        Refused: the backup is damaged, or its tables are not those of this database.
        Unavailable: PostgreSQL went away.
    """
    sql = queries("backup")
    with unavailable("postgres"):
        async with connection.transaction():
            tables = await _in_order(connection, manifest)
            # The marks are in the backup like everything else: triggers would set others beside them.
            await _triggers(connection, tables, "DISABLE")
            await connection.execute(f"TRUNCATE {', '.join(map(_q, tables))}")
            for name in tables:
                await _load_table(connection, archive, name, manifest.tables[name], progress)
            await _triggers(connection, tables, "ENABLE")
            for name, last in manifest.sequences.items():
                await connection.execute(sql["raise_sequence"], name, last)
            epoch: str = await connection.fetchval(sql["new_epoch"])
        await connection.execute("ANALYZE")
    return epoch


async def _triggers(connection: "Connection", tables: Sequence[str], do: str) -> None:
    for name in tables:
        await connection.execute(f"ALTER TABLE {_q(name)} {do} TRIGGER USER")


async def empty(connection: "Connection") -> None:
    """Remove everything."""
    tables = [name for name, *_ in await connection.fetch(queries("backup")["tables"], NOT_KEPT)]
    if tables:
        await connection.execute(f"TRUNCATE {', '.join(map(_q, tables))}")


async def _in_order(connection: "Connection", manifest: Manifest) -> list[str]:
    """The tables as they can be filled: what others refer to comes first."""
    sql = queries("backup")
    there = {name for name, *_ in await connection.fetch(sql["tables"], NOT_KEPT)}
    if there != manifest.tables.keys():
        odd = ", ".join(sorted(there ^ manifest.tables.keys()))
        raise Refused(f"the backup and a database of schema {manifest.schema} differ in tables: {odd}")
    needs: dict[str, set[str]] = {name: set() for name in sorted(there)}
    for source, target in await connection.fetch(sql["references"]):
        if source in needs:
            needs[source].add(target)
    return list(TopologicalSorter(needs).static_order())


async def _load_table(
    connection: "Connection", archive: zipfile.ZipFile, name: str, table: Table, progress: Progress
) -> None:
    digest, rows = hashlib.sha256(), 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal rows
        for part in _parts(archive, name):
            digest.update(part)
            rows += part.count(b"\n")
            progress(name, rows, table.rows)
            yield part

    try:
        await connection.copy_to_table(name, source=source(), columns=table.columns, format="text")
    except asyncpg.DataError as error:
        raise Refused(f"the backup is damaged: table {name}: {error}") from None
    _must_match(name, table, rows, digest.hexdigest())


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def write_target(path: Path) -> IO[bytes]:
    """A new file that only we may read: it holds hashes of keys, and whatever was ever sent."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b")


def as_json(manifest: Manifest) -> Mapping[str, Any]:
    return asdict(manifest) | {"rows": manifest.rows}
