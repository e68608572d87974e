"""Facts as workers tell them, whole: what a client is told has to be what the AsyncAPI document says."""

from typing import Any

from rollotape.events import PatternUpdate, VsaUpdate, WyckoffUpdate

_AT = "2024-01-02T00:00:00Z"
_BAR: dict[str, Any] = {"symbol": "AAPL", "timeframe": "1d"}
_KNOWN: dict[str, Any] = {"confirmed_ts": _AT, "knowable_at": "2024-01-02T21:00:00Z"}


def pattern(n: int, symbol: str = "AAPL", kind: str = "updated", **state: Any) -> dict[str, Any]:
    """Of a pattern; `n` is its version."""
    said: dict[str, Any] = {
        "source": "rollo", "revision": 0, **_BAR, "symbol": symbol, "pattern_type": "SPRING",
        "side": "accumulation", "phase": "C", "confidence": 0.8, "price": 10.0, "change_pct": None,
        "vol_ratio": 1.5, "rsi": 41.5, "sma_20": None, "sma_50": None, "rs_ratio": 1.01, "rs_excess": 2.5,
        "entry": 10.0, "stop": 9.0, "target_1": 12.0, "target_2": None, "planned_r": 2.0,
        "test_confirmed": False, "range_id": None, "rule_set": "wyckoff-2", "detected_at": _AT,
        "confirmed_at": None, "id": f"00000000-0000-4000-8000-{n % 50:012d}", "status": "active",
        "expires_at": "2024-01-30T00:00:00Z",
        "vsa_events": {"no_demand": 0, "no_supply": 1, "stopping_volume": 0},
        "vsa_events_classic": None, "preliminary_events": {"SC": 1, "AR": 1},
        "preliminary_events_in_range": None,
    } | state  # fmt: skip
    fact = {"version": 1, "type": f"pattern.{kind}", "id": said["id"], "fact_version": n, "pattern": said}
    PatternUpdate.model_validate(fact, strict=False)
    return fact


def vsa(n: int, symbol: str = "AAPL", kind: str = "detected") -> dict[str, Any]:
    """Of a volume-spread event."""
    event = {**_BAR, **_KNOWN, "symbol": symbol, "rule_set": "seed-1", "kind": "no_supply",
             "direction": "bullish", "event_ts": _AT}  # fmt: skip
    fact = {"version": 1, "type": f"vsa.{kind}", "id": f"v{n}", "fact_version": n, "event": event}
    VsaUpdate.model_validate(fact, strict=False)
    return fact


def wyckoff(n: int, symbol: str = "AAPL", kind: str = "detected") -> dict[str, Any]:
    """Of a Wyckoff event, status or range."""
    key = {**_BAR, **_KNOWN, "symbol": symbol, "rule_set": "wyckoff-2", "side": "accumulation"}
    range_id = f"00000000-0000-4000-8000-{n:012d}"
    more: dict[str, dict[str, Any]] = {
        "detected": {"range_id": range_id, "kind": "SC", "event_ts": _AT, "price": 9.5, "confidence": 0.75,
                     "terms": {"volume": 0.5}},
        "status": {"range_id": range_id, "kind": "SC", "event_ts": _AT, "status": "confirmed"},
        "range": {"range_id": range_id, "opened_ts": _AT, "climax_ts": _AT, "status": "open", "phase": "A",
                  "phases": {"A": _AT}, "support": 9.0, "resistance": None, "unit": 0.02},
    }  # fmt: skip
    event = key | more[kind]
    fact = {"version": 1, "type": f"wyckoff.{kind}", "id": f"w{n}", "fact_version": n, "event": event}
    WyckoffUpdate.model_validate(fact, strict=False)
    return fact


def some(n: int) -> dict[str, Any]:
    """Of every kind in turn, of a few symbols."""
    symbol = ("AAPL", "MSFT", "XOM", "BTC/USD")[n % 4]
    made = (
        lambda: pattern(n, symbol),
        lambda: vsa(n, symbol),
        lambda: wyckoff(n, symbol),
        lambda: wyckoff(n, symbol, "status"),
        lambda: wyckoff(n, symbol, "range"),
        lambda: pattern(n, symbol, "expired", status="expired"),
        lambda: vsa(n, symbol, "retracted"),
    )
    return made[n % len(made)]()
