"""Saved scans: filters that somebody asks for again, by `scan_id`."""

from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Request, Response

from api_gateway import bodies, owning, queries, sent
from api_gateway.backends import Backends
from api_gateway.belongings import SavedScanAnswer, SavedScansAnswer
from api_gateway.dependencies import Servers
from api_gateway.owning import IdPath, Kept, ListQuery, Wanted
from api_gateway.problems import INVALID_REQUEST, FieldError, Problem, invalid
from api_gateway.routes.patterns import ScanQuery
from rollotape.postgres import owned

_COLUMNS = ("id", "name", "filters", "version", "created_at", "changed_at")


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    path = f"{prefix}/users/scans"
    body = owning.request_body("SavedScanBody")
    app.add_api_route(
        path,
        get_saved_scans,
        methods=["GET"],
        tags=[tag],
        summary="Your saved scans",
        response_model=SavedScansAnswer,
        responses=owning.answers_of_list(),
        openapi_extra={"parameters": queries.parameters(ListQuery)},
    )
    app.add_api_route(
        path,
        post_saved_scan,
        methods=["POST"],
        tags=[tag],
        summary="Save a scan",
        status_code=201,
        response_model=SavedScanAnswer,
        responses=owning.answers_of_making(),
        openapi_extra=body | {"parameters": [owning.IDEMPOTENCY]},
    )
    app.add_api_route(
        f"{path}/{{saved_scan_id}}",
        get_saved_scan,
        methods=["GET"],
        tags=[tag],
        summary="One of your saved scans",
        response_model=SavedScanAnswer,
        responses=owning.answers_of_one(),
    )
    app.add_api_route(
        f"{path}/{{saved_scan_id}}",
        put_saved_scan,
        methods=["PUT"],
        tags=[tag],
        summary="Replace a saved scan",
        response_model=SavedScanAnswer,
        responses=owning.answers_of_replacing(),
        openapi_extra=body | {"parameters": [owning.IF_MATCH]},
    )
    app.add_api_route(
        f"{path}/{{saved_scan_id}}",
        delete_saved_scan,
        methods=["DELETE"],
        tags=[tag],
        summary="Delete a saved scan",
        status_code=204,
        responses=owning.answers_of_removing(),
        openapi_extra={"parameters": [owning.IF_MATCH]},
    )


async def get_saved_scans(
    request: Request, asked: Annotated[ListQuery, Depends(queries.read(ListQuery))], servers: Servers
) -> Response:
    """By name. Nobody sees those of others."""
    return await owning.listed(request, servers, _SCANS, asked)


async def post_saved_scan(request: Request, servers: Servers) -> Response:
    """Filters and order of a scan, judged as the scan judges them; at most 100 of one owner.

    A second one of the same name is 409, and so is one too many.
    """
    return await owning.make(request, servers, _SCANS, await _wanted(request, servers))


async def get_saved_scan(request: Request, saved_scan_id: IdPath, servers: Servers) -> Response:
    """Its filters, those alone that were given. `/api/patterns/scan?scan_id=` asks for them."""
    return await owning.one(request, servers, _SCANS, saved_scan_id)


async def put_saved_scan(request: Request, saved_scan_id: IdPath, servers: Servers) -> Response:
    """As a whole. With `If-Match` only if nobody has changed it meanwhile."""
    return await owning.replace(request, servers, _SCANS, saved_scan_id, await _wanted(request, servers))


async def delete_saved_scan(request: Request, saved_scan_id: IdPath, servers: Servers) -> Response:
    """From then on its id is unknown."""
    return await owning.remove(request, servers, _SCANS, saved_scan_id)


async def _wanted(request: Request, servers: Backends) -> Wanted:
    body = await sent.read(request, bodies.SavedScanBody)
    filters = bodies.settled(body.filters, ScanQuery)
    if universe := filters.get("universe"):
        await _must_be_there(servers, universe)
    return Wanted(body.name, orjson.dumps(filters, option=orjson.OPT_SORT_KEYS).decode())


async def _must_be_there(servers: Backends, universe: str) -> None:
    try:
        await servers.universes.members(universe)
    except Problem as problem:
        raise (bodies.of_filters(problem) if problem.kind is INVALID_REQUEST else problem) from None


def _item(row: Any) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "filters": orjson.loads(row["filters"]),
        **{name: row[name] for name in ("version", "created_at", "changed_at")},
    }


async def _detail(_connection: Any, _row: Any) -> dict[str, Any]:
    """A saved scan says the same wherever it stands."""
    return {}


async def _judge(connection: Any, owner: str, filters: str) -> None:
    watchlist_id = bodies.watchlist_of(orjson.loads(filters))
    if watchlist_id is None or await owned.WATCHLISTS.find(connection, owner, watchlist_id):
        return
    reason = f"none of your watchlists has the id {watchlist_id}"
    raise invalid([FieldError("body", "filters.watchlist_id", reason)])


_SCANS = Kept(owned.SAVED_SCANS, _item, _detail, _judge, _COLUMNS)
