"""The plain service: what one would first write with FastStream, and write decently.

    python -m bench.plain SYNCHRONOUS_COMMIT

One message at a time: a pydantic model, one upsert, one query of the last 21 bars, the three rules of
`seed-1` on them in floating point. The trend is the last close against the mean of the 20 before: 21 bars
do not reach further. Its messages are FastStream's own, published by `broker.publish`; it has a pool, an
index to query by, and logs nothing per message.
"""

import asyncio
import os
import sys
from datetime import datetime
from statistics import fmean
from typing import Any, cast

import asyncpg
from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel

STREAM, GROUP = "plain-bars", "plain"

UPSERT = """
INSERT INTO bars AS b (symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, hash,
                       end_ts, session_date, hours, arrived_at, evaluable)
VALUES ($1, $2, $3::timestamptz, $4, $5, $6, $7, $8, 0, false, 0, $3::timestamptz + interval '1 day',
        $3::timestamptz::date, 'regular', now(), true)
ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET
    open = EXCLUDED.open, high = EXCLUDED.high, low = EXCLUDED.low, close = EXCLUDED.close,
    volume = EXCLUDED.volume
"""
LAST_21 = """
SELECT ts, open, high, low, close, volume FROM bars
WHERE symbol = $1 AND timeframe = $2 AND ts <= $3 ORDER BY ts DESC LIMIT 21
"""
STORE_EVENT = """
INSERT INTO vsa_events (symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at, direction)
VALUES ($1, $2, 'seed-1', $3, $4, $5::timestamptz, $5::timestamptz + interval '1 day', $6)
ON CONFLICT DO NOTHING
"""


class Bar(BaseModel):
    symbol: str
    timeframe: str
    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


class Plain:
    """The service, around its pool."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def on_bar(self, bar: Bar) -> None:
        await self._pool.execute(UPSERT, *bar.model_dump().values())
        bars = await self._pool.fetch(LAST_21, bar.symbol, bar.timeframe, bar.ts)
        for kind, event_ts, direction in _events(bars):
            await self._pool.execute(
                STORE_EVENT, bar.symbol, bar.timeframe, kind, event_ts, bar.ts, direction
            )


def _events(bars: list["asyncpg.Record"]) -> list[tuple[str, datetime, str]]:
    """Of the newest bar, which comes first."""
    if len(bars) < 21:
        return []
    bar, before, *_ = bars
    previous = bars[1:]
    v20 = fmean(b["volume"] for b in previous)
    s20 = fmean(b["high"] - b["low"] for b in previous)
    trend_up = before["close"] > fmean(b["close"] for b in previous)
    spread, spread_before = bar["high"] - bar["low"], before["high"] - before["low"]
    found = []
    if bar["volume"] > 1.5 * v20 and spread < 0.5 * s20:
        if trend_up and bar["close"] < bar["open"]:
            found.append(("no_demand", bar["ts"], "bearish"))
        if not trend_up and bar["close"] > bar["open"]:
            found.append(("no_supply", bar["ts"], "bullish"))
    if before["volume"] > 2.5 * v20 and spread_before > s20 and spread < spread_before:
        if before["close"] < before["open"] and bar["close"] > bar["open"]:
            found.append(("stopping_volume", before["ts"], "bullish"))
        if before["close"] > before["open"] and bar["close"] < bar["open"]:
            found.append(("stopping_volume", before["ts"], "bearish"))
    return found


async def main(synchronous_commit: str) -> None:
    broker = RedisBroker(os.environ["ROLLO_REDIS_URL"], logger=cast("Any", None))
    server_settings = {"synchronous_commit": synchronous_commit}
    async with asyncpg.create_pool(os.environ["ROLLO_DATABASE_URL"], server_settings=server_settings) as pool:
        source = StreamSub(STREAM, group=GROUP, consumer="plain-1", max_records=100)
        broker.subscriber(stream=source)(Plain(pool).on_bar)
        await FastStream(broker, logger=None).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
