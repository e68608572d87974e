"""How many patterns there are now, by what they are: counted in memory, like the scan."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from api_gateway import openapi, queries, responses, scan
from api_gateway.before import CACHE_CONTROL
from api_gateway.dependencies import Servers
from rollotape.answers import reports
from rollotape.domain.summary import GROUPS, HIGH_CONFIDENCE, Summary, summarise
from rollotape.facts import instant

MOST_TOP = 100
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_LONGEST = timedelta(days=3_650)
_WINDOW = r"[1-9][0-9]{0,6}[mhd]"
_US = timedelta(microseconds=1)
_MINUTE_US = 60_000_000
"""Windows begin with a whole minute, so that an answer stays the same for a while."""
_COLUMNS = ("group", "name", "count")


def length(window: str) -> timedelta:
    return int(window[:-1]) * _UNITS[window[-1]]


def _window(text: str) -> str:
    if not re.fullmatch(_WINDOW, text) or length(text) > _LONGEST:
        raise PydanticCustomError("window", "must be minutes, hours or days up to 3650d: 90m, 24h or 7d")
    return text


_DAYS = "[1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|36[0-4][0-9]|3650"
Window = Annotated[
    str,
    AfterValidator(_window),
    WithJsonSchema({"type": "string", "pattern": f"^([1-9][0-9]{{0,3}}[mh]|({_DAYS})d)$"}),
]


class SummaryQuery(queries.Query):
    window: Window = Field("24h", description="How far back a detection is new: 90m, 24h, 7d.")
    top: queries.Whole = Field(10, ge=1, le=MOST_TOP, description="Types and symbols named at the top.")
    format: responses.Form | None = Field(None, description="Goes before the `Accept` header.")


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    app.add_api_route(
        f"{prefix}/patterns/summary",
        get_summary,
        methods=["GET"],
        tags=[tag],
        summary="How many patterns are active, by what they are",
        response_model=reports.SummaryAnswer,
        responses=openapi.tabled(),
        openapi_extra={"parameters": queries.parameters(SummaryQuery)},
    )


async def get_summary(
    request: Request, asked: Annotated[SummaryQuery, Depends(queries.read(SummaryQuery))], servers: Servers
) -> Response:
    """True totals of everything that is active, counted in memory; only `new` heeds `window`.

    Without a sound read model: 503, never a number that is too small.
    """
    snapshot, now = await servers.snapshot(), scan.now_us()
    since_us = (now - length(asked.window) // _US) // _MINUTE_US * _MINUTE_US
    found = summarise(snapshot.table, now_us=now, since_us=since_us, most=asked.top)
    if responses.form(request, asked.format) == "csv":
        body, media_type = responses.table(_COLUMNS, _rows(found)), responses.CSV_TYPE
    else:
        said = _said(found) | {
            "new": {"window": asked.window, "since": instant(since_us), "count": found.new},
            "as_of": instant(snapshot.as_of_us),
            "stale": snapshot.stale,
        }
        body, media_type = responses.dumps(said), responses.JSON_TYPE
    return await responses.data(request, body, media_type=media_type, cache_control=CACHE_CONTROL)


def _said(found: Summary) -> dict[str, Any]:
    return {
        "total": found.total,
        "symbols": found.symbols,
        "by": {name: _named(found.by[name].items()) for name in GROUPS},
        "top_types": _named(found.top_types),
        "top_symbols": _named(found.top_symbols),
        "high_confidence": {"at_least": HIGH_CONFIDENCE, "count": found.high_confidence},
    }


def _named(counts: Any) -> list[dict[str, Any]]:
    return [{"name": name, "count": count} for name, count in counts]


def _rows(found: Summary) -> Iterator[tuple[str, str | None, int]]:
    """One for every count of the answer, under the name that it has there."""
    yield "total", None, found.total
    yield "symbols", None, found.symbols
    for group in GROUPS:
        for name, count in found.by[group].items():
            yield group, name, count
    for name, count in found.top_symbols:
        yield "top_symbols", name, count
    yield "high_confidence", None, found.high_confidence
    yield "new", None, found.new
