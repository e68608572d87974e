"""The auditor: a little at a time it says what the whole would say; and what is asked for comes back."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import numpy as np
import orjson
import pytest

from rollotape import calendars
from rollotape.auditing import Auditor
from rollotape.domain import gaps as domain
from rollotape.domain.bars import MINUTE_US, TIMEFRAMES
from rollotape.domain.gaps import Gap
from rollotape.domain.sessions import DAY_US, Times
from rollotape.postgres import gaps
from rollotape.postgres.gaps import Mark, Request, Serves
from rollotape.postgres.pool import open_pool
from rollotape.postgres.tape import Tape
from rollotape.settings import Settings
from rollotape.verify import verify
from support.bars import us
from support.commands import environment_of, rollo
from support.plans import Ask, plans_of

NOW = us("2024-03-01T22:00Z")
STORED = "SELECT symbol, timeframe, first_ts, last_ts, bars, kind FROM gaps ORDER BY 1, 2, 3"
INSERT = """
INSERT INTO bars (symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, hash, end_ts,
                  session_date, hours, arrived_at)
SELECT $1, $2, t, 1, 1, 1, 1, 1, 0, false, 0, t + $4 * interval '1 microsecond', t::date, 'regular', now()
FROM unnest($3::timestamptz[]) AS t ON CONFLICT DO NOTHING
"""


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator["asyncpg.Pool[Any]"]:
    async with await open_pool(settings, service="test", raw_times=True, size=3) as opened:
        yield opened


async def keep(pool: "asyncpg.Pool[Any]", symbol: str, timeframe: str, starts: Iterable[int]) -> None:
    """Store bars and mark them, as the detector does."""
    rows = sorted(starts)
    if not rows:
        return
    length = TIMEFRAMES[timeframe].length_us
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(INSERT, symbol, timeframe, rows, float(length))
        await gaps.mark(connection, [Mark(symbol, timeframe, rows[0], rows[-1])])
        await connection.execute(
            "INSERT INTO newest_bars VALUES ($1, $2) ON CONFLICT DO NOTHING", timeframe, rows[-1] + length
        )


def slots(timeframe: str, first: str, until: str) -> list[int]:
    frame = TIMEFRAMES[timeframe]
    starts: list[int] = domain.slots(frame, calendars.sessions(), us(first), us(until)).starts.tolist()
    return starts


async def rows(pool: "asyncpg.Pool[Any]") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await pool.fetch(STORED)]


def whole(symbol: str, timeframe: str, starts: Iterable[int], until: int) -> list[tuple[Any, ...]]:
    found = domain.gaps(TIMEFRAMES[timeframe], calendars.sessions(), _times(starts), until)
    return [(symbol, timeframe, g.first, g.last, g.bars, g.kind) for g in found]


def _times(starts: Iterable[int]) -> Times:
    return np.array(sorted(starts), np.int64)


def auditor(pool: "asyncpg.Pool[Any]", now: int = NOW, **options: Any) -> Auditor:
    return Auditor(pool, calendars.sessions, now_us=lambda: now, **options)


@pytest.mark.parametrize("timeframe", ["1m", "15m", "30m", "4h", "1d", "1w"])
async def test_what_is_looked_at_bit_by_bit_is_what_the_whole_says(
    timeframe: str, pool: "asyncpg.Pool[Any]"
) -> None:
    """Bars come in any order while the clock goes on; nothing but what they touch is looked at again."""
    random = Random(timeframe)
    first = {"1m": "2024-02-26", "15m": "2024-01-02", "30m": "2023-11-01", "4h": "2022-03-01"}
    expected = slots(timeframe, f"{first.get(timeframe, '2019-01-01')}T00:00Z", "2024-03-01T21:00Z")
    series: dict[str, set[int]] = {"A": set(), "B": set(), "C": set()}
    rates = {"A": 0.985, "B": 0.6, "C": 1.0}
    left = {
        symbol: [start for start in _broken(random, expected) if random.random() < rates[symbol]]
        for symbol in series
    }
    length = TIMEFRAMES[timeframe].length_us
    for end in [*sorted(random.sample(expected, 6)), expected[-1]]:
        for symbol, starts in left.items():
            due = [start for start in starts if start <= end]
            late = set(random.sample(due, len(due) // 50))
            series[symbol] |= set(due) - late
            await keep(pool, symbol, timeframe, set(due) - late)
            left[symbol] = [start for start in starts if start > end or start in late]
        now = end + length + 13 * 60 * MINUTE_US
        done = await auditor(pool, now, most_bars=1_500).turn()
        assert done.series, "nothing was looked at"
        until = await pool.fetch("SELECT symbol, until FROM audited_series")
        said = [gap for symbol, end in until for gap in whole(symbol, timeframe, series[symbol], end)]
        assert {symbol for symbol, _ in until} == {symbol for symbol, starts in series.items() if starts}
        assert await rows(pool) == sorted(said)
        assert (await gaps.standing(pool)).waiting == 0
    assert said, "no gap in the end: nothing was tested"


def _broken(random: Random, expected: list[int]) -> list[int]:
    """Some runs of it are missing, some of them long."""
    kept = np.ones(len(expected), bool)
    for _ in range(8):
        begin = random.randrange(len(expected))
        kept[begin : begin + random.choice([1, 2, 5, 30, 130, 400])] = False
    return [start for start, keep in zip(expected, kept.tolist(), strict=True) if keep]


async def test_a_bar_that_comes_late_takes_its_gap_away(pool: "asyncpg.Pool[Any]") -> None:
    expected = slots("1m", "2024-02-28T00:00Z", "2024-03-01T21:00Z")
    await keep(pool, "A", "1m", set(expected) - set(expected[500:502]))
    await auditor(pool).turn()
    assert [row[2:5] for row in await rows(pool)] == [(expected[500], expected[501], 2)]
    await keep(pool, "A", "1m", [expected[500]])
    await auditor(pool).turn()
    assert [row[2:5] for row in await rows(pool)] == [(expected[501], expected[501], 1)]
    await keep(pool, "A", "1m", [expected[501]])
    await auditor(pool).turn()
    assert await rows(pool) == []


async def test_nothing_is_looked_at_twice_without_a_reason(pool: "asyncpg.Pool[Any]") -> None:
    expected = slots("1m", "2024-01-02T00:00Z", "2024-03-01T21:00Z")
    await keep(pool, "A", "1m", expected)
    await keep(pool, "B", "1m", expected[:-3])
    assert (await auditor(pool).turn()).bars == 2 * len(expected) - 3
    assert (await auditor(pool).turn()).series == 0
    await keep(pool, "A", "1m", expected[-1:])
    again = await auditor(pool).turn()
    assert (again.series, again.bars) == (1, 104), "the bars near the one that came"


async def test_many_marks_of_a_series_become_one(pool: "asyncpg.Pool[Any]") -> None:
    async with pool.acquire() as connection:
        await gaps.mark(connection, [Mark("A", "1d", n * DAY_US, (n + 2) * DAY_US) for n in range(30)])
        await gaps.mark(connection, [Mark("B", "1d", n * DAY_US, n * DAY_US) for n in range(3)])
    await Tape(pool).compact_marks()
    marks = "SELECT symbol, first_ts, last_ts FROM unaudited_bars ORDER BY symbol, first_ts"
    found = [tuple(row) for row in await pool.fetch(marks)]
    assert found == [("A", 0, 31 * DAY_US), *(("B", n * DAY_US, n * DAY_US) for n in range(3))]


async def test_a_day_is_not_missed_before_somebody_has_it_and_vendors_had_their_time(
    pool: "asyncpg.Pool[Any]",
) -> None:
    days = slots("1d", "2024-01-02T00:00Z", "2024-03-01T22:00Z")
    await keep(pool, "A", "1d", days)
    await keep(pool, "B", "1d", days[:-1])
    await auditor(pool, us("2024-03-02T08:00Z")).turn()
    assert await rows(pool) == []
    await auditor(pool, us("2024-03-02T10:00Z")).turn()
    assert await rows(pool) == [("B", "1d", days[-1], days[-1], 1, "gap")]


async def test_a_request_is_taken_by_one_and_answered_once(pool: "asyncpg.Pool[Any]") -> None:
    days = slots("1d", "2023-01-03T00:00Z", "2024-03-01T22:00Z")
    await keep(pool, "A", "1d", set(days) - {days[100], days[150]})
    await auditor(pool, settle_s=0).turn()
    wants = Serves(frozenset({"A"}), frozenset({"1d"}))
    assert await gaps.take(pool, "x", Serves(frozenset({"B"}), frozenset({"1d"})), 9, 60) == []
    assert await gaps.take(pool, "x", Serves(None, frozenset({"1m"})), 9, 60) == []
    first, second = sorted(await gaps.take(pool, "x", wants, 9, 60), key=lambda r: r.first_us)
    assert first == Request("A", "1d", days[100], days[100], 1)
    assert await gaps.take(pool, "y", wants, 9, 60) == [], "somebody has them"
    await gaps.answer(pool, first, 0)
    await gaps.answer(pool, second, 3)
    assert [(g.bars, g.answer) for g in await gaps.listed(pool)] == [(1, "sent")]
    assert {(c.state, c.gaps) for c in await gaps.counted(pool)} == {("nothing", 1), ("old", 1)}
    await pool.execute("UPDATE gaps SET next_ask_at = now()")
    assert [r.first_us for r in await gaps.take(pool, "x", wants, 9, 60)] == [days[150]], "not yet stored"
    await gaps.answer(pool, second, 3)
    for _ in range(gaps.MOST_ASKS):
        await pool.execute("UPDATE gaps SET next_ask_at = now()")
        for request in await gaps.take(pool, "x", wants, 9, 60):
            await gaps.answer(pool, request, None)
    [gap] = await gaps.listed(pool)
    assert (gap.asks, gap.answer, gap.asked_of) == (gaps.MOST_ASKS, "unknown", "x"), "asked for ever"


async def test_requests_wait_until_bars_on_their_way_have_come(pool: "asyncpg.Pool[Any]") -> None:
    days = slots("1d", "2023-01-03T00:00Z", "2024-03-01T22:00Z")
    await keep(pool, "A", "1d", set(days) - {days[100]})
    await auditor(pool).turn()
    anything = Serves(None, frozenset(TIMEFRAMES))
    assert await gaps.take(pool, "x", anything, 9, 60) == []
    due = "UPDATE gaps SET next_ask_at = now() - interval '1 minute'"
    await pool.execute(due)
    assert len(await gaps.take(pool, "x", anything, 9, 60)) == 1
    await pool.execute(due)
    await keep(pool, "A", "1d", [days[100]])
    assert await gaps.take(pool, "x", anything, 9, 60) == [], "it came, and nobody has looked since"


async def test_a_series_that_ended_is_no_gap_and_is_looked_at_when_it_goes_on(
    pool: "asyncpg.Pool[Any]",
) -> None:
    days = slots("1d", "2023-01-03T00:00Z", "2024-03-01T22:00Z")
    await keep(pool, "A", "1d", days)
    await keep(pool, "B", "1d", days[:-12])
    await auditor(pool, NOW + DAY_US).turn()
    assert await rows(pool) == []
    assert await pool.fetch("SELECT symbol FROM audited_series WHERE NOT followed") == [("B",)]
    await keep(pool, "B", "1d", days[-2:])
    await auditor(pool, NOW + DAY_US).turn()
    assert await rows(pool) == [("B", "1d", days[-12], days[-3], 10, "gap")]


# ---- as people see it


async def test_the_command_lists_what_is_missing_and_ends_with_1(
    pool: "asyncpg.Pool[Any]", settings: Settings, tmp_path: Path
) -> None:
    environment = environment_of(settings)
    days = slots("1d", "2023-01-03T00:00Z", "2024-03-01T22:00Z")
    told = rollo(environment, "gaps", where=tmp_path)
    assert told.stdout == "nobody has looked yet: a cache-builder does so every ROLLO_GAPS_EVERY_S seconds\n"
    await keep(pool, "A", "1d", [*days[:150], *days[152:]])
    await keep(pool, "B", "1d", [*days[:150], *days[190:]])
    await auditor(pool, settle_s=0).turn()
    told = rollo(environment, "gaps", where=tmp_path, code=1)
    head, gap, said = told.stdout.splitlines()
    assert head.split() == ["symbol", "timeframe", "first", "last", "bars", "kind", "found", "asked"]
    assert gap.split()[:6] == ["A", "1d", "2023-08-09", "2023-08-10", "2", "gap"]
    assert gap.endswith("not yet")
    assert said == "2 bars in 1 gaps"
    of_others = rollo(environment, "gaps", "--symbols", "b,c", where=tmp_path)
    assert of_others.stdout == "nothing is missing there\n"
    several = rollo(environment, "gaps", "--all", "--json", where=tmp_path, code=1)
    found = orjson.loads(several.stdout)
    kinds = [(g["symbol"], g["kind"], g["bars"]) for g in found["gaps"]]
    assert kinds == [("A", "gap", 2), ("B", "pause", 40)]
    assert (found["missing_bars"], found["series"], found["series_waiting"]) == (42, 2, 0)
    [request] = await gaps.take(pool, "x", Serves(None, frozenset({"1d"})), 9, 60)
    await gaps.answer(pool, request, 0)
    assert rollo(environment, "gaps", where=tmp_path).stdout == "nothing is missing\n"
    asked = rollo(environment, "gaps", "--ask", "--again", "--from", "2023-08-10", where=tmp_path)
    assert asked.stdout.startswith("1 gaps will be asked for; everything will be looked at again")
    assert len(await gaps.take(pool, "x", Serves(None, frozenset({"1d"})), 9, 60)) == 1
    assert (await auditor(pool).turn()).series == 2
    refused = rollo(environment, "gaps", "--timeframes", "1M", where=tmp_path, code=2)
    assert "must be of 1m 5m" in refused.stderr


async def test_gaps_are_verified(pool: "asyncpg.Pool[Any]") -> None:
    days = slots("1d", "2023-01-03T00:00Z", "2024-03-01T22:00Z")
    await keep(pool, "A", "1d", [*days[:150], *days[152:]])
    await pool.execute("INSERT INTO symbol_state VALUES ('A', 1, 1)")
    await auditor(pool).turn()

    async def found() -> list[tuple[str, str]]:
        report = await verify(pool)
        return [(d.stored, d.expected) for d in report.differences if d.table == "gaps"]

    right = "gap of 2 up to 2023-08-10T00:00:00.000000"
    assert await found() == []
    await pool.execute("UPDATE gaps SET bars = 3")
    assert sorted(await found()) == [("", right), (right.replace("2", "3", 1), "")]
    await pool.execute("DELETE FROM gaps")
    assert await found() == [("", right)]
    await keep(pool, "A", "1d", days[150:152])
    assert await found() == []
    assert (await verify(pool)).keys_unaudited == 1


_MUCH = """
INSERT INTO bars (symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, hash, end_ts,
                  session_date, hours, arrived_at)
SELECT 'S' || s, '1m', t, 1, 1, 1, 1, 1, 0, false, 0, t, t::date, 'regular', now()
FROM generate_series(1, 40) s,
     generate_series('2024-02-26'::timestamptz, '2024-02-27'::timestamptz, interval '1 minute') t;
INSERT INTO audited_series
SELECT 'S' || s, '1m', now() - s * interval '1 s', true FROM generate_series(1, 20000) s;
INSERT INTO gaps (symbol, timeframe, first_ts, last_ts, bars, kind, next_ask_at)
SELECT 'S' || s, '1m', now(), now(), 1, 'gap', now() + (s - 10) * interval '1 hour'
FROM generate_series(1, 20000) s;
INSERT INTO unaudited_bars (symbol, timeframe, first_ts, last_ts)
SELECT 'S' || s, '1m', now(), now() FROM generate_series(1, 20000) s;
ANALYZE bars, audited_series, gaps, unaudited_bars;
"""


async def test_what_the_auditor_asks_is_found_by_indexes(pool: "asyncpg.Pool[Any]") -> None:
    await pool.execute(_MUCH)
    span = Mark("S7", "1m", us("2024-02-26T15:00Z"), us("2024-02-26T15:10Z"))
    asked: dict[str, Ask] = {
        "bars_pkey": lambda c: gaps.edges(c, [span] * 9),
        "idx_audited_series_due": lambda c: gaps.due(c, "1m", NOW, 50),
        "idx_gaps_due": lambda c: gaps.take(c, "x", Serves(None, frozenset({"1m"})), 20, 60),
        "unaudited_bars_pkey": lambda c: gaps.take_marks(c, 50, 2**60),
        "gaps_pkey": lambda c: gaps.replace(c, [gaps.Looked(*span, [Gap(NOW, NOW, 1, "gap")])], 60),
        "audited_series_pkey": lambda c: gaps.audited(c, [("S7", "1m")]),
    }
    ours = {"bars", "audited_series", "gaps", "unaudited_bars"}
    async with pool.acquire() as connection:
        for index, ask in asked.items():
            plans = await plans_of(connection, ask)
            assert index in plans.indexes, plans
            assert not plans.read_whole & ours, plans
        plans = await plans_of(connection, lambda c: gaps.stored(c, [span] * 9, 1_000))
        assert "bars_pkey" in plans.indexes, plans
        assert not plans.read_whole & ours, plans
