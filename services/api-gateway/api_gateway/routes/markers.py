"""Everything that was read in the tape of one symbol, for whoever draws it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from pydantic import AwareDatetime, Field, TypeAdapter

from api_gateway import cursors, openapi, queries, responses
from api_gateway.dependencies import Servers
from api_gateway.paging import next_page
from api_gateway.problems import NOT_FOUND, FieldError, Problem
from rollotape.answers import MarkersAnswer
from rollotape.postgres import markers

MOST = 1_000

_NAMES = {"event": "events", "pattern": "patterns", "range": "ranges", "vsa": "vsa"}
"""What the lists of the answer are called."""
_COLUMNS = (
    "symbol", "timeframe", "type", "t", "rule_set", "side", "kind", "direction", "range_id", "id", "event_ts",
    "confirmed_ts", "knowable_at", "price", "confidence", "status", "phase", "support", "resistance", "entry",
    "stop", "target_1", "target_2", "planned_r", "test_confirmed",
)  # fmt: skip
_POSITION: TypeAdapter[markers.Position] = TypeAdapter(tuple[AwareDatetime, str, str])


class MarkersQuery(queries.Page):
    LISTS = frozenset({"types"})

    symbol: queries.Symbol = Field(
        description="In either case.", json_schema_extra={"pattern": queries.SYMBOL_PATTERN}
    )
    types: queries.choices(*markers.TYPES) | None = Field(  # type: ignore[valid-type]  # made of data
        None, description="All of them unless given."
    )
    limit: queries.Whole = Field(100, ge=1, le=MOST, description="Markers on a page, of all types together.")

    def wanted(self) -> markers.Markers:
        types = self.types or list(markers.TYPES)
        return markers.Markers(self.symbol, self.timeframe, self.first, self.last, types)


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    app.add_api_route(
        f"{prefix}/markers",
        get_markers,
        methods=["GET"],
        tags=[tag],
        summary="Wyckoff events, ranges, patterns and volume-spread events of a symbol",
        response_model=MarkersAnswer,
        responses=openapi.listed(404),
        openapi_extra={"parameters": queries.parameters(MarkersQuery)},
    )


async def get_markers(
    request: Request, asked: Annotated[MarkersQuery, Depends(queries.read(MarkersQuery))], servers: Servers
) -> Response:
    """What was known about the bars from `start` to `end`, both included, when the last of them was over.

    Events and ranges have the status of that moment; patterns stand as they do now, and `confirmed_at` says
    since when a test counts. Markers come by the bar that they describe, ranges by their first climax.
    """
    wanted = asked.wanted()
    question = ["markers", wanted]  # what a page token is bound to
    if asked.page_token is not None:
        wanted = replace(wanted, after=cursors.unseal(question, asked.page_token, _POSITION))
    found = await servers.postgres.run(lambda c: markers.markers(c, wanted, asked.limit + 1))
    if found is None:
        reason = f"{asked.symbol} has no bar in this database"
        raise Problem(NOT_FOUND, f"symbol: {reason}", errors=[FieldError("query", "symbol", reason)])

    page, more = found.markers[: asked.limit], len(found.markers) > asked.limit
    token = cursors.seal(question, [page[-1][name] for name in ("t", "type", "tie")]) if more else None
    headers = next_page(request, token)
    if responses.form(request, asked.format) == "csv":
        body = _csv(wanted, page)
        return await responses.data(request, body, media_type=responses.CSV_TYPE, headers=headers)
    return await responses.data(request, _json(wanted, found, page, token), headers=headers)


def _json(
    wanted: markers.Markers, found: markers.Found, page: Sequence[markers.Marker], token: str | None
) -> bytes:
    lists: dict[str, list[dict[str, Any]]] = {name: [] for name in _NAMES.values()}
    for marker in page:
        lists[_NAMES[marker["type"]]].append(_item(marker))
    return responses.dumps(
        {
            "symbol": wanted.symbol,
            "timeframe": wanted.timeframe,
            **lists,
            "next_page_token": token,
            "as_of": found.as_of,
            "stale": found.stale,
        }
    )


def _item(marker: markers.Marker) -> dict[str, Any]:
    item = {name: value for name, value in marker.items() if name not in ("t", "type", "tie")}
    if marker["type"] == "range":
        item["phases"] = [{"phase": name, "since": markers.instant(us)} for name, us in marker["phases"]]
    if marker["type"] == "pattern":
        item["targets"] = [item.pop(name) for name in ("target_1", "target_2")]
    return item


def _csv(wanted: markers.Markers, page: Sequence[markers.Marker]) -> bytes:
    about = {"symbol": wanted.symbol, "timeframe": wanted.timeframe}
    rows = (about | {"kind": m.get("pattern_type")} | m for m in page)
    return responses.table(_COLUMNS, ([row.get(name) for name in _COLUMNS] for row in rows))
