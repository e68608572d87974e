"""Every contract that travels on a stream, and the stream that carries it.

An entry has one field, `json`, holding one JSON object without an envelope, so that any language can
produce with a plain XADD. Unknown fields and unknown versions are refused, never guessed at.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

FIELD = b"json"
MAX_PAYLOAD_BYTES = 512 * 1024
MAX_FRAME_BARS = 1_000


class Contract(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Bar(Contract):
    """One bar of one symbol and timeframe. The greatest (revision, real, hash) of a key wins."""

    version: Literal[1] = 1
    symbol: str = Field(description="1 to 20 characters A-Z 0-9 . - ^ /", examples=["AAPL"])
    timeframe: str = Field(description="1m 5m 15m 30m 1h 4h 1d 1w", examples=["1d"])
    ts: AwareDatetime = Field(description="START of the bar, with a time zone", examples=["2018-02-07T00:00:00Z"])
    open: float
    high: float
    low: float
    close: float
    volume: float = Field(description="may be fractional")
    revision: int = Field(0, ge=0, lt=2**63, description="a restated bar carries a higher one")
    synthetic: bool = Field(False, description="filled by the feed where nothing traded: stored, never analysed")
    final: bool = Field(True, description="false: still running, shown live and never stored")


class Frame(Contract):
    """Columns of 1 to 1,000 bars of one timeframe; row i of every column is one bar."""

    symbol: list[str]
    ts: list[AwareDatetime]
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
    """A fact about one volume-spread event. `id` is uuid5 of its key; the highest `fact_version` is the newest."""

    version: Literal[1] = 1
    type: Literal["vsa.detected", "vsa.retracted"]
    id: str
    fact_version: int = Field(description="version of the symbol's state that this fact belongs to")
    event: VsaEvent


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
        StreamContract(name="sessions", partitioned=False, groups=(), messages=(SessionsChanged,),
                       summary="Wake-ups after a commit; the marks in dirty_symbols are the queue."),
        StreamContract(name="updates", partitioned=False, groups=(), messages=(VsaUpdate,),
                       summary="Facts after a commit, one entry each, for caches and live viewers."),
    )
}


def json_schemas() -> dict[str, Any]:
    """JSON Schema of every contract by name."""
    return {m.__name__: m.model_json_schema() for s in STREAMS.values() for m in s.messages}
