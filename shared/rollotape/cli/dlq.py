"""`rollo dlq`: look at dead letters, send them again, or drop them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from rollotape.cli import ends
from rollotape.cli.meters import Meter
from rollotape.postgres import dead_letters
from rollotape.postgres.dead_letters import Stored, Summary
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.producer import Producer

AT_ONCE = 100
"""Entries sent again before their rows are removed: so many come twice when this is interrupted."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Inputs that could not be applied, with their original bytes and every reason.\n\n"
    "Example: rollo dlq list --reason volume",
)
Data = Annotated[Path | None, typer.Option(help="Directory of the running stack.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", help="As `rollo dlq list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter (of --stream).")]
Stream = Annotated[str | None, typer.Option(help="Only of this stream, like bars.3.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_letters(
    reason: Annotated[str | None, typer.Option(help="A part of a reason or field name, in any case.")] = None,
    stream: Stream = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Show dead letters, the newest first.

    Example: rollo dlq list --reason "must not be below low" --limit 10
    """
    settings = ends.database_of(data)
    letters = ends.run(_newest(settings, reason, stream, limit))
    if as_json:
        typer.echo(orjson.dumps([asdict(letter) for letter in letters], option=orjson.OPT_INDENT_2).decode())
    elif letters:
        _print_table(letters)
    else:
        typer.echo("no dead letters" + (" match" if reason or stream else ""))


@app.command()
def show(
    letter_id: Annotated[int, typer.Argument(metavar="ID", help="As `rollo dlq list` shows it.")],
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Show one dead letter with every reason and its original bytes (in hex where they are no text).

    Example: rollo dlq show 17
    """
    letter = ends.run(_one(ends.database_of(data), letter_id))
    if letter is None:
        ends.stop(f"there is no dead letter {letter_id}", ends.FAILURE)
    if as_json:
        typer.echo(orjson.dumps(_as_json(letter), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(_in_words(letter))


@app.command()
def requeue(
    ids: Ids = None, every: All = False, stream: Stream = None, as_json: AsJson = False, data: Data = None
) -> None:
    """Send the original bytes to their stream again, and remove what was sent.

    Useful after a new version that accepts what an older one refused: what is refused once more comes
    back as a new dead letter.

    Example: rollo dlq requeue 17 18
    """
    settings = ends.stack_of(data)
    chosen = _chosen(ids, every, stream)
    done = _Done()
    ends.run(_requeue(settings, chosen, stream, done), interrupted=done.in_words)
    if as_json:
        typer.echo(orjson.dumps(asdict(done)).decode())
    else:
        typer.echo(done.in_words())
    _complain_about(done.missing)


@app.command()
def drop(
    ids: Ids = None,
    every: All = False,
    stream: Stream = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Delete dead letters for good, after asking.

    Example: rollo dlq drop --all --stream bars.3
    """
    settings = ends.database_of(data)
    chosen = _chosen(ids, every, stream)
    if chosen is None:
        chosen = ends.run(_ids(settings, stream))
    if chosen and not yes:
        what = f"{len(chosen):,} dead letter{'s' if len(chosen) != 1 else ''}"
        if not typer.confirm(f"Delete {what} for good?", err=as_json):
            ends.stop("nothing was deleted", ends.FAILURE)
    dropped = ends.run(_drop(settings, chosen))
    typer.echo(orjson.dumps({"dropped": dropped}).decode() if as_json else f"{dropped:,} dropped")
    if ids:
        _complain_about(len(chosen) - dropped)


@dataclass(slots=True)
class _Done:
    entries: int = 0
    letters: int = 0
    missing: int = 0

    def in_words(self) -> str:
        return f"{self.letters:,} dead letters sent again in {self.entries:,} entries"


def _chosen(ids: list[int] | None, every: bool, stream: str | None) -> list[int] | None:
    """Ids without repetition; None for all."""
    if every == bool(ids):
        ends.stop("say which: ids, or --all", ends.USAGE)
    if ids and stream:
        ends.stop("--stream goes with --all; ids name their streams themselves", ends.USAGE)
    return list(dict.fromkeys(ids)) if ids else None


def _complain_about(missing: int) -> None:
    if missing:
        ends.stop(f"{missing:,} of these ids are not there", ends.FAILURE)


async def _newest(settings: Settings, reason: str | None, stream: str | None, limit: int) -> list[Summary]:
    async with await open_pool(settings, service="dlq", size=1) as pool:
        with unavailable("postgres"):
            return await dead_letters.newest(pool, reason=reason, stream=stream, limit=limit)


async def _one(settings: Settings, letter_id: int) -> Stored | None:
    async with await open_pool(settings, service="dlq", size=1) as pool:
        with unavailable("postgres"):
            return await dead_letters.show(pool, letter_id)


async def _ids(settings: Settings, stream: str | None) -> list[int]:
    async with await open_pool(settings, service="dlq", size=1) as pool:
        with unavailable("postgres"):
            return await dead_letters.ids(pool, stream=stream)


async def _drop(settings: Settings, ids: list[int]) -> int:
    async with await open_pool(settings, service="dlq", size=1) as pool:
        with unavailable("postgres"):
            return await dead_letters.drop(pool, ids)


async def _requeue(settings: Settings, chosen: list[int] | None, stream: str | None, done: _Done) -> None:
    """A row is removed only after its bytes were sent: a crash between the two sends them twice."""
    redis = open_client(settings.redis_url)
    try:
        async with await open_pool(settings, service="dlq", size=1) as pool:
            producer = Producer(redis)
            ids = chosen if chosen is not None else await dead_letters.ids(pool, stream=stream)
            with Meter() as meter:
                progress = meter.rows("requeue", len(ids))
                for start in range(0, len(ids), AT_ONCE):
                    part = ids[start : start + AT_ONCE]
                    with unavailable("postgres"):
                        again = await dead_letters.payloads(pool, part)
                    await producer.send_many([(entry.stream, entry.payload) for entry in again])
                    with unavailable("postgres"):
                        await dead_letters.drop(pool, [i for entry in again for i in entry.ids])
                    done.entries += len(again)
                    done.letters += sum(len(entry.ids) for entry in again)
                    progress(start + len(part))
            done.missing = len(ids) - done.letters if chosen is not None else 0
    finally:
        await redis.aclose()


def _print_table(letters: list[Summary]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("id", "stream", "entry", "row", "arrived", "bytes", "reasons"):
        table.add_column(name, overflow="fold", no_wrap=name != "reasons")
    for x in letters:
        reasons = "\n".join(_faults(x))
        arrived = x.arrived_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        row = (str(x.id), x.stream, x.entry_id, str(x.row), arrived, str(x.payload_bytes))
        table.add_row(*row, reasons)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1_000  # lines of a pipe are not folded
    console.print(table)


def _faults(letter: Summary | Stored) -> list[str]:
    return [f"{name}: {reason}" for name, reason in zip(letter.fields, letter.reasons, strict=True)]


def _payload(letter: Stored) -> tuple[str, str]:
    """How the bytes are shown, and the bytes so shown."""
    try:
        text = letter.payload.decode()
    except UnicodeDecodeError:
        return "hex", letter.payload.hex()
    if all(c.isprintable() or c in "\n\t" for c in text):
        return "text", text
    return "hex", letter.payload.hex()


def _in_words(letter: Stored) -> str:
    kind, payload = _payload(letter)
    head = {
        "id": letter.id,
        "stream": letter.stream,
        "entry": letter.entry_id,
        "row": letter.row or "the whole entry",
        "arrived": letter.arrived_at.isoformat().replace("+00:00", "Z"),
        "refused by": letter.service,
        "sha256": letter.sha256.hex(),
        "bytes": f"{len(letter.payload):,} as {kind}",
    }
    lines = [f"{name:<10}  {value}" for name, value in head.items()]
    lines += [f"{'reason':<10}  {fault}" for fault in _faults(letter)]
    return "\n".join([*lines, "", payload])


def _as_json(letter: Stored) -> dict[str, Any]:
    kind, payload = _payload(letter)
    return {**asdict(letter), "sha256": letter.sha256.hex(), "payload": payload, "payload_is": kind}
