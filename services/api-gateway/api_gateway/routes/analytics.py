"""Which patterns work: performance, sectors, trends, trades and what was read in the tape."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Depends, FastAPI, Path, Request, Response
from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError
from starlette.types import Scope

from api_gateway import openapi, problems, queries, responses
from api_gateway.analyses import Asked, Table, position, settled
from api_gateway.at_once import Given
from api_gateway.backends import Backends
from api_gateway.before import Giver, Raw, Said, Wordings, failed
from api_gateway.dependencies import Servers
from api_gateway.paths import not_found
from api_gateway.universes import UniverseKey
from rollotape import analytics
from rollotape.analytics import DEFAULT_DAYS, DEFAULT_PER_PAGE, Name, Question
from rollotape.answers import figures
from rollotape.postgres.analytics import Analytics, Filters
from rollotape.postgres.pages import Page

MOST = 1_000
MOST_PER_PAGE = 100
MOST_LOOKBACK = 3_650
_ID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_WHICH = f"^([A-Za-z0-9_]{{1,40}}|{_ID})$"
_PHASE = ("A", "B", "C", "D", "E")

Q = TypeVar("Q", bound="TradesOf")
TypePath = Annotated[queries.Type, Path(description="Pattern type in either case, such as SPRING.")]


class TradesOf(queries.Query):
    """What chooses trades, whatever is asked about them."""

    LISTS = frozenset({"pattern_types", "symbols", "sectors"})

    days: queries.Days = Field(
        DEFAULT_DAYS,
        description="Whole days of New York up to now, by the exit of a trade; or `all`.",
    )
    origin: Literal["paper", "external", "all"] = Field(
        "paper",
        description="`paper`: our own patterns followed on later bars; `external`: trades that others sent. "
        "They are mixed in one figure only by `all`.",
    )
    detection_phase: queries.choice(*_PHASE) | None = Field(  # type: ignore[valid-type]  # made of data
        None, description="Of the pattern when it was detected."
    )
    phase: queries.choice(*_PHASE) | None = Field(None, description="The same as `detection_phase`.")  # type: ignore[valid-type]  # made of data
    timeframe: queries.Timeframe | None = None
    symbols: queries.Symbols | None = None
    sectors: queries.Sectors | None = Field(None, description="As they are now.")
    universe: UniverseKey | None = Field(
        None, description="A key of `/api/users/universe`: of its symbols alone, and of `symbols`, too."
    )
    watchlist_id: queries.Id | None = Field(
        None, description="One of your watchlists: of its symbols alone, and of `symbols`, too, where given."
    )
    format: responses.Form | None = Field(None, description="Goes before the `Accept` header.")

    @field_validator("phase")
    @classmethod
    def _one_phase(cls, phase: str | None, info: ValidationInfo) -> str | None:
        other = info.data.get("detection_phase")
        if phase is not None and other is not None and phase != other:
            raise PydanticCustomError("phase", "must be the same as detection_phase, or left out")
        return phase

    def filters(self, *pattern_types: str) -> Filters:
        return Filters(
            phase=self.phase or self.detection_phase,
            timeframe=self.timeframe,
            origin=None if self.origin == "all" else self.origin,
            pattern_types=pattern_types,
            symbols=tuple(self.symbols or ()),
            sectors=tuple(self.sectors or ()),
        )


class AnyTypeQuery(TradesOf):
    pattern_types: queries.Types | None = Field(None, description="In either case.")

    def filters(self, *pattern_types: str) -> Filters:
        return super().filters(*(self.pattern_types or ()), *pattern_types)


class TradesOfTypeQuery(TradesOf):
    status: Literal["closed", "open", "pending", "cancelled", "all"] = Field(
        "closed", description="Trades that are not closed are those that came within the window."
    )
    sort: Literal["desc", "asc"] = Field("desc", description="By the exit; those without by when they came.")
    page: Annotated[int, Field(ge=1, le=1_000_000), queries.WHOLE] | None = Field(
        None, description="Goes with `per_page`, and tells the total."
    )
    per_page: Annotated[int, Field(ge=1, le=MOST_PER_PAGE), queries.WHOLE] | None = Field(
        None, description="30 unless given."
    )
    limit: Annotated[int, Field(ge=1, le=MOST), queries.WHOLE] | None = Field(
        None, description="100 unless given."
    )
    page_token: str | None = Field(
        None, description="`next_page_token` of the same query; goes with `limit`, not with `page`."
    )

    @model_validator(mode="after")
    def _one_way_of_paging(self) -> "TradesOfTypeQuery":
        numbered = self.page is not None or self.per_page is not None
        if numbered and (self.limit is not None or self.page_token is not None):
            raise PydanticCustomError("paging", "page and per_page do not go with limit and page_token")
        return self

    def shown(self) -> Page:
        if self.limit is not None or self.page_token is not None:
            return Page(self.limit or 100)
        return Page(self.per_page or DEFAULT_PER_PAGE, self.page or 1)


class TradesQuery(TradesOfTypeQuery, AnyTypeQuery):
    pass


class PreliminaryQuery(queries.Query):
    lookback_days: queries.Whole = Field(30, ge=1, le=MOST_LOOKBACK)
    format: responses.Form | None = Field(None, description="Goes before the `Accept` header.")


# ---- what is asked, read from words alone


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the questions that are kept: how it is read, and what its table is."""

    name: Name
    query: type[TradesOf]
    table: Table


def _asked(kind: Kind, asked: TradesOf, accept: str, pattern_type: str | None = None) -> Asked:
    of_type = (pattern_type,) if pattern_type is not None and kind.name == "trades" else ()
    question = Question(kind.name, asked.days, asked.filters(*of_type))
    if kind.name == "trend":
        question = replace(question, pattern_type=pattern_type)
    bound = None
    if isinstance(asked, TradesOfTypeQuery):
        question = replace(question, status=asked.status, sort=asked.sort, page=Page(0))
        among = [str(name) for name in (asked.watchlist_id, asked.universe) if name is not None]
        bound = ":".join((question.words, *among))
        page = asked.shown()
        if asked.page_token is not None:
            page = replace(page, after=position(bound, asked.page_token))
        question = replace(question, page=page)
    form = asked.format or responses.liked(accept)
    return Asked(question, question.words, form, kind.table, bound, asked.watchlist_id, asked.universe)


def _reading(kind: Kind, *, of_path: bool = False) -> "Wordings[Asked | None]":
    """Reads requests of one path; of those whose last part is no pattern type nothing is read."""

    def read(scope: Scope, said: Said) -> Asked | None:
        given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        last = scope["path"].rpartition("/")[2].upper() if of_path else None
        if last is not None and not re.fullmatch(queries.TYPE_PATTERN, last):
            return None
        return _asked(kind, queries.parse(kind.query, given), said.accept.decode("latin-1"), last)

    return Wordings(read)


def givers(prefix: str) -> dict[str, Giver]:
    """By path, who answers before routing.

    Also of what is not ready yet: the steps of routing would only be added to it.
    """

    def giver(route: str, wordings: "Wordings[Asked | None]") -> Giver:
        async def give(servers: Backends, scope: Scope, said: Said) -> Given | None:
            asked = wordings.of(scope, said)
            if asked is None:
                return None
            asked = await settled(servers, scope, asked)
            try:
                return await servers.analyses.give(servers, scope, said, asked)
            except problems.Problem as problem:  # a route would meet it as well, and wait for it once more
                return failed(scope, problem)

        def at_once(servers: Backends, scope: Scope, said: Said) -> Given | None:
            asked = wordings.of(scope, said)
            if asked is None or asked.is_to_be_settled:
                return None
            return servers.analyses.at_once(servers, scope, said, asked)

        return Giver(route, give, at_once)

    at = f"{prefix}/analytics"
    plain = {f"{at}/{path}": kind for path, kind in _PLAIN.items()}
    return {path: giver(path, _reading(kind)) for path, kind in plain.items()} | {
        f"{at}/trend/": giver(f"{at}/trend/{{pattern_type}}", _reading(TREND, of_path=True)),
        f"{at}/trades/": giver(f"{at}/trades/{{which}}", _reading(TRADES_OF_TYPE, of_path=True)),
    }


# ---- routes


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    paths: tuple[tuple[str, Any, str, Any, type[queries.Query], openapi.Responses], ...] = (
        (
            "pattern-performance", get_pattern_performance, "What trades on each pattern type have earned",
            figures.PerformanceAnswer, AnyTypeQuery, openapi.tabled(404),
        ),
        (
            "sector-breakdown", get_sector_breakdown, "The same by sector, with leaders and strength",
            figures.SectorsAnswer, AnyTypeQuery, openapi.tabled(404),
        ),
        (
            "trend/{pattern_type}", get_trend, "Win rate and R of one pattern type, day by day",
            figures.TrendAnswer, TradesOf, openapi.tabled(404),
        ),
        (
            "trades", get_trades, "Trades one by one",
            figures.TradesAnswer, TradesQuery, openapi.listed(404),
        ),
        (
            "trades/{which}", get_trade, "Trades of one pattern type, or one trade by its id",
            figures.TradesAnswer | figures.OneTradeAnswer, TradesOfTypeQuery, openapi.listed(404),
        ),
        (
            "vsa", get_vsa_metrics, "Volume-spread events by kind, and those on patterns by type",
            figures.VsaMetricsAnswer, AnyTypeQuery, openapi.tabled(404),
        ),
        (
            "preliminary-events/{pattern_id}", get_preliminary, "What was read in the tape before a pattern",
            figures.PreliminaryAnswer, PreliminaryQuery, openapi.tabled(404),
        ),
    )  # fmt: skip
    for path, endpoint, summary, model, query, answers in paths:
        app.add_api_route(
            f"{prefix}/analytics/{path}",
            endpoint,
            methods=["GET"],
            tags=[tag],
            summary=summary,
            response_model=model,
            responses=answers,
            openapi_extra={"parameters": queries.parameters(query)},
        )


async def get_pattern_performance(
    request: Request, asked: Annotated[AnyTypeQuery, Depends(queries.read(AnyTypeQuery))], servers: Servers
) -> Response:
    """Closed trades by pattern type, and all together: win rate, profit factor, R, drawdown, holding.

    `test_confirmed` and `test_unconfirmed` split those whose type has a test; `phases` counts trades by the
    phase in which their pattern was detected.
    """
    return await _answer(request, servers, PERFORMANCE, asked)


async def get_sector_breakdown(
    request: Request, asked: Annotated[AnyTypeQuery, Depends(queries.read(AnyTypeQuery))], servers: Servers
) -> Response:
    """Closed trades by the present sector of their symbols; what belongs to none comes last, as null.

    `leader_count` and `median_rs` are of the sector's stocks now, whatever the window.
    """
    return await _answer(request, servers, SECTORS, asked)


async def get_trend(
    request: Request,
    pattern_type: TypePath,
    asked: Annotated[TradesOf, Depends(queries.read(TradesOf))],
    servers: Servers,
) -> Response:
    """Days with exits of one pattern type, oldest first; of a type that nobody ever sent there are none.

    The rolling line is over the last twenty trades up to the end of each day, also those before the window.
    """
    return await _answer(request, servers, TREND, asked, pattern_type)


async def get_trades(
    request: Request, asked: Annotated[TradesQuery, Depends(queries.read(TradesQuery))], servers: Servers
) -> Response:
    """Trades in the order of their exits, then of their ids: no one is lost or comes twice between pages."""
    return await _answer(request, servers, TRADES, asked)


async def get_trade(
    request: Request,
    which: Annotated[
        str,
        Path(description="A pattern type in either case, or the id of a trade."),
        WithJsonSchema({"type": "string", "pattern": _WHICH}),
    ],
    servers: Servers,
) -> Response:
    """By pattern type: as `/api/analytics/trades`. By id: that trade, whatever its status; unknown is 404."""
    given = request.query_params.multi_items()
    if re.fullmatch(_ID, which):
        queries.parse(queries.Query, given)
        return await _one_trade(request, servers, UUID(which))
    if not re.fullmatch(queries.TYPE_PATTERN, which):
        reason = "must be a pattern type (1 to 40 characters A-Z 0-9 _) or the id of a trade"
        raise problems.invalid([problems.FieldError("path", "which", reason)])
    asked = queries.parse(TradesOfTypeQuery, given)
    return await _answer(request, servers, TRADES_OF_TYPE, asked, which.upper())


async def get_vsa_metrics(
    request: Request, asked: Annotated[AnyTypeQuery, Depends(queries.read(AnyTypeQuery))], servers: Servers
) -> Response:
    """Events that became known in the window, and those counted on the patterns detected in it, by rule set.

    Events belong to no trade: of the filters they heed `timeframe`, `symbols` and `sectors`; patterns heed
    all of them. They have a `generation` of their own: a trade that closes leaves this answer as it is.
    """
    return await _answer(request, servers, VSA, asked)


async def get_preliminary(
    request: Request,
    pattern_id: Annotated[UUID, Path(description="Id of the pattern.")],
    asked: Annotated[PreliminaryQuery, Depends(queries.read(PreliminaryQuery))],
    servers: Servers,
) -> Response:
    """Preliminary events on the side of a pattern, known before it and in the standing that they had then.

    Counted are those of the last `lookback_days`; `in_range` counts those of its whole range. Counts are null
    where nobody knows on which side a pattern is. Unknown pattern: 404.
    """
    found = await servers.postgres.run(
        lambda c: Analytics(c).preliminary_events(pattern_id, asked.lookback_days)
    )
    if found is None:
        raise not_found("pattern_id", f"no pattern has the id {pattern_id}")
    if responses.form(request, asked.format) == "csv":
        body = responses.table(
            _PRELIMINARY, ([event[name] for name in _PRELIMINARY] for event in found.events)
        )
        return await responses.data(request, body, media_type=responses.CSV_TYPE)
    said = {
        "pattern_id": str(pattern_id),
        "lookback_days": found.lookback_days,
        "rule_set": found.rule_set,
        "side": found.side,
        "counts": _counts(found.counts),
        "in_range": _counts(found.counts_in_range),
        "events": [{name: event[name] for name in _PRELIMINARY} for event in found.events],
        "as_of": max((event["knowable_at"] for event in found.events), default=None),
        "stale": False,
    }
    return await responses.data(request, responses.dumps(said))


async def _one_trade(request: Request, servers: Backends, trade_id: UUID) -> Response:
    row: Any = await servers.postgres.run(lambda c: Analytics(c).trade(trade_id))
    if row is None:
        raise not_found("which", f"no trade has the id {trade_id}")
    said = {"trade": analytics.trade_item(row), "as_of": row["changed_at"], "stale": False}
    return await responses.data(request, responses.dumps(said))


async def _answer(
    request: Request, servers: Backends, kind: Kind, asked: TradesOf, pattern_type: str | None = None
) -> Response:
    put = _asked(kind, asked, request.headers.get("accept", ""), pattern_type)
    put = await settled(servers, request.scope, put)
    return Raw(await servers.analyses.give(servers, request.scope, Said.of(request.scope["headers"]), put))


def _counts(found: Mapping[str, int] | None) -> dict[str, int] | None:
    return None if found is None else {f"{kind.lower()}_count": count for kind, count in found.items()}


# ---- tables

_FIGURES = tuple(name for name in figures.Figures.model_fields if name != "win_rate_ci95")
_SPLITS = ("test_confirmed", "test_unconfirmed")
_PHASES = tuple(figures.Phases.model_fields)
_TRADE = tuple(figures.AnalysedTrade.model_fields)
_TREND = tuple(figures.TrendDay.model_fields)
_PRELIMINARY = tuple(figures.PreliminaryEvent.model_fields)
_OF_SECTOR = ("sector", "etf", "leader_count", "median_rs")
_VSA = ("pattern_type", "rule_set", "kind", "direction", "count", "patterns", "judged")


def _flat(said: Mapping[str, Any] | None, prefix: str = "") -> dict[str, Any]:
    """Figures as columns."""
    found = said or {}
    low, high = found.get("win_rate_ci95") or (None, None)
    flat = {name: found.get(name) for name in _FIGURES} | {"win_rate_low": low, "win_rate_high": high}
    return {prefix + name: value for name, value in flat.items()}


def _split(said: Mapping[str, Any]) -> dict[str, Any]:
    parts = [_flat(said), *(_flat(said.get(part), f"{part}_") for part in _SPLITS)]
    return {name: value for part in parts for name, value in part.items()}


def _of_type(row: Mapping[str, Any]) -> dict[str, Any]:
    phases = row.get("phases", {})
    counts = {f"phase_{name.lower()}": phases.get(name) for name in _PHASES}
    return {"pattern_type": row.get("pattern_type")} | _split(row) | counts


def _of_sector(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in _OF_SECTOR} | _split(row)


def _vsa_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in _VSA}


def _vsa_rows(said: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Events by kind, then those on patterns, a row per type, rule set and kind."""
    yield from map(_vsa_row, said["events"])
    for row in said["patterns"]:
        for kind in figures.ON_PATTERNS:
            yield _vsa_row(row | {"kind": kind, "count": row[kind]})


def _table(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    names = list(columns)
    return names, [[row[name] for name in names] for row in rows]


PERFORMANCE = Kind(
    "pattern_performance", AnyTypeQuery, lambda said: _table(_of_type({}), map(_of_type, said["patterns"]))
)
SECTORS = Kind(
    "sector_breakdown", AnyTypeQuery, lambda said: _table(_of_sector({}), map(_of_sector, said["sectors"]))
)
TREND = Kind("trend", TradesOf, lambda said: _table(_TREND, said["trend"]))
TRADES = Kind("trades", TradesQuery, lambda said: _table(_TRADE, said["trades"]))
TRADES_OF_TYPE = replace(TRADES, query=TradesOfTypeQuery)
VSA = Kind("vsa", AnyTypeQuery, lambda said: _table(_VSA, _vsa_rows(said)))
_PLAIN = {"pattern-performance": PERFORMANCE, "sector-breakdown": SECTORS, "trades": TRADES, "vsa": VSA}
