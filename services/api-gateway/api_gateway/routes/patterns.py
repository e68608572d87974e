"""Patterns: what is setting up right now, one of them in full, and patterns in."""

from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
from fastapi import Depends, FastAPI, Path, Request, Response
from pydantic import (
    BeforeValidator,
    Field,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from starlette.types import Scope

from api_gateway import bodies, callers, cursors, ingest, openapi, problems, queries, responses, scan
from api_gateway.backends import Backends
from api_gateway.before import Raw, Said
from api_gateway.dependencies import Servers
from api_gateway.paths import not_found
from api_gateway.universes import UniverseKey
from rollotape import patterns
from rollotape.answers import IngestAnswer, PatternAnswer, PatternStatsAnswer, ScanAnswer
from rollotape.cache.items import preliminary
from rollotape.domain.scan import SORTS, Filters
from rollotape.errors import Unavailable
from rollotape.facts import instant
from rollotape.postgres import symbols as stored

SCAN = "/patterns/scan"
MOST = 1_000
PER_PAGE, MOST_PER_PAGE = 30, 100

_POSITION: TypeAdapter[scan.Position] = TypeAdapter(tuple[float | int | str | None, str])
_PLAIN = (
    "symbol", "pattern_type", "timeframe", "side", "phase", "confidence", "price", "change_pct", "rs_ratio",
    "rs_excess", "rs_ratio_at_detection", "rs_excess_at_detection", "vol_ratio", "rsi", "sma_20", "sma_50",
    "sector", "is_sector_leader", "planned_r", "test_confirmed", "rule_set", "source", "status", "revision",
    "detected_at", "confirmed_at", "expires_at",
)  # fmt: skip


def _range(text: Any) -> tuple[float, float]:
    low, comma, high = text.partition(",")
    try:
        found = queries.number(low), queries.number(high)
    except PydanticCustomError:
        comma = ""
    if not comma or not 0 <= found[0] <= found[1] <= 100:
        raise PydanticCustomError("range", "must be two numbers within 0..100, the smaller one first: 30,70")
    return found


_NUMBER = r"[0-9]{1,2}(\.[0-9]{1,15})?"
Range = Annotated[
    tuple[float, float],
    BeforeValidator(_range),
    WithJsonSchema({"type": "string", "pattern": f"^{_NUMBER},({_NUMBER}|100)$"}),
]


class ScanQuery(queries.Query):
    LISTS = frozenset({"pattern_types", "symbols", "sectors", "timeframe", "timeframes", "phase", "side"})

    pattern_types: queries.Types | None = Field(None, description="In either case, such as SPRING,BULL_FLAG.")
    symbols: queries.Symbols | None = None
    sectors: queries.Sectors | None = None
    timeframe: queries.Timeframes | None = Field(None, description="The same as `timeframes`.")
    timeframes: queries.Timeframes | None = None
    confidence_min: queries.Number = Field(0.5, ge=0, le=1)
    rs_min: queries.Number | None = Field(None, description="Of `rs_ratio`.")
    rs_excess_min: queries.Number | None = Field(None, description="Of `rs_excess`, in percentage points.")
    vol_min: Annotated[float, Field(ge=0), queries.NUMBER] | None = Field(None, description="Of `vol_ratio`.")
    rsi_range: Range | None = Field(None, description="Two numbers within 0..100, both included: 30,70.")
    phase: queries.choices("A", "B", "C", "D", "E") | None = None  # type: ignore[valid-type]  # made of data
    test_confirmed: queries.Truth | None = None
    side: queries.choices("accumulation", "distribution") | None = None  # type: ignore[valid-type]  # made of data
    detected_since: queries.Start | None = Field(None, description="Included.")
    universe: UniverseKey | None = Field(
        None, description="A key of `/api/users/universe`: of its symbols alone, and of `symbols`, too."
    )
    watchlist_id: queries.Id | None = Field(
        None, description="One of your watchlists: of its symbols alone, and of `symbols`, too, where given."
    )
    scan_id: queries.Id | None = Field(
        None, description="One of your saved scans; parameters beside it take the place of its own."
    )
    sort_by: Literal["confidence", "detected_at", "symbol", "rs", "volume"] = "confidence"
    sort_order: Literal["asc", "desc"] = Field("desc", description="Unknown values come last either way.")
    page: Annotated[int, Field(ge=1, le=1_000_000), queries.WHOLE] | None = Field(
        None, description="Goes with `per_page`."
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
    display: queries.Truth = Field(False, description="Short strings beside the numbers.")
    format: responses.Form | None = Field(None, description="Goes before the `Accept` header.")

    @model_validator(mode="after")
    def _one_way_of_paging(self) -> "ScanQuery":
        numbered = self.page is not None or self.per_page is not None
        if numbered and (self.limit is not None or self.page_token is not None):
            raise PydanticCustomError("paging", "page and per_page do not go with limit and page_token")
        return self

    @property
    def by_token(self) -> bool:
        return self.limit is not None or self.page_token is not None

    def question(self, form: responses.Form) -> scan.Question:
        count = (self.limit or 100) if self.by_token else (self.per_page or PER_PAGE)
        first = 0 if self.by_token else ((self.page or 1) - 1) * count
        descending = self.sort_order == "desc"
        return scan.Question(
            self._filters(),
            self.sort_by,
            descending,
            self.display,
            form,
            first,
            count,
            self.by_token,
            universe=self.universe,
        )

    def _filters(self) -> Filters:
        timeframes = sorted({*(self.timeframe or ()), *(self.timeframes or ())}) or None
        since = self.detected_since
        return Filters(
            pattern_types=self.pattern_types,
            symbols=self.symbols,
            sectors=self.sectors,
            timeframes=timeframes,
            phases=self.phase,
            sides=self.side,
            confidence_min=self.confidence_min,
            rs_min=self.rs_min,
            rs_excess_min=self.rs_excess_min,
            vol_min=self.vol_min,
            rsi_range=self.rsi_range,
            test_confirmed=self.test_confirmed,
            detected_since_us=None if since is None else (since - instant(0)) // _US,
        )


_US = instant(1) - instant(0)
assert set(SORTS) == {"confidence", "detected_at", "symbol", "rs", "volume"}

_KIND = ingest.Kind("patterns", ingest.judge_events(patterns.read))
_EXAMPLE = {
    "event": "detected", "source": "scanner-7", "symbol": "AAPL", "timeframe": "1d",
    "pattern_type": "BULL_FLAG", "confidence": 0.8, "detected_at": "2026-01-02T21:00:00Z",
}  # fmt: skip

PatternPath = Annotated[UUID, Path(description="Id of the pattern.")]


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    app.add_api_route(
        prefix + SCAN,
        get_scan,
        methods=["GET"],
        tags=[tag],
        summary="What is setting up right now",
        response_model=ScanAnswer,
        responses=openapi.listed(404),
        openapi_extra={"parameters": queries.parameters(ScanQuery)},
    )
    app.add_api_route(
        f"{prefix}/patterns/stats",
        get_stats,
        methods=["GET"],
        tags=[tag],
        summary="The read model behind the scan, and its use",
        response_model=PatternStatsAnswer,
        responses=openapi.plain(503),
    )
    app.add_api_route(
        f"{prefix}/patterns",
        post_patterns,
        methods=["POST"],
        tags=[tag],
        summary="Send pattern events in",
        status_code=202,
        response_model=IngestAnswer,
        responses=ingest.RESPONSES,
        openapi_extra=ingest.request("patterns", "pattern events", "PatternEvent", _EXAMPLE),
    )


def add_single_to(app: FastAPI, prefix: str, tag: str) -> None:
    """After every other path below `/patterns`, which this one would take for an id."""
    app.add_api_route(
        f"{prefix}/patterns/{{pattern_id}}",
        get_pattern,
        methods=["GET"],
        tags=[tag],
        summary="One pattern in full",
        response_model=PatternAnswer,
        responses=openapi.single(404),
    )


async def get_scan(
    request: Request, asked: Annotated[ScanQuery, Depends(queries.read(ScanQuery))], servers: Servers
) -> Response:
    """Active patterns, from memory. A value that is unknown fails a filter on it.

    `watchlist_id` and `scan_id` are among your own alone; a change of them is heeded within a second.
    Strength is our own of now where we have it, else what the sender said; beside it our own of the
    detection. `ETag` names the content of the read model and the question. Without a sound read model: 503,
    never a list that is too short.
    """
    said = Said.of(request.scope["headers"])
    given = tuple(request.query_params.multi_items())
    wording = await settled(servers, request.scope, _read(asked, given, request.headers.get("accept", "")))
    return Raw(await servers.scans.give(servers, request.scope, said, wording))


class OfSomebody:
    """A scan that asks for what its caller keeps: what it means depends on who asks, and when.

    What was made of it serves again as long as what is kept is the same.
    """

    __slots__ = ("_made", "_merged", "accept", "asked", "given")

    def __init__(self, asked: ScanQuery, given: bodies.Pairs, accept: str) -> None:
        self.asked, self.given, self.accept = asked, given, accept
        self._merged: tuple[bodies.Pairs | None, ScanQuery] = None, asked
        self._made: tuple[ScanQuery, Collection[str] | None, scan.Wording] | None = None

    def beside(self, saved: bodies.Pairs) -> ScanQuery:
        """With the saved scan put in.

        Raises:
            Problem: 422, they do not go together.
        """
        if self._merged[0] is not saved:
            self._merged = saved, beside(saved, self.given)
        return self._merged[1]

    def within(self, asked: ScanQuery, watched: Collection[str] | None) -> scan.Wording:
        """What `asked`, which is this or what became of it beside a saved scan, means now."""
        if self._made is None or self._made[0] is not asked or self._made[1] is not watched:
            self._made = asked, watched, _wording(asked, self.accept, watched)
        return self._made[2]


def read_scan(scope: Scope, said: Said) -> scan.Wording | OfSomebody:
    """What a request for a scan asks.

    Raises:
        Problem: 400 or 422, it asks nothing that can be answered.
    """
    given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return _read(queries.parse(ScanQuery, given), tuple(given), said.accept.decode("latin-1"))


def _read(asked: ScanQuery, given: tuple[tuple[str, str], ...], accept: str) -> scan.Wording | OfSomebody:
    if asked.scan_id is not None or asked.watchlist_id is not None:
        return OfSomebody(asked, given, accept)
    return _wording(asked, accept)


async def settled(servers: Backends, scope: Scope, put: scan.Wording | OfSomebody) -> scan.Wording:
    """What is asked, with the watchlist and the saved scan of the caller put in.

    Raises:
        Problem: 404, the caller has no such one; 422, a saved scan does not go with what is beside it.
    """
    if isinstance(put, scan.Wording):
        return put
    asked, owner = put.asked, callers.of(scope).owner
    if asked.scan_id is not None:
        asked = put.beside(await servers.lists.filters(owner, asked.scan_id))
    watched = None
    if asked.watchlist_id is not None:
        watched = await servers.lists.symbols(owner, asked.watchlist_id)
    return put.within(asked, watched)


def beside(saved: bodies.Pairs, given: bodies.Pairs) -> ScanQuery:
    """A saved scan, with what is given taking the place of its own."""
    names = {"timeframes" if name == "timeframe" else name for name, _ in given}
    kept = [(name, value) for name, value in saved if name not in names]
    return queries.parse(ScanQuery, [*kept, *((n, v) for n, v in given if n != "scan_id")])


def _wording(asked: ScanQuery, accept: str, watched: Collection[str] | None = None) -> scan.Wording:
    """Page tokens are bound to the id of a watchlist, whose symbols may change from page to page."""
    question = asked.question(asked.format or responses.liked(accept))
    bound: list[Any] | None = None
    if question.by_token:
        bound = ["scan", replace(question, form="json", count=0, display=False)]
        if asked.watchlist_id is not None:
            bound.append(asked.watchlist_id)
        if asked.page_token is not None:
            question = replace(question, after=_unsealed(bound, asked.page_token, question))
    if watched is not None:
        wanted = question.filters.symbols
        symbols = [symbol for symbol in watched if wanted is None or symbol in wanted]
        question = replace(question, filters=replace(question.filters, symbols=symbols))
    return scan.Wording(question, bound)


def _unsealed(bound: Any, token: str, question: scan.Question) -> scan.Position:
    position = cursors.unseal(bound, token, _POSITION)
    value, _ = position
    wrong = isinstance(value, str) != (question.sort_by == "symbol")
    if wrong and value is not None:
        cursors.refuse()
    return position


async def get_stats(request: Request, servers: Servers) -> Response:
    """Counted since the read model's Redis was last flushed. Without traffic the ratio is null."""
    queries.parse(queries.Query, request.query_params.multi_items())
    try:
        found = await servers.reader.statistics()
    except Unavailable as error:
        raise problems.unavailable("Redis") from error
    said = asdict(found)
    last = said.pop("last_event_ms")
    said["last_event_at"] = None if last is None else instant(last * 1_000)
    said["answers"] = await _kept(servers)
    return responses.fresh(responses.dumps(said))


async def _kept(servers: Backends) -> dict[str, Any]:
    """Answers about trades and the tape, and how they are used; `generation` is of trades."""
    standing = await servers.answers.standing()
    known = standing.moment is not None and not standing.away
    return asdict(servers.use_of_answers()) | {
        "generation": standing.moment.generation if known and standing.moment else None,
        "redis": await servers.answers.shelf_information(),
    }


async def get_pattern(request: Request, pattern_id: PatternPath, servers: Servers) -> Response:
    """A pattern, active or not, with the volume-spread events that its counts are made of.

    Of our own patterns, also the Wyckoff events up to it, the range that it belongs to, and the paper trade
    on it; of other systems' these are null.
    """
    queries.parse(queries.Query, request.query_params.multi_items())
    found = await servers.postgres.run(lambda c: stored.pattern(c, pattern_id))
    if found is None:
        raise not_found("pattern_id", f"no pattern has the id {pattern_id}")
    row: Any = found.pattern
    prices = {name: None if row[name] is None else float(row[name]) for name in ("entry", "stop")}
    targets = [float(row[name]) for name in ("target_1", "target_2") if row[name] is not None]
    counts = ("vsa_events", "vsa_events_classic")
    said = {
        "id": str(row["id"]),
        **{name: row[name] for name in _PLAIN},
        "range_id": None if row["range_id"] is None else str(row["range_id"]),
        **prices,
        "targets": targets or None,
        **{name: None if row[name] is None else orjson.loads(row[name]) for name in counts},
        "preliminary_events": preliminary(row["preliminary_events"]),
        "events": [dict(event) for event in found.events],
        "preliminary_events_in_range": preliminary(row["preliminary_events_in_range"]),
        "wyckoff_events": None if found.tape is None else [_wyckoff_event(e) for e in found.tape],
        "range": None if found.range is None else _range_item(found.range),
        "trade": None if found.trade is None else dict(found.trade),
        "as_of": max(_times(found)),
        "stale": False,
    }
    return await responses.data(request, responses.dumps(said))


def _wyckoff_event(event: Any) -> dict[str, Any]:
    return {**event, "terms": orjson.loads(event["terms"])}


def _range_item(range_: Any) -> dict[str, Any]:
    reached = orjson.loads(range_["phases"])
    return {**range_, "phases": [{"phase": name, "since": instant(us)} for name, us in reached]}


def _times(found: stored.PatternDetail) -> Iterator[datetime]:
    """When each fact of the answer became known."""
    yield found.pattern["detected_at"]
    yield from (event["knowable_at"] for event in (*found.events, *(found.tape or ())))
    if found.range is not None:
        yield found.range["knowable_at"]
    if found.trade is not None:
        yield found.trade["changed_at"]


async def post_patterns(request: Request, servers: Servers) -> Response:
    """Up to 1,000 events as `{"patterns": [...]}`, or one per line; each is judged alone, as the stream does.

    202: all were sent on. 207: some, or all, were refused, and the answer says which and why. Older shapes
    are taken, too. Sending an event twice changes nothing.
    """
    queries.parse(queries.Query, request.query_params.multi_items())
    return await ingest.take(request, servers, _KIND)
