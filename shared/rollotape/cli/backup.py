"""`rollo backup` and `rollo restore`: everything that is stored, in one file, and back."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import orjson
import typer
from redis.asyncio import Redis

from rollotape import verify as engine
from rollotape.cli import ends
from rollotape.cli.export import naming
from rollotape.cli.meters import Meter
from rollotape.cli.resting import awake
from rollotape.errors import Refused, Unavailable
from rollotape.events import STREAMS
from rollotape.postgres import arrivals, migrate
from rollotape.postgres import backup as stored
from rollotape.postgres.backup import Manifest
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.producers.importer import GROUP
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.backoff import is_outage
from rollotape.streams.position import finished
from rollotape.streams.standing import Stream, look

_INTERRUPTED = "stopped: what was there is kept, or the backup is there, or nothing: see `rollo doctor`"
_RESTORED = "stopped comparing; everything is restored and stays: `rollo verify` compares at any time"
POLL_S = 0.1
QUIET_S = 5.0
"""After this long without any progress, nobody seems to be reading."""
INPUTS = {name: contract for name, contract in STREAMS.items() if GROUP in contract.groups}

Data = Annotated[Path | None, typer.Option(help="Directory of the stack, running or not.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


@dataclass(slots=True)
class Standing:
    """What holds if a restore is stopped now."""

    holds: str = _INTERRUPTED


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make.")],
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for entries that were sent and are not applied.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also where the file exists.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write everything that is stored, inputs and results, into one compressed file, from one snapshot.

    Services may go on working. What was sent before and is not applied yet is waited for; with --now it is
    left out, and counted. Streams and read models of Redis are not in the file: read models follow from
    the database by themselves. API keys are in it as hashes, so keep it as safe as the database.

    Example: rollo backup tape.rollo
    """
    if file.exists() and not overwrite:
        ends.stop(f"{file} is there already: name another file, or say --overwrite", ends.USAGE)
    if not file.absolute().parent.is_dir():
        ends.stop(f"{file}: there is no folder {file.parent}", ends.USAGE)
    began, meter = time.monotonic(), Meter()
    with ends.refusals(), awake(data, meter.note) as settings:
        manifest = ends.run(
            _backup(settings, file, now, meter), interrupted=lambda: "stopped; no file was written"
        )
    seconds, size = time.monotonic() - began, file.stat().st_size
    if as_json:
        _print({"file": str(file), "bytes": size, "seconds": round(seconds, 3)} | _told(manifest))
        return
    left_out = _left_out(manifest.waiting)
    typer.echo(
        f"{manifest.rows:,} rows of {len(manifest.tables)} tables, schema {manifest.schema}, in {file}:"
        f" {_size(size)} in {seconds:.1f} s{left_out}"
    )


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Made by `rollo backup`.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also into a stack that holds something, which is lost.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only read the file and compare its sums.")] = False,
    verify: Annotated[
        bool, typer.Option(help="Afterwards recompute all results and compare, as `rollo verify` does.")
    ] = True,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Put the content of a backup into an empty stack, wholly or not at all.

    No service may be at work meanwhile: stop the stack, and the servers on --data run as long as this does
    (a new directory gets new ones). Of servers of your own, stop the services. Backups of older versions
    are brought to the newest schema. The installation gets a new epoch: what clients have cached
    and where they were in streams is void, and they are told so. The exit code is 1 when a result differs.

    Example: rollo restore tape.rollo --data ~/tape
    """
    meter = Meter()
    if check:
        manifest = _check(file, meter)
        if as_json:
            _print({"file": str(file)} | _told(manifest))
        else:
            typer.echo(f"{file} is whole: {_contents(manifest)}")
        return
    with ends.refusals():
        with stored.opened(file) as (_, manifest):
            stored.must_know(manifest)  # before anything is started
        with awake(data, meter.note, new=True) as settings:
            standing = Standing()
            work = _restore(settings, file, force, verify, meter, standing)
            summary = ends.run(work, interrupted=lambda: standing.holds)
    summary = {"file": str(file)} | summary
    if as_json:
        _print(summary)
    else:
        typer.echo(_in_words(summary))
    if summary["differences"]:
        raise typer.Exit(ends.FAILURE)


async def _backup(settings: Settings, file: Path, now: bool, meter: Meter) -> Manifest:
    async with stored.connection(settings.database_url) as connection:
        with meter:
            waiting = await _applied(settings, await arrivals.partitions(connection), now, meter)
            with _whole(file) as target:
                return await stored.save(connection, target, waiting, _progress(meter))


@contextmanager
def _whole(file: Path) -> Iterator[IO[bytes]]:
    """A file takes its name when it is whole."""
    place = file.resolve()
    part = place.with_name(f"{place.name}.part")
    try:
        with naming(file):
            with stored.write_target(part) as target:
                yield target
            part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _progress(meter: Meter) -> stored.Progress:
    """A bar for each table, as it comes."""
    bars: dict[str, Callable[[int], None]] = {}

    def progress(table: str, rows: int, total: int | None) -> None:
        if table not in bars:
            bars[table] = meter.rows(table, total)
        bars[table](rows)

    return progress


async def _applied(settings: Settings, partitions: int, now: bool, meter: Meter) -> int | None:
    """Return when what was sent before is applied, or how much is not and will not be in the backup.

    Raises:
        Refused: nobody reads it; Unavailable: Redis cannot be asked.
    """
    async with open_client(settings.redis_url) as redis:
        try:
            if not now:
                await _wait(redis, partitions, meter)
            streams = await look(redis, partitions, INPUTS)
        except Exception as error:
            if now and is_outage(error):
                return None
            if is_outage(error):
                raise Unavailable(f"redis: {error}") from error
            raise
    return sum(stream.waiting(GROUP) for stream in streams) if now else 0


async def _wait(redis: Redis, partitions: int, meter: Meter) -> None:
    """What comes meanwhile is none of ours."""
    streams = [s for s in await look(redis, partitions, INPUTS) if s.waiting(GROUP)]
    if not streams:
        return
    last_ids, moved, seen = {s.name: s.last_id for s in streams}, time.monotonic(), _standing(streams)
    show = meter.waiting(sum(s.waiting(GROUP) for s in streams))
    while not await finished(redis, GROUP, last_ids):
        streams = [s for s in await look(redis, partitions, INPUTS) if s.name in last_ids]
        waiting = sum(s.waiting(GROUP) for s in streams)
        show(waiting)
        if seen != _standing(streams):
            seen, moved = _standing(streams), time.monotonic()
        if time.monotonic() - moved > QUIET_S:
            raise Refused(
                f"{waiting:,} entries were sent and are not applied, and nobody reads them: start the stack"
                " and try again, or leave them out with --now"
            )
        await asyncio.sleep(POLL_S)


def _standing(streams: Sequence[Stream]) -> list[Any]:
    """What moves only when somebody reads."""
    groups = [s.groups.get(GROUP) for s in streams]
    return [(g.delivered, g.pending) if g else None for g in groups]


def _check(file: Path, meter: Meter) -> Manifest:
    with ends.refusals(), stored.opened(file) as (archive, manifest), meter:
        stored.must_know(manifest)
        stored.check(archive, manifest, _progress(meter))
    return manifest


async def _restore(
    settings: Settings, file: Path, force: bool, verify: bool, meter: Meter, standing: Standing
) -> dict[str, Any]:
    url, began = settings.database_url, time.monotonic()
    with stored.opened(file) as (archive, manifest):
        before = await asyncio.to_thread(migrate.current, url)
        async with stored.connection(url) as connection:
            await _may_restore(connection, settings, force)
            if before not in (None, manifest.schema):
                await stored.empty(connection)
        await asyncio.to_thread(stored.bring_schema, url, manifest)
        async with stored.connection(url) as connection:
            with meter:
                epoch = await stored.load(connection, archive, manifest, _progress(meter))
        migrated = await asyncio.to_thread(migrate.upgrade, url, manifest.partitions)
    waiting, seconds = await _left_in_streams(settings, manifest.partitions), time.monotonic() - began
    if verify:
        standing.holds = _RESTORED
        meter.note(
            f"Restored in {seconds:.1f} s and committed: Ctrl-C loses nothing from here on. Every result is"
            " computed again now and compared, which takes longer; --no-verify leaves that out."
        )
    differences = await _differences(settings, meter) if verify else None
    return _told(manifest) | {
        "epoch": epoch,
        "schema": migrated.revision,
        "applied": list(migrated.applied),
        "seconds": round(seconds, 3),
        "left_in_streams": waiting,
        "differences": differences,
    }


async def _may_restore(connection: Any, settings: Settings, force: bool) -> None:
    """Raises:
    Refused: services are at work, or the stack is not empty and nobody forces us.
    """
    with unavailable("postgres"):
        await stored.must_be_idle(connection)
        full = await stored.content(connection)
        partitions = await stored.partitions(connection) or settings.partitions
    waiting = await _left_in_streams(settings, partitions)
    if (full or waiting) and not force:
        what = [f"rows in {', '.join(full)}"] if full else []
        if waiting:
            what.append(f"{waiting:,} entries in its streams that would be applied on top")
        raise Refused(
            f"the stack is not empty: it has {' and '.join(what)}. Restore into a new one (like"
            " --data DIR of a directory that is not there), or lose what is there with --force"
        )


async def _left_in_streams(settings: Settings, partitions: int) -> int:
    """Entries that nobody has applied; 0 where Redis cannot be asked, for a restore does not need it."""
    try:
        async with open_client(settings.redis_url) as redis:
            streams = await look(redis, partitions, INPUTS)
    except Exception as error:
        if not is_outage(error):
            raise
        return 0
    return sum(stream.waiting(GROUP) for stream in streams)


async def _differences(settings: Settings, meter: Meter) -> int:
    async with await open_pool(settings, service="verify", raw_times=True, size=1) as pool:
        with unavailable("postgres"), Meter() as progress:
            report = await engine.verify(pool, progress=progress.parts("verify", "symbols"))
    for difference in report.differences[:5]:
        meter.note(f"differs: {difference.table} {difference.key}")
    return len(report.differences)


def _told(manifest: Manifest) -> dict[str, Any]:
    told = asdict(manifest)
    del told["sequences"]
    return told | {
        "rows": manifest.rows,
        "tables": {name: table.rows for name, table in manifest.tables.items()},
    }


def _left_out(waiting: int | None) -> str:
    if waiting is None:
        return "\nRedis could not be asked: what was sent and not applied is not in it"
    return f"\n{waiting:,} entries that were sent and not applied are not in it" if waiting else ""


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def _contents(manifest: Manifest) -> str:
    return (
        f"{manifest.rows:,} rows of {len(manifest.tables)} tables, schema {manifest.schema}, made"
        f" {manifest.made_at} by version {manifest.version}"
    )


def _in_words(s: dict[str, Any]) -> str:
    news = f" (brought there by {', '.join(s['applied'])})" if s["applied"] else ""
    lines = [
        f"{s['rows']:,} rows of {len(s['tables'])} tables restored in {s['seconds']:.1f} s;"
        f" schema {s['schema']}{news}, {s['partitions']} partitions",
        f"the installation has a new epoch, {s['epoch']}",
    ]
    if s["waiting"]:
        lines.append(f"{s['waiting']:,} entries were not applied at the time and are not in it")
    if s["left_in_streams"]:
        lines.append(f"{s['left_in_streams']:,} entries wait in the streams and will be applied on top")
    if s["differences"] is not None:
        lines.append(f"{s['differences']:,} differences between what is stored and what follows from it")
    return "\n".join(lines)


def _print(summary: dict[str, Any]) -> None:
    typer.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
