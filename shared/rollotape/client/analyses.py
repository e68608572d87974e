"""The shapes of answers about trades: what patterns have earned. See `answers`."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from rollotape.client.answers import Shape


class Figures(Shape):
    """R of closed trades; percentages are 0..100, and what there is none of is null."""

    trade_count: int
    wins: int
    losses: int
    breakeven: int
    win_rate: float | None
    win_rate_ex_breakeven: float | None
    win_rate_ci95: tuple[float, float] | None
    low_sample: bool
    profit_factor: float | None
    profit_factor_state: Literal["no_losses", "no_trades"] | None
    avg_r_multiple: float | None
    max_drawdown_r: float | None
    max_drawdown_state: Literal["no_trades", "too_many_trades"] | None
    avg_holding_sessions: float | None
    median_holding_sessions: float | None
    sqn: float | None
    expectancy: float | None


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
    pattern_type: str | None
    phases: Phases


class TotalPerformance(Split):
    phases: Phases


class SectorPerformance(Split):
    sector: str | None
    etf: str | None
    leader_count: int
    median_rs: float | None


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
    since: datetime | None
    filters: Chosen
    generation: int
    as_of: datetime | None
    stale: bool


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
    rolling_trades: int | None
    rolling_win_rate: float | None
    rolling_avg_r: float | None


class TrendAnswer(Analysis):
    pattern_type: str
    trend: list[TrendDay]
    rolling_state: Literal["too_many_trades"] | None


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
    sector: str | None
    phase: Literal["A", "B", "C", "D", "E"] | None
    test_confirmed: bool | None
    generated_at: datetime
    changed_at: datetime
    entry_date: datetime | None
    entry_price: float | None
    stop: float | None
    target: float | None
    planned_r: float | None
    exit_date: datetime | None
    exit_price: float | None
    exit_reason: str | None
    realized_r: float | None
    sessions_held: int | None


class TradesPagination(Shape):
    total: int | None
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
    event_ts: datetime
    confirmed_ts: datetime
    knowable_at: datetime
    price: float
    confidence: float
    status: Literal["confirmed", "expired", "superseded", "test_passed"] | None
    range_id: UUID | None
    recent: bool
    within: bool


class PreliminaryAnswer(Shape):
    pattern_id: UUID
    lookback_days: int
    rule_set: str | None
    side: Literal["accumulation", "distribution"] | None
    counts: dict[str, int] | None
    in_range: dict[str, int] | None
    events: list[PreliminaryEvent]
    as_of: datetime | None
    stale: bool
