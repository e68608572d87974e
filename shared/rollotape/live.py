"""What is said over the WebSocket `/api/stream` in both directions, for AsyncAPI; nobody reads through it."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.config import JsonDict
from pydantic.json_schema import models_json_schema

from rollotape.answers import BarItem, StrengthItem
from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.sectors import SECTORS
from rollotape.events import PatternUpdate, ScanUpdate, SystemHealth, VsaUpdate, WyckoffUpdate

ERRORS = {
    400: "The message is wrong. The connection goes on; ten faults in a row end it.",
    401: "Say who you are first. The connection goes on; ten faults in a row end it.",
    402: "This key will not do, or will no more.",
    404: "Nobody said who it is in time.",
    406: "Connection limit, of a key or of the gateway.",
    407: "Slow client: resume from `id`.",
    429: "Too often.",
    500: "A bug of the gateway.",
    503: "A server that this needs is away.",
}
"""What the numbers in `error` mean; all but the first two are the last words before a close."""
CLOSES = {4_000 + number: meaning for number, meaning in ERRORS.items()} | {
    1000: "The client closed with this code, and is answered alike; so it is with every code of a client.",
    1002: "The client does not speak WebSocket as RFC 6455 has it.",
    1005: "The client closed without a code.",
    1007: "A text message was not UTF-8.",
    1009: "A message was longer than 64 KB.",
    1012: "The gateway stops: come back with the last id.",
}
_CLOSED: JsonDict = {"additionalProperties": False}
_CHANGE: JsonDict = _CLOSED | {"minProperties": 2}
_LONGEST_WORD = 8_192
_SYMBOL = r"^(\*|[A-Za-z0-9.^/\-]{1,20})$"
_SCAN = r"^(\*|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$"
_PART = r"^(\*|[a-z0-9_\-]{1,40})$"
_TYPE = "^[A-Za-z0-9_]{1,40}$"

Place = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{32}-[0-9]{1,20}-[0-9]{1,20}$",
        description="Up to where everything was told: `since` of the next subscription.",
        examples=["6f1e0f3a5d0c4be5a9a4d1f0f7f5a001-1767387600000-0"],
    ),
]
Symbols = Annotated[
    list[Annotated[str, Field(pattern=_SYMBOL)]],
    Field(max_length=1_000, description='In either case; "*" is every symbol. All lists hold 1,000 at most.'),
]
Scans = Annotated[
    list[Annotated[str, Field(pattern=_SCAN)]],
    Field(max_length=1_000, description='Ids of saved scans of your own; "*" is every one that you have.'),
]
Parts = Annotated[
    list[Annotated[str, Field(pattern=_PART)]],
    Field(max_length=1_000, description='Parts of the system, such as detector; "*" is every one.'),
]
Held = Annotated[list[str], Field(description="Sorted; the full set.")]


class Said(BaseModel):
    """One message, or one item of a message; it is closed."""

    model_config = ConfigDict(frozen=True, json_schema_extra=_CLOSED)


def _absent(**said: Any) -> Any:
    """Of a field that may be left out; null is no way to do so."""
    return Field(default_factory=lambda: None, **said)


# ---- what the gateway says


class Welcome(Said):
    """The first words."""

    T: Literal["welcome"]
    version: Literal[1]
    auth: Literal["on", "off"] = Field(description="Whether a key is asked for.")
    auth_within_s: float = Field(description="Who has not said who it is by then gets 404.")
    heartbeat_s: float = Field(description="The longest silence.")


class Authenticated(Said):
    """Somebody was let in; without keys this comes by itself."""

    T: Literal["authenticated"]
    owner: str
    scope: Literal["read", "write", "admin"]


class Subscribed(Said):
    """The full set after a change, and the place from which on it is told."""

    T: Literal["subscription"]
    patterns: Held
    vsa: Held
    wyckoff: Held
    rs: Held
    bars: Held
    scans: Held
    system: Held
    filters: dict[str, Any] | None = Field(description="As the client put them.")
    id: str = Field(
        description="The place from which on it is told: with `since` that, as the client put it.",
        examples=["6f1e0f3a5d0c4be5a9a4d1f0f7f5a001-1767387600000-0"],
    )


class OfSymbol(Said):
    S: str = Field(description="The symbol.")
    id: Place


class PatternTold(OfSymbol):
    """A fact about a pattern, as on the stream `updates`."""

    T: Literal["p"]
    data: PatternUpdate


class VsaTold(OfSymbol):
    """A fact about a volume-spread event, as on the stream `updates`."""

    T: Literal["v"]
    data: VsaUpdate


class WyckoffTold(OfSymbol):
    """A fact about a Wyckoff event, status or range, as on the stream `updates`."""

    T: Literal["w"]
    data: WyckoffUpdate


class NewestBar(BarItem):
    timeframe: str


class BarTold(OfSymbol):
    """The newest stored bar of a symbol and timeframe."""

    T: Literal["b"]
    data: NewestBar


class StrengthTold(OfSymbol):
    """The newest scores of a symbol."""

    T: Literal["r"]
    data: StrengthItem


class ScanTold(Said):
    """Symbols have come into a saved scan of your own, as on the stream `updates`."""

    T: Literal["s"]
    S: str = Field(description="Id of the saved scan.")
    id: Place
    data: ScanUpdate


class HealthTold(Said):
    """A part of the system came up, is degraded or went down, as on the stream `updates`."""

    T: Literal["h"]
    S: str = Field(description="The part.")
    id: Place
    data: SystemHealth


class Gap(Said):
    """Facts may be missing before this place: read the scan again."""

    T: Literal["gap"]
    id: Place


class Here(Said):
    """Nothing is new; the place has moved on."""

    T: Literal["here"]
    id: Place


class Wrong(Said):
    """One field of a message that is wrong."""

    field: str
    reason: str


class Error(Said):
    """A message was refused, or the connection ends; its close code is 4000 more."""

    T: Literal["error"]
    code: Literal[400, 401, 402, 404, 406, 407, 429, 500, 503]
    msg: str
    errors: list[Wrong] = _absent()
    id: Place = _absent()


Item = Annotated[
    Welcome
    | Authenticated
    | Subscribed
    | PatternTold
    | VsaTold
    | WyckoffTold
    | BarTold
    | StrengthTold
    | ScanTold
    | HealthTold
    | Gap
    | Here
    | Error,
    Field(discriminator="T"),
]


class Told(RootModel[Annotated[list[Item], Field(min_length=1)]]):
    """Always an array, of items that say by `T` what they are."""


# ---- what a client says


class Auth(Said):
    """Who it is: a key, or a token; within ten seconds, where no header said so."""

    action: Literal["auth"]
    token: str = Field(min_length=1, max_length=_LONGEST_WORD)


def _among(*names: str) -> Any:
    return Annotated[list[Literal[names]], Field(min_length=1)]  # type: ignore[valid-type]  # made of data


class Filters(Said):
    """Named and meant as in `/api/patterns/scan`; `confidence_min` has no default."""

    pattern_types: list[Annotated[str, Field(pattern=_TYPE)]] = _absent(min_length=1)
    symbols: list[Annotated[str, Field(pattern=_SYMBOL.replace(r"\*|", ""))]] = _absent(
        min_length=1, max_length=1_000
    )
    sectors: _among(*SECTORS) = _absent()  # type: ignore[valid-type]  # made of data
    timeframe: _among(*TIMEFRAMES) = _absent()  # type: ignore[valid-type]
    timeframes: _among(*TIMEFRAMES) = _absent()  # type: ignore[valid-type]
    confidence_min: float = _absent(ge=0, le=1)
    rs_min: float = _absent()
    rs_excess_min: float = _absent()
    vol_min: float = _absent(ge=0)
    rsi_range: list[Annotated[float, Field(ge=0, le=100)]] = _absent(
        min_length=2, max_length=2, description="The smaller one first."
    )
    phase: _among("A", "B", "C", "D", "E") = _absent()  # type: ignore[valid-type]
    test_confirmed: bool = _absent()
    side: _among("accumulation", "distribution") = _absent()  # type: ignore[valid-type]
    detected_since: str = _absent(json_schema_extra={"format": "date-time"})
    universe: str = _absent(pattern="^[A-Za-z0-9][A-Za-z0-9_:-]{0,79}$", description="One that is there.")
    watchlist_id: UUID = _absent(description="One of your own.")
    scan_id: UUID = _absent(description="One of your own.")


class Subscribe(Said):
    """Adds to what is held; `filters` takes the place of those before. At least one field beside `action`."""

    model_config = ConfigDict(json_schema_extra=_CHANGE)

    action: Literal["subscribe"]
    patterns: Symbols = _absent()
    vsa: Symbols = _absent()
    wyckoff: Symbols = _absent()
    rs: Symbols = _absent()
    bars: Symbols = _absent()
    scans: Scans = _absent()
    system: Parts = _absent()
    filters: Filters | None = _absent(description="Null drops them.")
    since: Annotated[str, Field(min_length=1, max_length=_LONGEST_WORD)] | None = _absent(
        description="A place: everything after it comes again. One that nobody knows is answered by `gap`."
        " Null is none."
    )


class Unsubscribe(Said):
    """Takes away from what is held. At least one field beside `action`."""

    model_config = ConfigDict(json_schema_extra=_CHANGE)

    action: Literal["unsubscribe"]
    patterns: Symbols = _absent()
    vsa: Symbols = _absent()
    wyckoff: Symbols = _absent()
    rs: Symbols = _absent()
    bars: Symbols = _absent()
    scans: Scans = _absent()
    system: Parts = _absent()


# ---- server-sent events


class EventGap(Said):
    """`data` of the event `gap`."""

    type: Literal["gap"]


class EventTold(RootModel[PatternUpdate | ScanUpdate | SystemHealth | EventGap]):
    """`data` of an event of `/api/patterns/stream`, whose name is the `type` of it."""


HEARD: tuple[type[BaseModel], ...] = (Auth, Subscribe, Unsubscribe)
"""What clients may say."""


def schemas(template: str) -> dict[str, Any]:
    """JSON Schema of every shape here, and of those that they are made of, by name."""
    models: list[Any] = [(model, "validation") for model in (Told, EventTold, *HEARD)]
    _, said = models_json_schema(models, ref_template=template)
    found: dict[str, Any] = said["$defs"]
    items = found[Told.__name__]["items"]
    items["discriminator"] = items["discriminator"]["propertyName"]  # as AsyncAPI has it, unlike OpenAPI
    return found
