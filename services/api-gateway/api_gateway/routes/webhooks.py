"""Webhooks: where users want to be told, and what became of what was told."""

from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Request, Response
from pydantic import Field, TypeAdapter

from api_gateway import bodies, callers, cursors, openapi, owning, queries, responses, sent
from api_gateway.backends import Backends
from api_gateway.dependencies import Servers
from api_gateway.owning import IdPath, Kept, ListQuery, Wanted
from api_gateway.paging import next_page
from api_gateway.paths import not_found
from api_gateway.problems import FieldError, invalid
from rollotape.answers import DeliveriesAnswer, WebhookAnswer, WebhooksAnswer
from rollotape.postgres import owned, webhooks
from rollotape.webhooks.addresses import Wrong
from rollotape.webhooks.signing import shown

_COLUMNS = (
    "id", "name", "url", "events", "symbols", "state", "version", "created_at", "changed_at", "last_at",
    "last_status", "last_error", "failing_since", "disabled_at", "dropped",
)  # fmt: skip
_AS_STORED = (
    "version", "created_at", "changed_at", "last_at", "last_status", "last_error", "failing_since",
    "disabled_at", "dropped",
)  # fmt: skip
_DELIVERY = (
    "id", "type", "fact_id", "fact_version", "status", "attempts", "created_at", "due_at", "finished_at",
    "last_status", "last_error",
)  # fmt: skip
_POSITION: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(strict=True, ge=1, lt=2**63)])


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    path = f"{prefix}/users/webhooks"
    body = owning.request_body("WebhookBody")
    app.add_api_route(
        path,
        get_webhooks,
        methods=["GET"],
        tags=[tag],
        summary="Your webhooks",
        response_model=WebhooksAnswer,
        responses=owning.answers_of_list(),
        openapi_extra={"parameters": queries.parameters(ListQuery)},
    )
    app.add_api_route(
        path,
        post_webhook,
        methods=["POST"],
        tags=[tag],
        summary="Make a webhook",
        status_code=201,
        response_model=WebhookAnswer,
        responses=owning.answers_of_making(),
        openapi_extra=body | {"parameters": [owning.IDEMPOTENCY]},
    )
    app.add_api_route(
        f"{path}/{{webhook_id}}",
        get_webhook,
        methods=["GET"],
        tags=[tag],
        summary="One of your webhooks",
        response_model=WebhookAnswer,
        responses=owning.answers_of_one(),
    )
    app.add_api_route(
        f"{path}/{{webhook_id}}",
        put_webhook,
        methods=["PUT"],
        tags=[tag],
        summary="Replace a webhook",
        response_model=WebhookAnswer,
        responses=owning.answers_of_replacing(),
        openapi_extra=body | {"parameters": [owning.IF_MATCH]},
    )
    app.add_api_route(
        f"{path}/{{webhook_id}}",
        delete_webhook,
        methods=["DELETE"],
        tags=[tag],
        summary="Delete a webhook",
        status_code=204,
        responses=owning.answers_of_removing(),
        openapi_extra={"parameters": [owning.IF_MATCH]},
    )
    app.add_api_route(
        f"{path}/{{webhook_id}}/deliveries",
        get_deliveries,
        methods=["GET"],
        tags=[tag],
        summary="What was sent to a webhook",
        response_model=DeliveriesAnswer,
        responses=openapi.failing(404) | owning.answers_of_list(),
        openapi_extra={"parameters": queries.parameters(ListQuery)},
    )


async def get_webhooks(
    request: Request, asked: Annotated[ListQuery, Depends(queries.read(ListQuery))], servers: Servers
) -> Response:
    """By name. Nobody sees those of others."""
    return await owning.listed(request, servers, _WEBHOOKS, asked)


async def post_webhook(request: Request, servers: Servers) -> Response:
    """Facts are sent there from now on; at most 100 of one owner. The answer has the secret, once.

    A second one of the same name is 409, and so is one too many.
    """
    return await owning.make(request, servers, _WEBHOOKS, await _wanted(request, servers))


async def get_webhook(request: Request, webhook_id: IdPath, servers: Servers) -> Response:
    """With how sending goes. Its secret is not told again."""
    return await owning.one(request, servers, _WEBHOOKS, webhook_id)


async def put_webhook(request: Request, webhook_id: IdPath, servers: Servers) -> Response:
    """As a whole, but for its secret. One that was disabled is tried again from then on."""
    return await owning.replace(request, servers, _WEBHOOKS, webhook_id, await _wanted(request, servers))


async def delete_webhook(request: Request, webhook_id: IdPath, servers: Servers) -> Response:
    """With everything that waits for it."""
    return await owning.remove(request, servers, _WEBHOOKS, webhook_id)


async def get_deliveries(
    request: Request,
    webhook_id: IdPath,
    asked: Annotated[ListQuery, Depends(queries.read(ListQuery))],
    servers: Servers,
) -> Response:
    """The newest first; what is over for seven days is not listed any more."""
    owner = callers.of(request.scope).owner
    question = ["deliveries", owner, str(webhook_id)]
    before = cursors.unseal(question, asked.page_token, _POSITION) if asked.page_token is not None else None

    async def work(connection: Any) -> list[Any] | None:
        if await owned.WEBHOOKS.find(connection, owner, webhook_id) is None:
            return None
        return await webhooks.log(connection, owner, webhook_id, before, asked.limit + 1)

    rows = await servers.postgres.run(work)
    if rows is None:
        raise not_found("id", f"none of yours has the id {webhook_id}")
    rows, more = rows[: asked.limit], len(rows) > asked.limit
    token = cursors.seal(question, rows[-1]["id"]) if more else None
    headers = {"Cache-Control": responses.NO_STORE} | next_page(request, token)
    if responses.form(request, asked.format) == "csv":
        table = responses.table(_DELIVERY, ([row[n] for n in _DELIVERY] for row in rows))
        return Response(table, 200, headers, responses.CSV_TYPE)
    said = {"deliveries": [{n: row[n] for n in _DELIVERY} for row in rows], "next_page_token": token}
    return Response(responses.dumps(said), 200, headers, responses.JSON_TYPE)


async def _wanted(request: Request, servers: Backends) -> Wanted:
    body = await sent.read(request, bodies.WebhookBody)
    try:
        servers.webhooks.target(body.url)
    except Wrong as error:
        raise invalid([FieldError("body", "url", str(error))]) from None
    content: dict[str, Any] = {"url": body.url, "events": bodies.once(body.events)}
    if body.symbols:
        content["symbols"] = bodies.once(body.symbols)
    return Wanted(body.name, orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode())


def _item(row: Any) -> dict[str, Any]:
    content = orjson.loads(row["content"])
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "url": content["url"],
        "events": content["events"],
        "symbols": content.get("symbols"),
        "state": _state(row),
        **{name: row[name] for name in _AS_STORED},
    }


def _state(row: Any) -> str:
    if row["disabled_at"] is not None:
        return "disabled"
    if row["failing_since"] is not None:
        return "failing"
    return "new" if row["last_at"] is None else "active"


async def _detail(_connection: Any, row: Any) -> dict[str, Any]:
    return {"secret": shown(row["secret"]) if "secret" in row.keys() else None}  # noqa: SIM118 - in a record are its values


async def _judge(_connection: Any, _owner: str, _content: Any) -> None:
    """What is wrong with an address was said before; where it leads is looked at when something is sent."""


_WEBHOOKS = Kept(owned.WEBHOOKS, _item, _detail, _judge, _COLUMNS)
