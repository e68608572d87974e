"""What those see who watch a stack at work."""

from rollotape.postgres.overview import overview
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
