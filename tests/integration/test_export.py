"""Exports: equal content gives equal bytes, and every number reads back as what it was."""

import csv
import gzip
import io
import os
import subprocess
from pathlib import Path

import pytest

from rollotape.postgres import export
from rollotape.settings import Settings
from support.commands import ROLLO, environment_of, rollo, started
from support.databases import execute

BARS = "symbol,timeframe,ts,open,high,low,close,volume,revision"
EVENTS = "symbol,timeframe,rule_set,kind,direction,event_ts,confirmed_ts"


def insert_bar(settings: Settings, symbol: str, ts: str, price: float = 1.0, volume: float = 1.0) -> None:
    execute(
        settings.database_url,
        "INSERT INTO bars (symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, hash,"
        " end_ts, session_date, hours, arrived_at)"
        f" VALUES ('{symbol}', '1d', '{ts}', {price!r}, {price!r}, {price!r}, {price!r}, {volume!r}, 0,"
        f" false, 0, '{ts}', '2020-01-02', 'regular', '2020-01-03Z')",
    )


def exported(settings: Settings, table: str, where: Path) -> str:
    return rollo(environment_of(settings), "export", table, where=where).stdout


def test_bars_come_in_the_order_of_their_key_with_times_in_utc(settings: Settings, tmp_path: Path) -> None:
    for symbol in ("AA", "A.B", "A-B", "A", "^A", "A/B"):
        insert_bar(settings, symbol, "2020-01-03T00:00:00Z")
    insert_bar(settings, "A", "2020-01-02T01:30:00+01:30")
    assert exported(settings, "bars", tmp_path).splitlines() == [
        BARS,
        "A,1d,2020-01-02T00:00:00Z,1,1,1,1,1,0",
        "A,1d,2020-01-03T00:00:00Z,1,1,1,1,1,0",
        "A-B,1d,2020-01-03T00:00:00Z,1,1,1,1,1,0",
        "A.B,1d,2020-01-03T00:00:00Z,1,1,1,1,1,0",
        "A/B,1d,2020-01-03T00:00:00Z,1,1,1,1,1,0",
        "AA,1d,2020-01-03T00:00:00Z,1,1,1,1,1,0",
        "^A,1d,2020-01-03T00:00:00Z,1,1,1,1,1,0",
    ]


def test_numbers_read_back_as_exactly_what_they_were(settings: Settings, tmp_path: Path) -> None:
    numbers = [0.1 + 0.2, 1 / 3, 5e-324, 1e-7, 45.07, 99_999_999.99999999, 1824755.0, 1e14, 2.5e14 + 1 / 32]
    for day, number in enumerate(numbers, 1):
        insert_bar(settings, "A", f"2020-01-{day:02}T00:00:00Z", number, number)
    rows = list(csv.DictReader(io.StringIO(exported(settings, "bars", tmp_path))))
    assert [float(row["open"]) for row in rows] == numbers
    assert [float(row["volume"]) for row in rows] == numbers
    assert rows[6]["volume"] == "1824755"


def test_events_have_the_columns_that_others_rely_on(settings: Settings, tmp_path: Path) -> None:
    execute(
        settings.database_url,
        "INSERT INTO vsa_events VALUES ('A', '1m', 'seed-1', 'stopping_volume', '2020-01-02T14:30:00Z',"
        " '2020-01-02T14:31:00Z', '2020-01-02T14:32:00.5Z', 'bullish')",
    )
    header, row = exported(settings, "vsa_events", tmp_path).splitlines()
    assert header == f"{EVENTS},knowable_at"
    assert row == (
        "A,1m,seed-1,stopping_volume,bullish,2020-01-02T14:30:00Z,2020-01-02T14:31:00Z,2020-01-02T14:32:00.5Z"
    )


def test_dead_letters_keep_their_bytes_in_print(settings: Settings, tmp_path: Path) -> None:
    for entry_id in ("10-0", "9-1", "9-0"):
        execute(
            settings.database_url,
            "INSERT INTO dead_letters"
            " (stream, entry_id, row, sha256, service, fields, reasons, payload, arrived_at)"
            f" VALUES ('bars.0', '{entry_id}', 0, '\\xab', 'detector', '{{a,b}}', '{{no,\"\"}}',"
            " '\\x0022c3a95c', '2020-01-01Z')",
        )
    rows = list(csv.DictReader(io.StringIO(exported(settings, "dead_letters", tmp_path))))
    assert [row["entry_id"] for row in rows] == ["9-0", "9-1", "10-0"]
    assert rows[0]["payload"] == r'\000"\303\251\\'
    assert rows[0]["fields"] == "a; b"


@pytest.mark.parametrize("table", export.TABLES)
def test_an_empty_table_is_a_header(settings: Settings, tmp_path: Path, table: str) -> None:
    assert len(exported(settings, table, tmp_path).splitlines()) == 1


def test_a_packed_file_has_the_same_content_and_always_the_same_bytes(
    settings: Settings, tmp_path: Path
) -> None:
    insert_bar(settings, "A", "2020-01-03T00:00:00Z")
    for name in ("a.csv", "a.csv.gz", "b.csv.gz"):
        told = rollo(environment_of(settings), "export", "bars", "--out", name, where=tmp_path)
        assert told.stdout == ""
        assert "1 rows of bars" in told.stderr
    packed = (tmp_path / "a.csv.gz").read_bytes()
    assert packed == (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.csv").read_bytes()


def test_a_file_is_whole_or_not_there(settings: Settings, tmp_path: Path) -> None:
    execute(settings.database_url, "DROP TABLE vsa_events")
    (tmp_path / "events.csv").write_text("of yesterday")
    told = rollo(
        environment_of(settings), "export", "vsa_events", "--out", "events.csv", where=tmp_path, code=1
    )
    assert "rollo migrate" in told.stderr
    assert (tmp_path / "events.csv").read_text() == "of yesterday"
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]


def test_a_place_that_cannot_be_is_one_sentence_with_its_name(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for out, says in {
        "nowhere/b.csv": "nowhere/b.csv: there is no folder nowhere",
        "folder": "folder is a directory: name a file in it",
    }.items():
        told = rollo(environment_of(settings), "export", "bars", "--out", out, where=tmp_path, code=2)
        assert told.stderr == f"rollo: {says}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_is_no_file_is_written_into_and_not_replaced(settings: Settings, tmp_path: Path) -> None:
    insert_bar(settings, "A", "2020-01-03T00:00:00Z")
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    command_line: list[str | Path] = [*ROLLO, "export", "bars", "--out", fifo]
    with started(environment_of(settings), *command_line, where=tmp_path) as command:
        with fifo.open() as reader:
            assert reader.read().splitlines()[0] == BARS
        assert command.wait(timeout=60) == 0
    assert fifo.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_link_stays_a_link_to_the_new_file(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    rollo(environment_of(settings), "export", "bars", "--out", "link.csv", where=tmp_path)
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith(BARS)


def test_a_reader_that_has_seen_enough_is_no_error(settings: Settings, tmp_path: Path) -> None:
    execute(
        settings.database_url,
        "INSERT INTO vsa_events SELECT 'A', '1m', 'seed-1', 'test', t, t, t, 'bullish'"
        " FROM generate_series('2020-01-01Z'::timestamptz, '2020-02-01Z', '1 minute') AS t",
    )
    with subprocess.Popen(
        [*ROLLO, "export", "vsa_events"], env=environment_of(settings), cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline().startswith(EVENTS)
        command.stdout.close()
        assert command.wait(timeout=60) == 0
        assert "Traceback" not in command.stderr.read()


async def test_progress_hears_of_rows_and_a_full_disk_is_no_outage(settings: Settings) -> None:
    insert_bar(settings, "A", "2020-01-03T00:00:00Z")
    heard: list[int] = []
    parts: list[bytes] = []

    def full(part: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with export.connection(settings.database_url) as connection:
        assert await export.export(connection, "bars", parts.append, heard.append) == 1
        assert heard[-1] == 1
        assert b"".join(parts).count(b"\n") == 2
        with pytest.raises(OSError, match="No space left"):
            await export.export(connection, "bars", full, heard.append)
    async with export.connection(settings.database_url) as connection:
        await connection.execute("ANALYZE bars")
        assert await export.estimate(connection, "bars") == 1
        assert await export.estimate(connection, "vsa_events") is None
