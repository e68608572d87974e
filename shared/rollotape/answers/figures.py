"""The shapes of answers about trades: what patterns have earned."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from rollotape.answers.shape import Shape

ON_PATTERNS = ("no_demand", "no_supply", "stopping_volume")
"""Kinds of volume-spread events that are counted on patterns."""


class Figures(Shape):
    """R of closed trades; percentages are 0..100, and what there is none of is null."""

    trade_count: int
    wins: int
    losses: int
    breakeven: int
    win_rate: float | None
    win_rate_ex_breakeven: float | None
    win_rate_ci95: tuple[float, float] | None = Field(description="Wilson: where it lies 95 times of 100.")
    low_sample: bool = Field(description="Fewer than 30 trades.")
    profit_factor: float | None
    profit_factor_state: Literal["no_losses", "no_trades"] | None = Field(description="Why there is none.")
    avg_r_multiple: float | None
    max_drawdown_r: float | None = Field(description="By exit instant, then id.")
    max_drawdown_state: Literal["no_trades", "too_many_trades"] | None = Field(
        description="Why there is none. `too_many_trades`: with these filters more trades would have to be "
        "looked at one by one than an answer may cost."
    )
    avg_holding_sessions: float | None
    median_holding_sessions: float | None
    sqn: float | None
    expectancy: float | None = Field(description="`avg_r_multiple` by its other name.")


class Split(Figures):
    """The same of those whose pattern has a test, which had come by the exit or not; of none null."""

    test_confirmed: Figures | None
    test_unconfirmed: Figures | None


class Phases(Shape):
    """Trades by the phase of their pattern; `unknown`: it has none, or is not stored."""

    A: int
    B: int
    C: int
    D: int
    E: int
    unknown: int


class TypePerformance(Split):
    pattern_type: str | None = Field(description="Null: trades of outside systems that name none.")
    phases: Phases


class TotalPerformance(Split):
    phases: Phases


class SectorPerformance(Split):
    sector: str | None = Field(description="Null: of symbols that belong to none.")
    etf: str | None
    leader_count: int
    median_rs: float | None = Field(description="Median `rs_score` of the sector's stocks.")


class TotalOfSectors(Split):
    leader_count: int


class Chosen(Shape):
    """What was let through; null is everything."""

    origin: Literal["paper", "external", "all"]
    phase: str | None
    timeframe: str | None
    pattern_types: list[str] | None
    symbols: list[str] | None
    sectors: list[str] | None


class Analysis(Shape):
    """What every answer about trades carries."""

    days: int | Literal["all"]
    since: datetime | None = Field(
        description="Where the window starts: midnight in New York. Null: it has no start."
    )
    filters: Chosen
    generation: int = Field(description="Counts the changes of what answers about trades are made of.")
    as_of: datetime | None = Field(description="When the newest fact used here was known; null without one.")
    stale: bool = Field(
        description="True when PostgreSQL was away, or changes have been waiting for more than two seconds."
    )


class PerformanceAnswer(Analysis):
    patterns: list[TypePerformance]
    total: TotalPerformance


class SectorsAnswer(Analysis):
    sectors: list[SectorPerformance]
    total: TotalOfSectors


class TrendDay(Shape):
    date: date
    trades: int
    wins: int
    win_rate: float
    avg_r: float
    rolling_trades: int | None = Field(description="The last ones up to the end of the day, 20 at most.")
    rolling_win_rate: float | None
    rolling_avg_r: float | None


class TrendAnswer(Analysis):
    pattern_type: str
    trend: list[TrendDay]
    rolling_state: Literal["too_many_trades"] | None = Field(description="Why there is no rolling line.")


class AnalysedTrade(Shape):
    id: UUID
    origin: Literal["paper", "external"]
    source: str | None
    symbol: str
    timeframe: str
    pattern_id: UUID | None
    pattern_type: str | None
    direction: Literal["long", "short"]
    status: Literal["PENDING", "OPEN", "CLOSED", "CANCELLED"]
    sector: str | None = Field(description="As it is now.")
    phase: Literal["A", "B", "C", "D", "E"] | None = Field(description="Of its pattern.")
    test_confirmed: bool | None = Field(
        description="Whether the test of its pattern had come by the exit; null where it has no test."
    )
    generated_at: datetime
    changed_at: datetime = Field(description="When its status became known.")
    entry_date: datetime | None
    entry_price: float | None
    stop: float | None
    target: float | None
    planned_r: float | None
    exit_date: datetime | None
    exit_price: float | None
    exit_reason: str | None
    realized_r: float | None = Field(description="Of 12 places.")
    sessions_held: int | None


class TradesPagination(Shape):
    total: int | None = Field(
        description="Of the whole filter, with `page`; null with `limit`, and where more than 200,000 trades "
        "that are not closed would have to be counted."
    )
    page: int | None
    per_page: int | None
    pages: int | None
    limit: int | None
    next_page_token: str | None


class TradesAnswer(Analysis):
    status: Literal["closed", "open", "pending", "cancelled", "all"]
    sort: Literal["desc", "asc"]
    trades: list[AnalysedTrade]
    pagination: TradesPagination


class OneTradeAnswer(Shape):
    trade: AnalysedTrade
    as_of: datetime
    stale: bool


class VsaKindCount(Shape):
    rule_set: str
    kind: str
    direction: Literal["bullish", "bearish"]
    count: int


class VsaOfType(Shape):
    """Added up over patterns of one type; null where none of them could be judged."""

    pattern_type: str
    rule_set: str
    patterns: int
    judged: int
    no_demand: int | None
    no_supply: int | None
    stopping_volume: int | None


class VsaMetricsAnswer(Analysis):
    events: list[VsaKindCount]
    patterns: list[VsaOfType]


class PreliminaryEvent(Shape):
    kind: str
    event_ts: datetime = Field(description="START of the bar that the event describes.")
    confirmed_ts: datetime = Field(description="START of the bar at which it became knowable.")
    knowable_at: datetime = Field(description="When that bar was complete.")
    price: float
    confidence: float = Field(ge=0, le=1)
    status: Literal["confirmed", "expired", "superseded", "test_passed"] | None
    range_id: UUID | None
    recent: bool = Field(description="Within `lookback_days`.")
    within: bool = Field(description="Of the range of the pattern.")


class PreliminaryAnswer(Shape):
    pattern_id: UUID
    lookback_days: int
    rule_set: str | None
    side: Literal["accumulation", "distribution"] | None
    counts: dict[str, int] | None = Field(
        description="ps_count sc_count ar_count st_count, or psy_count bc_count ar_count st_count."
    )
    in_range: dict[str, int] | None = Field(description="Of its whole range; null where it has none.")
    events: list[PreliminaryEvent]
    as_of: datetime | None
    stale: bool
