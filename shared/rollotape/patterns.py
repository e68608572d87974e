"""From the bytes of a pattern event, in our contract or an older shape, to what the domain decides about."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from rollotape.domain import bars, patterns
from rollotape.domain.ids import OWN_VERSION, is_own
from rollotape.domain.patterns import PatternFact
from rollotape.domain.reading import SOURCE
from rollotape.errors import Fault, Unprocessable
from rollotape.events import PatternEvent
from rollotape.payloads import early_faults, key_faults, microseconds, nul_faults, one_object, validated

_MONEY = ("entry", "stop", "target_1", "target_2")
_TIMES = ("detected_at", "confirmed_at", "expires_at")


def read(payload: bytes | None, arrived_ms: int) -> PatternFact:
    """One event about a pattern.

    Raises:
        Unprocessable: with every field and reason.
    """
    said = one_object(payload)
    event = validated(PatternEvent, said if "event" in said and "data" not in said else adapt(said))
    faults = _value_faults(event, arrived_ms)
    if faults:
        raise Unprocessable(faults)
    return _fact(event)


def _value_faults(event: PatternEvent, arrived_ms: int) -> list[Fault]:
    found = key_faults(event.symbol, event.timeframe) + early_faults(event, ("detected_at",), arrived_ms)
    if event.expires_at is not None and event.expires_at < event.detected_at:
        got = event.expires_at.isoformat()
        found.append(Fault("expires_at", f"must not be before detected_at, got {got}"))
    if event.source == SOURCE:
        found.append(Fault("source", f"must not be {SOURCE!r}: those patterns follow from bars"))
    if event.id is not None and is_own(event.id):
        found.append(Fault("id", f"must not be a UUID of version {OWN_VERSION}: ours are; got {event.id}"))
    return found + nul_faults(event, ("source", "rule_set"))


def _fact(event: PatternEvent) -> PatternFact:
    detected_us = microseconds(event.detected_at)
    state = event.model_dump(exclude={"version", "event"})
    state |= {name: Decimal(repr(state[name])) for name in _MONEY if state[name] is not None}
    state |= {name: microseconds(state[name]) for name in _TIMES if state[name] is not None}
    state["expires_at"] = state["expires_at"] or patterns.expires_at(event.timeframe, detected_us)
    state["status"] = "expired" if event.event == "expired" else "active"
    state["id"] = event.id or patterns.pattern_id(
        event.source, event.symbol, event.pattern_type, event.timeframe, detected_us
    )
    digest = patterns.state_hash({k: v for k, v in state.items() if k != "revision"})
    rank = (event.event == "expired", event.revision, digest)
    return PatternFact(state["id"], event.symbol, rank, state | {"hash": digest})


# ---- older shapes: fields beside the event, below `data`, or below `data.data`

_NAMES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker"),
    "pattern_type": ("pattern_type", "pattern", "pattern_name"),
    "timeframe": ("timeframe", "tier"),
    "confidence": ("confidence", "confidence_score"),
    "price": ("price", "current_price"),
    "change_pct": ("change_pct", "price_change_pct", "price_change"),
    "vol_ratio": ("vol_ratio", "relative_volume", "volume_ratio"),
    "rs_ratio": ("rs_ratio", "relative_strength"),
    "rsi": ("rsi",),
    "sma_20": ("sma_20",),
    "sma_50": ("sma_50",),
    "phase": ("phase", "detection_phase"),
    "side": ("side",),
    "entry": ("entry", "entry_price"),
    "stop": ("stop", "stop_loss"),
    "target_1": ("target_1", "target", "target_price"),
    "target_2": ("target_2",),
    "test_confirmed": ("test_confirmed",),
    "id": ("pattern_id", "id"),
}
_TIERS = {"daily": "1d", "weekly": "1w", "combo": "1d", "intraday": "1m"}
_KINDS = {"detected", "updated", "expired"}


def adapt(said: Mapping[str, Any]) -> dict[str, Any]:
    """An older shape in the words of the contract.

    Its timeframe is `1d` unless it names one; its revision is its time in milliseconds; what it says in
    fields that nobody knows is not taken over.
    """
    flat = _flatten(said)
    event = {ours: flat[name] for ours, names in _NAMES.items() if (name := _first(flat, names)) is not None}
    detected = flat.get("detected_at", flat.get("detection_timestamp", flat.get("timestamp")))
    sent = said.get("timestamp", detected)
    kind = str(flat.get("event_type", "detected")).rpartition("_")[2]
    ours = {
        **event,
        "event": kind if kind in _KINDS else "detected",
        "source": _source(said, flat),
        "symbol": _upper(event.get("symbol")),
        "pattern_type": _upper(event.get("pattern_type"), spaces=True),
        "timeframe": _timeframe(event.get("timeframe")),
        "id": _uuid(event.get("id")),
        "detected_at": _time(detected),
        "expires_at": _time(flat.get("expires_at", flat.get("expiration"))),
        "revision": _milliseconds(sent),
    }
    return {name: value for name, value in ours.items() if value is not None}  # so what is missing is missing


def _flatten(said: Mapping[str, Any]) -> dict[str, Any]:
    """Inner levels take precedence; `indicators` and `data` are levels."""
    flat: dict[str, Any] = {}
    level: Any = said
    for _ in range(4):  # the event, data, data.data, and no deeper
        if not isinstance(level, dict):
            break
        indicators = level.get("indicators")
        flat |= {k: v for k, v in level.items() if k not in ("data", "indicators")}
        flat |= indicators if isinstance(indicators, dict) else {}
        level = level.get("data")
    return flat


def _first(flat: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if flat.get(name) is not None), None)


def _source(said: Mapping[str, Any], flat: Mapping[str, Any]) -> Any:
    return said.get("source") or flat.get("source") or "legacy"


def _upper(value: Any, *, spaces: bool = False) -> Any:
    if not isinstance(value, str):
        return value
    return "_".join(value.upper().replace("-", " ").split()) if spaces else value.strip().upper()


def _timeframe(value: Any) -> Any:
    if value is None:
        return "1d"
    known = bars.timeframe(value) if isinstance(value, str) else None
    return known.name if known else _TIERS.get(str(value).lower(), value)


def _uuid(value: Any) -> Any:
    """Ids that are no UUIDs were never unique across senders; ours is derived instead."""
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _seconds(value: Any) -> float | None:
    """Unix seconds, or milliseconds where seconds would lie beyond the year 5000."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value / 1_000 if abs(value) > 1e11 else value


def _time(value: Any) -> Any:
    """A time as our contract writes it; what is no time is left for the contract to refuse."""
    seconds = _seconds(value)
    if seconds is not None:
        try:
            return datetime.fromtimestamp(seconds, UTC).isoformat()
        except (ValueError, OverflowError, OSError):
            return value
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            return value
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).isoformat()
    return value


def _milliseconds(value: Any) -> int:
    when = _time(value)
    try:
        return max(0, round(datetime.fromisoformat(when).timestamp() * 1_000))
    except (TypeError, ValueError):
        return 0
