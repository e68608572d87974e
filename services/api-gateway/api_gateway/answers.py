"""The shapes of answers, for OpenAPI alone: bodies are written without passing through these models."""

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DataAnswer(Shape):
    """What every answer made of stored data carries."""

    next_page_token: str | None = Field(description="Null on the last page.")
    as_of: datetime | None = Field(description="When the newest fact used here was known; null without one.")
    stale: bool = Field(
        description="True when older data had to do: a server was away, or newer ones are being computed."
    )


class BarItem(Shape):
    t: datetime = Field(description="START of the bar.")
    o: float
    h: float
    l: float  # noqa: E741 - the letter of the field
    c: float
    v: float
    n: int | None = Field(description="Number of trades; null: unknown.")
    vw: float | None = Field(description="Volume-weighted price; null: unknown.")
    revision: int = Field(description="Higher in a restated bar.")
    synthetic: bool = Field(description="Filled by the feed where nothing traded.")
    hours: Literal["regular", "extended"]
    end_ts: datetime = Field(description="When the bar was complete, and so known.")


class BarsAnswer(DataAnswer):
    bars: dict[str, list[BarItem]] = Field(description="By symbol; without a bar on this page it is absent.")
    adjustment: str | None = Field(description="Of the prices, as their import named it; null: unknown.")


class VsaItem(Shape):
    kind: str
    direction: Literal["bullish", "bearish"]
    rule_set: str
    event_ts: datetime = Field(description="START of the bar that the event describes.")
    confirmed_ts: datetime = Field(description="START of the bar at which it became knowable.")
    knowable_at: datetime = Field(description="When that bar was complete.")


class JudgedBars(Shape):
    """Bars of the same window: no event means little where no bar could be judged."""

    count: int
    evaluable: int
    not_evaluable: int = Field(description="Too little history before them, or means of zero.")
    not_analysed: int = Field(description="Synthetic bars and those outside regular hours.")


class VsaAnswer(DataAnswer):
    symbol: str
    timeframe: str
    events: list[VsaItem]
    counts: dict[str, dict[str, int | None]] = Field(
        description="By rule set and kind, of the whole filter and not of this page alone; "
        "null where no bar of the window was evaluable."
    )
    bars: JudgedBars


Status = Literal["ok", "insufficient_history", "stale", "no_benchmark"]


class Statuses(Shape):
    """Why a value is there, or is not, by period."""

    month: Status = Field(alias="30d")
    sessions_21: Status = Field(alias="21")
    sessions_63: Status = Field(alias="63")
    sessions_126: Status = Field(alias="126")
    sessions_252: Status = Field(alias="252")


class StrengthItem(Shape):
    symbol: str
    name: str | None
    sector: str | None
    as_of: date = Field(description="Date of the bar that this was computed for.")
    rs_score: float | None = Field(description="`excess_30d`: the month against SPY, in percentage points.")
    excess_30d: float | None
    excess_21: float | None
    excess_63: float | None
    excess_126: float | None
    excess_252: float | None
    sector_excess_30d: float | None = Field(description="Against the fund of the sector.")
    sector_excess_21: float | None
    sector_excess_63: float | None
    sector_excess_126: float | None
    sector_excess_252: float | None
    rs_ratio: float | None
    rs_ratio_21: float | None
    rs_ratio_63: float | None
    rs_ratio_126: float | None
    rs_ratio_252: float | None
    mansfield: float | None
    rating: int | None = Field(ge=1, le=99)
    sector_rank: int | None = Field(description="1 is the strongest; equals share a rank.")
    is_sector_leader: bool
    status: Statuses = Field(description="Against SPY.")
    sector_status: Statuses = Field(description="Against the fund of the sector.")


class StrengthAnswer(DataAnswer):
    date: str | None = Field(
        description="Of the cross-section: the newest one with scores up to the date asked for.",
        json_schema_extra={"format": "date"},
    )
    scores: list[StrengthItem]


class LeadersAnswer(DataAnswer):
    date: str | None = Field(description="Of the cross-section.", json_schema_extra={"format": "date"})
    leaders: list[StrengthItem]


class StrengthHistoryAnswer(DataAnswer):
    symbol: str
    scores: list[StrengthItem]


class LastBar(Shape):
    timeframe: str
    t: datetime
    c: float
    end_ts: datetime


class SymbolItem(Shape):
    symbol: str
    name: str | None
    exchange: str | None = Field(description="Null: no source of ours names it.")
    kind: Literal["stock", "etf", "benchmark"]
    sector: str | None
    industry: str | None
    active: bool = Field(description="Has a bar of the five days before the newest date of the market.")
    rs_score: float | None
    rs_as_of: date | None = Field(description="The newest date of the market, for which this was ranked.")
    sector_rank: int | None
    is_sector_leader: bool
    last_bar: LastBar | None = Field(description="Of whichever timeframe begins last.")


class SymbolsAnswer(DataAnswer):
    symbols: list[SymbolItem]


class PatternCounts(Shape):
    all: int
    active: int


class SymbolCounts(Shape):
    bars: dict[str, int] = Field(description="By timeframe.")
    vsa_events: dict[str, int] = Field(description="By rule set.")
    patterns: PatternCounts


class SymbolAnswer(SymbolItem):
    strength: StrengthItem | None = Field(description="The newest scores of a stock.")
    counts: SymbolCounts
    as_of: datetime | None
    stale: bool


class AcceptedBar(Shape):
    index: int = Field(description="Place in the request, from 0; lines that are empty do not count.")
    stream: str
    id: str = Field(description="Entry id in that stream.")


class FaultItem(Shape):
    field: str
    reason: str


class RefusedBar(Shape):
    index: int
    faults: list[FaultItem]


class Accepted(Shape):
    count: int
    entries: list[AcceptedBar]


class IngestAnswer(Shape):
    accepted: Accepted
    refused: list[RefusedBar]


class Alive(Shape):
    status: Literal["alive"]


class Ready(Shape):
    status: Literal["ready", "degraded"]
    away: list[str] = Field(description="Servers that do not answer; what needs them is answered by 503.")


class FieldErrorItem(Shape):
    """One thing that is wrong."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    location: Literal["path", "query", "header", "body"] = Field(alias="in")
    field: str
    reason: str


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[FieldErrorItem]
