"""Dead letters keep what was refused, and come back when asked to."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from rollotape.cli import dlq
from rollotape.errors import Fault, Unavailable
from rollotape.postgres import dead_letters
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from rollotape.streams.producer import Producer
from support.commands import environment_of, rollo
from support.databases import execute, fetch

ARRIVED_US = 1_600_000_000_123_000


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator["asyncpg.Pool"]:
    async with await open_pool(settings, service="test", size=2) as pool:
        yield pool


def letter(
    entry_id: str = "5-0", *, stream: str = "bars.3", row: int = 0, payload: bytes = b"{}", **faults: str
) -> DeadLetter:
    told = [Fault(name, reason) for name, reason in (faults or {"ts": "is missing"}).items()]
    return DeadLetter(stream, entry_id, row, "detector", told, payload, ARRIVED_US)


async def store(pool: "asyncpg.Pool", *letters: DeadLetter) -> list[int]:
    async with pool.acquire() as connection, connection.transaction():
        await dead_letters.store(connection, letters)
    return await dead_letters.ids(pool)


async def test_a_letter_keeps_its_bytes_and_every_reason(pool: "asyncpg.Pool") -> None:
    payload = b'\x00\xff{"a": "\xe2\x82\xac"}'
    [letter_id] = await store(pool, letter(payload=payload, open="must be positive", high="is below low"))
    stored = await dead_letters.show(pool, letter_id)
    assert stored is not None
    assert stored.payload == payload
    assert (stored.fields, stored.reasons) == (["open", "high"], ["must be positive", "is below low"])
    assert stored.arrived_at.timestamp() * 1e6 == ARRIVED_US
    assert await dead_letters.show(pool, letter_id + 1) is None


async def test_an_entry_that_is_delivered_again_is_kept_once(pool: "asyncpg.Pool") -> None:
    once = letter(), letter(row=1), letter(payload=b"other"), letter("6-0"), letter(stream="bars.4")
    ids = await store(pool, *once)
    assert len(ids) == len(once)
    assert await store(pool, *once, *once) == ids


async def test_letters_vanish_with_the_transaction_that_wrote_them(pool: "asyncpg.Pool") -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await dead_letters.store(connection, [letter()])
        await transaction.rollback()
    assert await dead_letters.ids(pool) == []


async def test_reasons_with_what_postgres_cannot_keep_are_kept_readable(pool: "asyncpg.Pool") -> None:
    [letter_id] = await store(pool, letter(symbol="got 'A\0' and '\ud800' and '€'"))
    stored = await dead_letters.show(pool, letter_id)
    assert stored is not None
    assert stored.reasons == ["got 'A\\0' and '\\ud800' and '€'"]


async def test_letters_larger_than_one_statement_are_all_kept(
    pool: "asyncpg.Pool", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "STATEMENT_BYTES", 10)
    assert len(await store(pool, *(letter(f"{i}-0", payload=b"x" * 7) for i in range(5)))) == 5


async def test_a_worker_with_raw_times_stores_the_same_instant(settings: Settings) -> None:
    async with await open_pool(settings, service="test", size=1, raw_times=True) as pool:
        await store(pool, letter())
        assert await pool.fetchval("SELECT arrived_at FROM dead_letters") == ARRIVED_US


async def test_letters_are_found_by_reason_field_and_stream(pool: "asyncpg.Pool") -> None:
    await store(pool, letter("1-0", open="must be Positive"), letter("2-0", stream="bars.4", ts="is missing"))

    async def found(reason: str | None = None, stream: str | None = None) -> list[str]:
        return [x.entry_id for x in await dead_letters.newest(pool, reason=reason, stream=stream)]

    assert await found() == ["2-0", "1-0"]
    assert await found(reason="positive") == ["1-0"]
    assert await found(reason="TS") == ["2-0"]
    assert await found(reason="%") == []
    assert await found(stream="bars.4") == ["2-0"]
    assert [x.entry_id for x in await dead_letters.newest(pool, limit=1)] == ["2-0"]


async def test_refused_rows_are_counted_by_entry_and_by_range(pool: "asyncpg.Pool") -> None:
    await store(pool, letter("9-0"), letter("10-0"), letter("10-0", row=1), letter("10-1"), letter("11-0"))
    assert await dead_letters.count_entries(pool, {"bars.3": ["10-0", "11-0"], "bars.4": ["9-0"]}) == 3
    assert await dead_letters.count_range(pool, "bars.3", "9-5", "10-1") == 3
    assert await dead_letters.count_range(pool, "bars.4", "0-0", "99-0") == 0


async def test_rows_with_the_same_bytes_are_sent_again_once(pool: "asyncpg.Pool") -> None:
    ids = await store(pool, letter(row=1, payload=b"a"), letter(row=2, payload=b"a"), letter(row=3))
    again = await dead_letters.payloads(pool, [*ids, 999])
    assert [(x.payload, x.ids) for x in again] == [(b"a", ids[:2]), (b"{}", ids[2:])]


# The commands


async def test_requeued_letters_return_as_their_original_bytes(
    pool: "asyncpg.Pool", redis_client: Redis, settings: Settings, tmp_path: Path
) -> None:
    payload = b"\xff not JSON"
    first, second, third = await store(pool, letter("1-0", payload=payload), letter("2-0"), letter("3-0"))
    told = rollo(environment_of(settings), "dlq", "requeue", str(first), str(third), where=tmp_path)
    assert "2 dead letters sent again in 2 entries" in told.stdout
    sent = [fields for _, fields in await redis_client.xrange("bars.3") or ()]
    assert sent == [{b"json": payload}, {b"json": b"{}"}]
    assert await dead_letters.ids(pool) == [second]


async def test_all_letters_of_a_stream_are_requeued_and_no_other(
    pool: "asyncpg.Pool", redis_client: Redis, settings: Settings, tmp_path: Path
) -> None:
    *_, kept = await store(pool, *(letter(f"{i}-0") for i in range(250)), letter(stream="bars.4"))
    rollo(environment_of(settings), "dlq", "requeue", "--all", "--stream", "bars.3", where=tmp_path)
    assert await redis_client.xlen("bars.3") == 250
    assert await redis_client.exists("bars.4") == 0
    assert await dead_letters.ids(pool) == [kept]


async def test_a_letter_stays_when_it_could_not_be_sent(
    pool: "asyncpg.Pool", settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: Producer, messages: object) -> list[str]:
        raise Unavailable("redis is away")

    monkeypatch.setattr(Producer, "send_many", away)
    ids = await store(pool, letter())
    with pytest.raises(Unavailable):
        await dlq._requeue(settings, ids, None, dlq._Done())
    assert await dead_letters.ids(pool) == ids


def test_letters_are_listed_and_shown(settings: Settings, tmp_path: Path) -> None:
    environment = environment_of(settings)
    assert rollo(environment, "dlq", "list", where=tmp_path).stdout == "no dead letters\n"
    insert(settings, payload=r"\x7b7d")
    insert(settings, entry_id="6-0", payload=r"\x00ff")
    listed = rollo(environment, "dlq", "list", "--json", "--reason", "missing", where=tmp_path)
    assert [x["entry_id"] for x in orjson.loads(listed.stdout)] == ["6-0", "5-0"]
    table = rollo(environment, "dlq", "list", "--limit", "1", where=tmp_path).stdout
    assert "6-0" in table
    assert "5-0" not in table
    assert "ts: is missing" in table

    text = rollo(environment, "dlq", "show", "1", where=tmp_path).stdout
    assert text.endswith("\n{}\n")
    assert "ts: is missing" in text
    assert rollo(environment, "dlq", "show", "2", where=tmp_path).stdout.endswith("\n00ff\n")
    as_json = orjson.loads(rollo(environment, "dlq", "show", "2", "--json", where=tmp_path).stdout)
    assert (as_json["payload"], as_json["payload_is"]) == ("00ff", "hex")
    assert "no dead letter 3" in rollo(environment, "dlq", "show", "3", where=tmp_path, code=1).stderr


def test_letters_are_dropped_after_a_yes_and_not_before(settings: Settings, tmp_path: Path) -> None:
    environment = environment_of(settings)
    for i in range(3):
        insert(settings, entry_id=f"{i}-0")
    rollo(environment, "dlq", "drop", "--all", where=tmp_path, code=1, answer="n\n")
    assert count(settings) == 3
    rollo(environment, "dlq", "drop", "1", where=tmp_path, answer="y\n")
    assert count(settings) == 2
    rollo(environment, "dlq", "drop", "1", "2", "--yes", where=tmp_path, code=1)
    assert count(settings) == 1
    assert "1 dropped" in rollo(environment, "dlq", "drop", "--all", "--yes", where=tmp_path).stdout
    assert count(settings) == 0


@pytest.mark.parametrize("arguments", [(), ("1", "--all"), ("1", "--stream", "bars.3")])
def test_a_command_that_does_not_say_which_does_nothing(
    settings: Settings, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    insert(settings)
    for command in ("requeue", "drop"):
        rollo(environment_of(settings), "dlq", command, *arguments, where=tmp_path, code=2)
    assert count(settings) == 1


def insert(settings: Settings, *, entry_id: str = "5-0", payload: str = r"\x7b7d") -> None:
    execute(
        settings.database_url,
        "INSERT INTO dead_letters"
        " (stream, entry_id, row, sha256, service, fields, reasons, payload, arrived_at)"
        f" VALUES ('bars.3', '{entry_id}', 0, '{payload}', 'detector', '{{ts}}', '{{is missing}}',"
        f" '{payload}', '2020-01-01Z')",
    )


def count(settings: Settings) -> int:
    [row] = fetch(settings.database_url, "SELECT count(*) FROM dead_letters")
    return int(row[0])
