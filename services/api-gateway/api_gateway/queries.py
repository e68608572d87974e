"""Query strings, read strictly: nothing unknown, nothing twice, nothing replaced or clamped in silence."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time
from math import isfinite
from typing import Annotated, Any, ClassVar, TypeVar
from uuid import UUID

from fastapi import Request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from api_gateway.problems import FieldError, invalid, short
from api_gateway.responses import Form
from rollotape.domain import sectors
from rollotape.domain.bars import TIMEFRAMES, symbol_is_valid, timeframe
from rollotape.wording import must

MOST_SYMBOLS = 1_000
MOST_DAYS = 3_650
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
"""Bounds that leave out nothing."""

_LONG_TIMEFRAMES = ("1Min", "5Min", "15Min", "30Min", "1Hour", "4Hour", "1Day", "1Week")
_SYMBOL = r"[A-Za-z0-9.^/\-]{1,20}"
SYMBOL_PATTERN = f"^{_SYMBOL}$"
ID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_INSTANT = re.compile(f"{_DATE.pattern}[Tt ]{_TIME}")

Q = TypeVar("Q", bound="Query")


def symbol(text: str) -> str:
    """A symbol as it is stored. Only ASCII is raised: elsewhere two letters may share one capital."""
    raised = text.upper() if text.isascii() else text
    if not symbol_is_valid(raised):
        raise PydanticCustomError("symbol", "must be 1 to 20 characters A-Z 0-9 . - ^ /")
    return raised


def split(values: Any) -> list[str]:
    """Every value of a list, however commas and repetition were mixed."""
    return [part for value in values for part in value.split(",")]


def once(values: list[str]) -> list[str]:
    return sorted(set(values))


def _whole(text: Any) -> Any:
    """Python and pydantic read `+5`, ` 5`, `5.0` and `1_000` as numbers; a query does not say them."""
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise PydanticCustomError("whole_number", "must be a whole number")
    return int(text)


def number(text: Any) -> Any:
    """The same for numbers with a fraction: no `nan`, no `inf`, no `1_0`."""
    if _NUMBER.fullmatch(text) and isfinite(found := float(text)):
        return found
    raise PydanticCustomError("number", "must be a number such as 0.75")


def _truth(text: Any) -> Any:
    if text not in ("true", "false"):
        raise PydanticCustomError("truth", "must be true or false")
    return text == "true"


def _day(text: Any) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise PydanticCustomError("day", "must be a date such as 2014-05-16")


def _id(text: Any) -> UUID:
    if re.fullmatch(ID, text):
        return UUID(text)
    raise PydanticCustomError("id", "must be a UUID such as 4b3a1e0c-6d0f-4b52-9f0e-0a7d5f3c2b1e")


def _sector(text: str) -> str:
    found = sectors.sector(text)
    if found is None:
        said = {"names": ", ".join(sectors.SECTORS)}
        raise PydanticCustomError("sector", "must be one of {names}", said)
    return found


def choices(*names: str) -> Any:
    """A list of words out of a few, comma-separated and repeatable, in either case."""

    def known(values: list[str]) -> list[str]:
        by_name = {name.casefold(): name for name in names}
        found = [by_name.get(value.casefold()) for value in values]
        if None in found:
            raise PydanticCustomError("choice", "must be among {names}", {"names": " ".join(names)})
        return sorted({name for name in found if name})

    one = "|".join(names)
    said = {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": f"^({one})(,({one}))*$"}}
    return Annotated[list[str], BeforeValidator(split), AfterValidator(known), WithJsonSchema(said)]


def choice(*names: str) -> Any:
    """One word out of a few, in either case."""
    by_name = {name.casefold(): name for name in names}

    def known(text: str) -> str:
        found = by_name.get(text.casefold())
        if found is None:
            raise PydanticCustomError("choice", "must be one of {names}", {"names": " ".join(names)})
        return found

    return Annotated[str, AfterValidator(known), WithJsonSchema({"type": "string", "enum": list(names)})]


def _days(text: Any) -> int | None:
    if text == "all":
        return None
    if re.fullmatch(r"[0-9]{1,4}", text) and 1 <= int(text) <= MOST_DAYS:
        return int(text)
    raise PydanticCustomError("days", f"must be a whole number from 1 to {MOST_DAYS}, or all")


def _timeframe(text: str) -> str:
    found = timeframe(text)
    if found is None:
        raise PydanticCustomError("timeframe", "must be one of {names}", {"names": " ".join(TIMEFRAMES)})
    return found.name


def _when(of_date: time) -> Callable[[Any], datetime]:
    def read(text: Any) -> datetime:
        try:
            if _DATE.fullmatch(text):
                return datetime.combine(date.fromisoformat(text), of_date, UTC)
            if _INSTANT.fullmatch(text):
                return datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        reason = "must be a date, or an RFC 3339 time with its zone (+ is written %2B), to the microsecond"
        raise PydanticCustomError("instant", reason)

    return read


_WHEN = WithJsonSchema(
    {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}
)

Symbol = Annotated[str, AfterValidator(symbol)]
Symbols = Annotated[
    list[Symbol],
    BeforeValidator(split),
    AfterValidator(once),
    Field(min_length=1, max_length=MOST_SYMBOLS),
    WithJsonSchema(
        {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": f"^{_SYMBOL}(,{_SYMBOL})*$"}}
    ),
]
Timeframe = Annotated[
    str,
    AfterValidator(_timeframe),
    WithJsonSchema({"type": "string", "enum": [*TIMEFRAMES, *_LONG_TIMEFRAMES]}),
]
_TIMEFRAMES = "|".join((*TIMEFRAMES, *_LONG_TIMEFRAMES))
Timeframes = Annotated[
    list[Annotated[str, AfterValidator(_timeframe)]],
    BeforeValidator(split),
    AfterValidator(once),
    Field(min_length=1),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": f"^({_TIMEFRAMES})(,({_TIMEFRAMES}))*$"},
        }
    ),
]
_TYPE = "[A-Za-z0-9_]{1,40}"
TYPE_PATTERN = f"^{_TYPE}$"
Type = Annotated[str, StringConstraints(pattern=TYPE_PATTERN), AfterValidator(str.upper)]
Types = Annotated[
    list[Type],
    BeforeValidator(split),
    AfterValidator(once),
    Field(min_length=1),
    WithJsonSchema(
        {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": f"^{_TYPE}(,{_TYPE})*$"}}
    ),
]
Days = Annotated[
    int | None,
    BeforeValidator(_days),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_DAYS},
                {"type": "string", "enum": ["all"]},
            ]
        }
    ),
]
Start = Annotated[datetime, BeforeValidator(_when(time.min)), _WHEN]
End = Annotated[datetime, BeforeValidator(_when(time.max)), _WHEN]
WHOLE, NUMBER = BeforeValidator(_whole), BeforeValidator(number)
"""Behind their bounds where they may be absent: pydantic describes those of a validator as `ge`."""
Whole = Annotated[int, WHOLE]
Number = Annotated[float, NUMBER]
Truth = Annotated[bool, BeforeValidator(_truth), WithJsonSchema({"type": "boolean"})]
Id = Annotated[UUID, BeforeValidator(_id), WithJsonSchema({"type": "string", "format": "uuid"})]
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
_SECTOR = "|".join(sectors.SECTORS)
Sectors = Annotated[
    list[Annotated[str, AfterValidator(_sector)]],
    BeforeValidator(split),
    AfterValidator(once),
    Field(min_length=1),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": f"^({_SECTOR})(,({_SECTOR}))*$"},
        }
    ),
]


class Query(BaseModel):
    """Parameters of one path. Those named in `LISTS` are comma-separated and repeatable, others come once."""

    LISTS: ClassVar[frozenset[str]] = frozenset()
    NOT_YET: ClassVar[dict[str, str]] = {}
    """Parameters that will exist, and what they wait for: refused until then, by that name."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


class Paged(Query):
    """What every list takes."""

    page_token: str | None = Field(
        None,
        description="`next_page_token` of the same query; only `limit` and `format` may change.",
    )
    format: Form | None = Field(None, description="Goes before the `Accept` header.")


class Window(Paged):
    """What every list along time takes."""

    start: Start | None = Field(None, description="Included. A date is its first instant in UTC.")
    end: End | None = Field(None, description="Included. A date is its last instant in UTC.")

    @field_validator("end")
    @classmethod
    def _not_reversed(cls, end: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("start")
        if start is not None and end is not None and end < start:
            raise PydanticCustomError("reversed", "must not be before start")
        return end

    @property
    def first(self) -> datetime:
        return self.start or FIRST

    @property
    def last(self) -> datetime:
        return self.end or LAST


class Page(Window):
    """What every list of one timeframe takes."""

    timeframe: Timeframe = Field("1d", description="Either spelling; `1M` is refused.")


def read(model: type[Q]) -> Callable[[Request], Awaitable[Q]]:
    """A dependency that reads the query string into `model`, or raises the 422 that names every fault."""

    async def reader(request: Request) -> Q:
        return parse(model, request.query_params.multi_items())

    return reader


def parse(model: type[Q], items: list[tuple[str, str]]) -> Q:
    """See `read`."""
    given: dict[str, list[str]] = {}
    for given_name, value in items:
        given.setdefault(given_name, []).append(value)
    errors = [_unknown(model, name) for name in given if name not in model.model_fields]
    known = {name: values for name, values in given.items() if name in model.model_fields}
    errors += [_twice(name) for name, values in known.items() if len(values) > 1 and name not in model.LISTS]
    try:
        asked = model.model_validate({n: v if n in model.LISTS else v[-1] for n, v in known.items()})
    except ValidationError as error:
        raise invalid(errors + _wrong(error)) from None
    if errors:
        raise invalid(errors)
    return asked


def parameters(model: type[Query]) -> list[dict[str, Any]]:
    """The query parameters of `model` as OpenAPI says them."""
    schema = model.model_json_schema()
    required = schema.get("required", [])
    names = sorted(schema["properties"], key=lambda name: name not in required)
    return [_parameter(name, schema["properties"][name], name in required) for name in names]


def _parameter(name: str, said: dict[str, Any], required: bool) -> dict[str, Any]:
    said.pop("title", None)
    description = said.pop("description", None)
    if said.get("default", ...) is None:  # absent is absent: a query cannot say null
        del said["default"]
        said["anyOf"] = [option for option in said["anyOf"] if option != {"type": "null"}]
    if len(options := said.get("anyOf", [])) == 1:
        said |= options[0]
        del said["anyOf"]
    parameter = {"name": name, "in": "query", "required": required, "schema": said}
    return parameter | ({"description": description} if description else {})


def _wrong(error: ValidationError) -> list[FieldError]:
    """What pydantic found; an element of a list is named by its value, because the list has no places."""
    found = []
    for detail in error.errors(include_url=False):
        got = "" if detail["type"] == "missing" else f", got {short(str(detail['input']))}"
        found.append(FieldError("query", str((detail["loc"] or ("page",))[0]), f"{must(detail)}{got}"))
    return found


def _unknown(model: type[Query], name: str) -> FieldError:
    if waits_for := model.NOT_YET.get(name):
        return FieldError("query", name, f"is not answered yet: {waits_for}")
    known = ", ".join(model.model_fields) or "none"
    return FieldError("query", short(name), f"is not a parameter of this path, which takes: {known}")


def _twice(name: str) -> FieldError:
    return FieldError("query", name, "must be given once")
