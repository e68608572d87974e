"""Relative strength: the cross-section of a date, its leaders, and the history of one stock."""

from dataclasses import replace
from datetime import date
from math import isfinite
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request, Response
from pydantic import Field, TypeAdapter
from starlette.types import Scope

from api_gateway import callers, cursors, openapi, queries, responses, strengths
from api_gateway.backends import Backends
from api_gateway.dependencies import Servers
from api_gateway.paging import next_page
from api_gateway.paths import SymbolPath, unknown_symbol
from api_gateway.universes import UniverseKey
from rollotape.answers import LeadersAnswer, StrengthAnswer, StrengthHistoryAnswer
from rollotape.postgres import symbols as stored

MOST = 1_000

_STRENGTH: TypeAdapter[stored.StrengthPosition] = TypeAdapter(tuple[float | None, str])
_LEADER: TypeAdapter[stored.LeaderPosition] = TypeAdapter(tuple[str, int, str])
_DATE: TypeAdapter[date] = TypeAdapter(date)

_AS_OF = "Scores of the newest date up to this one; of the newest date unless given."


class OfStocks(queries.Paged):
    """Which stocks."""

    LISTS = frozenset({"symbols", "sectors"})

    as_of: queries.Day | None = Field(None, description=_AS_OF)
    symbols: queries.Symbols | None = None
    sectors: queries.Sectors | None = None
    universe: UniverseKey | None = Field(
        None, description="A key of `/api/users/universe`: of its symbols alone, and of `symbols`, too."
    )
    watchlist_id: queries.Id | None = Field(
        None, description="One of your watchlists: of its symbols alone, and of `symbols`, too, where given."
    )

    @property
    def named(self) -> list[Any]:
        """What page tokens are bound to, whatever it holds from page to page."""
        return [name for name in (self.universe, self.watchlist_id) if name is not None]

    async def among(self, servers: Backends, scope: Scope) -> list[str] | None:
        """Of these symbols alone; None: of all.

        Raises:
            Problem: 404, the caller has no such watchlist; 422, there is no such universe; 503, nobody can
                tell now.
        """
        found = self.symbols
        if self.watchlist_id is not None:
            watched = await servers.lists.symbols(callers.of(scope).owner, self.watchlist_id)
            found = [symbol for symbol in watched if found is None or symbol in found]
        if self.universe is not None:
            members = (await servers.universes.members(self.universe)).symbols
            found = [symbol for symbol in members if found is None or symbol in found]
        return found


class SectionQuery(OfStocks):
    sort_by: Literal[
        "rs_score", "rating", "mansfield", "excess_21", "excess_63", "excess_126", "excess_252"
    ] = Field("rs_score", description="Unknown values come last in either order.")
    sort_order: Literal["asc", "desc"] = "desc"
    limit: queries.Whole = Field(100, ge=1, le=MOST, description="Stocks on a page.")

    def wanted(self) -> stored.Section:
        weakest_first = self.sort_order == "asc"
        return stored.Section(self.as_of, self.symbols, self.sectors, self.sort_by, weakest_first)


class LeadersQuery(OfStocks):
    limit: queries.Whole = Field(100, ge=1, le=MOST, description="Leaders on a page.")


class HistoryQuery(queries.Window):
    limit: queries.Whole = Field(100, ge=1, le=MOST, description="Dates on a page.")
    sort: Literal["asc", "desc"] = Field("desc", description="By date.")


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    section = ("Relative strength of all stocks on a date", StrengthAnswer, SectionQuery)
    leaders = ("The strongest fifth of every sector", LeadersAnswer, LeadersQuery)
    paths: tuple[tuple[str, Any, tuple[str, Any, Any]], ...] = (
        ("/analytics/rs", get_strength, section),
        ("/analytics/rs/leaders", get_leaders, leaders),
    )
    for path, endpoint, (summary, model, query) in paths:
        app.add_api_route(
            prefix + path,
            endpoint,
            methods=["GET"],
            tags=[tag],
            summary=summary,
            response_model=model,
            responses=openapi.listed(404),
            openapi_extra={"parameters": queries.parameters(query)},
        )
    app.add_api_route(
        f"{prefix}/symbols/{{symbol:path}}/rs",
        get_history,
        methods=["GET"],
        tags=[tag],
        summary="Relative strength of one stock over time",
        response_model=StrengthHistoryAnswer,
        responses=openapi.listed(404),
        openapi_extra={"parameters": queries.parameters(HistoryQuery)},
    )


async def get_strength(
    request: Request, asked: Annotated[SectionQuery, Depends(queries.read(SectionQuery))], servers: Servers
) -> Response:
    """Every stock with a bar on that date, and those with a score from the five days before it.

    Of the latter the rating is null: it would take the bar that they do not have.
    """
    wanted = asked.wanted()
    question = ["rs", wanted, *asked.named]  # what a page token is bound to
    wanted = replace(wanted, symbols=await asked.among(servers, request.scope))
    if asked.page_token is not None:
        wanted = replace(wanted, after=cursors.unseal(question, asked.page_token, _STRENGTH))
    found = await servers.postgres.run(lambda c: stored.strength(c, wanted, asked.limit + 1))
    return await _answer(
        request, asked, asked.limit, found, question, "scores",
        {"date": found.date}, lambda row: [row["key"] if isfinite(row["key"]) else None, row["symbol"]],
    )  # fmt: skip


async def get_leaders(
    request: Request, asked: Annotated[LeadersQuery, Depends(queries.read(LeadersQuery))], servers: Servers
) -> Response:
    """The best fifth of a sector by `rs_score`, rounded up, ties included; of four there is none."""
    wanted = stored.Leaders(asked.as_of, asked.sectors, symbols=asked.symbols)
    question = ["leaders", wanted, *asked.named]
    wanted = replace(wanted, symbols=await asked.among(servers, request.scope))
    if asked.page_token is not None:
        wanted = replace(wanted, after=cursors.unseal(question, asked.page_token, _LEADER))
    found = await servers.postgres.run(lambda c: stored.leaders(c, wanted, asked.limit + 1))
    return await _answer(
        request, asked, asked.limit, found, question, "leaders",
        {"date": found.date}, lambda row: [row["sector"], row["sector_rank"], row["symbol"]],
    )  # fmt: skip


async def get_history(
    request: Request,
    symbol: SymbolPath,
    asked: Annotated[HistoryQuery, Depends(queries.read(HistoryQuery))],
    servers: Servers,
) -> Response:
    """One row for every date on which the stock has a bar; what is no stock has none. Unknown symbol: 404."""
    wanted = stored.History(symbol, asked.first, asked.last, asked.sort == "desc")
    question = ["history", wanted]
    if asked.page_token is not None:
        wanted = replace(wanted, after=cursors.unseal(question, asked.page_token, _DATE))
    found = await servers.postgres.run(lambda c: stored.history(c, wanted, asked.limit + 1))
    if found is None:
        raise unknown_symbol(symbol)
    return await _answer(
        request, asked, asked.limit, found, question, "scores", {"symbol": symbol}, lambda row: row["as_of"]
    )


async def _answer(
    request: Request,
    asked: queries.Paged,
    limit: int,
    found: stored.Scores,
    question: list[Any],
    name: str,
    about: dict[str, Any],
    position: Any,
) -> Response:
    """One page of scores, in either form."""
    rows, more = found.rows[:limit], len(found.rows) > limit
    token = cursors.seal(question, position(rows[-1])) if more else None
    headers = next_page(request, token)
    if responses.form(request, asked.format) == "csv":
        return await responses.data(
            request, strengths.table(rows), media_type=responses.CSV_TYPE, headers=headers
        )
    said = about | {
        name: [strengths.item(row) for row in rows],
        "next_page_token": token,
        "as_of": found.known_at,
        "stale": found.due,
    }
    return await responses.data(request, responses.dumps(said), headers=headers)
