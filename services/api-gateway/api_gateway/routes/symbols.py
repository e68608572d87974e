"""Which symbols there are, and one symbol at a glance."""

import re
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request, Response
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, WithJsonSchema
from pydantic_core import PydanticCustomError

from api_gateway import cursors, openapi, queries, responses, strengths
from api_gateway.dependencies import Servers
from api_gateway.paging import next_page
from api_gateway.paths import SymbolPath, unknown_symbol
from rollotape.answers import SymbolAnswer, SymbolsAnswer
from rollotape.postgres import symbols

MOST = 1_000

_COLUMNS = (
    "symbol", "name", "exchange", "kind", "sector", "industry", "active",
    "rs_score", "rs_as_of", "sector_rank", "is_sector_leader",
)  # fmt: skip
_BAR_COLUMNS = ("last_timeframe", "last_ts", "last_close", "last_end_ts")
_POSITION: TypeAdapter[str] = TypeAdapter(str)


_MARKET = "[A-Za-z0-9][A-Za-z0-9 ._-]{0,29}"


def _market(text: str) -> str:
    if not re.fullmatch(_MARKET, text):
        raise PydanticCustomError("market", "must be an exchange such as NASDAQ")
    return " ".join(text.upper().split())


Markets = Annotated[
    list[Annotated[str, AfterValidator(_market)]],
    BeforeValidator(queries.split),
    AfterValidator(queries.once),
    Field(min_length=1),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": f"^{_MARKET}(,{_MARKET})*$"},
        }
    ),
]


class SymbolsQuery(queries.Paged):
    LISTS = frozenset({"sector", "market"})

    search: str | None = Field(
        None,
        min_length=1,
        max_length=60,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Part of the symbol or of its name, in either case.",
    )
    market: Markets | None = Field(None, description="Exchanges as `rollo import-universe` told them.")
    sector: queries.Sectors | None = None
    kind: Literal["stock", "etf", "benchmark"] | None = None
    active: queries.Truth | None = Field(
        None, description="Whether it has a bar of the five days before the newest date of the market."
    )
    limit: queries.Whole = Field(100, ge=1, le=MOST, description="Symbols on a page.")

    def wanted(self) -> symbols.Listed:
        return symbols.Listed(self.search, self.sector, self.kind, self.active, markets=self.market)


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    """After the paths below a symbol: its own one would take them for symbols with a slash."""
    app.add_api_route(
        f"{prefix}/symbols",
        get_symbols,
        methods=["GET"],
        tags=[tag],
        summary="Symbols that have bars, or of which somebody said what they are",
        response_model=SymbolsAnswer,
        responses=openapi.listed(),
        openapi_extra={"parameters": queries.parameters(SymbolsQuery)},
    )
    app.add_api_route(
        f"{prefix}/symbols/{{symbol:path}}",
        get_symbol,
        methods=["GET"],
        tags=[tag],
        summary="One symbol at a glance",
        response_model=SymbolAnswer,
        responses=openapi.single(404),
    )


async def get_symbols(
    request: Request, asked: Annotated[SymbolsQuery, Depends(queries.read(SymbolsQuery))], servers: Servers
) -> Response:
    """By symbol. A stock without a sector is in no sector, so a filter on sectors leaves it out."""
    wanted = asked.wanted()
    question = ["symbols", wanted]  # what a page token is bound to
    if asked.page_token is not None:
        wanted = replace(wanted, after=cursors.unseal(question, asked.page_token, _POSITION))
    rows = await servers.postgres.run(lambda c: symbols.listed(c, wanted, asked.limit + 1))

    rows, more = rows[: asked.limit], len(rows) > asked.limit
    token = cursors.seal(question, rows[-1]["symbol"]) if more else None
    headers = next_page(request, token)
    if responses.form(request, asked.format) == "csv":
        cells = ([row[name] for name in (*_COLUMNS, *_BAR_COLUMNS)] for row in rows)
        body = responses.table((*_COLUMNS, *_BAR_COLUMNS), cells)
        return await responses.data(request, body, media_type=responses.CSV_TYPE, headers=headers)
    said = {
        "symbols": [_item(row) for row in rows],
        "next_page_token": token,
        "as_of": max((row["last_end_ts"] for row in rows if row["last_end_ts"]), default=None),
        "stale": False,
    }
    return await responses.data(request, responses.dumps(said), headers=headers)


def _item(row: Any) -> dict[str, Any]:
    said = {name: row[name] for name in _COLUMNS}
    if row["last_ts"] is None:
        return said | {"last_bar": None}
    timeframe, t, c, end_ts = (row[name] for name in _BAR_COLUMNS)
    return said | {"last_bar": {"timeframe": timeframe, "t": t, "c": c, "end_ts": end_ts}}


async def get_symbol(request: Request, symbol: SymbolPath, servers: Servers) -> Response:
    """Name, sector, strength, newest bar and counts. Nobody knows the symbol: 404."""
    queries.parse(queries.Query, request.query_params.multi_items())
    found = await servers.postgres.run(lambda c: symbols.profile(c, symbol))
    if found is None:
        raise unknown_symbol(symbol)
    said = _item(found.listed) | {
        "strength": strengths.item(found.scores) if found.scores else None,
        "counts": {"bars": found.bars, "vsa_events": found.events, "patterns": dict(found.patterns)},
        "as_of": found.listed["last_end_ts"],
        "stale": found.due,
    }
    return await responses.data(request, responses.dumps(said))
