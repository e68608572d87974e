"""What a scan must show, by plain SQL and Python, and what a reader is shown: by id, as JSON says it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

from rollotape.cache.reader import PatternReader, Snapshot
from rollotape.domain.scan import Filters
from rollotape.redis.clients import open_client

_AT_DETECTION = """(
    SELECT r.{column} FROM rs_scores r
    JOIN bars b ON b.symbol = r.symbol AND b.timeframe = '1d' AND b.session_date = r.as_of
    WHERE r.symbol = p.symbol AND b.end_ts <= p.detected_at
      AND (p.detected_at AT TIME ZONE 'America/New_York')::date - r.as_of <= 5
    ORDER BY r.as_of DESC LIMIT 1)"""
AT_DETECTION = (
    f"{_AT_DETECTION.format(column='rs_ratio')} AS ratio_then,"
    f" {_AT_DETECTION.format(column='rs_score')} AS excess_then"
)
"""Of a pattern `p`, our own strength of the last session that was over when it was detected."""
AS_STORED = (
    "symbol", "pattern_type", "timeframe", "side", "phase", "confidence", "price", "change_pct", "vol_ratio",
    "rsi", "planned_r", "test_confirmed", "source", "rule_set", "is_sector_leader",
)  # fmt: skip
_STORED = f"""
SELECT p.*, p.id::text AS id_text, coalesce(m.sector, s.sector) AS its_sector, m.is_sector_leader, m.rs_score,
       (SELECT r.rs_ratio FROM rs_scores r WHERE r.symbol = p.symbol AND r.as_of <= m.as_of
        ORDER BY r.as_of DESC LIMIT 1) AS own_ratio,
       {AT_DETECTION},
       to_json(p.detected_at) #>> '{{}}' AS d,
       to_json(p.confirmed_at) #>> '{{}}' AS c, to_json(p.expires_at) #>> '{{}}' AS e
FROM patterns p LEFT JOIN sector_mapping m USING (symbol) LEFT JOIN sectors s USING (symbol)
WHERE status = 'active' AND CASE p.source
    WHEN 'rollo' THEN p.expires_at >= (SELECT max(b.end_ts) FROM bars b WHERE b.timeframe = p.timeframe)
    ELSE p.expires_at > clock_timestamp() END
ORDER BY p.id
"""

Item = dict[str, Any]


async def stored(database_url: str) -> list[Item]:
    """What a scan must show of the tables as they are now."""
    connection = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"}, timeout=10)
    try:
        return [expected(dict(row)) for row in await connection.fetch(_STORED)]
    finally:
        await connection.close(timeout=10)


async def shown(redis_url: str) -> list[Item]:
    """What a reader that has just come is shown.

    Raises:
        Unavailable: it is told that there is no answer.
    """
    async with open_client(redis_url) as client:
        return items(await PatternReader(client).snapshot())


def items(snapshot: Snapshot, now_us: int | None = None) -> list[Item]:
    """By id; what has expired is not among them."""
    chosen = snapshot.select(Filters(), now_us=now_us)
    return sorted((orjson.loads(i) for i in snapshot.items(chosen)), key=lambda i: str(i["id"]))


def lasting(*scans: Sequence[Item]) -> list[list[Item]]:
    """Of scans, each made at a time of its own, what has not expired by now; our own do not by the clock."""
    now = datetime.now(UTC)
    return [
        [i for i in scan if i["source"] == "rollo" or datetime.fromisoformat(i["expires_at"]) > now]
        for scan in scans
    ]


def expected(row: Mapping[str, Any]) -> Item:
    """A row as an item shows it: our own strength takes the place of the sender's, never half of it."""
    scored = row["rs_score"] is not None
    return {name: row[name] for name in AS_STORED} | {
        "id": row["id_text"],
        "rs_ratio": row["own_ratio"] if scored else row["rs_ratio"],
        "rs_excess": row["rs_score"] if scored else row["rs_excess"],
        "rs_ratio_at_detection": row["ratio_then"],
        "rs_excess_at_detection": row["excess_then"],
        "sector": row["its_sector"],
        "entry": row["entry"] and float(row["entry"]),
        "stop": row["stop"] and float(row["stop"]),
        "targets": [float(t) for t in (row["target_1"], row["target_2"]) if t is not None] or None,
        "vsa_events": row["vsa_events"] and orjson.loads(row["vsa_events"]),
        "vsa_events_classic": row["vsa_events_classic"] and orjson.loads(row["vsa_events_classic"]),
        "preliminary_events": row["preliminary_events"]
        and {f"{k.lower()}_count": n for k, n in orjson.loads(row["preliminary_events"]).items()},
        "detected_at": row["d"].replace("+00:00", "Z"),
        "confirmed_at": row["c"] and row["c"].replace("+00:00", "Z"),
        "expires_at": row["e"].replace("+00:00", "Z"),
    }
