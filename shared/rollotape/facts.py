"""What a commit has to say: one message per fact, and a wake-up for those who work across symbols."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from rollotape import tracing
from rollotape.domain.analysis import Analysis, VsaEvent
from rollotape.domain.reading import SOURCE as OWN
from rollotape.domain.reading import PaperTrade
from rollotape.domain.scan import Row
from rollotape.domain.wyckoff.facts import Event, Range, Status
from rollotape.events import Pattern, Signal
from rollotape.postgres.versions import UNKNOWN, Version

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:rollotape:facts")
_PATTERN = frozenset(Pattern.model_fields)
_SIGNAL = frozenset(Signal.model_fields)
_COUNTS = ("vsa_events", "preliminary_events")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Message = tuple[str, bytes]
"""(stream, payload)"""


def instant(us: int) -> datetime:
    """Microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def messages(analysis: Analysis, versions: Mapping[str, Version], nonce: int = 0) -> list[Message]:
    """Everything that the commit of this analysis, made from these versions, has to say under its number."""
    said = [("sessions", payload) for payload in _sessions(analysis)]
    for kind, events in (("vsa.retracted", analysis.vanished), ("vsa.detected", analysis.appeared)):
        for event in events:
            before, _ = versions.get(event.symbol, UNKNOWN)
            said.append(("updates", _vsa_update(kind, event, (before + 1, nonce))))
    return said


def _traced(told: dict[str, Any], nonce: int) -> dict[str, Any]:
    """With the trace of the commit that it follows from, where that has a number."""
    if nonce:
        told["trace_id"] = tracing.of(nonce)
    return told


def _vsa_update(kind: str, event: VsaEvent, version: Version) -> bytes:
    key = "|".join(map(str, ("vsa", *event.key)))
    counter, nonce = version
    told = event._asdict() | {
        name: instant(getattr(event, name)) for name in ("event_ts", "confirmed_ts", "knowable_at")
    }
    fact_id = str(uuid5(_NAMESPACE, key))
    said = {"version": 1, "type": kind, "id": fact_id, "fact_version": counter, "event": told}
    return orjson.dumps(_traced(said, nonce))


def rs_scored(day: int, version: int, changed: int, trace_id: str) -> Message:
    """Scores of a day changed."""
    return "updates", _rs_update("rs.scored", f"rs|{_day(day)}", version, day, changed, trace_id)


def rs_mapped(day: int | None, version: int, changed: int, trace_id: str) -> Message:
    """The mapping of sectors changed; it is as of this day."""
    return "updates", _rs_update("rs.mapped", "rs|mapping", version, day, changed, trace_id)


def _rs_update(kind: str, key: str, version: int, day: int | None, changed: int, trace_id: str) -> bytes:
    return orjson.dumps(
        {
            "version": 1,
            "type": kind,
            "id": str(uuid5(_NAMESPACE, key)),
            "fact_version": version,
            "as_of": None if day is None else _day(day),
            "changed": changed,
            "trace_id": trace_id,
        }
    )


def system_health(component: str, status: str, reason: str | None, version: int) -> Message:
    """A part of the system came up, is degraded, or went down."""
    told = {
        "version": 1,
        "type": "system.health",
        "id": str(uuid5(_NAMESPACE, f"health|{component}")),
        "fact_version": version,
        "status": status,
        "component": component,
        "message": reason,
    }
    return "updates", orjson.dumps(told)


def pattern_update(
    row: Mapping[str, Any], known: bool, version: Version, *, retracted: bool = False
) -> Message:
    """What to say of a pattern as it is stored, or was; `known` when it was there before."""
    state = {name: _told(name, value) for name, value in row.items() if name in _PATTERN}
    kind = "expired" if row["status"] == "expired" else "updated" if known else "detected"
    kind = "retracted" if retracted else kind
    counter, nonce = version
    told = {"version": 1, "type": f"pattern.{kind}", "id": str(row["id"]), "fact_version": counter}
    return "updates", orjson.dumps(_traced(told | {"pattern": state}, nonce))


def wyckoff_event(event: Event, version: Version, *, retracted: bool = False) -> Message:
    """An event of a schematic, known or no longer following."""
    told = _moments(event._asdict()) | {"terms": dict(event.terms)}
    kind = "wyckoff.retracted" if retracted else "wyckoff.detected"
    return _wyckoff_update(kind, "|".join(map(str, ("wyckoff", *event.key))), version, told)


def wyckoff_status(status: Status, version: Version, *, retracted: bool = False) -> Message:
    key = "|".join(map(str, ("wyckoff", *status.key, status.range_id, status.status)))
    kind = "wyckoff.status_retracted" if retracted else "wyckoff.status"
    return _wyckoff_update(kind, key, version, _moments(status._asdict()))


def wyckoff_range(range_: Range, version: Version, *, retracted: bool = False) -> Message:
    """A range as it stands now, or that there is none."""
    told = _moments(range_._asdict())
    told["phases"] = {letter: instant(ts) for letter, ts in range_.phases}
    kind = "wyckoff.range_retracted" if retracted else "wyckoff.range"
    return _wyckoff_update(kind, range_.range_id, version, told)


def _wyckoff_update(kind: str, key: str | UUID, version: Version, told: Mapping[str, Any]) -> Message:
    fact_id = str(uuid5(_NAMESPACE, key)) if isinstance(key, str) else str(key)
    counter, nonce = version
    said = {"version": 1, "type": kind, "id": fact_id, "fact_version": counter, "event": told}
    return "updates", orjson.dumps(_traced(said, nonce), default=str)  # ids as asyncpg reads them


def _moments(told: dict[str, Any]) -> dict[str, Any]:
    """Times as times, in place."""
    for name, value in told.items():
        if name.endswith(("_ts", "_at")):
            told[name] = instant(value)
    return told


def paper_update(trade: PaperTrade, known: bool, version: Version, *, retracted: bool = False) -> Message:
    """What to say of a trade on one of our own patterns; `known` when it was there before."""
    row = trade._asdict() | {"origin": "paper", "source": OWN}
    return _signal_update(row, known, version, retracted=retracted)


def signal_update(row: Mapping[str, Any], known: bool, version: Version) -> Message:
    """What to say of a trade of an outside system as it is stored; `known` when it was there before."""
    return _signal_update(row, known, version, retracted=False)


def _signal_update(row: Mapping[str, Any], known: bool, version: Version, *, retracted: bool) -> Message:
    kind = "updated" if known else "opened"
    kind = "closed" if row["status"] in ("CLOSED", "CANCELLED") else kind
    kind = "retracted" if retracted else kind
    state = {name: value for name, value in row.items() if name in _SIGNAL}
    for name, value in state.items():
        if name.endswith(("_at", "_date")) and value is not None:
            state[name] = instant(value)
        elif isinstance(value, Decimal):
            state[name] = float(value)
    counter, nonce = version
    told = {"version": 1, "type": f"signal.{kind}", "id": str(row["id"]), "fact_version": counter}
    return "updates", orjson.dumps(_traced(told | {"signal": state}, nonce), default=str)


def new_entrants(
    look: tuple[str, int, int], scan_id: UUID, owner: str, name: str, found: Sequence[Row], trace_id: str
) -> Message:
    """Symbols that came into a saved scan; `look` is the epoch, the turn, and which part of it this is."""
    epoch, turn, part = look
    entrants = [
        {
            "symbol": row.symbol,
            "pattern_id": row.id,
            "pattern_type": row.pattern_type,
            "timeframe": row.timeframe,
            "confidence": row.confidence,
        }
        for row in found
    ]
    told = {
        "version": 1,
        "type": "scan.new_entrants",
        "id": str(uuid5(_NAMESPACE, f"entrants|{epoch}|{turn}|{scan_id}|{part}")),
        "fact_version": turn,
        "owner": owner,
        "scan": {"id": str(scan_id), "name": name},
        "entrants": entrants,
        "trace_id": trace_id,
    }
    return "updates", orjson.dumps(told)


def _told(name: str, value: Any) -> Any:
    """A column as JSON says it: money as a number, times as times, stored JSON as itself."""
    if name.endswith("_at") and value is not None:
        return instant(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, UUID):
        return str(value)
    return orjson.loads(value) if name.startswith(_COUNTS) and value is not None else value


def _sessions(analysis: Analysis) -> Iterator[bytes]:
    """One wake-up per timeframe, with the first and the last session that changed."""
    spans: dict[str, tuple[int, int]] = {}
    for (_, timeframe), (first, last) in analysis.extents("session").items():
        least, most = spans.get(timeframe, (first, last))
        spans[timeframe] = min(least, first), max(most, last)
    for timeframe, (first, last) in sorted(spans.items()):
        yield orjson.dumps(
            {"version": 1, "timeframe": timeframe, "first_session": _day(first), "last_session": _day(last)}
        )


def _day(days: int) -> date:
    return date(1970, 1, 1) + timedelta(days=days)
