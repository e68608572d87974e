"""Bars: pages of what is stored, and the way in over HTTP."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request, Response
from pydantic import AwareDatetime, Field, TypeAdapter

from api_gateway import cursors, ingest, openapi, queries, responses
from api_gateway.dependencies import Servers
from api_gateway.paging import next_page
from rollotape.answers import BarsAnswer, IngestAnswer
from rollotape.postgres import market

MOST = 10_000

_COLUMNS = (
    "symbol", "t", "o", "h", "l", "c", "v", "n", "vw", "revision", "synthetic", "hours", "end_ts",
)  # fmt: skip
_KIND = ingest.Kind("bars", ingest.judge_bars)
_EXAMPLE = {
    "symbol": "AAPL", "timeframe": "1d", "ts": "2018-01-12T00:00:00Z",
    "open": 44.04, "high": 44.34, "low": 43.91, "close": 44.27, "volume": 101_672_500,
}  # fmt: skip
_POSITION: TypeAdapter[market.BarPosition] = TypeAdapter(tuple[str, AwareDatetime])


class BarsQuery(queries.Page):
    LISTS = frozenset({"symbols"})

    symbols: queries.Symbols = Field(description="Comma-separated and repeatable, in either case.")
    limit: queries.Whole = Field(100, ge=1, le=MOST, description="Bars on a page, of all symbols together.")
    sort: Literal["asc", "desc"] = Field("asc", description="By time; symbols come in their own order.")

    def wanted(self) -> market.Bars:
        newest_first = self.sort == "desc"
        return market.Bars(self.symbols, self.timeframe, self.first, self.last, newest_first)


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    app.add_api_route(
        f"{prefix}/bars",
        get_bars,
        methods=["GET"],
        tags=[tag],
        summary="Stored bars, by symbol and time",
        response_model=BarsAnswer,
        responses=openapi.listed(),
        openapi_extra={"parameters": queries.parameters(BarsQuery)},
    )
    app.add_api_route(
        f"{prefix}/bars",
        post_bars,
        methods=["POST"],
        tags=[tag],
        summary="Send bars in",
        status_code=202,
        response_model=IngestAnswer,
        responses=ingest.RESPONSES,
        openapi_extra=ingest.request("bars", "bars", "Bar", _EXAMPLE),
    )


async def get_bars(
    request: Request, asked: Annotated[BarsQuery, Depends(queries.read(BarsQuery))], servers: Servers
) -> Response:
    """Bars by symbol, then by time. `start` and `end` are included. Symbols that are unknown are absent."""
    wanted = asked.wanted()
    question = ["bars", wanted]  # what a page token is bound to
    if asked.page_token is not None:
        wanted = replace(wanted, after=cursors.unseal(question, asked.page_token, _POSITION))
    rows = await servers.postgres.run(lambda c: market.bars(c, wanted, asked.limit + 1))

    rows, more = rows[: asked.limit], len(rows) > asked.limit
    token = cursors.seal(question, [rows[-1]["symbol"], rows[-1]["t"]]) if more else None
    headers = next_page(request, token)
    if responses.form(request, asked.format) == "csv":
        return await responses.data(request, _csv(rows), media_type=responses.CSV_TYPE, headers=headers)
    return await responses.data(request, _json(rows, token), headers=headers)


def _json(rows: Sequence[Any], token: str | None) -> bytes:
    bars: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        bar = dict(row)
        bars.setdefault(bar.pop("symbol"), []).append(bar)
    return responses.dumps(
        {
            "bars": bars,
            "next_page_token": token,
            "as_of": max((row["end_ts"] for row in rows), default=None),
            "stale": False,
            "adjustment": None,
        }
    )


def _csv(rows: Sequence[Any]) -> bytes:
    return responses.table(_COLUMNS, ([row[name] for name in _COLUMNS] for row in rows))


async def post_bars(request: Request, servers: Servers) -> Response:
    """Up to 1,000 bars as `{"bars": [...]}`, or one per line; each is judged alone, as the stream does.

    202: all were sent on. 207: some, or all, were refused, and the answer says which and why. Sending a bar
    twice changes nothing. What was accepted is stored a moment later, when the detector has committed it.
    """
    queries.parse(queries.Query, request.query_params.multi_items())
    return await ingest.take(request, servers, _KIND)
