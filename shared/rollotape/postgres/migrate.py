"""Brings a database to a revision of the schema, whoever else tries the same at the same moment."""

import asyncio
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from rollotape.errors import Refused
from rollotape.postgres.pool import unavailable

T = TypeVar("T")
LOCK = 0x726F6C6C6F
"""Advisory lock of everybody who migrates: "rollo" in ASCII."""
ALIVE_S = 30
"""A worker that was heard of within this time would go on with tables that are no longer there."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did."""

    applied: tuple[str, ...]
    """Revisions in the order they were applied or, going down, taken back."""
    revision: str | None
    partitions: int | None
    """P of this installation: what was asked for at first, whatever was asked for since."""


def upgrade(database_url: str, partitions: int = 16, *, to: str = "head") -> Migrated:
    """Bring the schema up to a revision in one transaction, and write the installation row if there is none.

    May be called anywhere, with or without a running event loop; it blocks.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
        Refused: there is no revision of this very name, or it cannot be reached from here.
    """
    must_be_known(to, "head")
    return _apart(database_url, lambda c: _migrate(c, command.upgrade, to, partitions))


def downgrade(database_url: str, *, to: str) -> Migrated:
    """Take revisions back, with the data they hold; `base` takes back everything.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
        Refused: there is no revision of this very name, or workers are alive.
    """
    must_be_known(to, "base")

    def work(connection: Connection) -> Migrated:
        _must_be_idle(connection)
        return _migrate(connection, command.downgrade, to, None)

    return _apart(database_url, work)


def current(database_url: str) -> str | None:
    """The revision of the database, None where nothing was ever migrated."""
    return _apart(database_url, _revision)


def head() -> str:
    """The newest revision this code knows."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest
    return newest


def revisions() -> list[str]:
    """Every revision this code knows, the oldest first."""
    return [found.revision for found in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def must_be_known(name: str, end: str) -> None:
    """Alembic takes the beginning of a name for the name: with a typo it would drop what nobody meant.

    Raises:
        Refused: this is neither a revision nor `end`; the message lists those that are.
    """
    known = [*revisions(), end]
    if name not in known:
        raise Refused(f"there is no revision {name}: it must be exactly one of {', '.join(known)}")


def script(*, to: str = "head") -> str:
    """The statements of an upgrade from nothing, for those who run them by hand."""
    must_be_known(to, "head")
    output = io.StringIO()
    command.upgrade(_config(output=output), to, sql=True)
    return output.getvalue()


def _must_be_idle(connection: Connection) -> None:
    if connection.scalar(text("SELECT to_regclass('replicas')")) is None:
        return
    alive = connection.scalars(
        text("SELECT name FROM replicas WHERE seen_at > now() - make_interval(secs => :s) ORDER BY name"),
        {"s": ALIVE_S},
    ).all()
    if alive:
        raise Refused(
            f"workers are alive ({', '.join(alive)}): stop them first,"
            f" and try again {ALIVE_S} s after any that was killed"
        )


def _config(**attributes: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(attributes)
    return config


def _migrate(connection: Connection, step: Callable[..., None], to: str, partitions: int | None) -> Migrated:
    applied: list[str] = []
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    try:
        step(_config(connection=connection, on_version_apply=partial(_note, applied)), to)
    except CommandError as error:
        raise Refused(f"the schema cannot be brought to {to}: {error}") from error
    revision = _revision(connection)
    return Migrated(tuple(applied), revision, _installed(connection, partitions) if revision else None)


def _note(applied: list[str], *, step: MigrationInfo, **_: Any) -> None:
    assert step.up_revision_id
    applied.append(step.up_revision_id)


def _installed(connection: Connection, partitions: int | None) -> int | None:
    if partitions is not None:
        connection.execute(
            text("INSERT INTO installation (partitions) VALUES (:partitions) ON CONFLICT DO NOTHING"),
            {"partitions": partitions},
        )
    fixed: int | None = connection.scalar(text("SELECT partitions FROM installation"))
    return fixed


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _apart(database_url: str, work: Callable[[Connection], T]) -> T:
    """Run in a thread with an event loop of its own: the caller may have one that runs already."""
    with ThreadPoolExecutor(1) as thread, unavailable("postgres"):
        return thread.submit(asyncio.run, _connected(database_url, work)).result()


async def _connected(database_url: str, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=partial(asyncpg.connect, database_url), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    except DBAPIError as error:
        raise _unwrapped(error) from error
    finally:
        await engine.dispose()


def _unwrapped(error: BaseException) -> BaseException:
    """What asyncpg raised: our tree of errors and our commands know its classes."""
    while error.__cause__ and not isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        error = error.__cause__
    return error
