"""The shapes of answers, for OpenAPI alone: bodies are written without passing through these models."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DataAnswer(Shape):
    """What every answer made of stored data carries."""

    next_page_token: str | None = Field(description="Null on the last page.")
    as_of: datetime | None = Field(description="When the newest fact used here was known; null without one.")
    stale: bool = Field(description="True when a server was away and older data had to do.")


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
