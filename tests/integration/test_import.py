"""Imports: every row is accounted for, importing again changes nothing, and nobody waits in silence."""

import asyncio
import csv
import gzip
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from rollotape.cli import app
from rollotape.cli.importing import ImportJob
from rollotape.producers.csv import Options
from rollotape.producers.importer import GROUP, NOBODY, Lost, Readers, Sent
from rollotape.settings import Settings
from rollotape.streams import position
from rollotape.streams.partitions import partition_of
from rollotape.streams.producer import Producer
from support.commands import ROLLO, Environment, environment_of, rollo, started
from support.databases import execute, fetch
from support.waiting import eventually

NO_OPTIONS = Options()
HEADER = "symbol,date,open,high,low,close,volume"
DETECTOR = [sys.executable, "-m", "detector"]
RS_WORKER = [sys.executable, "-m", "rs_worker"]
DEFECTIVE = set(
    "AOS BBY BHF CHD CHK DHR ES FTV IP LNT O REGN SPG UA VRTX WRK".split()  # noqa: SIM905 - names to read
)


@pytest.fixture
def environment(settings: Settings) -> Environment:
    return environment_of(settings)


@pytest.fixture
def detector(environment: Environment, tmp_path: Path) -> Iterator[None]:
    with started(environment, *DETECTOR, where=tmp_path):
        yield


async def import_(
    settings: Settings, path: Path, options: Options = NO_OPTIONS, *, wait: bool = True, frame_bars: int = 500
) -> dict[str, Any]:
    """What `rollo import` does, without the second that another process takes to start."""
    job = ImportJob(settings, [path], options, frame_bars, path.with_suffix(".refused.csv"))
    return await asyncio.wait_for(job.run(wait=wait), 60)


def bars_of(symbol: str, count: int, *, price: float = 10.0) -> list[str]:
    days = [f"2020-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)]
    return [f"{symbol},{day},{price},{price + 1},{price - 1},{price},1000" for day in days[:count]]


def written(folder: Path, rows: list[str], name: str = "bars.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([HEADER, *rows]))
    return path


@pytest.mark.usefixtures("detector")
async def test_every_row_is_accounted_for_and_importing_again_changes_nothing(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    mistakes = ["A,2020-02-01,abc,1,1,1,1", "A,31/12/2020,1,1,1,1,1", "A,2020-02-03,1,1,2,1,1", "A,2020-2"]
    path = written(tmp_path, [*bars_of("A", 30), *mistakes, *bars_of("msft", 30)])

    told = rollo(environment, "import", path, "--wait", "--json", where=tmp_path)

    first = orjson.loads(told.stdout)
    assert (first["rows"], first["sent"], first["accepted"], first["refused"]) == (64, 64, 60, 4)
    assert first["derived"] is True
    assert first["refused_files"] == ["bars.refused.csv"]
    assert first["twice"] is None
    refused = rows_of(tmp_path / "bars.refused.csv")
    assert [row["row"] for row in refused] == mistakes
    assert [int(row["line"]) for row in refused] == [32, 33, 34, 35]
    assert "open: " in refused[0]["reasons"]
    assert "'31/12/2020'" in refused[1]["reasons"]

    before = content(settings)
    assert len(before[0]) == 60
    again = await import_(settings, path, frame_bars=1)
    assert (again["accepted"], again["refused"], again["entries"]) == (60, 4, 64)
    assert content(settings) == before

    exported = tmp_path / "exported.csv.gz"
    rollo(environment, "export", "bars", "--out", exported, where=tmp_path)
    third = await import_(settings, exported)
    assert (third["rows"], third["refused"], third["refused_files"]) == (60, 0, [])
    assert content(settings) == before


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def content(settings: Settings) -> tuple[list[Any], list[Any]]:
    bars = "SELECT symbol, ts, open, high, low, close, volume, revision FROM bars ORDER BY 1, 2"
    events = "SELECT * FROM vsa_events ORDER BY symbol, timeframe, rule_set, kind, event_ts"
    return fetch(settings.database_url, bars), fetch(settings.database_url, events)


@pytest.mark.usefixtures("detector")
async def test_a_restated_bar_wins_in_any_order(settings: Settings, tmp_path: Path) -> None:
    wrong, right = written(tmp_path, bars_of("A", 3, price=99.0)), written(tmp_path, bars_of("A", 3), "r.csv")
    await import_(settings, right, Options(revision=1))
    await import_(settings, wrong)
    rows, _ = content(settings)
    assert [(row["open"], row["revision"]) for row in rows] == [(10.0, 1)] * 3


@pytest.mark.usefixtures("detector")
async def test_of_the_real_defects_exactly_23_rows_are_refused(
    shared_data: Path, settings: Settings, tmp_path: Path
) -> None:
    with gzip.open(shared_data / "bars_daily_sp500.csv.gz", "rt") as source:
        rows = [line.rstrip("\n") for line in source if line.partition(",")[0] in DEFECTIVE]
    summary = await import_(settings, written(tmp_path, rows))
    assert (summary["rows"], summary["refused"]) == (len(rows), 23)
    assert summary["events"] > 100
    [[bars, letters]] = fetch(
        settings.database_url, "SELECT (SELECT count(*) FROM bars), (SELECT count(*) FROM dead_letters)"
    )
    assert (bars, letters) == (len(rows) - 23, 23)
    assert len(rows_of(tmp_path / "bars.refused.csv")) == 23


@pytest.mark.usefixtures("detector")
async def test_verify_finds_what_does_not_follow_and_ends_with_1(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    await import_(settings, written(tmp_path, bars_of("A", 30) + bars_of("B", 30)))
    assert "0 differences over 2 symbols" in rollo(environment, "verify", where=tmp_path).stdout
    execute(
        settings.database_url,
        "INSERT INTO vsa_events VALUES ('A', '1d', 'seed-1', 'no_demand', '2020-01-02Z', '2020-01-02Z',"
        " '2020-01-02T21:00Z', 'bearish')",
    )
    told = rollo(environment, "verify", "--symbols", "a,b", "--json", where=tmp_path, code=1)
    [difference] = orjson.loads(told.stdout)["differences"]
    assert (difference["table"], difference["expected"]) == ("vsa_events", "")
    assert "0 differences over 1 symbols" in rollo(
        environment, "verify", "--symbols", "B", where=tmp_path
    ).stdout  # fmt: skip


@pytest.mark.usefixtures("detector")
def test_a_wait_ends_when_strength_is_there_and_says_so_where_nobody_computes_it(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    path = written(tmp_path, bars_of("A", 30) + bars_of("SPY", 30))
    told = rollo(environment, "import", path, "--wait", where=tmp_path)
    assert "relative strength is not there yet: no rs-worker is at work" in told.stderr
    assert "strength" not in told.stdout
    with started(environment, *RS_WORKER, where=tmp_path):
        again = rollo(environment, "import", path, "--wait", where=tmp_path)
        counts = "SELECT (SELECT count(*) FROM dirty_symbols), (SELECT count(*) FROM dirty_dates)"
        [left] = fetch(settings.database_url, counts)
    assert tuple(left) == (0, 0)
    assert re.search(r"^strength  30 dates in \d+\.\d s$", again.stdout, re.MULTILINE)


def test_what_nobody_reads_is_said_and_waits_for_a_detector(
    environment: Environment, tmp_path: Path
) -> None:
    path = written(tmp_path, bars_of("A", 30))
    with started(environment, *ROLLO, "import", path, "--wait", where=tmp_path) as command:
        assert command.stderr is not None
        said = next(line for line in command.stderr if NOBODY in line)
        assert "Is a detector running?" in said
        assert "rollo up" not in said, "this stack was named, and may be elsewhere"
        assert command.poll() is None
        with started(environment, *DETECTOR, where=tmp_path):
            assert command.wait(timeout=60) == 0


def test_ctrl_c_while_waiting_says_what_holds(environment: Environment, tmp_path: Path) -> None:
    path = written(tmp_path, bars_of("A", 30))
    with started(environment, *ROLLO, "import", path, "--wait", where=tmp_path) as command:
        assert command.stderr is not None
        next(line for line in command.stderr if NOBODY in line)
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=20) == 130
        assert "stopped waiting; everything was sent" in command.stderr.read()


async def test_without_wait_the_rows_lie_in_the_streams(
    settings: Settings, redis_client: Redis, tmp_path: Path
) -> None:
    path = written(tmp_path, [*bars_of("A", 30), "A,2020-05-05,1,1,2,1,1"])
    summary = await import_(settings, path, wait=False, frame_bars=20)
    assert (summary["rows"], summary["entries"], summary["refused"], summary["derived"]) == (31, 2, 1, False)
    assert await redis_client.xlen(f"bars.{partition_of('A', 16)}") == 2


async def test_what_redis_lost_of_an_import_is_sent_again(
    settings: Settings, redis_client: Redis, environment: Environment, tmp_path: Path
) -> None:
    """Somebody acknowledges it all and stores nothing; then a detector starts."""
    path = written(tmp_path, [*bars_of("A", 30), *bars_of("B", 30), "A,2020-05-05,1,1,2,1,1"])
    streams = [f"bars.{partition_of(symbol, 16)}" for symbol in "AB"]
    for stream in streams:
        await redis_client.xgroup_create(stream, GROUP, id="0", mkstream=True)
    waiting = asyncio.create_task(import_(settings, path))

    for stream in streams:
        answer: Any = await redis_client.xreadgroup(GROUP, "0", {stream: ">"}, block=30_000)
        [[_, entries]] = answer
        await redis_client.xack(stream, GROUP, *[entry_id for entry_id, _ in entries])
    with started(environment, *DETECTOR, where=tmp_path):
        told = await waiting
    assert (told["sent"], told["sent_again"], told["refused"], told["accepted"]) == (61, 60, 1, 60)
    counts = fetch(settings.database_url, "SELECT symbol, count(*) FROM bars GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in counts] == [("A", 30), ("B", 30)]


async def test_rows_that_nobody_stores_are_told_of_in_the_end(
    redis_client: Redis, environment: Environment, tmp_path: Path
) -> None:
    """Somebody acknowledges whatever comes, and stores nothing."""
    path = written(tmp_path, bars_of("A", 30))
    stream = f"bars.{partition_of('A', 16)}"
    await redis_client.xgroup_create(stream, GROUP, id="0", mkstream=True)

    async def acknowledge() -> None:
        while True:
            answer: Any = await redis_client.xreadgroup(GROUP, "0", {stream: ">"}, block=100)
            for _, entries in answer or ():
                await redis_client.xack(stream, GROUP, *[entry_id for entry_id, _ in entries])

    acknowledging = asyncio.create_task(acknowledge())
    told = await asyncio.to_thread(
        rollo, environment, "import", path, "--wait", "--json", where=tmp_path, code=1
    )
    acknowledging.cancel()
    said = orjson.loads(told.stdout)
    assert (said["sent"], said["sent_again"], said["not_stored"]) == (30, 150, 30)
    assert "30 rows are not stored though they were sent 6 times" in told.stderr


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("ways", [["--missing", "--wait"], ["--wait"]])
async def test_a_bar_that_somebody_deleted_is_stored_when_it_is_sent_again(
    settings: Settings, environment: Environment, tmp_path: Path, ways: list[str]
) -> None:
    """The detector has it in memory: it has to forget that."""
    path = written(tmp_path, bars_of("A", 30))
    await import_(settings, path)
    last = "SELECT max(ts) FROM bars"
    execute(settings.database_url, f"DELETE FROM bars WHERE ts = ({last}) - interval '7 days'")
    [[left]] = fetch(settings.database_url, "SELECT count(*) FROM bars")
    rollo(environment, "import", path, *ways, where=tmp_path)
    assert left < 30
    assert fetch(settings.database_url, "SELECT count(*) FROM bars")[0][0] == 30
    rollo(environment, "verify", where=tmp_path)


@pytest.mark.usefixtures("detector")
async def test_only_what_is_missing_is_sent_when_that_is_asked_for(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    await import_(settings, written(tmp_path, [*bars_of("A", 30), *bars_of("B", 10)]))
    more = written(
        tmp_path, [*bars_of("A", 28), *bars_of("A", 32)[30:], *bars_of("B", 12), "A,2020-05-05,1,1,2,1,1"]
    )
    told = orjson.loads(
        rollo(environment, "import", more, "--missing", "--wait", "--json", where=tmp_path).stdout
    )
    assert (told["rows"], told["sent"], told["refused"], told["sent_again"]) == (43, 4, 1, 0)
    again = rollo(environment, "import", more, "--missing", "--revision", "1", "--json", where=tmp_path)
    assert orjson.loads(again.stdout)["sent"] == 42, "restated"


def test_a_bar_given_twice_with_other_numbers_is_told(environment: Environment, tmp_path: Path) -> None:
    path = written(tmp_path, [*bars_of("A", 3), *bars_of("A", 1, price=12.0)])
    told = rollo(environment, "import", path, where=tmp_path)
    assert "twice     1 bars have rows with other numbers, the first one at bars.csv line 5:" in told.stdout


@pytest.mark.usefixtures("detector")
async def test_dots_among_thousands_are_told_and_can_be_said(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    rows = [row.replace(",1000", ",51.600") for row in bars_of("A", 3)]
    path = written(tmp_path, [row.replace(",", ";") for row in rows])
    path.write_text(path.read_text().replace(HEADER, HEADER.replace(",", ";")))
    told = rollo(environment, "import", path, "--wait", where=tmp_path)
    assert (
        "numbers   volumes are like 51.600 (bars.csv line 2) and read with decimals, not as 51,600:\n"
        "          if the dot separates thousands, import again with --thousands . --revision 1\n"
    ) in told.stdout
    mended = [*map(str.strip, path.read_text().replace(".0;", ",0;").splitlines()[1:])]
    path.write_text("\n".join([HEADER.replace(",", ";"), *mended]))
    said = ("--thousands", ".", "--revision", "1")
    again = rollo(environment, "import", path, "--wait", *said, where=tmp_path)
    assert "numbers" not in again.stdout and "refused   0" in again.stdout
    [bars, _] = content(settings)
    assert [(row["open"], row["volume"]) for row in bars] == [(10.0, 51_600.0)] * 3


async def test_a_clean_import_leaves_no_refused_rows_of_an_earlier_one(
    settings: Settings, tmp_path: Path
) -> None:
    path = written(tmp_path, [*bars_of("A", 3), "A,2020-05-05,1,1,2,1,1"])
    refused = tmp_path / "bars.refused.csv"
    await import_(settings, path, wait=False)
    assert len(rows_of(refused)) == 1
    await import_(settings, written(tmp_path, bars_of("A", 3)), wait=False)
    assert not refused.exists()
    refused.write_text("notes of my own\n")
    await import_(settings, path, wait=False)
    assert refused.read_text() == "notes of my own\n"


async def test_one_file_that_cannot_be_read_keeps_all_from_being_sent(
    environment: Environment, redis_client: Redis, tmp_path: Path
) -> None:
    good, bad = written(tmp_path, bars_of("A", 30)), tmp_path / "bad.csv"
    bad.write_text("A,2020-01-02,1,1,1,1,1\n")
    told = rollo(environment, "import", good, bad, where=tmp_path, code=2)
    assert told.stderr == (
        f"rollo: {bad}: the first line must name the columns, like {HEADER}; "
        "it is 'A,2020-01-02,1,1,1,1,1'\n"
    )
    assert await redis_client.keys("bars.*") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--timeframe", "1M"], "must be one of 1m 5m"),
        (["--timezone", "Mars/Olympus"], "no such zone"),
        (["--frame-bars", "2000"], "1000"),
        (["--thousands", "_"], "--thousands _: must be . or , or space or '"),
        (["--revision", "-1"], "revision"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, arguments: list[str], says: str) -> None:
    path = written(tmp_path, bars_of("A", 1))
    told = CliRunner().invoke(app, ["import", str(path), *arguments])
    assert told.exit_code == 2
    assert says in told.stderr


def test_no_stack_is_one_sentence(environment: Environment, tmp_path: Path) -> None:
    path = written(tmp_path, bars_of("A", 1))
    nowhere = {name: value for name, value in environment.items() if not name.startswith("ROLLO_")}
    told = rollo(nowhere, "import", path, where=tmp_path, code=2)
    assert told.stderr.startswith("rollo: no stack runs on .rollo: start one with `rollo up`")
    assert told.stderr.count("\n") == 1


# Readers: how far they are, in one process


async def send(redis: Redis, count: int, stream: str = "bars.0") -> Sent:
    ids = await Producer(redis).send(stream, [b"{}"] * count)
    return Sent(rows=count * 10, entries={stream: ids})


async def read(redis: Redis, count: int) -> list[bytes]:
    answer: Any = await redis.xreadgroup(GROUP, "0", {"bars.0": ">"}, count=count)
    [[_, entries]] = answer
    return [entry_id for entry_id, _ in entries]


async def test_what_is_read_and_not_acknowledged_is_not_finished(redis_client: Redis) -> None:
    sent = await send(redis_client, 3)
    assert not await position.finished(redis_client, GROUP, sent.last_ids)
    await redis_client.xgroup_create("bars.0", GROUP, id="0")
    assert not await position.finished(redis_client, GROUP, sent.last_ids)
    first, *rest = await read(redis_client, 3)
    await redis_client.xack("bars.0", GROUP, *rest)
    assert not await position.finished(redis_client, GROUP, sent.last_ids)
    later = await send(redis_client, 1)
    await redis_client.xack("bars.0", GROUP, first)
    assert await position.finished(redis_client, GROUP, sent.last_ids)
    assert not await position.finished(redis_client, GROUP, later.last_ids)


async def test_a_producer_far_ahead_pauses_until_readers_come_near(redis_client: Redis) -> None:
    sent = await send(redis_client, 10)
    await redis_client.xgroup_create("bars.0", GROUP, id="0")
    quiet: list[str] = []
    readers = Readers(redis_client, 16, quiet=quiet.append, ahead_bars=50, quiet_s=60)
    pause = asyncio.create_task(readers.pause(sent))
    read_ids = await read(redis_client, 10)
    await redis_client.xack("bars.0", GROUP, *read_ids[:4])
    done, _ = await asyncio.wait([pause], timeout=0.3)
    assert not done
    await redis_client.xack("bars.0", GROUP, read_ids[4])
    await asyncio.wait_for(pause, 60)
    assert quiet == []


async def test_a_producer_does_not_pause_for_readers_that_are_not_there(redis_client: Redis) -> None:
    sent = await send(redis_client, 10)
    await redis_client.xgroup_create("bars.0", GROUP, id="0")
    quiet: list[str] = []
    readers = Readers(redis_client, 16, quiet=quiet.append, ahead_bars=50, quiet_s=0.05)
    await asyncio.wait_for(readers.pause(sent), 60)
    await asyncio.wait_for(readers.pause(sent), 60)
    assert quiet == [NOBODY]


async def test_a_wait_for_what_redis_lost_ends_with_a_sentence(redis_client: Redis) -> None:
    sent = await send(redis_client, 3)
    await redis_client.flushall()
    readers = Readers(redis_client, 16, quiet=lambda why: None, quiet_s=0.05)
    with pytest.raises(Lost, match=r"Redis lost what was sent to bars\.0"):
        await asyncio.wait_for(readers.wait(sent, lambda left: None), 60)


async def test_a_wait_outlasts_an_outage(redis_url: str, redis_client: Redis) -> None:
    sent = await send(redis_client, 1)
    await redis_client.xgroup_create("bars.0", GROUP, id="0")
    quiet: list[str] = []

    async def said() -> bool:
        return bool(quiet)

    async with Redis.from_url("redis://127.0.0.1:1") as client:
        readers = Readers(client, 16, quiet=quiet.append, quiet_s=0.05)
        wait = asyncio.create_task(readers.wait(sent, lambda left: None))
        await eventually(said)
        assert quiet[0].startswith("redis: ConnectionError")
        await redis_client.xack("bars.0", GROUP, *await read(redis_client, 1))
        readers._redis = redis_client  # it is back
        await asyncio.wait_for(wait, 60)
