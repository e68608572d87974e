"""The shapes of answers about patterns: the scan, one of them, and the read model behind it."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from rollotape.answers.shape import CLOSED, Shape
from rollotape.answers.tape import RangeItem, VsaItem, WyckoffItem


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
    confidence: float = Field(ge=0, le=1)
    price: float | None
    change_pct: float | None
    rs_ratio: float | None = Field(description="Our own where we have `rs_excess`, else the sender's.")
    rs_excess: float | None = Field(description="Our own `rs_score` where we have one, else the sender's.")
    rs_ratio_at_detection: float | None = Field(
        description="Our own, of the last session that was over when it was detected; null if unknown."
    )
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
    vsa_events: VsaCounts | None = Field(description="Null where the pattern's own bar cannot be judged.")
    vsa_events_classic: VsaCounts | None
    preliminary_events: dict[str, int] | None = Field(description="Null for patterns of other systems.")
    detected_at: datetime
    confirmed_at: datetime | None
    expires_at: datetime
    source: str
    rule_set: str | None


def _without_default(said: dict[str, Any]) -> None:
    """It is left out, never null."""
    said.update(CLOSED)
    del said["properties"]["display"]["default"]


class ScanItem(PatternItem):
    """`display` is there with `display=true`."""

    model_config = ConfigDict(json_schema_extra=_without_default)

    display: Display | SkipJsonSchema[None] = None


class Pagination(Shape):
    total: int = Field(description="Of the whole filter.")
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
    as_of: datetime = Field(description="When the database was read for the newest change.")
    stale: bool = Field(description="True when nobody has looked for newer patterns lately.")


class AnswersInRedis(Shape):
    memory_bytes: int
    eviction_policy: str
    evicted: int = Field(description="Keys, since the server started.")


class AnswerStats(Shape):
    """Answers about trades and the tape that this gateway keeps, counted since it started."""

    entries: int
    bytes: int
    hits: int = Field(description="Answers that caused no SQL.")
    misses: int = Field(description="Computations.")
    stale: int
    ratio: float | None = Field(description="Of hits; null without traffic.")
    generation: int | None = Field(description="Of trades; null before the first, and while it is not known.")
    redis: AnswersInRedis | None = Field(description="Null while it is away, or where there is none.")


class PatternStatsAnswer(Shape):
    entries: int
    version: int
    hits: int
    misses: int
    ratio: float | None = Field(description="Of hits; null without traffic.")
    events: int = Field(description="Updates that builders have processed.")
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
    generated_at: datetime = Field(description="When its pattern was detected.")
    changed_at: datetime = Field(description="When its status became known.")
    entry_date: datetime | None
    entry_price: float | None
    stop: float
    target: float | None
    planned_r: float | None
    bars_held: int | None
    exit_date: datetime | None
    exit_price: float | None
    exit_reason: str | None = Field(description="stop, target, time, or beyond when it was cancelled.")
    realized_r: float | None


class PatternAnswer(PatternItem):
    sma_20: float | None
    sma_50: float | None
    status: Literal["active", "expired"] = Field(description="expired is final; see `expires_at`, too.")
    revision: int
    range_id: UUID | None
    events: list[VsaItem] = Field(description="What the counts are made of.")
    preliminary_events_in_range: dict[str, int] | None = Field(description="Null for other systems.")
    wyckoff_events: list[WyckoffItem] | None = Field(
        description="On its side, of its range or of the 30 days before, with the standing of its detection; "
        "its own among them. Null for patterns of other systems."
    )
    range: RangeItem | None = Field(description="As it stands now. Null for patterns of other systems.")
    trade: TradeItem | None = Field(description="The paper trade on it. Null for other systems.")
    as_of: datetime
    stale: bool
