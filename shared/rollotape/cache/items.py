"""An active pattern as a scan shows it: JSON that is made once, when the pattern changes."""

from datetime import datetime
from typing import Any, NamedTuple

import orjson

from rollotape.domain.analysis import FOREVER
from rollotape.domain.reading import SOURCE
from rollotape.domain.scan import Row
from rollotape.facts import instant
from rollotape.postgres.active import PatternRow

_AS_STORED = (
    "id", "symbol", "pattern_type", "timeframe", "side", "phase", "confidence", "price", "change_pct",
    "rs_ratio", "rs_excess", "rs_ratio_at_detection", "rs_excess_at_detection", "vol_ratio", "rsi", "sector",
    "is_sector_leader", "entry", "stop",
)  # fmt: skip
_JSON = ("vsa_events", "vsa_events_classic")
_TIMES = ("detected_at", "confirmed_at", "expires_at")


class Item(NamedTuple):
    """What the read model keeps of a pattern; times in microseconds since 1970."""

    id: str
    json: bytes
    symbol: str
    pattern_type: str
    confidence: float
    detected_at: int
    expires_at: int
    """By the clock. Never of our own: bars outlive them, which whoever builds the model sees."""


def item(row: PatternRow) -> Item:
    """Every field of a scan's item; unknown is null."""
    told: dict[str, Any] = {name: row[name] for name in _AS_STORED}
    told["targets"] = [t for t in (row["target_1"], row["target_2"]) if t is not None] or None
    told["planned_r"], told["test_confirmed"] = row["planned_r"], row["test_confirmed"]
    told |= {name: None if row[name] is None else orjson.loads(row[name]) for name in _JSON}
    told["preliminary_events"] = preliminary(row["preliminary_events"])
    told |= {name: None if row[name] is None else instant(row[name]) for name in _TIMES}
    told["source"], told["rule_set"] = row["source"], row["rule_set"]
    return Item(
        row["id"],
        orjson.dumps(told, option=orjson.OPT_UTC_Z),
        row["symbol"],
        row["pattern_type"],
        row["confidence"],
        row["detected_at"],
        _until(row["source"], row["expires_at"]),
    )


def preliminary(stored: str | None) -> dict[str, int] | None:
    """Counts as they are shown: `ps_count` and its kin."""
    return None if stored is None else {f"{k.lower()}_count": n for k, n in orjson.loads(stored).items()}


def row(json: bytes) -> Row:
    """What an item is filtered and sorted by.

    Raises:
        ValueError, KeyError, TypeError: these bytes are no item.
    """
    told = orjson.loads(json)
    told |= {name: _us(told[name]) for name in ("detected_at", "expires_at")}
    told["expires_at"] = _until(told["source"], told["expires_at"])
    return Row(*(told[name] for name in Row._fields))


def _until(source: str, expires_at: int) -> int:
    return FOREVER if source == SOURCE else expires_at


def _us(text: str) -> int:
    since = datetime.fromisoformat(text) - instant(0)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
