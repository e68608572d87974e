"""The shapes of answers about bars, events, patterns, strength and symbols, and of what was sent in.

They say what the gateway's OpenAPI document says, where every field is described; what a newer gateway adds
is passed over.
"""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class DataAnswer(Shape):
    """What every answer made of stored data carries."""

    next_page_token: str | None
    as_of: datetime | None
    stale: bool


class BarItem(Shape):
    t: datetime
    o: float
    h: float
    l: float  # noqa: E741 - the letter of the field
    c: float
    v: float
    n: int | None
    vw: float | None
    revision: int
    synthetic: bool
    hours: Literal["regular", "extended"]
    end_ts: datetime


class BarsAnswer(DataAnswer):
    bars: dict[str, list[BarItem]]
    adjustment: str | None


class VsaItem(Shape):
    kind: str
    direction: Literal["bullish", "bearish"]
    rule_set: str
    event_ts: datetime
    confirmed_ts: datetime
    knowable_at: datetime


class JudgedBars(Shape):
    """Bars of the same window: no event means little where no bar could be judged."""

    count: int
    evaluable: int
    not_evaluable: int
    not_analysed: int


class VsaAnswer(DataAnswer):
    symbol: str
    timeframe: str
    events: list[VsaItem]
    counts: dict[str, dict[str, int | None]]
    bars: JudgedBars


class WyckoffItem(Shape):
    rule_set: str
    side: Literal["accumulation", "distribution"]
    range_id: UUID | None
    kind: str
    event_ts: datetime
    confirmed_ts: datetime
    knowable_at: datetime
    price: float
    confidence: float
    terms: dict[str, float]
    status: Literal["confirmed", "expired", "superseded", "test_passed"] | None
    status_since: datetime | None


class ReachedPhase(Shape):
    phase: Literal["A", "B", "C", "D", "E"]
    since: datetime


class RangeItem(Shape):
    rule_set: str
    side: Literal["accumulation", "distribution"]
    range_id: UUID
    status: Literal["open", "completed", "failed", "expired", "abandoned"]
    phase: Literal["A", "B", "C", "D", "E"]
    phases: list[ReachedPhase]
    support: float | None
    resistance: float | None
    unit: float
    opened_ts: datetime
    climax_ts: datetime
    confirmed_ts: datetime
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
    confidence: float
    entry: float | None
    stop: float | None
    targets: list[float | None]
    planned_r: float | None
    test_confirmed: bool | None
    event_ts: datetime | None
    confirmed_ts: datetime | None
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


class VsaCounts(Shape):
    no_demand: int
    no_supply: int
    stopping_volume: int


class Display(Shape):
    """Short strings; a dash where the value is unknown."""

    conf: str
    rs: str
    vol: str
    price: str
    chg: str
    time: str
    exp: str


class PatternItem(Shape):
    id: UUID
    symbol: str
    pattern_type: str
    timeframe: str
    side: Literal["accumulation", "distribution"] | None
    phase: Literal["A", "B", "C", "D", "E"] | None
    confidence: float
    price: float | None
    change_pct: float | None
    rs_ratio: float | None
    rs_excess: float | None
    rs_ratio_at_detection: float | None
    rs_excess_at_detection: float | None
    vol_ratio: float | None
    rsi: float | None
    sector: str | None
    is_sector_leader: bool | None
    entry: float | None
    stop: float | None
    targets: list[float] | None
    planned_r: float | None
    test_confirmed: bool | None
    vsa_events: VsaCounts | None
    vsa_events_classic: VsaCounts | None
    preliminary_events: dict[str, int] | None
    detected_at: datetime
    confirmed_at: datetime | None
    expires_at: datetime
    source: str
    rule_set: str | None


class ScanItem(PatternItem):
    display: Display | None = None


class Pagination(Shape):
    total: int
    page: int | None
    per_page: int | None
    pages: int | None
    limit: int | None
    next_page_token: str | None


class CacheInfo(Shape):
    cached: bool
    query_time_ms: float


class ScanAnswer(Shape):
    patterns: list[ScanItem]
    pagination: Pagination
    cache_info: CacheInfo
    as_of: datetime
    stale: bool


class AnswersInRedis(Shape):
    memory_bytes: int
    eviction_policy: str
    evicted: int


class AnswerStats(Shape):
    """Answers about trades that this gateway keeps, counted since it started."""

    entries: int
    bytes: int
    hits: int
    misses: int
    stale: int
    ratio: float | None
    generation: int | None
    redis: AnswersInRedis | None


class PatternStatsAnswer(Shape):
    entries: int
    version: int
    hits: int
    misses: int
    ratio: float | None
    events: int
    last_event_at: datetime | None
    memory_bytes: int
    eviction_policy: str
    index_sizes: dict[str, int]
    answers: AnswerStats


class TradeItem(Shape):
    id: UUID
    origin: Literal["paper"]
    status: Literal["PENDING", "OPEN", "CLOSED", "CANCELLED"]
    direction: Literal["long", "short"]
    generated_at: datetime
    changed_at: datetime
    entry_date: datetime | None
    entry_price: float | None
    stop: float
    target: float | None
    planned_r: float | None
    bars_held: int | None
    exit_date: datetime | None
    exit_price: float | None
    exit_reason: str | None
    realized_r: float | None


class PatternAnswer(PatternItem):
    sma_20: float | None
    sma_50: float | None
    status: Literal["active", "expired"]
    revision: int
    range_id: UUID | None
    events: list[VsaItem]
    preliminary_events_in_range: dict[str, int] | None
    wyckoff_events: list[WyckoffItem] | None
    range: RangeItem | None
    trade: TradeItem | None
    as_of: datetime
    stale: bool


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
    as_of: date
    rs_score: float | None
    excess_30d: float | None
    excess_21: float | None
    excess_63: float | None
    excess_126: float | None
    excess_252: float | None
    sector_excess_30d: float | None
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
    rating: int | None
    sector_rank: int | None
    is_sector_leader: bool
    status: Statuses
    sector_status: Statuses


class StrengthAnswer(DataAnswer):
    date: str | None
    scores: list[StrengthItem]


class LeadersAnswer(DataAnswer):
    date: str | None
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
    exchange: str | None
    kind: Literal["stock", "etf", "benchmark"]
    sector: str | None
    industry: str | None
    active: bool
    rs_score: float | None
    rs_as_of: date | None
    sector_rank: int | None
    is_sector_leader: bool
    last_bar: LastBar | None


class SymbolsAnswer(DataAnswer):
    symbols: list[SymbolItem]


class PatternCounts(Shape):
    all: int
    active: int


class SymbolCounts(Shape):
    bars: dict[str, int]
    vsa_events: dict[str, int]
    patterns: PatternCounts


class SymbolAnswer(SymbolItem):
    strength: StrengthItem | None
    counts: SymbolCounts
    as_of: datetime | None
    stale: bool


class AcceptedBar(Shape):
    index: int
    stream: str
    id: str


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
