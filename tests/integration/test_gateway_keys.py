"""Keys: made, listed and revoked by the command, asked for by the gateway."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api_gateway import auth
from api_gateway.app import create_app
from rollotape import keys
from rollotape.settings import Settings
from support.databases import execute, fetch
from support.gateway import Judge
from support.stacks import rollo

BARS = "/api/bars?symbols=AAPL"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings.model_copy(update={"auth": "on"}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


def _insert(settings: Settings, scope: str, expires: str = "NULL") -> keys.NewKey:
    key = keys.make()
    execute(
        settings.database_url,
        "INSERT INTO api_keys (id, name, scope, hash, expires_at)"
        f" VALUES ('{key.id}', 'test', '{scope}', '\\x{key.hash.hex()}', {expires})",
    )
    return key


def _bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_a_key_opens_what_its_scope_says(client: httpx.AsyncClient, settings: Settings) -> None:
    read, write, admin = (_insert(settings, scope).text for scope in keys.SCOPES)

    assert (await client.get(BARS, headers=_bearer(read))).status_code == 200
    assert (await client.get(BARS, headers={"X-API-Key": write})).status_code == 200
    assert (await client.head(BARS, headers={"X-API-Key": admin} | _bearer(admin))).status_code == 200
    refused = await client.post("/api/bars", headers=_bearer(read), json={"bars": [1]})
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:rollotape:problem:forbidden")
    assert 'error="insufficient_scope", scope="write"' in refused.headers["www-authenticate"]
    assert (await client.post("/api/bars", headers=_bearer(write), json={"bars": [1]})).status_code == 207


async def test_without_a_good_key_there_is_nothing_but_a_401(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    key, over = _insert(settings, "read"), _insert(settings, "read", "now() - interval '1 second'")
    judge = Judge(client._transport.app.openapi())  # type: ignore[attr-defined]
    tampered = key.text[:-1] + ("A" if key.text[-1] != "A" else "B")

    for headers in (
        {},
        _bearer(tampered),
        _bearer(keys.make().text),
        _bearer(over.text),
        _bearer("x" * 5_000),
        {"Authorization": f"Basic {key.text}"},
        {"X-API-Key": key.id},
        {"X-API-Key": keys.make().text} | _bearer(key.text),
    ):
        for path in (BARS, "/api/v1/patterns/scan", "/api/bars?nonsense=1"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 401, headers
            assert answer.headers["www-authenticate"].startswith("Bearer")
            judge.conforms("GET", path.partition("?")[0], 401, answer.headers, answer.content)


async def test_health_and_descriptions_are_open(client: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz", "/docs", "/openapi.json", "/asyncapi.json", "/api/v1/livez"):
        assert (await client.get(path)).status_code == 200
    document = (await client.get("/openapi.json")).json()
    assert document["paths"]["/api/bars"]["get"]["security"] == [{"bearer": []}, {"key": []}]
    assert "security" not in document["paths"]["/livez"]["get"]


async def test_a_revoked_key_is_forgotten_within_seconds(
    client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = _insert(settings, "read")
    assert (await client.get(BARS, headers=_bearer(key.text))).status_code == 200

    execute(settings.database_url, f"UPDATE api_keys SET revoked_at = now() WHERE id = '{key.id}'")
    assert (await client.get(BARS, headers=_bearer(key.text))).status_code == 200  # remembered
    monkeypatch.setattr(auth, "FRESH_S", 0.0)

    assert (await client.get(BARS, headers=_bearer(key.text))).status_code == 401


async def test_keys_that_were_known_go_on_while_postgres_is_away(
    client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, other = _insert(settings, "read"), _insert(settings, "read")
    path = "/api/patterns/scan?confidence_min=2"  # needs no server to be refused
    assert (await client.get(path, headers=_bearer(known.text))).status_code == 422
    servers: Any = client._transport.app.state.servers  # type: ignore[attr-defined]
    await servers.postgres.close()
    away = settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:1/x"})
    servers.postgres._settings = away
    monkeypatch.setattr(auth, "FRESH_S", 0.0)

    assert (await client.get(path, headers=_bearer(known.text))).status_code == 422
    assert (await client.get(path, headers=_bearer(other.text))).status_code == 503


async def test_guesses_do_not_push_out_those_who_know(
    client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "MOST_KEPT", 2)
    key = _insert(settings, "read")
    assert (await client.get(BARS, headers=_bearer(key.text))).status_code == 200
    for _ in range(5):
        assert (await client.get(BARS, headers=_bearer(keys.make().text))).status_code == 401

    execute(settings.database_url, "DELETE FROM api_keys")

    assert (await client.get(BARS, headers=_bearer(key.text))).status_code == 200


def test_the_command_makes_lists_and_revokes(settings: Settings) -> None:
    there: dict[str, Any] = {"ROLLO_DATABASE_URL": settings.database_url, "ROLLO_REDIS_URL": "redis://x"}

    made = rollo("key", "create", "--scope", "read", "--name", "the kitchen", "--expires", "30d", **there)
    text = made.stdout.strip()
    listed = json.loads(rollo("key", "list", "--json", **there).stdout)
    revoked = rollo("key", "revoke", listed[0]["id"], **there)

    assert re.fullmatch(r"rollo_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)
    assert [(row["name"], row["scope"], row["valid"]) for row in listed] == [("the kitchen", "read", True)]
    assert revoked.stdout == f"revoked {keys.id_of(text)} (the kitchen)\n"
    assert "revoked 20" in rollo("key", "list", **there).stdout
    [row] = fetch(settings.database_url, "SELECT * FROM api_keys")
    assert row["hash"] == keys.digest(text)
    assert text not in str(dict(row))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["create", "--scope", "all", "--name", "x"], "all"),
        (["create", "--scope", "read", "--name", "x", "--expires", "soon"], "soon"),
        (["create", "--scope", "read", "--name", "x", "--expires", "2020-01-01"], "over"),
        (["create", "--scope", "read", "--name", " "], "printable"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(arguments: list[str], word: str) -> None:
    done = rollo("key", *arguments, ROLLO_DATABASE_URL="postgresql://x", ROLLO_REDIS_URL="redis://x")

    assert done.returncode == 2
    assert word in done.stderr
