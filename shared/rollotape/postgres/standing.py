"""How PostgreSQL and what is kept there stand, asked by those who only watch; any part may be missing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg

from rollotape.postgres.gaps import RECENT_S
from rollotape.postgres.sql import queries

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]

CONNECT_S = 3.0
ANSWER_MS = "5000"


@dataclass(frozen=True, slots=True)
class Server:
    version_num: int
    version: str
    fsync: bool
    is_standby: bool
    now_s: float
    bytes: int
    most_connections: int
    connections: int


@dataclass(frozen=True, slots=True)
class Replica:
    """One process that shares partitions."""

    service: str
    name: str
    seen_s: float
    """Seconds since it was last heard of."""
    partitions: int


@dataclass(frozen=True, slots=True)
class Key:
    """One that was not revoked."""

    name: str
    expires_at: datetime | None
    expired: bool | None


@dataclass(frozen=True, slots=True)
class Installation:
    """What the oldest schema has, and every later one."""

    revision: str | None
    partitions: int
    epoch: str
    symbols: int
    dead_letters: int
    unsaid: int
    oldest_unsaid_s: float | None


@dataclass(frozen=True, slots=True)
class Strength:
    """What of relative strength is due."""

    marks: int
    dates: int
    stocks: int


@dataclass(frozen=True, slots=True)
class Missing:
    """What the auditor found of the last seven days, and nobody has explained."""

    gaps: int
    bars: int


@dataclass(frozen=True, slots=True)
class Standing:
    """None, or nothing, where the schema is not there or too old."""

    server: Server
    at_work: dict[str, int]
    """Services that are connected, and by how many connections."""
    installation: Installation | None = None
    strength: Strength | None = None
    replicas: list[Replica] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    missing: Missing | None = None


@asynccontextmanager
async def connection(database_url: str) -> "AsyncIterator[Connection]":
    """One that gives up soon."""
    settings = {"application_name": "rollo-watch", "timezone": "UTC", "statement_timeout": ANSWER_MS}
    opened = await asyncpg.connect(database_url, timeout=CONNECT_S, server_settings=settings)
    try:
        yield opened
    finally:
        opened.terminate()


async def look(connection: "Connection") -> Standing:
    sql = queries("standing")
    server = Server(**await _row(connection, sql["server"]))
    at_work = dict(await connection.fetch(sql["at_work"]))
    if not await connection.fetchval(sql["has_schema"]):
        return Standing(server, at_work)
    found = await connection.fetchrow(sql["installation"])
    try:
        strength = Strength(**await _row(connection, sql["strength"]))
        keys = [Key(**row) for row in await connection.fetch(sql["keys"])]
        missing = Missing(*await _row(connection, sql["missing"], RECENT_S))
    except asyncpg.UndefinedTableError:
        strength, keys, missing = None, [], None
    return Standing(
        server,
        at_work,
        Installation(**found) if found else None,
        strength,
        [Replica(**row) for row in await connection.fetch(sql["replicas"])],
        keys,
        missing,
    )


async def _row(connection: "Connection", query: str, *asked: object) -> Any:
    row = await connection.fetchrow(query, *asked)
    assert row
    return row
