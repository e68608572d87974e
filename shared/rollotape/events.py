"""Every contract that travels on a stream, and the stream that carries it.

An entry has one field, `json`, holding one JSON object without an envelope, so that any language can
produce with a plain XADD. Unknown fields and unknown versions are refused, never guessed at.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

FIELD = b"json"
MAX_PAYLOAD_BYTES = 512 * 1024
MAX_FRAME_BARS = 1_000


def _rfc_3339(value: Any) -> Any:
    """Pydantic would also take numbers, and text made of digits, for seconds: here they are mistakes."""
    if (isinstance(value, str) and value[4:5] == "-") or isinstance(value, datetime):
        return value
    raise ValueError("must be an RFC 3339 time such as 2018-02-07T00:00:00Z")


Instant = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_rfc_3339)]


class Contract(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Bar(Contract):
    """One bar of one symbol and timeframe. The greatest (revision, real, hash) of a key wins."""

    version: Literal[1] = 1
    symbol: str = Field(description="1 to 20 characters A-Z 0-9 . - ^ /", examples=["AAPL"])
    timeframe: str = Field(description="1m 5m 15m 30m 1h 4h 1d 1w", examples=["1d"])
    ts: Instant = Field(
        description="START of the bar, with a time zone", examples=["2018-02-07T00:00:00Z"]
    )
    open: float
    high: float
    low: float
    close: float
    volume: float = Field(description="may be fractional")
    revision: int = Field(0, ge=0, lt=2**63, description="a restated bar carries a higher one")
    synthetic: bool = Field(False, description="filled in where nothing traded: stored, never analysed")
    final: bool = Field(True, description="false: still running, shown live and never stored")


class Frame(Contract):
    """Columns of 1 to 1,000 bars of one timeframe; row i of every column is one bar."""

    symbol: list[str]
    ts: list[Instant]
    open: list[float | None]
    high: list[float | None]
    low: list[float | None]
    close: list[float | None]
    volume: list[float | None]
    revision: list[Annotated[int, Field(ge=0, lt=2**63)]] | None = None
    synthetic: list[bool] | None = None


class BarFrame(Contract):
    """Many bars in one entry: the quick way in for backfills. A bad row never refuses its neighbours."""

    version: Literal[1] = 1
    timeframe: str = Field(examples=["1d"])
    frame: Frame


BarEntry = Annotated[Bar | BarFrame, Field(union_mode="left_to_right")]
BAR_ENTRY: TypeAdapter[Bar | BarFrame] = TypeAdapter(BarEntry)


Finite = Annotated[float, Field(allow_inf_nan=False)]
Price = Annotated[float, Field(gt=0, lt=1e8, allow_inf_nan=False)]
Phase = Literal["A", "B", "C", "D", "E"]
Side = Literal["accumulation", "distribution"]


class PatternState(Contract):
    """What a pattern says, whoever sends or stores it."""

    source: str = Field(min_length=1, max_length=64, examples=["scanner-7"])
    revision: int = Field(0, ge=0, lt=2**63)
    symbol: str = Field(description="1 to 20 characters A-Z 0-9 . - ^ /", examples=["AAPL"])
    timeframe: str = Field(description="1m 5m 15m 30m 1h 4h 1d 1w", examples=["1d"])
    pattern_type: str = Field(pattern=r"^[A-Z0-9_]{1,40}$", examples=["SPRING", "BULL_FLAG"])
    side: Side | None = None
    phase: Phase | None = None
    confidence: float = Field(ge=0, le=1, allow_inf_nan=False)
    price: Price | None = None
    change_pct: Finite | None = None
    vol_ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    rsi: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    sma_20: Price | None = None
    sma_50: Price | None = None
    rs_ratio: Finite | None = Field(None, description="as the sender says; our own strength takes its place")
    rs_excess: Finite | None = None
    entry: Price | None = None
    stop: Price | None = None
    target_1: Price | None = None
    target_2: Price | None = None
    planned_r: Finite | None = None
    test_confirmed: bool | None = None
    range_id: UUID | None = None
    rule_set: Annotated[str, Field(max_length=40)] | None = None
    detected_at: Instant
    confirmed_at: Instant | None = None


class PatternEvent(PatternState):
    """The full state of one pattern. Expired is final; otherwise the greatest (revision, hash) wins."""

    version: Literal[1] = 1
    event: Literal["detected", "updated", "expired"]
    id: UUID | None = Field(None, description="uuid5 of source, symbol, type, timeframe, detected_at if none")
    expires_at: AwareDatetime | None = Field(
        None, description="7 days after detected_at for intraday, 28 for 1d, 140 for 1w if missing"
    )


PATTERN_EVENT: TypeAdapter[PatternEvent] = TypeAdapter(PatternEvent)


class SessionsChanged(Contract):
    """Wakes the workers that go across symbols: bars of these session dates were committed."""

    version: Literal[1] = 1
    timeframe: str
    first_session: date
    last_session: date


class VsaEvent(Contract):
    """What a volume-spread event says; immutable once published."""

    symbol: str
    timeframe: str
    rule_set: str
    kind: str
    direction: Literal["bullish", "bearish"]
    event_ts: AwareDatetime
    confirmed_ts: AwareDatetime
    knowable_at: AwareDatetime


class VsaUpdate(Contract):
    """A fact about one volume-spread event. `id` is uuid5 of its key; the highest `fact_version` holds."""

    version: Literal[1] = 1
    type: Literal["vsa.detected", "vsa.retracted"]
    id: str
    fact_version: int = Field(description="version of the symbol's state that this fact belongs to")
    event: VsaEvent


class VsaCounts(Contract):
    """Volume-spread events known within the 30 days before a pattern, under one rule set."""

    no_demand: int
    no_supply: int
    stopping_volume: int


class Pattern(PatternState):
    """A pattern as it is stored; counts are null where the pattern's own bar cannot be judged."""

    id: UUID
    status: Literal["active", "expired"]
    expires_at: AwareDatetime
    vsa_events: VsaCounts | None
    vsa_events_classic: VsaCounts | None


class PatternUpdate(Contract):
    """A fact about one pattern. `id` is the pattern's own; the highest `fact_version` is the newest."""

    version: Literal[1] = 1
    type: Literal["pattern.detected", "pattern.updated", "pattern.expired"]
    id: str
    fact_version: int = Field(description="version of the symbol's state that this fact belongs to")
    pattern: Pattern


class RsUpdate(Contract):
    """Scores of one date, or the mapping of sectors, changed: what was read of them is to be read again.

    `id` is uuid5 of the date or of the mapping; the highest `fact_version` is the newest.
    """

    version: Literal[1] = 1
    type: Literal["rs.scored", "rs.mapped"]
    id: str
    fact_version: int = Field(description="counts the changes of this date, or of the mapping")
    as_of: date | None = Field(description="null where no stock has a bar")
    changed: int = Field(description="rows written or gone")


class BacktestProgress(Contract):
    """How far a backtest is; passed on from whoever runs it."""

    version: Literal[1] = 1
    type: Literal["backtest.progress"]
    id: str
    fact_version: int
    job_id: str
    progress: float = Field(ge=0, description="0..1, or percent, as its sender says")
    current_symbol: str | None = None
    estimated_completion: str | None = None
    status: str | None = None


class BacktestResult(Contract):
    """What a backtest found; passed on from whoever ran it."""

    version: Literal[1] = 1
    type: Literal["backtest.result"]
    id: str
    fact_version: int
    job_id: str
    status: str | None = None
    results: dict[str, Any] | None = None


class SystemHealth(Contract):
    """How a component of an older system is, in its own words."""

    version: Literal[1] = 1
    type: Literal["system.health"]
    id: str
    fact_version: int
    status: str
    component: str | None = None
    service: str | None = None
    message: str | None = None


class StreamContract(BaseModel):
    """One stream: who may read it as a group, and what an entry says."""

    model_config = ConfigDict(frozen=True)

    name: str
    partitioned: bool
    groups: tuple[str, ...]
    messages: tuple[type[Contract], ...]
    summary: str


STREAMS: dict[str, StreamContract] = {
    s.name: s
    for s in (
        StreamContract(name="bars", partitioned=True, groups=("detector",), messages=(Bar, BarFrame),
                       summary="Bars from every producer, partitioned by crc32(symbol) mod P."),
        StreamContract(name="patterns", partitioned=True, groups=("detector",), messages=(PatternEvent,),
                       summary="Pattern events of every source, partitioned like bars; older shapes, too."),
        StreamContract(name="sessions", partitioned=False, groups=(), messages=(SessionsChanged,),
                       summary="Wake-ups after a commit; the marks in dirty_symbols are the queue."),
        StreamContract(name="updates", partitioned=False, groups=("cache-builder",),
                       messages=(VsaUpdate, PatternUpdate, RsUpdate,
                                 BacktestProgress, BacktestResult, SystemHealth),
                       summary="Facts after a commit, one entry each, for caches and live viewers."),
    )
}


def json_schemas() -> dict[str, Any]:
    """JSON Schema of every contract by name."""
    return {m.__name__: m.model_json_schema() for s in STREAMS.values() for m in s.messages}
