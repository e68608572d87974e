"""Databases of a test server: a migrated template, and quick copies of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from rollotape.postgres import migrate

PARTITIONS = 16
T = TypeVar("T")


@contextmanager
def template(server_url: str) -> Iterator[str]:
    """Make a migrated database that nobody connects to, yield its name, drop it."""
    name = f"rollo_template_{uuid4().hex[:12]}"
    execute(server_url, f"CREATE DATABASE {name}")
    try:
        migrate.upgrade(url_of(server_url, name), PARTITIONS)
        yield name
    finally:
        execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def copy_of(template_name: str | None, server_url: str) -> Iterator[str]:
    """Yield the URL of a new database, cloned from a template or empty; drop it whoever is connected."""
    name = f"rollo_test_{uuid4().hex[:12]}"
    how = f"TEMPLATE {template_name or 'template0'} STRATEGY {_quickest(server_url)}"
    execute(server_url, f"CREATE DATABASE {name} {how}")
    try:
        yield url_of(server_url, name)
    finally:
        execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _quickest(server_url: str) -> str:
    """To copy files takes two checkpoints, which cost nothing where nothing is brought to the disk."""
    [[fsync]] = fetch(server_url, "SHOW fsync")
    return "WAL_LOG" if fsync == "on" else "FILE_COPY"


def url_of(server_url: str, database: str) -> str:
    return urlsplit(server_url)._replace(path=f"/{database}").geturl()


def execute(database_url: str, statements: str) -> None:
    """Run statements outside a transaction; may be called with or without a running loop."""
    _apart(database_url, lambda connection: connection.execute(statements))


def fetch(database_url: str, query: str, *arguments: object) -> list["asyncpg.Record"]:
    """Rows of a query; may be called with or without a running loop."""
    return _apart(database_url, lambda connection: connection.fetch(query, *arguments))


def _apart(database_url: str, work: Callable[["asyncpg.Connection[Any]"], Awaitable[T]]) -> T:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _connected(database_url, work)).result()


async def _connected(database_url: str, work: Callable[["asyncpg.Connection[Any]"], Awaitable[T]]) -> T:
    connection = await asyncpg.connect(database_url)
    try:
        return await work(connection)
    finally:
        await connection.close()
