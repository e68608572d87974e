"""Databases of a test server: a migrated template, and quick copies of it."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from rollotape.postgres import migrate

PARTITIONS = 16


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
    execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template_name or 'template0'}")
    try:
        yield url_of(server_url, name)
    finally:
        execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def url_of(server_url: str, database: str) -> str:
    return urlsplit(server_url)._replace(path=f"/{database}").geturl()


def execute(server_url: str, statement: str) -> None:
    """Run one statement outside a transaction; may be called with or without a running loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _execute(server_url, statement)).result()


async def _execute(server_url: str, statement: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
