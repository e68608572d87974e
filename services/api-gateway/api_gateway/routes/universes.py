"""Universes: sets of symbols that have a name, to look at and to ask by."""

from bisect import bisect_right
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request, Response
from pydantic import Field, TypeAdapter

from api_gateway import cursors, openapi, queries, responses
from api_gateway.dependencies import Servers
from api_gateway.paging import next_page
from api_gateway.paths import not_found
from api_gateway.problems import short
from api_gateway.universes import UniverseKey
from rollotape.answers import reports
from rollotape.postgres.universes import Universe

MOST = 1_000
_HEAD = ("key", "description", "category", "count", "changed_at")
_POSITION: TypeAdapter[str] = TypeAdapter(str)

KeyPath = Annotated[UniverseKey, Path(description="In either case.")]


class UniversesQuery(queries.Query):
    category: queries.choice("index", "leaders", "sector", "exchange") | None = None  # type: ignore[valid-type]  # made of data
    format: responses.Form | None = Field(None, description="Goes before the `Accept` header.")


class UniverseQuery(queries.Paged):
    limit: queries.Whole = Field(100, ge=1, le=MOST, description="Symbols on a page.")


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    app.add_api_route(
        f"{prefix}/users/universe",
        get_universes,
        methods=["GET"],
        tags=[tag],
        summary="Sets of symbols that have a name",
        response_model=reports.UniversesAnswer,
        responses=openapi.tabled(),
        openapi_extra={"parameters": queries.parameters(UniversesQuery)},
    )
    app.add_api_route(
        f"{prefix}/users/universe/{{key}}",
        get_universe,
        methods=["GET"],
        tags=[tag],
        summary="One of them with its members",
        response_model=reports.UniverseAnswer,
        responses=openapi.listed(404),
        openapi_extra={"parameters": queries.parameters(UniverseQuery)},
    )


async def get_universes(
    request: Request,
    asked: Annotated[UniversesQuery, Depends(queries.read(UniversesQuery))],
    servers: Servers,
) -> Response:
    """Lists such as `sp500` as they were imported, the leaders, every sector, and every exchange.

    `universe=` of the scan takes their keys. Members are those of at most some seconds ago.
    """
    held = await servers.universes.all()
    heads = [_head(u) for u in held.by_key.values() if asked.category in (None, u.category)]
    if responses.form(request, asked.format) == "csv":
        body = responses.table(_HEAD, ([head[name] for name in _HEAD] for head in heads))
        return await _kept(request, body, responses.CSV_TYPE)
    known = [head["changed_at"] for head in heads if head["changed_at"] is not None]
    said = {"universes": heads, "as_of": max(known, default=None), "stale": held.stale}
    return await _kept(request, responses.dumps(said))


async def get_universe(
    request: Request,
    key: KeyPath,
    asked: Annotated[UniverseQuery, Depends(queries.read(UniverseQuery))],
    servers: Servers,
) -> Response:
    """Its symbols, page by page. One without members is an answer; one that nobody knows is 404."""
    held = await servers.universes.all()
    universe = held.by_key.get(key)
    if universe is None:
        raise not_found("key", f"there is no universe {short(key)}")
    question = ["universe", key]
    first = 0
    if asked.page_token is not None:
        first = bisect_right(universe.symbols, cursors.unseal(question, asked.page_token, _POSITION))
    shown = universe.symbols[first : first + asked.limit]
    more = first + asked.limit < len(universe.symbols)
    token = cursors.seal(question, shown[-1]) if more else None
    headers = next_page(request, token)
    if responses.form(request, asked.format) == "csv":
        body = responses.table(("symbol",), ([symbol] for symbol in shown))
        return await _kept(request, body, responses.CSV_TYPE, headers)
    said = _head(universe) | {
        "symbols": list(shown),
        "next_page_token": token,
        "as_of": universe.changed_at,
        "stale": held.stale,
    }
    return await _kept(request, responses.dumps(said), headers=headers)


def _head(universe: Universe) -> dict[str, Any]:
    return {
        "key": universe.key,
        "description": universe.description,
        "category": universe.category,
        "count": len(universe.symbols),
        "changed_at": universe.changed_at,
    }


async def _kept(
    request: Request,
    body: bytes,
    media_type: str = responses.JSON_TYPE,
    headers: dict[str, str] | None = None,
) -> Response:
    """Below `/users` nothing is kept by anybody; an `ETag` still spares the way back."""
    return await responses.data(
        request, body, media_type=media_type, headers=headers, cache_control=responses.NO_STORE
    )
