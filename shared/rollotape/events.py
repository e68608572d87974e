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


_COMMIT = "the newest commit of bars or events to this symbol that it follows from"


def _trace(of: str) -> Any:
    return Field(
        None, pattern="^[0-9a-f]{32}$", description=f"of {of}; in logs and traces (docs/operations.md)",
        examples=["3c5f0a9e7b21d4860385edb0657356fe"],
    )  # fmt: skip


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
    id: UUID | None = Field(
        None,
        description="uuid5 of source, symbol, type, timeframe, detected_at if none; not of version 8: ours",
    )
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
    trace_id: str | None = _trace(_COMMIT)


class VsaCounts(Contract):
    """Volume-spread events known within the 30 days before a pattern, under one rule set."""

    no_demand: int
    no_supply: int
    stopping_volume: int


Preliminary = Annotated[
    dict[Literal["PS", "PSY", "SC", "BC", "AR", "ST"], int],
    Field(description="PS SC AR ST before SPRING, SOS and LPS; PSY BC AR ST before UTAD, SOW and LPSY"),
]


class Pattern(PatternState):
    """A pattern as it is stored; counts are null where the pattern's own bar cannot be judged."""

    id: UUID
    status: Literal["active", "expired"]
    expires_at: AwareDatetime
    vsa_events: VsaCounts | None
    vsa_events_classic: VsaCounts | None
    preliminary_events: Preliminary | None = Field(
        description="Wyckoff events of the 30 days before; null where the pattern is not our own"
    )
    preliminary_events_in_range: Preliminary | None = Field(description="of its range, however old")


class PatternUpdate(Contract):
    """A fact about one pattern. `id` is the pattern's own; the highest `fact_version` is the newest."""

    version: Literal[1] = 1
    type: Literal["pattern.detected", "pattern.updated", "pattern.expired", "pattern.retracted"] = Field(
        description="retracted: restated bars took away what one of our own patterns followed from"
    )
    id: str
    fact_version: int = Field(description="version of the symbol's state that this fact belongs to")
    pattern: Pattern
    trace_id: str | None = _trace(_COMMIT)


class WyckoffKey(Contract):
    """What every Wyckoff fact says; immutable once published."""

    symbol: str
    timeframe: str
    rule_set: str
    side: Side
    confirmed_ts: AwareDatetime = Field(description="the bar at which it became knowable")
    knowable_at: AwareDatetime = Field(description="the end of that bar")


class WyckoffEvent(WyckoffKey):
    """An event of a Wyckoff schematic."""

    range_id: UUID | None = Field(description="null for PS and PSY: a later status names their range")
    kind: str = Field(examples=["SC", "SPRING", "SOW"])
    event_ts: AwareDatetime = Field(description="the bar that it describes")
    price: float
    confidence: float = Field(ge=0, le=1)
    terms: dict[str, float] = Field(description="what the confidence is made of, each 0 to 1")


class WyckoffStatus(WyckoffKey):
    """What became of an event."""

    range_id: UUID | None = Field(description="of a confirmed PS or PSY the range that confirms it")
    kind: str
    event_ts: AwareDatetime
    status: Literal["confirmed", "expired", "superseded", "test_passed"]


class WyckoffRange(WyckoffKey):
    """A range as it stands after the bar `confirmed_ts`."""

    range_id: UUID
    opened_ts: AwareDatetime
    climax_ts: AwareDatetime
    status: Literal["open", "completed", "failed", "expired", "abandoned"]
    phase: Phase
    phases: dict[Phase, AwareDatetime] = Field(description="when each phase was known to be reached")
    support: float | None
    resistance: float | None
    unit: float = Field(description="U, the mean true range at its climax, in natural logarithms")


class WyckoffUpdate(Contract):
    """A fact about one event, one change of its status, or one range.

    `id` is uuid5 of its key, of a range its own; the highest `fact_version` holds. What is retracted, with
    the type saying so, no longer follows from the bars.
    """

    version: Literal[1] = 1
    type: Literal[
        "wyckoff.detected", "wyckoff.retracted",
        "wyckoff.status", "wyckoff.status_retracted",
        "wyckoff.range", "wyckoff.range_retracted",
    ]  # fmt: skip
    id: str
    fact_version: int = Field(description="version of the symbol's state that this fact belongs to")
    event: WyckoffEvent | WyckoffStatus | WyckoffRange
    trace_id: str | None = _trace(_COMMIT)


class SignalEvent(Contract):
    """The full state of one trade of an outside system; the greatest (revision, hash) wins.

    It is PENDING until it has an entry, then OPEN, unless the event says CLOSED or CANCELLED. R is computed
    by us. Its pattern may come before or after it, or never.
    """

    version: Literal[1] = 1
    event: Literal["opened", "updated", "closed", "cancelled"]
    id: UUID | None = Field(
        None,
        description="uuid5 of source, symbol, type, timeframe, generated_at if none; not of version 8: ours",
    )
    source: str = Field(min_length=1, max_length=64, examples=["desk-2"])
    revision: int = Field(0, ge=0, lt=2**63)
    symbol: str = Field(description="1 to 20 characters A-Z 0-9 . - ^ /", examples=["AAPL"])
    timeframe: str = Field(description="1m 5m 15m 30m 1h 4h 1d 1w", examples=["1d"])
    pattern_id: UUID | None = None
    pattern_type: Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,40}$")] | None = Field(
        None, examples=["SPRING", "BULL_FLAG"]
    )
    direction: Literal["long", "short"]
    generated_at: Instant
    changed_at: Instant | None = Field(
        None, description="when its status became known; exit_date, entry_date or generated_at if missing"
    )
    entry_date: Instant | None = Field(None, description="set together with entry_price")
    entry_price: Price | None = None
    stop: Price = Field(description="below the entry of a long, above that of a short; never equal to it")
    target: Price | None = None
    planned_r: Finite | None = None
    exit_date: Instant | None = Field(
        None, description="set together with exit_price, exactly when the event is closed"
    )
    exit_price: Price | None = None
    exit_reason: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(None, examples=["stop"])


class Signal(Contract):
    """A trade as it is stored: of a trading system outside, or on paper, following one of our patterns."""

    id: UUID
    origin: Literal["external", "paper"]
    source: str
    symbol: str
    timeframe: str
    pattern_id: UUID | None
    pattern_type: str | None
    direction: Literal["long", "short"]
    status: Literal["PENDING", "OPEN", "CLOSED", "CANCELLED"]
    generated_at: AwareDatetime
    changed_at: AwareDatetime = Field(description="when its status became known")
    entry_date: AwareDatetime | None
    entry_price: float | None
    stop: float
    target: float | None
    planned_r: float | None
    bars_held: int | None
    exit_date: AwareDatetime | None
    exit_price: float | None
    exit_reason: str | None
    realized_r: float | None


class SignalUpdate(Contract):
    """A fact about one trade; the highest `fact_version` is the newest. Closed may also be cancelled."""

    version: Literal[1] = 1
    type: Literal["signal.opened", "signal.updated", "signal.closed", "signal.retracted"]
    id: str
    fact_version: int = Field(description="version of the symbol's state that this fact belongs to")
    signal: Signal
    trace_id: str | None = _trace(_COMMIT)


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
    trace_id: str | None = _trace("the run of rs-worker that wrote them")


class NewEntrant(Contract):
    """A symbol that has come into a saved scan, and the pattern by which it did."""

    symbol: str
    pattern_id: UUID = Field(description="of several the surest")
    pattern_type: str
    timeframe: str
    confidence: float = Field(ge=0, le=1)


class SavedScan(Contract):
    """Which one it is."""

    id: UUID
    name: str = Field(description="as it was when this was told")


class ScanUpdate(Contract):
    """Symbols that have come into a saved scan since it was last looked at. For its owner alone.

    Every message has an `id` of its own: coming in, leaving and coming in again is told twice, the second
    time with a higher `fact_version`. Not told is who is there when a scan is saved, who comes in by a
    change that its owner makes to it or to its watchlist, and what is historical: what could be known more
    than a day before.
    """

    version: Literal[1] = 1
    type: Literal["scan.new_entrants"]
    id: str
    fact_version: int = Field(description="counts looks at saved scans, of all owners together")
    owner: str = Field(description="of a key its owner, of a token its `sub`")
    scan: SavedScan
    entrants: list[NewEntrant] = Field(description="1 to 500")
    trace_id: str | None = _trace("the look at saved scans that found them")


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
    results: dict[str, Any] | None = Field(
        None, description="of `rollo backtest` what it prints as JSON, without the cells"
    )


class SystemHealth(Contract):
    """How a part of the system is. Gateways tell it, once for all, when it has been so for some seconds.

    `id` is uuid5 of the part; the highest `fact_version` is the newest. Older systems tell of theirs in
    their own words, under another `id` each time.
    """

    version: Literal[1] = 1
    type: Literal["system.health"]
    id: str
    fact_version: int
    status: str = Field(description="up, degraded or down; older systems have other words", examples=["down"])
    component: str | None = Field(
        None, description="as in GET /api/pattern-discovery/health", examples=["detector"]
    )
    service: str | None = None
    message: str | None = Field(None, description="what is wrong")


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
        StreamContract(name="signals", partitioned=True, groups=("detector",), messages=(SignalEvent,),
                       summary="Trades of outside systems, partitioned like bars."),
        StreamContract(name="sessions", partitioned=False, groups=(), messages=(SessionsChanged,),
                       summary="Wake-ups after a commit; the marks in dirty_symbols are the queue."),
        StreamContract(name="updates", partitioned=False, groups=("cache-builder", "webhooks"),
                       messages=(VsaUpdate, WyckoffUpdate, PatternUpdate, SignalUpdate, RsUpdate, ScanUpdate,
                                 BacktestProgress, BacktestResult, SystemHealth),
                       summary="Facts after a commit, one entry each, for caches and live viewers."),
    )
}


def json_schemas() -> dict[str, Any]:
    """JSON Schema of every contract by name."""
    return {m.__name__: m.model_json_schema() for s in STREAMS.values() for m in s.messages}
