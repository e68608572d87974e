"""What users send and keep: the shapes of watchlists and saved scans."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic import WithJsonSchema as Said

from api_gateway import queries
from api_gateway.problems import FieldError, Problem, invalid
from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.sectors import SECTORS
from rollotape.webhooks.addresses import LONGEST_URL
from rollotape.webhooks.facts import EVENTS

MOST_SYMBOLS = 1_000
LONGEST_NAME = 80
_CONTROLS = r"\x00-\x1f\x7f-\x9f"
NAME_PATTERN = f"^[^ {_CONTROLS}]([^{_CONTROLS}]*[^ {_CONTROLS}])?$"

Pairs = Sequence[tuple[str, str]]
"""Parameters of a query."""

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_NAME, pattern=NAME_PATTERN),
    Field(description="Without control characters; no blank at its ends. No two of an owner have the same."),
]
Type = Annotated[str, StringConstraints(pattern=queries.TYPE_PATTERN)]
Symbol = Annotated[
    str, AfterValidator(queries.symbol), Said({"type": "string", "pattern": queries.SYMBOL_PATTERN})
]


def _absent(**said: Any) -> Any:
    """Of a field that may be left out; null is no way to do so."""
    return Field(default_factory=lambda: None, **said)


_Words = Annotated[list[str], Field(min_length=1)]


def _out_of(*names: str) -> Said:
    """How a list of words is described; in which case they are is for the reader of queries."""
    return Said({"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(names)}})


class Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class WatchlistBody(Body):
    """A watchlist as a whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Chips", "symbols": ["NVDA", "AMD"]}]})

    name: Name
    symbols: list[Symbol] = Field(
        max_length=MOST_SYMBOLS, description="In either case; each is kept once, in this order."
    )


class ScanFilters(Body):
    """Parameters of `/api/patterns/scan`; what is left out asks for what it asks for there."""

    pattern_types: list[Type] = _absent(min_length=1, description="In either case.")
    symbols: list[Symbol] = _absent(min_length=1, max_length=MOST_SYMBOLS)
    sectors: Annotated[_Words, _out_of(*SECTORS)] = _absent()
    timeframes: Annotated[_Words, _out_of(*TIMEFRAMES)] = _absent()
    phase: Annotated[_Words, _out_of("A", "B", "C", "D", "E")] = _absent()
    side: Annotated[_Words, _out_of("accumulation", "distribution")] = _absent()
    confidence_min: float = _absent(ge=0, le=1, allow_inf_nan=False)
    rs_min: float = _absent(allow_inf_nan=False)
    rs_excess_min: float = _absent(allow_inf_nan=False)
    vol_min: float = _absent(ge=0, allow_inf_nan=False)
    rsi_range: list[Annotated[float, Field(ge=0, le=100)]] = _absent(
        min_length=2, max_length=2, description="The smaller one first."
    )
    test_confirmed: bool = _absent()
    universe: str = _absent(min_length=1, max_length=80, description="A key of `/api/users/universe`.")
    watchlist_id: Annotated[str, Said({"type": "string", "format": "uuid"})] = _absent(
        description="One of your own; it cannot be deleted while a saved scan needs it."
    )
    sort_by: Literal["confidence", "detected_at", "symbol", "rs", "volume"] = _absent()
    sort_order: Literal["asc", "desc"] = _absent()


class SavedScanBody(Body):
    """A saved scan as a whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Springs", "filters": {"pattern_types": ["SPRING"], "confidence_min": 0.7}}]
        }
    )

    name: Name
    filters: ScanFilters


Event = Literal[EVENTS]  # type: ignore[valid-type]  # made of data


class WebhookBody(Body):
    """A webhook as a whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "Desk", "url": "https://example.org/rollo", "events": ["scan.new_entrants"]},
                {
                    "name": "Oil", "url": "https://example.org/oil", "events": ["pattern.detected"],
                    "symbols": ["XOM"],
                },
            ]
        }
    )  # fmt: skip

    name: Name
    url: str = Field(
        min_length=1,
        max_length=LONGEST_URL,
        description="Begins with https://, and leads to a public address.",
    )
    events: list[Event] = Field(min_length=1, max_length=len(EVENTS), description="Types of facts.")
    symbols: list[Symbol] = _absent(
        min_length=1, max_length=MOST_SYMBOLS, description="What is told of these alone; of all, if left out."
    )


def pairs(filters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Filters as the parameters of a query."""
    found: list[tuple[str, str]] = []
    for name, value in filters.items():
        if name == "rsi_range":
            found.append((name, ",".join(map(_text, value))))
        elif isinstance(value, list):
            found += [(name, _text(one)) for one in value]
        else:
            found.append((name, _text(value)))
    return found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool) else repr(float(value))


def settled(filters: ScanFilters, model: type[queries.Query]) -> dict[str, Any]:
    """Filters as they are stored, judged as `model` judges the same in a query.

    Raises:
        Problem: 422, they ask for what a scan cannot be asked for.
    """
    given = filters.model_dump(exclude_unset=True)
    if faults := [_comma(name) for name, value in given.items() if name != "rsi_range" and _has_comma(value)]:
        raise invalid(faults)
    try:
        asked = queries.parse(model, pairs(given))
    except Problem as problem:
        raise of_filters(problem) from None
    said: dict[str, Any] = orjson.loads(orjson.dumps(asked.model_dump(exclude_unset=True)))
    return said


def of_filters(problem: Problem) -> Problem:
    """What is wrong with a query, said of the filters of a body."""
    return invalid(FieldError("body", f"filters.{e.field}", e.reason) for e in problem.errors)


def _has_comma(value: Any) -> bool:
    """A query would take it for several."""
    return any("," in one for one in value if isinstance(one, str)) if isinstance(value, list) else False


def _comma(name: str) -> FieldError:
    return FieldError("body", f"filters.{name}", "must be a list of words without a comma")


def once(symbols: list[str]) -> list[str]:
    """Each once, in their order."""
    return list(dict.fromkeys(symbols))


def watchlist_of(filters: Mapping[str, Any]) -> UUID | None:
    """The one that filters name."""
    found = filters.get("watchlist_id")
    return None if found is None else UUID(found)
