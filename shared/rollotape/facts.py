"""What a commit has to say: one message per fact, and a wake-up for those who work across symbols."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

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


def messages(analysis: Analysis, versions: Mapping[str, Version]) -> list[Message]:
    """Everything that the commit of this analysis, made from these versions, has to say."""
    said = [("sessions", payload) for payload in _sessions(analysis)]
    for kind, events in (("vsa.retracted", analysis.vanished), ("vsa.detected", analysis.appeared)):
        said += [("updates", _vsa_update(kind, e, versions.get(e.symbol, UNKNOWN))) for e in events]
    return said


def _vsa_update(kind: str, event: VsaEvent, made_from: Version) -> bytes:
    key = "|".join(map(str, ("vsa", *event.key)))
    counter, _ = made_from
    told = event._asdict() | {
        name: instant(getattr(event, name)) for name in ("event_ts", "confirmed_ts", "knowable_at")
    }
    fact_id = str(uuid5(_NAMESPACE, key))
    return orjson.dumps(
        {"version": 1, "type": kind, "id": fact_id, "fact_version": counter + 1, "event": told}
    )


def rs_scored(day: int, version: int, changed: int) -> Message:
    """Scores of a day changed."""
    return "updates", _rs_update("rs.scored", f"rs|{_day(day)}", version, day, changed)


def rs_mapped(day: int | None, version: int, changed: int) -> Message:
    """The mapping of sectors changed; it is as of this day."""
    return "updates", _rs_update("rs.mapped", "rs|mapping", version, day, changed)


def _rs_update(kind: str, key: str, version: int, day: int | None, changed: int) -> bytes:
    return orjson.dumps(
        {
            "version": 1,
            "type": kind,
            "id": str(uuid5(_NAMESPACE, key)),
            "fact_version": version,
            "as_of": None if day is None else _day(day),
            "changed": changed,
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
    counter, _ = version
    told = {"version": 1, "type": f"pattern.{kind}", "id": str(row["id"]), "fact_version": counter}
    return "updates", orjson.dumps(told | {"pattern": state})


def wyckoff_event(event: Event, counter: int, *, retracted: bool = False) -> Message:
    """An event of a schematic, known or no longer following."""
    told = _moments(event._asdict()) | {"terms": dict(event.terms)}
    kind = "wyckoff.retracted" if retracted else "wyckoff.detected"
    return _wyckoff_update(kind, "|".join(map(str, ("wyckoff", *event.key))), counter, told)


def wyckoff_status(status: Status, counter: int, *, retracted: bool = False) -> Message:
    key = "|".join(map(str, ("wyckoff", *status.key, status.range_id, status.status)))
    kind = "wyckoff.status_retracted" if retracted else "wyckoff.status"
    return _wyckoff_update(kind, key, counter, _moments(status._asdict()))


def wyckoff_range(range_: Range, counter: int, *, retracted: bool = False) -> Message:
    """A range as it stands now, or that there is none."""
    told = _moments(range_._asdict())
    told["phases"] = {letter: instant(ts) for letter, ts in range_.phases}
    kind = "wyckoff.range_retracted" if retracted else "wyckoff.range"
    return _wyckoff_update(kind, range_.range_id, counter, told)


def _wyckoff_update(kind: str, key: str | UUID, counter: int, told: Mapping[str, Any]) -> Message:
    fact_id = str(uuid5(_NAMESPACE, key)) if isinstance(key, str) else str(key)
    said = {"version": 1, "type": kind, "id": fact_id, "fact_version": counter, "event": told}
    return "updates", orjson.dumps(said, default=str)  # ids as asyncpg reads them


def _moments(told: dict[str, Any]) -> dict[str, Any]:
    """Times as times, in place."""
    for name, value in told.items():
        if name.endswith(("_ts", "_at")):
            told[name] = instant(value)
    return told


def paper_update(trade: PaperTrade, known: bool, counter: int, *, retracted: bool = False) -> Message:
    """What to say of a trade on one of our own patterns; `known` when it was there before."""
    row = trade._asdict() | {"origin": "paper", "source": OWN}
    return _signal_update(row, known, counter, retracted=retracted)


def signal_update(row: Mapping[str, Any], known: bool, version: Version) -> Message:
    """What to say of a trade of an outside system as it is stored; `known` when it was there before."""
    return _signal_update(row, known, version[0], retracted=False)


def _signal_update(row: Mapping[str, Any], known: bool, counter: int, *, retracted: bool) -> Message:
    kind = "updated" if known else "opened"
    kind = "closed" if row["status"] in ("CLOSED", "CANCELLED") else kind
    kind = "retracted" if retracted else kind
    state = {name: value for name, value in row.items() if name in _SIGNAL}
    for name, value in state.items():
        if name.endswith(("_at", "_date")) and value is not None:
            state[name] = instant(value)
        elif isinstance(value, Decimal):
            state[name] = float(value)
    told = {"version": 1, "type": f"signal.{kind}", "id": str(row["id"]), "fact_version": counter}
    return "updates", orjson.dumps(told | {"signal": state}, default=str)


def new_entrants(
    look: tuple[str, int, int], scan_id: UUID, owner: str, name: str, found: Sequence[Row]
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
