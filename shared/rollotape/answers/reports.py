"""The shapes of answers about the whole: summaries, health, performance, the dashboard, universes."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from rollotape.answers.shape import DataAnswer, Shape

# ---- livez, readyz


class Alive(Shape):
    status: Literal["alive"]


class Ready(Shape):
    status: Literal["ready", "degraded"]
    away: list[str] = Field(description="Servers that do not answer; what needs them is answered by 503.")


# ---- patterns/summary


class Count(Shape):
    name: str
    count: int


class Group(Shape):
    name: str | None = Field(description="Null: those of which nobody knows it.")
    count: int


class Groups(Shape):
    """Most first, then by name; null last. Together each list is `total`."""

    pattern_type: list[Group]
    phase: list[Group]
    sector: list[Group]
    side: list[Group]
    timeframe: list[Group]


class HighConfidence(Shape):
    at_least: float
    count: int


class NewOnes(Shape):
    window: str
    since: datetime = Field(description="The whole minute at which the window begins.")
    count: int = Field(description="Detected after `since`, and active still.")


class SummaryAnswer(Shape):
    total: int = Field(description="Active patterns, whatever their confidence.")
    symbols: int = Field(description="Different ones among them.")
    by: Groups
    top_types: list[Count]
    top_symbols: list[Count]
    high_confidence: HighConfidence
    new: NewOnes
    as_of: datetime = Field(description="When the database was read for the newest change.")
    stale: bool = Field(description="True when nobody has looked for newer patterns lately.")


# ---- patterns/health

Verdict = Literal["healthy", "degraded", "unhealthy"]
WELL = Literal["healthy", "degraded"]
"""Of an answer that is 200; unhealthy is 503."""


class MarketNow(Shape):
    calendar: str
    is_open: bool
    opened_at: datetime | None = Field(description="Of the session that is open, or was the last one.")
    closes_at: datetime | None = Field(description="Of the same session.")
    next_opens_at: datetime | None


class NewestBar(Shape):
    timeframe: str
    newest_at: datetime = Field(description="When it was complete.")
    behind_s: float = Field(description="For so long the market has been open since.")
    allowed_s: float = Field(description="One bar, and a quarter of an hour.")
    state: Literal["fresh", "late", "ended"] = Field(
        description="`ended`: five sessions have passed since the next one was due."
    )


class Facts(Shape):
    """The stream `updates`, from which the read model hears what to look at."""

    last_fact_at: datetime | None
    last_processed_at: datetime | None = Field(description="By a cache-builder.")
    processed: int | None = Field(description="Since the read model's Redis was last flushed.")
    lag: int | None = Field(description="Not yet delivered; null where Redis cannot tell.")
    pending: int
    oldest_pending_s: float | None


class ModelHealth(Shape):
    state: Literal["sound", "missing", "broken"] = Field(
        description="`sound`: every index has as many entries as the manifest says."
    )
    entries: int
    version: int
    index_sizes: dict[str, int] | None = Field(description="Null where a key is of another type.")
    tended: bool = Field(description="A cache-builder has looked after it within seconds.")
    rebuild_wanted: str | None = Field(description="Why a reader asked for another one.")


class PatternHealth(Shape):
    status: WELL
    reasons: list[str] = Field(description="What is not as it should be.")
    checked_at: datetime
    market: MarketNow
    bars: list[NewestBar] | None = Field(description="Null while PostgreSQL is away.")
    facts: Facts | None = Field(description="Null while Redis is away.")
    model: ModelHealth | None = Field(description="Null while Redis is away.")


# ---- pattern-discovery/health


class ComponentItem(Shape):
    name: str
    status: Verdict
    critical: bool = Field(description="Without it the whole is unhealthy.")
    reason: str | None = Field(description="What is wrong; or why there is nothing to be seen.")
    figures: dict[str, Any] = Field(description="What was measured; empty where it does not answer.")


class DiscoveryHealth(Shape):
    status: WELL
    checked_at: datetime
    components: list[ComponentItem]


# ---- pattern-discovery/performance


class Spent(Shape):
    """Times of whole requests, in milliseconds; null without any. Percentiles are at most 4.5 % too high."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class AllSpent(Spent):
    failed: int = Field(description="Answered with 5xx, or broken off.")
    per_s: float | None


class RouteSpent(Spent):
    route: str
    failed: int


class ScanSpent(Shape):
    all: Spent
    cached: Spent = Field(description="The answer was there already.")
    computed: Spent


class HitRatios(Shape):
    scan: float | None = Field(description="Of this window; null without a scan.")
    scan_since_flush: float | None = Field(description="Of all gateways, since Redis was last flushed.")
    analytics: float | None = Field(description="Of this window; null without a question.")
    analytics_since_start: float | None


class ConsumerItem(Shape):
    stream: str
    group: str
    lag: int | None = Field(description="Entries not yet delivered; null where Redis cannot tell.")
    pending: int = Field(description="Delivered and not yet acknowledged.")
    oldest_pending_s: float | None
    missing: int = Field(description="Streams with entries for which this group was never made.")


class TargetItem(Shape):
    name: str
    mission: str = Field(description="Row of the mission that it comes from.")
    unit: Literal["ms", "ratio", "bytes"]
    target: float
    measured: float | None
    met: bool | None = Field(description="Null while nothing has been measured.")


class MeasuredWindow(Shape):
    seconds: float = Field(description="At most some five minutes; less after a start.")
    since: datetime


class Performance(Shape):
    window: MeasuredWindow
    instance: str = Field(description="The gateway that answered: requests are its own.")
    requests: AllSpent = Field(description="All but streams, which last for as long as somebody listens.")
    routes: list[RouteSpent] = Field(description="Most asked for first; `/api/v1` counts with `/api`.")
    scan: ScanSpent
    hit_ratio: HitRatios
    consumers: list[ConsumerItem] | None = Field(description="Null while Redis is away.")
    memory_bytes: int | None = Field(description="Resident, of this gateway; null where nobody tells.")
    targets: list[TargetItem]


# ---- users/universe


class UniverseHead(Shape):
    key: str
    description: str
    category: Literal["index", "leaders", "sector", "exchange"]
    count: int = Field(description="Of its members.")
    changed_at: datetime | None = Field(
        description="Of a list, when its members last changed; null where nobody ever told them, or where "
        "they follow from other data."
    )


class UniversesAnswer(Shape):
    universes: list[UniverseHead]
    as_of: datetime | None = Field(description="When the newest of them changed; null where none did.")
    stale: bool


class UniverseAnswer(UniverseHead, DataAnswer):
    symbols: list[str] = Field(description="Of this page, in alphabetical order.")


# ---- symbols/{symbol}/detections


class Detection(Shape):
    id: UUID
    symbol: str
    pattern_type: str
    timeframe: str
    side: Literal["accumulation", "distribution"] | None
    phase: Literal["A", "B", "C", "D", "E"] | None
    status: Literal["active", "expired"] = Field(description="expired is final; see `expires_at`, too.")
    is_active: bool = Field(description="A scan may show it.")
    confidence: float = Field(ge=0, le=1)
    price: float | None
    entry: float | None
    stop: float | None
    targets: list[float] | None
    planned_r: float | None
    test_confirmed: bool | None
    detected_at: datetime
    confirmed_at: datetime | None
    expires_at: datetime
    source: str
    rule_set: str | None


class DetectionsAnswer(DataAnswer):
    symbol: str
    days: int | Literal["all"]
    since: datetime | None = Field(description="Where the window starts; null: everything.")
    detections: list[Detection]


# ---- dashboard/stats


class SymbolsOf(Shape):
    name: str | None = Field(description="Null: those of which nobody knows it.")
    symbols: int
    active: int


class SymbolNumbers(Shape):
    total: int = Field(description="As `/api/symbols` lists them.")
    active: int = Field(description="With a bar of the five days before the newest date of the market.")
    by_market: list[SymbolsOf]
    by_sector: list[SymbolsOf]


class EventNumbers(Shape):
    facts: int = Field(description="Ever said on the stream `updates` of this Redis.")
    processed: int | None = Field(description="By cache-builders, since the read model was last flushed.")
    last_event_at: datetime | None


class DatabaseState(Shape):
    state: Literal["up", "away"]
    version: str | None
    schema_revision: str | None
    bytes: int | None = Field(description="Of the whole database on disk.")
    connections: int | None
    answer_ms: float | None


class CacheState(Shape):
    state: Literal["up", "away", "none"] = Field(description="`none`: none is set.")
    memory_bytes: int | None
    eviction_policy: str | None
    evicted: int | None = Field(description="Keys, since the server started.")
    hit_ratio: float | None = Field(description="Of answers of this gateway since it started.")


class ModelState(Shape):
    state: Literal["sound", "missing", "broken", "away"]
    patterns: int | None = Field(description="Active ones.")
    hit_ratio: float | None = Field(description="Of scans, since the read model was last flushed.")


class DashboardAnswer(Shape):
    symbols: SymbolNumbers | None = Field(description="Null while PostgreSQL is away.")
    events: EventNumbers | None = Field(description="Null while Redis is away.")
    database: DatabaseState
    cache: CacheState
    read_model: ModelState
    as_of: datetime = Field(description="When this was looked at: at most some seconds ago.")
    stale: bool = Field(description="Something is away.")
