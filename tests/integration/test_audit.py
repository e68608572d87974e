"""Who wrote what over HTTP: every route that may write leaves a row, and `rollo audit` finds it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from api_gateway.app import create_app, describe
from api_gateway.audit import READING
from rollotape import keys
from rollotape.postgres import audit
from rollotape.postgres.sql import queries
from rollotape.settings import Settings
from support.commands import environment_of, rollo
from support.databases import execute, fetch
from support.waiting import eventually

WRITES = [
    (method.upper(), path)
    for path, operations in describe()["paths"].items()
    for method in operations
    if method in ("get", "post", "put", "delete", "patch") and method.upper() not in READING
]
ID = "018f0000-0000-8000-8000-000000000000"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings.model_copy(update={"auth": "on"}))
    transport = httpx.ASGITransport(app=app, client=("10.1.2.3", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


def _key(settings: Settings) -> dict[str, str]:
    made = keys.make()
    row = f"('{made.id}', 'test', 'write', 'ada', '\\x{made.hash.hex()}')"
    execute(settings.database_url, f"INSERT INTO api_keys (id, name, scope, owner, hash) VALUES {row}")
    return {"X-API-Key": made.text}


async def test_every_route_that_may_write_leaves_a_row(client: httpx.AsyncClient, settings: Settings) -> None:
    """Whatever it makes of the request: a body of another kind is enough."""
    assert len(WRITES) > 10
    key, asked = _key(settings), []
    for n, (method, template) in enumerate(WRITES):
        path = re.sub(r"\{[^}]*\}", ID, template)
        said = key | {"X-Request-Id": f"r{n}", "Content-Type": "text/plain"}
        answer = await client.request(method, path, headers=said, content=b"?")
        asked.append((f"r{n}", method, path, answer.status_code))

    def rows() -> list[Any]:
        found = fetch(
            settings.database_url, "SELECT request_id, method, path, status, owner, address FROM audit_log"
        )
        return found if len(found) >= len(asked) else []

    found = await eventually(lambda: asyncio.to_thread(rows), what="a row for each of them")
    assert sorted(tuple(row)[:4] for row in found) == sorted(asked)
    assert {tuple(row)[4:] for row in found} == {("ada", "10.1.2.3")}


_ROWS = """
INSERT INTO audit_log (at, request_id, key_id, owner, address, method, path, status) VALUES
('2026-01-05T10:00Z', 'r1', 'k1', 'ada', '10.0.0.1', 'POST', '/api/users/watchlists', 201),
('2026-01-05T11:00Z', 'r2', 'k1', 'ada', NULL, 'DELETE', '/api/users/scans/7', 0),
('2026-01-06T10:00Z', 'r3', 'k2', 'k2', '10.0.0.2', 'POST', '/api/bars', 422),
('2026-01-07T10:00Z', 'r4', 'local', 'local', '127.0.0.1', 'POST', '/api/v1/bars', 202);
"""


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([], ["r4", "r3", "r2", "r1"]),
        (["--limit", "2"], ["r4", "r3"]),
        (["--owner", "ada"], ["r2", "r1"]),
        (["--key", "k2"], ["r3"]),
        (["--method", "post", "--path", "/api/users"], ["r1"]),
        (["--failed"], ["r3", "r2"]),
        (["--request", "r2"], ["r2"]),
        (["--from", "2026-01-05T11:00Z", "--to", "2026-01-06"], ["r3", "r2"]),
        (["--owner", "nobody"], []),
    ],
)
def test_rows_are_found_by_what_is_asked_for(
    settings: Settings, tmp_path: Path, asked: list[str], found: list[str]
) -> None:
    execute(settings.database_url, _ROWS)
    there = environment_of(settings)
    said = orjson.loads(rollo(there, "audit", *asked, "--json", where=tmp_path).stdout)
    assert [row["request_id"] for row in said] == found
    shown = rollo(there, "audit", *asked, where=tmp_path).stdout.splitlines()
    assert [line.split()[-1] for line in shown] == (found or ["matches"])


def test_a_line_says_who_did_what_from_where(settings: Settings, tmp_path: Path) -> None:
    execute(settings.database_url, _ROWS)
    there = environment_of(settings)
    assert rollo(there, "audit", "--owner", "ada", where=tmp_path).stdout.splitlines() == [
        "2026-01-05 11:00:00  ---  DELETE  /api/users/scans/7  by ada (k1) from nowhere  r2",
        "2026-01-05 10:00:00  201  POST    /api/users/watchlists  by ada (k1) from 10.0.0.1  r1",
    ]
    refused = rollo(there, "audit", "--from", "yesterday", where=tmp_path, code=2)
    assert "--from" in refused.stderr


async def test_the_newest_rows_are_read_by_an_index(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO audit_log (at, request_id, key_id, owner, method, path, status)"
            " SELECT now() - n * interval '1 minute', 'r', 'k', 'o', 'POST', '/', 202"
            " FROM generate_series(1, 20000) n; ANALYZE audit_log"
        )
        rows = await connection.fetch("EXPLAIN " + queries("audit")["read"], *audit.Asked(), 50)
    finally:
        await connection.close()
    plan = "\n".join(row[0] for row in rows)
    assert "audit_log_at" in plan, plan
    assert "Seq Scan" not in plan, plan
