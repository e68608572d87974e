"""Who may do what: every operation of the document, as everybody who may not, with the exact answer.

The operations come from the document, and the paths from the application itself, so that none is forgotten.
"""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import jwt
import pytest
from pydantic import SecretStr
from starlette.routing import WebSocketRoute

from api_gateway.app import Gateway, create_app, describe
from rollotape import keys
from rollotape.settings import Settings
from support.gateway import Judge, serve
from support.populated import give_key, id_of, populate, tidy
from support.sockets import Talker, connected
from support.surface import V1, Operation, operations

SECRET = "a secret of thirty-two bytes, or more"
OPEN = {"/livez", "/readyz", "/docs", "/openapi.json", "/asyncapi.json"}
LIMITS = {
    "ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
}  # fmt: skip
PAST = "2020-01-01"
OVER = "This key is unknown, expired or revoked."
NOBODY = UUID(int=0xFFFF)

_CLOSED = [o for o in operations(describe(), v1=True) if o.path.removeprefix(V1) not in OPEN]
_OWNED = [o for o in _CLOSED if o.owned]
_LISTS = [
    o
    for o in _CLOSED
    if o.method == "GET" and not o.owned and any(o.path == p.path.rpartition("/")[0] for p in _OWNED)
]
"""Of what somebody owns."""
_BY_PARAMETER = [
    (o, name)
    for o in _CLOSED
    for name in ("watchlist_id", "scan_id")
    if name in o.parameters() and not o.path.startswith(V1)
]
each_closed = pytest.mark.parametrize("operation", _CLOSED, ids=str)


class Refusal(NamedTuple):
    """Somebody who may not, and what he is told."""

    headers: Mapping[str, str]
    status: int
    slug: str
    detail: str


class Doors(NamedTuple):
    client: httpx.AsyncClient
    app: Gateway
    judge: Judge
    settings: Settings
    refused: dict[str, Refusal]
    good: dict[str, dict[str, str]]
    """By owner and scope, the header of a key."""


def _settings(clean: Settings) -> Settings:
    return clean.model_copy(
        update={
            "auth": "on",
            "rate_requests": 10**9,
            "rate_strangers": 10**9,
            "jwt_secret": SecretStr(SECRET),
            "jwt_issuer": "us",
            "jwt_audience": "rollo",
        }
    )


def _token(secret: str = SECRET, **changes: Any) -> str:
    said = {
        "iss": "us",
        "aud": "rollo",
        "sub": "ada",
        "scope": "admin",
        "exp": int(time.time()) + 600,
    } | changes
    return jwt.encode({name: value for name, value in said.items() if value is not None}, secret, "HS256")


def _refusals(settings: Settings) -> dict[str, Refusal]:
    def unauthorized(detail: str, **headers: str) -> Refusal:
        return Refusal({n.replace("_", "-"): v for n, v in headers.items()}, 401, "unauthorized", detail)

    def bearer(detail: str, token: str) -> Refusal:
        return unauthorized(detail, Authorization=f"Bearer {token}")

    rotated = give_key(settings, "admin", owner="ada", expires_at=PAST)
    give_key(settings, "admin", owner="ada", rotated_from=rotated.id)
    good = give_key(settings, "admin", owner="ada")
    said = {"iss": "us", "aud": "rollo", "sub": "ada", "scope": "admin", "exp": 9_000_000_000}
    unsigned = jwt.encode(said, "", "none")
    found = {
        "no key": unauthorized("Send a key as Authorization: Bearer KEY."),
        "an unknown key": unauthorized(OVER, X_API_Key=keys.make().text),
        "a wrong secret": unauthorized(OVER, X_API_Key=good.text[:-1] + "~"),
        "nonsense": unauthorized(OVER, X_API_Key="x"),
        "an expired key": unauthorized(OVER, X_API_Key=give_key(settings, "admin", expires_at=PAST).text),
        "a revoked key": unauthorized(OVER, X_API_Key=give_key(settings, "admin", revoked_at=PAST).text),
        "a rotated key": unauthorized(OVER, X_API_Key=rotated.text),
        "two keys": unauthorized(
            "Send one key, not several.", X_API_Key="x", Authorization=f"Bearer {good.text}"
        ),
        "another scheme": unauthorized(
            "Authorization: must be of the form Bearer KEY.", Authorization="Basic eDp5"
        ),
        "a token that is over": bearer("This token is over.", _token(exp=1)),
        "a token for others": bearer("This token is for somebody else.", _token(aud="x")),
        "a token of others": bearer("This token is from somebody else.", _token(iss="x")),
        "a token signed by others": bearer(
            "This token has a signature that does not fit.", _token("z" * 40)
        ),
        "a token without scope": Refusal(
            {"Authorization": f"Bearer {_token(scope='')}"}, 403, "forbidden",
            "This token may nothing here: its scope names no scope of ours.",
        ),
    }  # fmt: skip
    found["an unsigned token"] = Refusal({"Authorization": f"Bearer {unsigned}"}, 401, "unauthorized", "")
    found["a token without end"] = Refusal(
        {"Authorization": f"Bearer {_token(exp=None)}"}, 401, "unauthorized", ""
    )
    return found


@pytest.fixture(scope="module")
async def doors(clean: Settings) -> AsyncIterator[Doors]:
    await populate(clean)
    settings = _settings(clean)
    app = create_app(settings)
    good: dict[str, dict[str, str]] = {
        owner: {str(scope): give_key(settings, scope, owner=owner).text for scope in keys.SCOPES}
        for owner in ("ada", "bob")
    }
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://g") as client:
        yield Doors(client, app, Judge(app.openapi()), settings, _refusals(settings), good)
    await app.state.servers.close()


def _key(doors: Doors, owner: str, scope: str) -> dict[str, str]:
    return {"X-API-Key": doors.good[owner][scope]}


async def _ask(
    doors: Doors, operation: Operation, target: str, headers: Mapping[str, str], **more: Any
) -> httpx.Response:
    answer = await doors.client.request(operation.method, target, headers=headers, **more)
    path = target.partition("?")[0]
    doors.judge.conforms(operation.method, path, answer.status_code, answer.headers, answer.content)
    return answer


@each_closed
async def test_nobody_does_anything_who_may_not(doors: Doors, operation: Operation) -> None:
    for who, refusal in doors.refused.items():
        for target in (operation.target("ada"), operation.target("ada", nonsense="1")):
            answer = await _ask(doors, operation, target, refusal.headers, json=operation.body())
            said = answer.json()
            assert (answer.status_code, said["type"]) == (
                refusal.status,
                f"urn:rollotape:problem:{refusal.slug}",
            ), who
            assert said["detail"] == (refusal.detail or said["detail"]), who
            assert answer.headers["www-authenticate"].startswith('Bearer realm="rollo"')
            assert answer.headers["cache-control"] == "no-store"
            assert set(answer.headers) >= LIMITS, who


@each_closed
async def test_reading_takes_read_and_writing_takes_write(doors: Doors, operation: Operation) -> None:
    if operation.streams:
        return  # has no end; `test_everybody_who_may_hears_events`
    writes = operation.method != "GET"
    for scope in keys.SCOPES:
        headers = _key(doors, "ada", scope)
        answer = await _ask(doors, operation, operation.target("ada"), headers, json=operation.body())
        if writes and scope == "read":
            assert answer.status_code == 403
            assert answer.json()["type"] == "urn:rollotape:problem:forbidden"
            assert answer.json()["detail"] == "This key may read; this request takes one that may write."
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
        else:
            assert answer.status_code < 300 or answer.status_code in (404, 409), answer.text
        assert set(answer.headers) >= LIMITS
        tidy(doors.settings)


@pytest.mark.parametrize("operation", _OWNED, ids=str)
async def test_what_belongs_to_others_is_not_there(doors: Doors, operation: Operation) -> None:
    """Not even that it is: the answer is that of an id that nobody has, and nothing has changed."""
    theirs, nobodys = operation.target("ada"), operation.target("ada").replace(str(id_of("ada")), str(NOBODY))
    for scope in ("write", "admin"):
        answers = [
            await _ask(doors, operation, target, _key(doors, "bob", scope), json=operation.body())
            for target in (theirs, nobodys)
        ]
        said = [answer.json() for answer in answers]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert said[0]["type"] == "urn:rollotape:problem:not-found"
        assert said[0]["detail"].replace(str(id_of("ada")), str(NOBODY)) == said[1]["detail"]
    read = next(o for o in _OWNED if o.path == operation.path and o.method == "GET")
    mine = await _ask(doors, read, read.target("ada"), _key(doors, "ada", "read"))
    assert (mine.status_code, mine.json().get("version", 1)) == (200, 1)


@pytest.mark.parametrize(("operation", "name"), _BY_PARAMETER, ids=str)
async def test_nobody_asks_by_what_belongs_to_others(doors: Doors, operation: Operation, name: str) -> None:
    key = _key(doors, "bob", "admin")
    theirs = await _ask(doors, operation, operation.target(**{name: str(id_of("ada"))}), key)
    nobodys = await _ask(doors, operation, operation.target(**{name: str(NOBODY)}), key)
    mine = await _ask(doors, operation, operation.target(**{name: str(id_of("bob"))}), key)

    assert (theirs.status_code, mine.status_code) == (404, 200)
    assert theirs.json()["detail"].replace(str(id_of("ada")), str(NOBODY)) == nobodys.json()["detail"]


async def test_nobody_keeps_a_scan_of_what_belongs_to_others(doors: Doors) -> None:
    found = []
    for watchlist in (id_of("ada"), NOBODY):
        body = {"name": "theirs", "filters": {"watchlist_id": str(watchlist)}}
        answer = await doors.client.post("/api/users/scans", headers=_key(doors, "bob", "write"), json=body)
        found.append((answer.status_code, answer.json()["detail"].replace(str(watchlist), "ID")))
    assert found[0] == found[1]
    assert found[0][0] in (404, 422)


@pytest.mark.parametrize("operation", _LISTS, ids=str)
async def test_lists_have_what_is_ones_own(doors: Doors, operation: Operation) -> None:
    for owner in ("ada", "bob"):
        answer = await doors.client.get(operation.path, headers=_key(doors, owner, "admin"))
        listed = next(value for value in answer.json().values() if isinstance(value, list))
        assert [item["id"] for item in listed] == [str(id_of(owner))]


async def test_every_path_of_the_application_is_among_them(doors: Doors) -> None:
    """Documented or not: whatever answers somebody without a key is a description, or health."""
    paths = {
        route.path.replace(":path}", "}")  # type: ignore[attr-defined]
        for route in doors.app.routes
        if not isinstance(route, WebSocketRoute)
    }
    answering = set()
    for path in paths:
        answer = await doors.client.get(path.replace("{", "").replace("}", ""))
        if answer.status_code != 401:
            answering.add(path)
    assert answering == OPEN | {V1 + path for path in OPEN}
    documented = {o.path for o in _CLOSED} | OPEN
    assert {path for path in paths if path.removeprefix(V1) not in OPEN} <= documented


# ---- the streams


@pytest.fixture(scope="module")
def url(doors: Doors) -> Iterator[str]:
    with serve(doors.settings) as served:
        yield served


async def _ended(talker: Talker, number: int) -> dict[str, Any]:
    said = await talker.hears("error")
    assert (said["code"], await talker.close_code()) == (number, 4_000 + number)
    return said


@pytest.mark.parametrize("path", ["/api/stream", f"{V1}/stream"])
async def test_nobody_listens_who_may_not(doors: Doors, url: str, path: str) -> None:
    for who, refusal in doors.refused.items():
        if not refusal.headers:
            continue
        async with connected(url, path, additional_headers=dict(refusal.headers)) as talker:
            assert (await talker.next())["T"] == "welcome"
            assert (await _ended(talker, 402))["msg"] == "auth failed", who
        for name, shown in refusal.headers.items():
            token = shown.removeprefix("Bearer ")
            if len(refusal.headers) > 1 or (name == "Authorization" and token == shown):
                continue
            async with connected(url, path) as talker:
                await talker.say(action="auth", token=token)
                await _ended(talker, 402)


@pytest.mark.parametrize("path", ["/api/stream", f"{V1}/stream"])
async def test_who_has_not_said_who_it_is_is_told_to(doors: Doors, url: str, path: str) -> None:
    async with connected(url, path) as talker:
        await talker.say(action="subscribe", patterns=["*"])
        assert (await talker.hears("error"))["code"] == 401
        await talker.say(action="auth", token=doors.good["ada"]["read"])
        assert (await talker.hears("authenticated"))["owner"] == "ada"
        assert (await talker.subscribe(patterns=["*"]))["patterns"] == ["*"]


async def test_nobody_follows_what_belongs_to_others(doors: Doors, url: str) -> None:
    async with connected(url, additional_headers=_key(doors, "bob", "admin")) as talker:
        for name in ("watchlist_id", "scan_id"):
            told = []
            for whose in (id_of("ada"), NOBODY):
                await talker.say(action="subscribe", patterns=["*"], filters={name: str(whose)})
                said = await talker.hears("error")
                told.append((said["code"], said["msg"].replace(str(whose), "ID")))
            assert told[0] == told[1]
            assert told[0][0] == 400
            assert await talker.subscribe(patterns=["*"], filters={name: str(id_of("bob"))})


async def test_everybody_who_may_hears_events(doors: Doors, url: str) -> None:
    for target in ("/api/patterns/stream", f"{V1}/patterns/stream"):
        async with httpx.AsyncClient(base_url=url) as client:
            for scope in keys.SCOPES:
                headers = {**_key(doors, "ada", scope), "Host": "g"}
                async with client.stream("GET", target, headers=headers) as answer:
                    assert answer.status_code == 200
                    assert answer.headers["content-type"].startswith("text/event-stream")
