"""Volume-spread events of one symbol, with what is needed to read their absence."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request, Response
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from api_gateway import cursors, openapi, queries, responses
from api_gateway.dependencies import Servers
from api_gateway.paging import next_page
from api_gateway.paths import SymbolPath, unknown_symbol
from rollotape.answers import VsaAnswer
from rollotape.domain.vsa.rules import RULE_SETS
from rollotape.postgres import market

MOST = 1_000

KINDS = {s.name: tuple(dict.fromkeys(r.kind for r in s.rules if r.direction)) for s in RULE_SETS}
"""Kinds that each rule set publishes, in the order of its rules."""

_ALL_KINDS = tuple(dict.fromkeys(kind for kinds in KINDS.values() for kind in kinds))
_KIND_LIST = "^({one})(,({one}))*$".format(one="|".join(_ALL_KINDS))
_DIRECTIONS = ("bullish", "bearish")

_COLUMNS = ("symbol", "timeframe", "rule_set", "kind", "direction", "event_ts", "confirmed_ts", "knowable_at")
_POSITION: TypeAdapter[market.EventPosition] = TypeAdapter(tuple[AwareDatetime, AwareDatetime, str, str])


def _known(kinds: list[str]) -> list[str]:
    if strange := sorted(set(kinds) - set(_ALL_KINDS)):
        said = {"known": " ".join(_ALL_KINDS), "strange": ascii(strange[0])[:60]}
        raise PydanticCustomError("unknown_kind", "must be among {known}, got {strange}", said)
    return sorted(set(kinds))


Kinds = Annotated[
    list[str],
    BeforeValidator(queries.split),
    AfterValidator(_known),
    WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": "string", "pattern": _KIND_LIST}}),
]


class VsaQuery(queries.Page):
    LISTS = frozenset({"kinds"})

    rule_set: Literal["seed-1", "classic-1", "all"] = "seed-1"
    kinds: Kinds | None = Field(None, description="Kinds of the rule set; all of them unless given.")
    direction: Literal["bullish", "bearish"] | None = None
    limit: queries.Whole = Field(100, ge=1, le=MOST, description="Events on a page.")
    sort: Literal["asc", "desc"] = Field("asc", description="By the time of the confirming bar.")

    @field_validator("kinds")
    @classmethod
    def _of_the_rule_set(cls, kinds: list[str] | None, info: ValidationInfo) -> list[str] | None:
        rule_set = info.data.get("rule_set", "all")
        if strange := set(kinds or ()) - set(KINDS.get(rule_set, _ALL_KINDS)):
            said = {"rule_set": rule_set, "strange": " ".join(sorted(strange))}
            raise PydanticCustomError("other_rule_set", "{rule_set} has no {strange}", said)
        return kinds

    @property
    def rule_sets(self) -> list[str]:
        return list(KINDS) if self.rule_set == "all" else [self.rule_set]

    def kinds_of(self, rule_set: str) -> list[str]:
        """Kinds asked for that this rule set knows, in its order."""
        return [kind for kind in KINDS[rule_set] if self.kinds is None or kind in self.kinds]

    def about(self, symbol: str) -> market.Events:
        return market.Events(
            symbol=symbol,
            timeframe=self.timeframe,
            first=self.first,
            last=self.last,
            rule_sets=self.rule_sets,
            kinds=self.kinds or list(_ALL_KINDS),
            directions=[self.direction] if self.direction else list(_DIRECTIONS),
            newest_first=self.sort == "desc",
        )


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    app.add_api_route(
        f"{prefix}/symbols/{{symbol:path}}/vsa",
        get_vsa,
        methods=["GET"],
        tags=[tag],
        summary="Volume-spread events of a symbol",
        response_model=VsaAnswer,
        responses=openapi.listed(404),
        openapi_extra={"parameters": queries.parameters(VsaQuery)},
    )


async def get_vsa(
    request: Request,
    symbol: SymbolPath,
    asked: Annotated[VsaQuery, Depends(queries.read(VsaQuery))],
    servers: Servers,
) -> Response:
    """Events whose confirming bar starts from `start` to `end`, both included. No bar at all: 404."""
    wanted = asked.about(symbol)
    question = ["vsa", wanted]  # what a page token is bound to
    if asked.page_token is not None:
        wanted = replace(wanted, after=cursors.unseal(question, asked.page_token, _POSITION))
    found = await servers.postgres.run(lambda c: market.detections(c, wanted, asked.limit + 1))
    if found is None:
        raise unknown_symbol(symbol, "has no bar in this database")

    events, more = found.events[: asked.limit], len(found.events) > asked.limit
    token = cursors.seal(question, _position(events[-1])) if more else None
    headers = next_page(request, token)
    if responses.form(request, asked.format) == "csv":
        body = _csv(wanted, events)
        return await responses.data(request, body, media_type=responses.CSV_TYPE, headers=headers)
    return await responses.data(request, _json(asked, wanted, found, events, token), headers=headers)


def _position(event: Any) -> list[Any]:
    return [event[name] for name in ("confirmed_ts", "event_ts", "rule_set", "kind")]


def _json(
    asked: VsaQuery, wanted: market.Events, found: market.Detections, events: Iterable[Any], token: str | None
) -> bytes:
    judged = found.judged
    return responses.dumps(
        {
            "symbol": wanted.symbol,
            "timeframe": wanted.timeframe,
            "events": [dict(event) for event in events],
            "counts": _counts(asked, found),
            "bars": {
                "count": judged.count,
                "evaluable": judged.evaluable,
                "not_evaluable": judged.not_evaluable,
                "not_analysed": judged.not_analysed,
            },
            "next_page_token": token,
            "as_of": judged.as_of,
            "stale": False,
        }
    )


def _counts(asked: VsaQuery, found: market.Detections) -> dict[str, dict[str, int | None]]:
    """Zero is an answer, and where no bar could be judged there is none: null."""
    absent = 0 if found.judged.evaluable else None
    return {s: {k: found.counts.get((s, k), absent) for k in asked.kinds_of(s)} for s in asked.rule_sets}


def _csv(wanted: market.Events, events: Iterable[Any]) -> bytes:
    about = {"symbol": wanted.symbol, "timeframe": wanted.timeframe}
    rows = (about | dict(event) for event in events)
    return responses.table(_COLUMNS, ([row[name] for name in _COLUMNS] for row in rows))
