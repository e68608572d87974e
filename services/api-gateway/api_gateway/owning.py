"""What users keep, over HTTP: listed, made once however often that is asked for, replaced and removed."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

import orjson
from fastapi import Path, Request, Response
from pydantic import Field, TypeAdapter

from api_gateway import callers, cursors, openapi, queries, responses
from api_gateway.backends import Backends, Postgres
from api_gateway.paging import next_page
from api_gateway.paths import not_found
from api_gateway.problems import (
    CONFLICT,
    LIMIT_REACHED,
    PRECONDITION_FAILED,
    FieldError,
    Kind,
    Problem,
    invalid,
)
from rollotape.errors import Unavailable
from rollotape.postgres import idempotency, owned
from rollotape.postgres.owned import Changed, InUse, NameTaken, Shelf, TooMany

MOST = 100
_KEY = r"[!-~]{1,200}"
_ETAG = re.compile(r'"([1-9][0-9]{0,8})"')
_POSITION: TypeAdapter[str] = TypeAdapter(str)

T = TypeVar("T")

IdPath = Annotated[UUID, Path(description="Its id. Those of others are not found.")]


class ListQuery(queries.Paged):
    limit: queries.Whole = Field(MOST, ge=1, le=MOST, description="On a page.")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to keep: its name, and its content as it is stored."""

    name: str
    content: Any


@dataclass(frozen=True, slots=True)
class Kept:
    """One kind of things that users keep."""

    shelf: Shelf
    item: Callable[[Any], dict[str, Any]]
    """What is said of a row."""
    detail: Callable[[Any, Any], Awaitable[dict[str, Any]]]
    """What is said of it beside that where it stands alone, of a connection and the row."""
    judge: Callable[[Any, str, Any], Awaitable[None]]
    """Refuses content that does not go with what the owner has; of a connection, the owner, the content."""
    columns: Sequence[str]
    """Of CSV; a list within them is its parts with blanks between."""


# ---- what OpenAPI says

IDEMPOTENCY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Of your choice. The same request with the same key within 24 hours is answered alike and "
    "makes nothing; another request with it is 422.",
    "schema": {"type": "string", "pattern": f"^{_KEY}$"},
}
IF_MATCH: dict[str, Any] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of what is to be changed; 412 where it is another one by now.",
    "schema": {"type": "string"},
}
_TAG: dict[str, Any] = {"required": True, "schema": {"type": "string", "pattern": _ETAG.pattern}}
_BODY = (408, 413, 415, 422, 503)


def answers_of_list() -> openapi.Responses:
    csv = {"text/csv": {"schema": {"type": "string"}}}
    return openapi.failing(400, 422, 503) | {200: {"headers": openapi.headers("Link"), "content": csv}}


def answers_of_making() -> openapi.Responses:
    location = {"required": True, "schema": {"type": "string"}}
    headers = openapi.headers() | {"ETag": _TAG, "Location": location}
    return openapi.failing(409, *_BODY) | {201: {"headers": headers}}


def answers_of_one() -> openapi.Responses:
    return openapi.failing(404, 422, 503) | {200: {"headers": openapi.headers() | {"ETag": _TAG}}}


def answers_of_replacing() -> openapi.Responses:
    return openapi.failing(404, 409, 412, *_BODY) | {200: {"headers": openapi.headers() | {"ETag": _TAG}}}


def answers_of_removing(*statuses: int) -> openapi.Responses:
    gone = {"description": "It is gone", "headers": openapi.headers()}
    return openapi.failing(404, 412, 422, 503, *statuses) | {204: gone}


def request_body(model: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


# ---- what is answered


async def listed(request: Request, servers: Backends, kept: Kept, asked: ListQuery) -> Response:
    """A page of what the caller has, by name."""
    owner = callers.of(request.scope).owner
    question = [kept.shelf.name, owner]
    after = cursors.unseal(question, asked.page_token, _POSITION) if asked.page_token is not None else None
    rows = await servers.postgres.run(lambda c: kept.shelf.listed(c, owner, after, asked.limit + 1))

    rows, more = rows[: asked.limit], len(rows) > asked.limit
    token = cursors.seal(question, rows[-1]["name"]) if more else None
    headers = {"Cache-Control": responses.NO_STORE} | next_page(request, token)
    items = [kept.item(row) for row in rows]
    if responses.form(request, asked.format) == "csv":
        table = responses.table(kept.columns, ([_cell(item[n]) for n in kept.columns] for item in items))
        return Response(table, 200, headers, responses.CSV_TYPE)
    said = {kept.shelf.name: items, "next_page_token": token}
    return Response(responses.dumps(said), 200, headers, responses.JSON_TYPE)


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return " ".join(value) if isinstance(value, list) else value


async def one(request: Request, servers: Backends, kept: Kept, id_: UUID) -> Response:
    """One thing of the caller's."""
    queries.parse(queries.Query, request.query_params.multi_items())
    owner = callers.of(request.scope).owner

    async def work(connection: Any) -> Response:
        row = await kept.shelf.find(connection, owner, id_)
        if row is None:
            raise _no_such(id_)
        return await _told(connection, kept, row)

    return await servers.postgres.run(work)


async def make(request: Request, servers: Backends, kept: Kept, wanted: Wanted) -> Response:
    """Make one; under an `Idempotency-Key` once, even when the answer was lost."""
    queries.parse(queries.Query, request.query_params.multi_items())
    owner, key = callers.of(request.scope).owner, _key(request)
    asked = sha256(orjson.dumps([kept.shelf.name, wanted.name, wanted.content])).digest()
    id_, path = uuid4(), request.scope["path"]

    async def work(connection: Any) -> idempotency.Given:
        async with owned.changing(connection, owner):
            if key is not None and (before := await idempotency.find(connection, owner, key)):
                return _same(before, asked)
            if key is not None and await idempotency.is_full(connection, owner):
                raise TooMany(f"there may be {idempotency.MOST_KEYS:,} keys of one owner within 24 hours")
            await kept.judge(connection, owner, wanted.content)
            row = await kept.shelf.add(connection, owner, id_, wanted.name, wanted.content)
            body = responses.dumps(kept.item(row) | await kept.detail(connection, row))
            given = idempotency.Given(asked, f"{path}/{id_}", _etag(row), body)
            if key is not None:
                await idempotency.store(connection, owner, key, given)
            return given

    given = await _changing(servers.postgres, work)
    headers = {"Cache-Control": responses.NO_STORE, "Location": given.location, "ETag": given.etag}
    return Response(given.body, 201, headers, responses.JSON_TYPE)


async def replace(request: Request, servers: Backends, kept: Kept, id_: UUID, wanted: Wanted) -> Response:
    """Put another one in the place of one of the caller's."""
    queries.parse(queries.Query, request.query_params.multi_items())
    owner, versions = callers.of(request.scope).owner, _versions(request)

    async def work(connection: Any) -> Response:
        async with owned.changing(connection, owner):
            if await kept.shelf.find(connection, owner, id_) is None:
                raise _no_such(id_)
            await kept.judge(connection, owner, wanted.content)
            row = await kept.shelf.replace(connection, owner, id_, wanted.name, wanted.content, versions)
            assert row is not None, "it was there, and nobody else changes what this owner has"
            return await _told(connection, kept, row)

    try:
        return await _changing(servers.postgres, work)
    finally:
        servers.lists.forget(kept.shelf, owner, id_)


async def remove(request: Request, servers: Backends, kept: Kept, id_: UUID) -> Response:
    """Remove one of the caller's."""
    queries.parse(queries.Query, request.query_params.multi_items())
    owner, versions = callers.of(request.scope).owner, _versions(request)

    async def work(connection: Any) -> bool:
        async with owned.changing(connection, owner):
            return await kept.shelf.remove(connection, owner, id_, versions)

    try:
        if not await _changing(servers.postgres, work):
            raise _no_such(id_)
    finally:
        servers.lists.forget(kept.shelf, owner, id_)
    return Response(status_code=204, headers={"Cache-Control": responses.NO_STORE})


async def _told(connection: Any, kept: Kept, row: Any) -> Response:
    body = responses.dumps(kept.item(row) | await kept.detail(connection, row))
    headers = {"Cache-Control": responses.NO_STORE, "ETag": _etag(row)}
    return Response(body, 200, headers, responses.JSON_TYPE)


async def _changing(postgres: Postgres, work: Callable[[Any], Awaitable[T]]) -> T:
    """What `work` makes of a connection; it is not begun again, because it may have been committed.

    Raises:
        Problem: 409 or 412, it cannot be as it is wanted; 503, PostgreSQL is away.
    """
    begun = False

    async def begin(connection: Any) -> T:
        nonlocal begun
        if begun:
            raise Unavailable("the connection broke, and what was asked may have been done")
        await connection.execute("SELECT 1")  # a connection that broke while nobody used it shows here
        begun = True
        return await work(connection)

    try:
        return await postgres.run(begin)
    except NameTaken as error:
        raise _refused(CONFLICT, "name", str(error)) from None
    except TooMany as error:
        raise Problem(LIMIT_REACHED, f"{error}.".capitalize()) from None
    except InUse as error:
        raise _refused(CONFLICT, "id", str(error), "path") from None
    except Changed as error:
        raise _refused(PRECONDITION_FAILED, "if-match", str(error), "header") from None


def _refused(kind: Kind, field: str, reason: str, location: str = "body") -> Problem:
    return Problem(kind, f"{field}: {reason}", errors=[FieldError(location, field, reason)])


def _no_such(id_: UUID) -> Problem:
    return not_found("id", f"none of yours has the id {id_}")


def _etag(row: Any) -> str:
    return f'"{row["version"]}"'


def _versions(request: Request) -> list[int] | None:
    """The versions that may be changed; None: any. Weak tags are of no use here (RFC 9110, 13.1.1)."""
    given = request.headers.getlist("if-match")
    tags = [tag.strip() for value in given for tag in value.split(",")]
    if not given or tags == ["*"]:
        return None
    return [int(found[1]) for tag in tags if (found := _ETAG.fullmatch(tag))]


def _key(request: Request) -> str | None:
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not re.fullmatch(_KEY, given[0]):
        reason = "must be given once, as 1 to 200 printable ASCII characters without blanks"
        raise invalid([FieldError("header", "idempotency-key", reason)])
    return given[0]


def _same(before: idempotency.Given, asked: bytes) -> idempotency.Given:
    if before.request != asked:
        reason = "was sent with another request within the last 24 hours"
        raise invalid([FieldError("header", "idempotency-key", reason)])
    return before
