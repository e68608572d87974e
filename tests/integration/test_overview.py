"""What those see who watch a stack at work."""

from rollotape.postgres.overview import Range, newest_minute, overview
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from support import databases

COLUMNS = "symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at, direction"
RANGE = """
INSERT INTO wyckoff_ranges (range_id, confirmed_ts, symbol, timeframe, rule_set, side, opened_ts, climax_ts,
    knowable_at, status, phase, phases, support, resistance, unit)
VALUES ('00000000-0000-5000-8000-00000000000{number}', {at}, '{symbol}', '{timeframe}', 'wyckoff-2',
    'accumulation', '2026-01-01', '2026-01-01', {at}, '{status}', '{phase}', '{{}}', 95, {resistance}, 0.02)
"""
EVENT = """
INSERT INTO wyckoff_events (symbol, timeframe, rule_set, side, range_id, kind, event_ts, confirmed_ts,
    knowable_at, price, confidence, terms)
VALUES ('A', '1d', 'wyckoff-2', 'accumulation', '00000000-0000-5000-8000-000000000001', '{kind}', {at}, {at},
    {at}, 95, 0.5, '{{}}')
"""


async def test_open_ranges_are_told_of_as_they_stand_and_the_one_that_moved_last_comes_first(
    settings: Settings,
) -> None:
    rows = (
        (1, "A", "1d", 2, "open", "A", "NULL"),
        (1, "A", "1d", 5, "open", "B", "105"),
        (2, "B", "15m", 6, "open", "A", "NULL"),
        (3, "C", "1d", 3, "open", "A", "NULL"),
        (3, "C", "1d", 7, "failed", "A", "105"),  # over
        (4, "D", "1m", 8, "open", "A", "NULL"),  # a minute's
    )
    names = ("number", "symbol", "timeframe", "day", "status", "phase", "resistance")
    for row in rows:
        told = dict(zip(names, row, strict=True))
        databases.execute(settings.database_url, RANGE.format(at=f"'2026-01-0{told['day']}'", **told))
    for kind, day in (("AR", 5), ("SC", 2)):
        databases.execute(settings.database_url, EVENT.format(kind=kind, at=f"'2026-01-0{day}'"))
    at = "'2026-01-05'"
    spread = f"('A', '1d', 'seed-1', 'no_demand', {at}, {at}, {at}, 'bearish')"
    databases.execute(settings.database_url, f"INSERT INTO vsa_events ({COLUMNS}) VALUES {spread}")
    async with await open_pool(settings, service="test", size=1) as pool:
        seen = await overview(pool)
    assert (seen.bars, seen.events) == (0, 1), "volume-spread events are counted"
    assert seen.ranges == (
        Range("B", "15m", "accumulation", "A", 95.0, None, None),
        Range("A", "1d", "accumulation", "B", 95.0, 105.0, "AR"),
    )


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
