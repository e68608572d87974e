"""The shapes of answers about bars, what was read in them, strength and symbols, and of what was sent in."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from rollotape.answers.shape import DataAnswer, Shape


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


class WyckoffItem(Shape):
    rule_set: str
    side: Literal["accumulation", "distribution"]
    range_id: UUID | None = Field(description="Null for a PS or PSY that no climax has confirmed.")
    kind: str
    event_ts: datetime = Field(description="START of the bar that the event describes.")
    confirmed_ts: datetime = Field(description="START of the bar at which it became knowable.")
    knowable_at: datetime = Field(description="When that bar was complete.")
    price: float = Field(description="The extreme of the bar described; of SOS and SOW its close.")
    confidence: float = Field(ge=0, le=1)
    terms: dict[str, float] = Field(description="What the confidence is made of, 0 to 1 each.")
    status: Literal["confirmed", "expired", "superseded", "test_passed"] | None
    status_since: datetime | None = Field(description="When that was known.")


class ReachedPhase(Shape):
    phase: Literal["A", "B", "C", "D", "E"]
    since: datetime = Field(description="START of the bar at which that was known.")


class RangeItem(Shape):
    rule_set: str
    side: Literal["accumulation", "distribution"]
    range_id: UUID
    status: Literal["open", "completed", "failed", "expired", "abandoned"]
    phase: Literal["A", "B", "C", "D", "E"]
    phases: list[ReachedPhase]
    support: float | None
    resistance: float | None
    unit: float = Field(description="U in natural logarithms.")
    opened_ts: datetime = Field(description="Its first climax.")
    climax_ts: datetime = Field(description="Its climax now.")
    confirmed_ts: datetime = Field(description="START of the bar that changed it last.")
    knowable_at: datetime


class MarkedPattern(Shape):
    id: UUID
    source: str
    rule_set: str | None
    side: Literal["accumulation", "distribution"] | None
    range_id: UUID | None
    pattern_type: str
    phase: Literal["A", "B", "C", "D", "E"] | None
    status: Literal["active", "expired"]
    confidence: float = Field(ge=0, le=1)
    entry: float | None
    stop: float | None
    targets: list[float | None]
    planned_r: float | None
    test_confirmed: bool | None
    event_ts: datetime | None = Field(description="Null for patterns of other systems.")
    confirmed_ts: datetime | None = Field(description="Null for patterns of other systems.")
    detected_at: datetime
    confirmed_at: datetime | None
    expires_at: datetime


class MarkersAnswer(DataAnswer):
    symbol: str
    timeframe: str
    events: list[WyckoffItem]
    patterns: list[MarkedPattern]
    ranges: list[RangeItem]
    vsa: list[VsaItem]


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
    exchange: str | None = Field(description="Null: nobody has said where it is listed.")
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
    """Of more than 1,000 that were accepted, or refused, the first 1,000 are listed."""

    accepted: Accepted
    refused: list[RefusedBar]
    refused_count: int
