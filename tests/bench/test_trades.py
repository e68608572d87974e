"""What the made-up trades promise, before anybody measures with them."""

from datetime import UTC, datetime

from bench.loading import load
from bench.trades import SYMBOLS, Trades
from support import databases

COUNT = 30_000
NOW = datetime(2026, 11, 21, 15, tzinfo=UTC)
_ODD = """
SELECT count(*) FILTER (WHERE status <> 'CLOSED') AS going,
       count(*) FILTER (WHERE exit_date > $1) AS late,
       count(*) FILTER (WHERE NOT generated_at <= entry_date OR NOT entry_date <= exit_date) AS disordered,
       count(*) FILTER (WHERE abs(r - realized_r::numeric) > 0.000000000001) AS other_r,
       count(*) FILTER (WHERE (stop < entry_price) <> (direction = 'long')) AS unsound,
       count(*) - count(DISTINCT id) AS twice,
       count(pattern_id) FILTER (WHERE origin = 'paper')
         - count(DISTINCT pattern_id) FILTER (WHERE origin = 'paper') AS followed_twice
FROM signals
"""
_STRANGERS = """
SELECT count(*) FROM signals s LEFT JOIN patterns p ON p.id = s.pattern_id
WHERE s.pattern_id IS NOT NULL
  AND ((s.symbol, s.timeframe, s.pattern_type) IS DISTINCT FROM (p.symbol, p.timeframe, p.pattern_type)
       OR p.detected_at > s.entry_date)
"""


async def test_made_up_trades_could_be_real_ones(database_url: str) -> None:
    heard: list[int] = []
    await load(database_url, COUNT, NOW, heard.append)
    [odd] = databases.fetch(database_url, _ODD, NOW)
    [strangers] = databases.fetch(database_url, _STRANGERS)
    [seen] = databases.fetch(database_url, "SELECT count(*), count(DISTINCT symbol) AS symbols FROM signals")
    assert heard[-1] == seen["count"] == COUNT
    assert SYMBOLS / 2 < seen["symbols"] <= SYMBOLS
    assert set(odd.values()) == {0}, dict(odd)
    assert strangers["count"] == 0


async def test_loading_marks_every_day_and_leaves_every_index(database_url: str) -> None:
    made = "SELECT indexdef FROM pg_indexes WHERE tablename IN ('signals', 'patterns') ORDER BY 1"
    before = databases.fetch(database_url, made)
    await load(database_url, COUNT, NOW, lambda rows: None)
    assert databases.fetch(database_url, made) == before
    unmarked = databases.fetch(
        database_url,
        "SELECT DISTINCT new_york_day(exit_date) FROM signals EXCEPT SELECT day FROM unrolled_days",
    )
    assert not unmarked


def test_trades_are_the_same_ones_on_the_same_day() -> None:
    now_us = int(NOW.timestamp() * 1e6)
    once, again = (list(Trades.make(COUNT, now_us).blocks()) for _ in range(2))
    assert once == again
