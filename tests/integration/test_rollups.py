"""Rollups on a real database: whatever happens to trades, the rows are those of the trades that are left."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest

from rollotape.domain.rollups import Columns, Rolled, roll_columns
from rollotape.postgres import backup, migrate, rollups
from rollotape.postgres.pool import open_pool
from rollotape.postgres.rollups import Rollups
from rollotape.settings import Settings
from rollotape.signals import LONGEST
from rollotape.verify import Report, verify
from support import trades
from support.trades import Row

TABLES = ("performance_days", "performance_headlines", "sector_standings")
ROWS = "SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1"


@dataclass(slots=True)
class Desk:
    """Somebody who writes trades, and a roller."""

    connection: "asyncpg.Connection[Any]"
    pool: "asyncpg.Pool[Any]"
    rollups: Rollups
    trades: dict[Any, Row] = field(default_factory=dict)

    async def say(self, *rows: Row) -> None:
        await trades.store(self.connection, rows)
        self.trades |= {row["id"]: row for row in rows}

    async def roll(self, budget_s: float = 10.0) -> int:
        """Until nothing is due; how many runs that took."""
        runs = 0
        while await self.rollups.run(budget_s):
            runs += 1
        return runs

    async def rows(self) -> dict[str, list[str]]:
        return {t: [r for [r] in await self.connection.fetch(ROWS.format(table=t))] for t in TABLES}

    async def marks(self) -> list[tuple[Any, ...]]:
        return [tuple(r) for r in await self.connection.fetch("SELECT * FROM unrolled_days ORDER BY id")]

    async def generation(self) -> int:
        found: int = await self.connection.fetchval(
            "SELECT generation FROM generations WHERE dataset = 'analytics'"
        )
        return found

    async def report(self) -> Report:
        return await verify(self.pool)

    async def check(self) -> None:
        """Nothing is due, everything is as if added up one by one, and as if rolled from nothing."""
        report = await self.report()
        assert (report.differences, report.days_pending) == ([], 0)
        was = await self.rows()
        await self.connection.execute("TRUNCATE performance_days, performance_headlines")
        rollups = Rollups(self.pool)
        await rollups.mark_everything()
        while await rollups.run():
            pass
        assert await self.rows() == was

    async def groups(self, column: str) -> set[Any]:
        found = await self.connection.fetch(f"SELECT DISTINCT {column} FROM performance_days")
        return {value for [value] in found}


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    async with await open_pool(settings, service="test", raw_times=True) as pool:
        connection = await asyncpg.connect(settings.database_url)
        try:
            yield Desk(connection, pool, Rollups(pool))
        finally:
            await connection.close()


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with open_desk(settings) as opened:
        yield opened


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def one(**changes: Any) -> Row:
    """A trade of a known symbol that earned 2 R."""
    row = trades.trade(Random(1)) | {
        "origin": "external", "symbol": "AAPL", "timeframe": "1d", "pattern_id": None,
        "pattern_type": "SPRING", "direction": "long",
        "entry_price": 100, "stop": 99, "exit_price": 102,
        "entry_date": at("2025-03-05T15:00"), "exit_date": at("2025-03-12T15:00"),
    }  # fmt: skip
    return trades.settled(row | changes)


async def step(desk: Desk, random: Random) -> None:
    """Something happens to trades, patterns or sectors."""
    what, known = random.random(), sorted(desk.trades)
    if what < 0.35 or not known:
        await desk.say(*(trades.trade(random) for _ in range(random.randrange(1, 12))))
    elif what < 0.5:  # restated: another day, another R
        await desk.say(*(trades.trade(random) | {"id": i} for i in random.sample(known, min(3, len(known)))))
    elif what < 0.6:
        await desk.say(trades.reopened(desk.trades[random.choice(known)]))
    elif what < 0.7:
        gone = random.sample(known, min(4, len(known)))
        await desk.connection.execute("DELETE FROM signals WHERE id = ANY($1::uuid[])", gone)
        for signal_id in gone:
            del desk.trades[signal_id]
    elif what < 0.85:
        tested = random.choice([True, True, False, None])
        when = random.choice([None, trades.FIRST + timedelta(days=random.randrange(30))])
        phase = random.choice(["B", "C", None])
        await trades.tell_pattern(desk.connection, random.randrange(6), phase, tested, when)
    elif what < 0.9:
        number = trades.pattern_of(random.randrange(6))
        await desk.connection.execute("DELETE FROM patterns WHERE id = $1", number)
    else:
        sector = random.choice(["Energy", "Utilities", None])
        await desk.connection.execute(
            "UPDATE sectors SET sector = $2 WHERE symbol = $1", random.choice(trades.SYMBOLS), sector
        )


@pytest.mark.parametrize("seed", range(4))
async def test_any_history_of_trades_gives_what_those_that_are_left_give_from_nothing(
    desk: Desk, seed: int
) -> None:
    random = Random(seed)
    for _ in range(45):
        await step(desk, random)
        if random.random() < 0.5:  # often with much left to do, by a roller that remembers, or a new one
            desk.rollups = random.choice([desk.rollups, Rollups(desk.pool)])
            await desk.rollups.run(random.choice([0.0, 10.0]))
    await desk.roll()
    assert any(row["status"] == "CLOSED" for row in desk.trades.values())
    await desk.check()


async def test_said_again_in_another_order_they_give_the_same_rows(desk: Desk, settings: Settings) -> None:
    random = Random(7)
    said = [trades.trade(random) for _ in range(80)]
    await desk.say(*said)
    await desk.roll()
    was = await desk.rows()

    await desk.connection.execute("DELETE FROM signals")
    await desk.roll()
    assert await desk.rows() == {table: [] for table in TABLES}

    for row in random.sample([*said, *said[:40]], 120):
        await desk.say(row)
        if random.random() < 0.1:
            await desk.rollups.run()
    await desk.roll()
    assert await desk.rows() == was


async def test_a_trade_that_ends_on_another_day_leaves_its_old_one(desk: Desk) -> None:
    await desk.say(one())
    await desk.roll()
    assert await desk.groups("day") == {date(2025, 3, 12)}

    await desk.say(one(exit_date=at("2025-04-02T15:00")))
    await desk.roll()
    assert await desk.groups("day") == {date(2025, 4, 2)}
    await desk.check()


async def test_a_reopened_trade_is_in_no_row(desk: Desk) -> None:
    await desk.say(one())
    await desk.roll()
    await desk.say(trades.reopened(one()))
    await desk.roll()
    assert await desk.rows() == {table: [] for table in TABLES}


async def test_a_test_that_is_known_late_counts_from_then_on(desk: Desk) -> None:
    ends = one()["exit_date"]
    await desk.say(one(pattern_id=trades.pattern_of(1)))
    await desk.roll()
    assert await desk.groups("test_confirmed") == {None}

    for confirmed, when, expected in (
        (False, None, False),
        (True, None, True),
        (True, ends + timedelta(microseconds=1), False),
        (True, ends, True),
        (None, None, None),
    ):
        await trades.tell_pattern(desk.connection, 1, "C", confirmed, when)
        await desk.roll()
        assert await desk.groups("test_confirmed") == {expected}
    assert await desk.groups("phase") == {"C"}
    await desk.check()


async def test_trades_follow_their_symbol_into_another_sector(desk: Desk) -> None:
    await desk.say(one())
    await desk.roll()
    assert await desk.groups("sector") == {"Information Technology"}
    for statement, expected in (
        ("UPDATE sectors SET sector = 'Energy' WHERE symbol = 'AAPL'", "Energy"),
        ("UPDATE sectors SET kind = 'etf' WHERE symbol = 'AAPL'", None),
        ("DELETE FROM sectors WHERE symbol = 'AAPL'", None),
        ("INSERT INTO sectors (symbol, sector) VALUES ('AAPL', 'Materials')", "Materials"),
        ("UPDATE sectors SET symbol = 'OTHER' WHERE symbol = 'AAPL'", None),
    ):
        await desk.connection.execute(statement)
        await desk.roll()
        assert await desk.groups("sector") == {expected}
    await desk.check()


async def test_a_trade_that_no_trigger_could_see_is_of_its_pattern_all_the_same(
    desk: Desk, settings: Settings
) -> None:
    """It is being written while its pattern is: neither transaction sees the other."""
    other = await asyncpg.connect(settings.database_url)
    try:
        pattern, trade = desk.connection.transaction(), other.transaction()
        await pattern.start()
        await trade.start()
        await trades.store(other, [one(pattern_id=trades.pattern_of(1))])
        await trades.tell_pattern(desk.connection, 1, "C", True)
        await trade.commit()
        await desk.roll()
        assert await desk.pool.fetchval("SELECT phase FROM performance_days") is None
        await pattern.commit()
    finally:
        await other.close()
    await desk.roll()
    assert await desk.groups("phase") == {"C"}
    await desk.check()


@pytest.mark.parametrize(
    ("exit_date", "day"),
    [
        ("2025-03-09T04:59:59.999999", date(2025, 3, 8)),  # the clock goes forward
        ("2025-03-09T05:00", date(2025, 3, 9)),
        ("2025-03-10T03:59:59.999999", date(2025, 3, 9)),
        ("2025-03-10T04:00", date(2025, 3, 10)),
        ("2025-11-02T03:59:59.999999", date(2025, 11, 1)),  # and back
        ("2025-11-02T04:00", date(2025, 11, 2)),
        ("2025-11-03T04:59:59.999999", date(2025, 11, 2)),
        ("2025-11-03T05:00", date(2025, 11, 3)),
    ],
)
async def test_days_are_those_of_new_york(desk: Desk, exit_date: str, day: date) -> None:
    await desk.say(one(exit_date=at(exit_date)))
    await desk.roll()
    assert await desk.groups("day") == {day}
    await desk.check()


async def test_copied_trades_are_marked_and_those_of_a_truncated_table_too(desk: Desk) -> None:
    await trades.copy(desk.connection, [trades.trade(Random(i)) for i in range(50)])
    await trades.tell_pattern(desk.connection, 1, "C", True)
    await desk.roll()
    assert len(await desk.groups("day")) > 10
    await desk.check()

    await desk.connection.execute("TRUNCATE patterns, sectors")
    await desk.roll()
    assert await desk.groups("phase") == await desk.groups("sector") == {None}
    await desk.check()

    await desk.connection.execute("TRUNCATE signals")
    await desk.roll()
    assert await desk.rows() == {table: [] for table in TABLES}


STOCKS = """
INSERT INTO sector_mapping (symbol, sector, etf, rs_score, is_sector_leader) VALUES
    ('A', 'Energy', 'XLE', 1.5, true), ('B', 'Energy', 'XLE', NULL, false), ('C', 'Energy', 'XLE', -3, false),
    ('D', 'Energy', 'XLE', 7, true)
"""


async def test_what_is_known_of_a_sector_follows_its_stocks(desk: Desk) -> None:
    async def standings() -> list[tuple[Any, ...]]:
        found = "SELECT sector, leader_count, etf, middle FROM sector_standings ORDER BY sector"
        return [tuple(row) for row in await desk.connection.fetch(found)]

    await desk.connection.execute(STOCKS)
    await desk.roll()
    assert await standings() == [("Energy", 2, "XLE", [1.5, 1.5])]
    await desk.connection.execute("UPDATE sector_mapping SET sector = NULL, etf = NULL WHERE symbol = 'A'")
    assert (await desk.report()).differences == []  # it is due
    await desk.roll()
    assert await standings() == [("Energy", 1, "XLE", [-3, 7]), (None, 1, None, [1.5, 1.5])]
    await desk.check()
    await desk.connection.execute("DELETE FROM sector_mapping WHERE sector = 'Energy'")
    await desk.connection.execute("UPDATE sector_mapping SET rs_score = NULL")
    await desk.roll()
    assert await standings() == [(None, 1, None, None)]
    await desk.check()


ARGUMENTS = {
    "trades": ["$1::date"],
    "forget_kinds": ["$1::date"],
    "forget_headlines": ["$1::date", "$2::text"],
    "headlines": ["$1::date", "$2::date", "$3::text", "$4::date[]"],
    "unmark": ["$1::bigint[]"],
}


@pytest.mark.parametrize(
    "statement",
    ["resolve", "due", "trades", "forget_kinds", "forget_headlines", "headlines", "unmark", "count_up"],
)
async def test_a_roller_that_dies_leaves_marks_and_rows_as_they_were(desk: Desk, statement: str) -> None:
    random = Random(3)
    await desk.say(*(trades.trade(random) for _ in range(60)))
    await desk.roll()
    await desk.say(*(trades.trade(random) for _ in range(10)))
    await trades.tell_pattern(desk.connection, 1, "C", True)
    before = await desk.rows(), await desk.marks(), await desk.generation()

    sound = desk.rollups._sql
    dies = ", ".join(["SELECT pg_terminate_backend(pg_backend_pid())", *ARGUMENTS.get(statement, [])])
    desk.rollups._sql = sound | {statement: dies}
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await desk.rollups.run()
    assert (await desk.rows(), await desk.marks(), await desk.generation()) == before

    desk.rollups._sql = sound
    await desk.roll()
    await desk.check()


async def test_two_rollers_beside_two_writers_end_with_the_rows_of_one(
    desk: Desk, settings: Settings
) -> None:
    async with open_desk(settings) as other:
        done = False

        async def write(at_desk: Desk, seed: int) -> None:
            random = Random(seed)
            for _ in range(25):
                await at_desk.say(*(trades.trade(random) for _ in range(4)))
                known = sorted(at_desk.trades)
                await at_desk.say(trades.trade(random) | {"id": random.choice(known)})

        async def roll(at_desk: Desk) -> int:
            runs = 0
            while not done or await at_desk.rollups.waiting() != (0, 0.0):
                try:
                    runs += await at_desk.rollups.run(0.05) is not None
                except asyncpg.SerializationError:
                    await asyncio.sleep(0)
            return runs

        rolling = [asyncio.create_task(roll(d)) for d in (desk, other)]
        started = await desk.generation()
        await asyncio.gather(write(desk, 1), write(other, 2))
        done = True
        async with asyncio.timeout(60):
            runs = sum(await asyncio.gather(*rolling))
    assert await desk.generation() == started + runs
    await desk.check()


async def test_a_run_within_its_budget_leaves_the_rest_marked_and_begins_with_the_newest_month(
    desk: Desk,
) -> None:
    days = [date(2025, month, day) for month in (1, 2, 3) for day in (12, 13)]
    for i, day in enumerate(days):
        await desk.say(
            one(id=trades.pattern_of(i), entry_date=at(f"{day}T14:00"), exit_date=at(f"{day}T15:00"))
        )
    order: list[date] = []
    while run := await desk.rollups.run(0.0):
        assert run.days == 1
        assert run.left == (await desk.rollups.waiting()).days == 5 - len(order)
        [new] = await desk.groups("day") - {*order}
        order.append(new)
    assert order == [*days[4:], *days[2:4], *days[:2]]
    await desk.check()


async def test_a_day_that_goes_on_changes_only_what_is_of_another_kind_or_number(desk: Desk) -> None:
    """Rows that stay as they are are not written again, and what the roller remembers of them is right."""
    random = Random(11)
    day = at("2025-03-12T15:00")

    def trade() -> Row:
        return trades.settled(trades.trade(random) | {"exit_date": day, "entry_date": day})

    async def rows(table: str) -> dict[str, str]:
        where = f"SELECT ctid::text, to_jsonb(t)::text FROM {table} t"
        return dict(map(tuple, await desk.connection.fetch(where)))

    await desk.say(*(trade() for _ in range(80)))
    await desk.roll()
    for _ in range(5):
        kinds, headings = await rows("performance_days"), await rows("performance_headlines")
        await desk.say(trade())
        await desk.roll()
        assert len((await rows("performance_days")).items() - kinds.items()) == 1
        written = (await rows("performance_headlines")).items() - headings.items()
        assert not {row for _, row in written} & {*headings.values()}
        assert len(written) <= 3 * 40  # of the day, its month and its year
    await desk.say(trades.reopened(next(iter(desk.trades.values()))))
    await desk.roll()
    await desk.check()


async def test_a_run_is_bounded_by_trades_and_rolls_one_day_at_least(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "MOST_TRADES", 0)
    await desk.say(*(trades.trade(Random(i)) for i in range(40)))
    [[days]] = await desk.connection.fetch("SELECT count(DISTINCT day) FROM unrolled_days")
    assert await desk.roll() == days > 5
    await desk.check()


async def test_a_transaction_that_computes_for_long_is_not_taken_for_a_forgotten_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(columns: Columns) -> Rolled:
        time.sleep(2.5)  # what it computes is so much
        return roll_columns(columns)

    monkeypatch.setattr(rollups, "roll_columns", slowly)
    monkeypatch.setattr(rollups, "ALIVE_S", 0.05)
    async with open_desk(settings.model_copy(update={"idle_transaction_ms": 1_000})) as desk:
        await desk.say(one())
        assert await desk.roll() == 1
        monkeypatch.setattr(rollups, "ALIVE_S", 60.0)
        await desk.say(one(exit_price=103))
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await desk.rollups.run()
        monkeypatch.undo()
        await desk.roll()
        await desk.check()


async def test_everything_is_added_up_anew_though_the_roller_remembers_it(desk: Desk) -> None:
    await desk.say(*(trades.trade(Random(i)) for i in range(40)))
    await desk.roll()
    was = await desk.rows()
    await desk.connection.execute("UPDATE performance_days SET r_sum = 1, wins = 0")
    await desk.connection.execute("UPDATE performance_headlines SET r_sum = 1, wins = 0")
    await Rollups(desk.pool).mark_everything()  # as a command of another process does
    await desk.roll()
    assert await desk.rows() == was


async def test_answers_that_change_without_a_day_are_a_new_generation(desk: Desk) -> None:
    await desk.say(trades.reopened(one()))
    assert (await desk.rollups.waiting()).days == 0
    before = await desk.generation()
    await desk.roll()
    assert await desk.generation() == before + 1
    assert await desk.roll() == 0
    await trades.tell_pattern(desk.connection, 1, "C", True)  # no trade is of it yet
    await desk.roll()
    assert await desk.generation() == before + 2
    assert await desk.marks() == []


async def test_what_says_nothing_new_of_a_pattern_is_no_mark(desk: Desk) -> None:
    await trades.tell_pattern(desk.connection, 1, "C", True)
    await desk.roll()
    await trades.tell_pattern(desk.connection, 1, "C", True)
    assert await desk.marks() == []


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("UPDATE performance_days SET r_sum = r_sum + 1e-12", "performance_days"),
        ("UPDATE performance_days SET held = held + 1", "performance_days"),
        ("DELETE FROM performance_headlines WHERE grain = 'month' AND heading = 'all'",
         "performance_headlines"),
        ("UPDATE performance_headlines SET r_fall = r_fall + 1 WHERE grain = 'month'",
         "performance_headlines"),
        ("DELETE FROM performance_headlines WHERE grain = 'year' AND heading = 'sector'",
         "performance_headlines"),
        ("UPDATE performance_headlines SET last_wins = last_wins + 1", "performance_headlines"),
        ("UPDATE performance_headlines SET last_sum = last_sum + 1e-12", "performance_headlines"),
        ("UPDATE sector_standings SET leader_count = leader_count + 1", "sector_standings"),
        ("UPDATE sector_standings SET middle[2] = middle[2] + 1", "sector_standings"),
        ("DELETE FROM sector_standings", "sector_standings"),
        ("UPDATE performance_headlines SET last_r = NULL WHERE test = 'all'", "performance_headlines"),
        ("UPDATE performance_headlines SET period = period + 400", "performance_headlines"),
        ("INSERT INTO performance_days SELECT day - 1, 'X', phase, direction, sector, timeframe, origin, "
         "test_confirmed, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, last_exit, 1 FROM performance_days",
         "performance_days"),
        ("UPDATE signals SET sessions_held = 77", "signals"),
    ],
)  # fmt: skip
async def test_verify_sees_what_does_not_follow_from_the_trades(desk: Desk, change: str, table: str) -> None:
    await desk.say(one())
    await desk.connection.execute(STOCKS)
    await desk.roll()
    assert (await desk.report()).rollups_checked == 1 + 3 * 3 * 4 + 1
    await desk.connection.execute(change)
    await desk.connection.execute("DELETE FROM unrolled_days")
    report = await desk.report()
    assert table in {d.table for d in report.differences}


async def test_verify_leaves_alone_what_is_still_due(desk: Desk) -> None:
    await desk.say(one(pattern_id=trades.pattern_of(1)), one(id=trades.pattern_of(2), symbol="MSFT"))
    assert (await desk.report()).days_pending == 1
    await desk.roll()
    for change in (
        "UPDATE sectors SET sector = 'Energy' WHERE symbol = 'MSFT'",
        f"INSERT INTO unrolled_days (pattern_id) VALUES ('{trades.pattern_of(1)}')",
    ):
        await desk.connection.execute(change)
        report = await desk.report()
        assert (report.days_pending, report.differences) == (1, [])
        await desk.roll()
    await desk.check()


async def test_numbers_of_every_size_survive(desk: Desk) -> None:
    prices: Sequence[tuple[str, str, str]] = [
        ("9999999999.99999999", "9999999999.99999998", "0.00000001"),
        ("0.00000002", "0.00000001", "9999999999.99999999"),
        ("3", "2.99999997", "2.99999996"),
    ]
    await desk.say(
        *(
            one(id=trades.pattern_of(i), entry_price=e, stop=s, exit_price=x) | {"realized_r": 1.0}
            for i, (e, s, x) in enumerate(prices)
        )
    )
    await desk.roll()
    await desk.check()


async def test_a_trade_of_sixty_years_is_counted(desk: Desk) -> None:
    """An older one is refused: a number of the database would have too many digits."""
    entered = at("1962-01-02T15:00")
    await desk.say(one(entry_date=entered, exit_date=entered + LONGEST))
    await desk.roll()
    [held] = await desk.groups("held")
    assert 10 ** (8 * 15_000) < held < 10 ** (8 * 15_500)
    await desk.check()
    await desk.say(one(id=trades.pattern_of(1)) | {"sessions_held": 16_000})
    await desk.roll()
    assert 10 ** (8 * 16_000) in await desk.groups("held")
    with pytest.raises(asyncpg.CheckViolationError):
        await desk.say(one() | {"sessions_held": 16_001})


async def test_a_backup_brings_back_rows_and_marks_and_the_roller_goes_on(
    desk: Desk, settings: Settings, empty_database_url: str, tmp_path: Path
) -> None:
    random = Random(5)
    await desk.say(*(trades.trade(random) for _ in range(60)))
    await desk.roll()
    await desk.say(*(trades.trade(random) for _ in range(20)))
    rows, marks = await desk.rows(), await desk.marks()
    assert marks
    async with backup.connection(settings.database_url) as connection:
        with (tmp_path / "x.rollo").open("w+b") as target:
            await backup.save(connection, target, None)

    migrate.upgrade(empty_database_url)
    async with open_desk(settings.model_copy(update={"database_url": empty_database_url})) as other:
        await other.say(trades.trade(random))
        await other.rollups.run()  # what it remembers is of another content
        with backup.opened(tmp_path / "x.rollo") as (archive, manifest):
            async with backup.connection(empty_database_url) as connection:
                await backup.load(connection, archive, manifest)
        assert (await other.rows(), await other.marks()) == (rows, marks)
        await other.say(trades.trade(random))
        await other.roll()
        await other.check()


async def test_marks_of_listed_stocks_are_no_content_of_a_new_installation(
    desk: Desk, settings: Settings
) -> None:
    await desk.connection.execute("UPDATE sectors SET sector = 'Energy' WHERE symbol = 'AAPL'")
    assert await desk.marks()
    async with backup.connection(settings.database_url) as connection:
        assert await backup.content(connection) == []
