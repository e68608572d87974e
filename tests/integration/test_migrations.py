"""The schema: from nothing to the newest revision and back, by several at once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from rollotape.errors import Refused
from rollotape.postgres import migrate, revisions
from rollotape.postgres.pool import open_pool
from rollotape.postgres.rollups import Rollups
from rollotape.settings import Settings
from rollotape.verify import verify
from support import databases
from support.commands import environment_of, rollo


async def tables(database_url: str) -> set[str]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()


async def test_an_upgrade_from_nothing_says_what_it_applied(empty_database_url: str) -> None:
    assert migrate.current(empty_database_url) is None

    done = migrate.upgrade(empty_database_url, 8)

    assert done.applied[0] == "0001_first_light"
    assert done.applied[-1] == done.revision == migrate.head() == migrate.current(empty_database_url)
    assert {"bars", "vsa_events", "outbox", "dead_letters"} <= await tables(empty_database_url)


async def test_a_second_upgrade_changes_nothing_and_keeps_the_partitions(empty_database_url: str) -> None:
    assert migrate.upgrade(empty_database_url, 8).partitions == 8

    again = migrate.upgrade(empty_database_url, 32)

    assert again == migrate.Migrated(applied=(), revision=migrate.head(), partitions=8)


async def test_of_several_that_migrate_at_once_exactly_one_does_it(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda p: migrate.upgrade(empty_database_url, p), (1, 2, 3, 4)))

    assert sorted(map(len, (d.applied for d in done))) == [0, 0, 0, len(max(d.applied for d in done))]
    assert len({d.partitions for d in done}) == 1


async def test_going_down_to_the_base_leaves_nothing_and_up_again_works(database_url: str) -> None:
    done = migrate.downgrade(database_url, to="base")

    assert done.revision is None
    assert done.applied[-1] == "0001_first_light"
    assert await tables(database_url) == {"alembic_version"}
    assert migrate.upgrade(database_url, 16).revision == migrate.head()


async def test_every_revision_goes_down_and_up_by_itself(database_url: str) -> None:
    before = await tables(database_url)

    for revision in [*migrate.revisions()[-2::-1], "base"]:
        assert len(migrate.downgrade(database_url, to=revision).applied) == 1
    for revision in migrate.revisions():
        assert len(migrate.upgrade(database_url, to=revision).applied) == 1

    assert await tables(database_url) == before


@pytest.mark.parametrize("name", ["0001_first_ligh", "0001", "-1", "nonsense", ""])
async def test_a_name_that_is_not_exactly_a_revision_changes_nothing(database_url: str, name: str) -> None:
    for move in (migrate.downgrade, migrate.upgrade):
        with pytest.raises(Refused, match=r"there is no revision .*0001_first_light, 0002_strength"):
            move(database_url, to=name)
    assert migrate.current(database_url) == migrate.head()


def test_those_who_do_not_migrate_know_the_same_revisions() -> None:
    assert revisions.revisions() == migrate.revisions()
    assert revisions.lacking(migrate.revisions()[-3]) == migrate.revisions()[-2:]
    assert revisions.lacking(migrate.head()) == revisions.lacking("9999_far") == []


async def test_nothing_is_taken_back_under_a_living_worker(database_url: str) -> None:
    databases.execute(database_url, "INSERT INTO replicas VALUES ('detector', 'd-1', now() - interval '9 s')")
    with pytest.raises(Refused, match=r"workers are alive \(d-1\): stop them first"):
        migrate.downgrade(database_url, to="base")
    databases.execute(database_url, "UPDATE replicas SET seen_at = now() - interval '31 s'")
    assert migrate.downgrade(database_url, to="base").revision is None


def test_the_command_names_the_revisions_and_ends_with_2(settings: Settings, tmp_path: Path) -> None:
    for wrong in (["--to", "nonsense"], ["--down", "0001_first_ligh", "--yes"], ["--sql", "--to", "0001"]):
        told = rollo(environment_of(settings), "migrate", *wrong, where=tmp_path, code=2)
        assert "there is no revision" in told.stderr
        assert told.stderr.count("\n") == 1


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("CREATE TABLE stream_floors (in_the_way int)")

    try:
        await asyncio.to_thread(migrate.upgrade, empty_database_url, 16)
    except Exception as error:
        assert "stream_floors" in str(error)
    else:
        raise AssertionError("the table in the way was overlooked")

    assert await tables(empty_database_url) == {"stream_floors"}
    await connection.close()


async def test_the_printed_script_builds_the_same_schema(empty_database_url: str, database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(migrate.script())
    await connection.close()

    assert await tables(empty_database_url) == await tables(database_url)
    assert migrate.current(empty_database_url) == migrate.head()


def test_databases_of_tests_do_not_see_each_other(server_url: str, template: str) -> None:
    with databases.copy_of(template, server_url) as one, databases.copy_of(template, server_url) as other:
        databases.execute(one, "INSERT INTO outbox (messages) VALUES ('')")
        assert migrate.upgrade(other).partitions == databases.PARTITIONS
        assert one != other


FILLED = """
INSERT INTO sectors (symbol, sector) VALUES ('ZZZ', 'Energy');
INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, phase, status, revision, hash, confidence,
                      detected_at, expires_at, test_confirmed)
VALUES (lpad('9', 32, '0')::uuid, 'x', 'ZZZ', '1d', 'SPRING', 'C', 'expired', 1, 1, 0.1, '2020-01-01Z',
        '2020-01-02Z', true);
INSERT INTO signals (id, origin, source, symbol, timeframe, pattern_id, direction, status, generated_at,
                     changed_at, entry_date, entry_price, entry_session, stop, exit_date, exit_price,
                     exit_session)
VALUES
    -- From a Wednesday to the Tuesday after: Independence Day and a weekend are no sessions.
    (lpad('1', 32, '0')::uuid, 'paper', 'rollo', 'ZZZ', '1d', lpad('9', 32, '0')::uuid, 'long', 'CLOSED',
     '2025-07-02Z', '2025-07-08Z', '2025-07-02T20:00Z', 100, '2025-07-02', 99, '2025-07-08T20:00Z', 97,
     '2025-07-08'),
    -- The evening of the 2nd and the night of the 4th in New York.
    (lpad('2', 32, '0')::uuid, 'external', 'desk', 'ZZZ', '1h', NULL, 'short', 'CLOSED', '2025-07-03Z',
     '2025-07-05Z', '2025-07-03T03:59Z', 100, NULL, 103, '2025-07-05T03:59Z', 99, NULL),
    (lpad('3', 32, '0')::uuid, 'external', 'desk', 'ZZZ', '1h', NULL, 'long', 'OPEN', '2025-07-03Z',
     '2025-07-05Z', '2025-07-03Z', 100, NULL, 99, NULL, NULL, NULL)
"""


async def test_trades_that_were_there_before_rollups_are_measured_and_due(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, 4, to="0008_backtests")
    databases.execute(empty_database_url, FILLED)

    migrate.upgrade(empty_database_url, 4, to="0009_rollups")
    measured = "SELECT sessions_held, r, new_york_day(exit_date)::text FROM signals ORDER BY id"
    due = "SELECT day::text FROM unrolled_days ORDER BY day"
    expected = [(3, -3, "2025-07-08"), (1, Decimal("0.333333333333"), "2025-07-04"), (None, None, None)]
    assert [tuple(r) for r in databases.fetch(empty_database_url, measured)] == expected
    assert [d for [d] in databases.fetch(empty_database_url, due)] == ["2025-07-04", "2025-07-08"]

    was = databases.fetch(empty_database_url, "SELECT id, exit_price, status FROM signals ORDER BY id")
    migrate.downgrade(empty_database_url, to="0008_backtests")
    assert (
        databases.fetch(empty_database_url, "SELECT id, exit_price, status FROM signals ORDER BY id") == was
    )
    databases.execute(empty_database_url, "UPDATE signals SET exit_price = 98 WHERE status = 'CLOSED'")

    migrate.upgrade(empty_database_url, 4)
    found = [r for [r] in databases.fetch(empty_database_url, "SELECT r FROM signals ORDER BY id")]
    assert found == [-2, Decimal("0.666666666667"), None]


async def test_rollups_of_trades_that_were_there_before_are_those_of_their_present_kind(
    empty_database_url: str, settings: Settings
) -> None:
    migrate.upgrade(empty_database_url, 4, to="0008_backtests")
    databases.execute(empty_database_url, FILLED)
    migrate.upgrade(empty_database_url, 4)
    there = settings.model_copy(update={"database_url": empty_database_url})
    async with await open_pool(there, service="test", raw_times=True) as pool:
        rollups = Rollups(pool)
        while await rollups.run():
            pass
        assert [d.table for d in (await verify(pool)).differences if d.table.startswith("perf")] == []
        kinds = "SELECT phase, sector, test_confirmed, r_sum::text FROM performance_days ORDER BY day"
        assert [tuple(k) for k in await pool.fetch(kinds)] == [
            (None, "Energy", None, "0.333333333333"), ("C", "Energy", True, "-3.000000000000")
        ]  # fmt: skip
