"""Watchlists: symbols that somebody watches."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response

from api_gateway import bodies, owning, queries, sent
from api_gateway.dependencies import Servers
from api_gateway.owning import IdPath, Kept, ListQuery, Wanted
from rollotape.answers import WatchlistAnswer, WatchlistsAnswer
from rollotape.postgres import owned

_COLUMNS = ("id", "name", "symbol_count", "symbols", "version", "created_at", "changed_at")


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    path = f"{prefix}/users/watchlists"
    body = owning.request_body("WatchlistBody")
    app.add_api_route(
        path,
        get_watchlists,
        methods=["GET"],
        tags=[tag],
        summary="Your watchlists",
        response_model=WatchlistsAnswer,
        responses=owning.answers_of_list(),
        openapi_extra={"parameters": queries.parameters(ListQuery)},
    )
    app.add_api_route(
        path,
        post_watchlist,
        methods=["POST"],
        tags=[tag],
        summary="Make a watchlist",
        status_code=201,
        response_model=WatchlistAnswer,
        responses=owning.answers_of_making(),
        openapi_extra=body | {"parameters": [owning.IDEMPOTENCY]},
    )
    app.add_api_route(
        f"{path}/{{watchlist_id}}",
        get_watchlist,
        methods=["GET"],
        tags=[tag],
        summary="One of your watchlists",
        response_model=WatchlistAnswer,
        responses=owning.answers_of_one(),
    )
    app.add_api_route(
        f"{path}/{{watchlist_id}}",
        put_watchlist,
        methods=["PUT"],
        tags=[tag],
        summary="Replace a watchlist",
        response_model=WatchlistAnswer,
        responses=owning.answers_of_replacing(),
        openapi_extra=body | {"parameters": [owning.IF_MATCH]},
    )
    app.add_api_route(
        f"{path}/{{watchlist_id}}",
        delete_watchlist,
        methods=["DELETE"],
        tags=[tag],
        summary="Delete a watchlist",
        status_code=204,
        responses=owning.answers_of_removing(409),
        openapi_extra={"parameters": [owning.IF_MATCH]},
    )


async def get_watchlists(
    request: Request, asked: Annotated[ListQuery, Depends(queries.read(ListQuery))], servers: Servers
) -> Response:
    """By name. Nobody sees those of others."""
    return await owning.listed(request, servers, _WATCHLISTS, asked)


async def post_watchlist(request: Request, servers: Servers) -> Response:
    """At most 1,000 symbols, and 100 watchlists of one owner. Symbols that nobody knows are kept and named.

    A second one of the same name is 409, and so is one too many.
    """
    return await owning.make(request, servers, _WATCHLISTS, await _wanted(request))


async def get_watchlist(request: Request, watchlist_id: IdPath, servers: Servers) -> Response:
    """With those of its symbols of which nothing is known."""
    return await owning.one(request, servers, _WATCHLISTS, watchlist_id)


async def put_watchlist(request: Request, watchlist_id: IdPath, servers: Servers) -> Response:
    """As a whole. With `If-Match` only if nobody has changed it meanwhile."""
    return await owning.replace(request, servers, _WATCHLISTS, watchlist_id, await _wanted(request))


async def delete_watchlist(request: Request, watchlist_id: IdPath, servers: Servers) -> Response:
    """While a saved scan needs it: 409."""
    return await owning.remove(request, servers, _WATCHLISTS, watchlist_id)


async def _wanted(request: Request) -> Wanted:
    body = await sent.read(request, bodies.WatchlistBody)
    return Wanted(body.name, bodies.once(body.symbols))


def _item(row: Any) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "symbols": row["symbols"],
        "symbol_count": len(row["symbols"]),
        **{name: row[name] for name in ("version", "created_at", "changed_at")},
    }


async def _detail(connection: Any, row: Any) -> dict[str, Any]:
    return {"unknown_symbols": await owned.unknown(connection, row["symbols"])}


async def _judge(_connection: Any, _owner: str, _symbols: Any) -> None:
    """Any symbols go."""


_WATCHLISTS = Kept(owned.WATCHLISTS, _item, _detail, _judge, _COLUMNS)
