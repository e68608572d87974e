"""What those see who watch a stack at work."""

from rollotape.postgres.overview import newest_minute, overview
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from support import databases

COLUMNS = "symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at, direction"


async def test_counts_and_the_newest_events_of_the_finest_timeframe_come_first(settings: Settings) -> None:
    for symbol, timeframe, day in (("A", "1d", 9), ("B", "1m", 1), ("C", "1m", 2), ("D", "1d", 8)):
        at = f"'2026-01-0{day}T15:00:00Z'"
        event = f"('{symbol}', '{timeframe}', 'seed-1', 'no_demand', {at}, {at}, {at}, 'bearish')"
        databases.execute(settings.database_url, f"INSERT INTO vsa_events ({COLUMNS}) VALUES {event}")
    async with await open_pool(settings, service="test", size=1) as pool:
        seen = await overview(pool, newest=3)
    assert (seen.bars, seen.events) == (0, 4)
    assert [event.symbol for event in seen.newest] == ["C", "B", "A"]


async def test_the_newest_minute_is_when_it_was_over(settings: Settings) -> None:
    async with await open_pool(settings, service="test", size=1) as pool:
        assert await newest_minute(pool) is None
        for timeframe, over in (("1m", "15:01"), ("1m", "15:02"), ("1d", "21:00")):
            at = f"'2026-01-05T{over}:00Z'"
            prices = "1, 1, 1, 1, 1"
            values = f"'A', '{timeframe}', {at}, {prices}, 0, false, 0, {at}, '2026-01-05', 'regular', {at}"
            databases.execute(settings.database_url, f"INSERT INTO bars VALUES ({values})")
        newest = await newest_minute(pool)
    assert newest is not None
    assert newest.isoformat() == "2026-01-05T15:02:00+00:00"
