"""The ceiling: read the same streams raw, upsert the same bars, analyse and judge nothing.

    python -m bench.ceiling BATCH IN_FLIGHT STREAM ...

Nothing is validated, no version is looked at, no event is found, and no crash would be survived in order.
What takes judgement (`hash`, `hours`, `evaluable`) is a constant; the rest of a row is as the detector's.
"""

import asyncio
import gc
import os
import sys
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any

import asyncpg
import orjson
from redis.asyncio import Redis

GROUP = "ceiling"

UPSERT = """
INSERT INTO bars AS b (symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, hash,
                       end_ts, session_date, hours, arrived_at, evaluable)
SELECT symbol, timeframe, ts, open, high, low, close, volume, revision, false, 0, ts + interval '1 day',
       ts::date, 'regular', now(), true
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::float8[], $5::float8[], $6::float8[],
            $7::float8[], $8::float8[], $9::bigint[])
     AS w(symbol, timeframe, ts, open, high, low, close, volume, revision)
ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET
    open = EXCLUDED.open, high = EXCLUDED.high, low = EXCLUDED.low, close = EXCLUDED.close,
    volume = EXCLUDED.volume, revision = EXCLUDED.revision
WHERE (b.open, b.high, b.low, b.close, b.volume, b.revision)
      IS DISTINCT FROM (EXCLUDED.open, EXCLUDED.high, EXCLUDED.low, EXCLUDED.close, EXCLUDED.volume,
                        EXCLUDED.revision)
"""

_said = itemgetter("symbol", "timeframe", "ts", "open", "high", "low", "close", "volume", "revision")


@cache
def _instant(text: str) -> datetime:
    """A backfill of daily bars repeats its dates: parsing each once is nearly free."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _columns(raw: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Any]:
    rows = [_said(orjson.loads(fields[b"json"])) for _, fields in raw]
    symbol, timeframe, ts, *numbers = zip(*(row for row in rows if None not in row), strict=True)
    return [symbol, timeframe, [_instant(text) for text in ts], *numbers]


async def _drain(
    redis: "Redis", pool: "asyncpg.Pool[Any]", stream: str, batch: int, slots: asyncio.Semaphore
) -> None:
    """One batch after the other of one stream, as long as there is any."""
    await redis.xgroup_create(stream, GROUP, id="0")
    while True:
        async with slots:
            answer: Any = await redis.xreadgroup(GROUP, "ceiling-1", {stream: ">"}, count=batch)
            if not answer:
                return
            raw = answer[0][1]
            await pool.execute(UPSERT, *_columns(raw))
            await redis.xack(stream, GROUP, *[entry_id for entry_id, _ in raw])


async def main(batch: int, in_flight: int, streams: list[str]) -> None:
    slots = asyncio.Semaphore(in_flight)
    redis = Redis.from_url(os.environ["ROLLO_REDIS_URL"])
    pool = asyncpg.create_pool(os.environ["ROLLO_DATABASE_URL"], min_size=1, max_size=in_flight)
    async with redis, pool, asyncio.TaskGroup() as readers:
        for stream in streams:
            readers.create_task(_drain(redis, pool, stream, batch, slots))


if __name__ == "__main__":
    gc.set_threshold(50_000, 20, 100)  # as the detector does
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
