"""Webhooks over HTTP: each owner's own, a secret that is shown once, and how sending goes."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import orjson
import pytest

from rollotape import keys
from rollotape.settings import Settings
from rollotape.webhooks.signing import shown
from support.databases import execute, fetch
from support.gateway import serve

EVENTS = ["pattern.detected", "scan.new_entrants"]
DESK = {"name": "Desk", "url": "https://example.org/rollo", "events": EVENTS}


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with serve(settings.model_copy(update={"auth": "on"})) as opened:
        yield opened


def _client(settings: Settings, url: str, owner: str) -> httpx.AsyncClient:
    key = keys.make()
    query = "INSERT INTO api_keys (id, name, owner, hash, scope) VALUES ($1, 'test', $2, $3, 'write')"
    fetch(settings.database_url, query, key.id, owner, key.hash)
    headers = {"Authorization": f"Bearer {key.text}"}
    return httpx.AsyncClient(base_url=f"{url}/api/users", headers=headers, timeout=30)


@pytest.fixture
async def ada(settings: Settings, url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with _client(settings, url, "ada") as client:
        yield client


@pytest.fixture
async def bob(settings: Settings, url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with _client(settings, url, "bob") as client:
        yield client


async def _made(client: httpx.AsyncClient, **said: Any) -> dict[str, Any]:
    answer = await client.post("/webhooks", json=DESK | said)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_the_secret_is_told_where_it_is_made_and_never_again(
    settings: Settings, ada: httpx.AsyncClient
) -> None:
    made = await _made(ada, symbols=["xom", "XOM", "aapl"])
    [[secret]] = fetch(settings.database_url, "SELECT secret FROM webhooks")
    assert made["secret"] == shown(secret)
    assert (made["state"], made["symbols"], made["dropped"]) == ("new", ["XOM", "AAPL"], 0)
    path = f"/webhooks/{made['id']}"
    again = [(await ada.get(path)).json(), (await ada.put(path, json=DESK)).json()]
    assert [item["secret"] for item in again] == [None, None]
    [listed] = (await ada.get("/webhooks")).json()["webhooks"]
    assert "secret" not in listed and listed["symbols"] is None
    assert shown(secret) not in (await ada.get("/webhooks?format=csv")).text
    assert (await _made(ada, name="Other"))["secret"] != made["secret"]


async def test_a_repeated_request_makes_one_and_is_answered_alike(ada: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "first-try"}
    answers = [await ada.post("/webhooks", json=DESK, headers=headers) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert len((await ada.get("/webhooks")).json()["webhooks"]) == 1
    assert (await ada.post("/webhooks", json=DESK)).status_code == 409


async def test_those_of_others_are_not_found(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    path = f"/webhooks/{(await _made(ada))['id']}"
    for method, where in (("GET", path), ("DELETE", path), ("GET", f"{path}/deliveries")):
        assert (await bob.request(method, where)).status_code == 404
    assert (await bob.put(path, json=DESK)).status_code == 404
    assert (await bob.get("/webhooks")).json()["webhooks"] == []
    assert (await ada.delete(path)).status_code == 204
    assert (await ada.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "http://example.org/"), ("url", "https://127.0.0.1/"), ("url", "https://[::1]/"),
        ("url", "https://u:p@example.org/"), ("url", 7), ("events", []), ("events", ["rs.scored"]),
        ("events", "pattern.detected"), ("symbols", []), ("symbols", ["a b"]), ("name", ""),
        ("secret", "mine"),
    ],
)  # fmt: skip
async def test_what_will_not_do_is_422_and_named(ada: httpx.AsyncClient, field: str, value: Any) -> None:
    answer = await ada.post("/webhooks", json=DESK | {field: value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(field)


async def test_settings_let_in_what_is_on_this_machine(settings: Settings) -> None:
    allowed = settings.model_copy(update={"webhooks_http": "on", "webhooks_networks": "127.0.0.0/8"})
    with serve(allowed) as url:
        async with httpx.AsyncClient(base_url=f"{url}/api/users") as client:
            assert await _made(client, url="http://127.0.0.1:8000/hook")


async def test_how_sending_goes_is_seen_and_one_that_was_disabled_is_tried_again(
    settings: Settings, ada: httpx.AsyncClient
) -> None:
    made = await _made(ada)
    path = f"/webhooks/{made['id']}"
    execute(
        settings.database_url,
        "INSERT INTO webhook_deliveries (webhook_id, type, fact_id, fact_version, body, status, attempts,"
        " last_status, last_error, finished_at)"
        " SELECT id, 'pattern.detected', 'p' || n, n, '{}', 'failed', 3, 500, 'answered 500', now()"
        " FROM webhooks, generate_series(1, 5) n;"
        "UPDATE webhooks SET last_at = now(), last_status = 500, last_error = 'answered 500',"
        " failing_since = now() - interval '4 days', disabled_at = now()",
    )
    told = (await ada.get(path)).json()
    assert (told["state"], told["last_status"], told["last_error"]) == ("disabled", 500, "answered 500")

    first = (await ada.get(f"{path}/deliveries?limit=3")).json()
    rest = (await ada.get(f"{path}/deliveries", params={"page_token": first["next_page_token"]})).json()
    log = first["deliveries"] + rest["deliveries"]
    assert [d["fact_version"] for d in log] == [5, 4, 3, 2, 1]
    assert rest["next_page_token"] is None
    told = {(d["status"], d["attempts"], d["last_status"], d["due_at"]) for d in log}
    assert told == {("failed", 3, 500, None)}
    table = (await ada.get(f"{path}/deliveries?format=csv")).text.splitlines()
    assert len(table) == 6 and table[0].startswith("id,type,fact_id")

    again = await ada.put(path, json=DESK, headers={"If-Match": '"1"'})
    assert (again.json()["state"], again.headers["etag"]) == ("active", '"1"')
    assert orjson.loads((await ada.get(path)).content)["failing_since"] is None
