"""Patterns of one symbol, active or not, in the order in which they were detected."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Request, Response
from pydantic import AwareDatetime, Field, TypeAdapter

from api_gateway import cursors, openapi, queries, responses
from api_gateway.dependencies import Servers
from api_gateway.paging import next_page
from api_gateway.paths import SymbolPath, unknown_symbol
from rollotape.answers import reports
from rollotape.postgres import detections as stored

MOST = 1_000
DEFAULT_DAYS = 30
_PLAIN = (
    "symbol", "pattern_type", "timeframe", "side", "phase", "status", "is_active", "confidence", "price",
    "planned_r", "test_confirmed", "detected_at", "confirmed_at", "expires_at", "source", "rule_set",
)  # fmt: skip
_COLUMNS = ("id", *_PLAIN[:9], "entry", "stop", "target_1", "target_2", *_PLAIN[9:])
_POSITION: TypeAdapter[tuple[datetime | None, datetime, UUID]] = TypeAdapter(
    tuple[AwareDatetime | None, AwareDatetime, UUID]
)


class DetectionsQuery(queries.Paged):
    LISTS = frozenset({"pattern_types", "timeframe"})

    days: queries.Days = Field(
        DEFAULT_DAYS, description="Whole days of New York up to now, by the detection; or `all`."
    )
    pattern_types: queries.Types | None = Field(None, description="In either case.")
    timeframe: queries.Timeframes | None = None
    limit: queries.Whole = Field(100, ge=1, le=MOST, description="Patterns on a page.")


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    """Before the path of a symbol, which would take these for symbols with a slash."""
    app.add_api_route(
        f"{prefix}/symbols/{{symbol:path}}/detections",
        get_detections,
        methods=["GET"],
        tags=[tag],
        summary="Patterns of a symbol, the newest first",
        response_model=reports.DetectionsAnswer,
        responses=openapi.listed(404),
        openapi_extra={"parameters": queries.parameters(DetectionsQuery)},
    )


async def get_detections(
    request: Request,
    symbol: SymbolPath,
    asked: Annotated[DetectionsQuery, Depends(queries.read(DetectionsQuery))],
    servers: Servers,
) -> Response:
    """Our own patterns and those of other systems, by `detected_at`, then `id`. Nobody knows the symbol: 404.

    Every page of a list has the window of its first one, even when a day ends in between.
    """
    wanted = stored.Asked(symbol, asked.days, asked.pattern_types, asked.timeframe)
    question = ["detections", wanted]  # what a page token is bound to
    if asked.page_token is not None:
        wanted = replace(wanted, after=cursors.unseal(question, asked.page_token, _POSITION))
    found = await servers.postgres.run(lambda c: stored.detections(c, wanted, asked.limit + 1))
    if found is None:
        raise unknown_symbol(symbol, "has no bar and no pattern here, and nobody said what it is")
    rows, more = found.rows[: asked.limit], len(found.rows) > asked.limit
    position = [found.since, rows[-1]["detected_at"], str(rows[-1]["id"])] if more else None
    token = cursors.seal(question, position) if more else None
    headers = next_page(request, token)
    if responses.form(request, asked.format) == "csv":
        body = responses.table(_COLUMNS, (_cells(row) for row in rows))
        return await responses.data(request, body, media_type=responses.CSV_TYPE, headers=headers)
    said = {
        "symbol": symbol,
        "days": "all" if asked.days is None else asked.days,
        "since": found.since,
        "detections": [_item(row) for row in rows],
        "next_page_token": token,
        "as_of": max((row["detected_at"] for row in rows), default=None),
        "stale": False,
    }
    return await responses.data(request, responses.dumps(said), headers=headers)


def _cells(row: Any) -> list[Any]:
    """Prices as in JSON: PostgreSQL has them with zeros at their end."""
    return [float(row[n]) if isinstance(row[n], Decimal) else row[n] for n in _COLUMNS]


def _item(row: Any) -> dict[str, Any]:
    prices = {name: None if row[name] is None else float(row[name]) for name in ("entry", "stop")}
    targets = [float(row[name]) for name in ("target_1", "target_2") if row[name] is not None]
    return {
        "id": str(row["id"]),
        **{name: row[name] for name in _PLAIN},
        **prices,
        "targets": targets or None,
    }
