"""A backup holds everything, comes back as it was, and never half."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis
from typer.testing import CliRunner

from rollotape.cli import app
from rollotape.embedded.server import free_port
from rollotape.postgres import backup, migrate
from rollotape.settings import Settings
from support.commands import ROLLO, Environment, environment_of, rollo, started
from support.databases import execute, fetch
from support.stacks import rollo as installed_rollo
from support.stacks import running_stack

DETECTOR = [sys.executable, "-m", "detector"]
RS_WORKER = [sys.executable, "-m", "rs_worker"]
HEADER = "symbol,date,open,high,low,close,volume"
TABLES = (
    "bars", "vsa_events", "rs_scores", "sectors", "api_keys", "backtest_runs", "backtest_results",
    "backtest_events", "watchlists", "saved_scans", "idempotency_keys", "universes",
    "exchanges", "gaps", "audited_series", "unaudited_bars",
)  # fmt: skip
PRIVATE = """
INSERT INTO api_keys (id, name, scope, hash) VALUES ('k', E'tab\\tand\\nline', 'read', sha256('x'));
INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, status, revision, hash, confidence, entry,
    detected_at, expires_at, vsa_events)
VALUES (gen_random_uuid(), 'x', 'A', '1d', 'SPRING', 'expired', 1, 1, 0.1, 0.12345678, '2020-01-01Z',
    '2020-01-02Z', NULL);
INSERT INTO dead_letters (stream, entry_id, row, sha256, service, fields, reasons, payload, arrived_at)
VALUES ('bars.3', '1-0', 0, '\\x00ff', 'detector', '{"a b","c,\\"d"}', '{x,y}', '\\x000a09ff5c4e',
    '2020-01-01Z');
INSERT INTO dirty_symbols (symbol, timeframe, first_ts, last_ts) VALUES ('A', '1w', '-infinity', 'infinity');
INSERT INTO backtest_runs (id, rule_set, parameters, timeframe, only_symbols, turns, seed, started_at,
    ended_at, symbols, bars, null_dates)
VALUES (gen_random_uuid(), 'x', '{"version": 1, "values": {"fail": "5/2"}}', '1d', '{A,"B C"}', 1, 1,
    '2020-01-01Z', '2020-01-02Z', 1, 1, 9);
INSERT INTO backtest_results (run_id, sector, patterns, cancelled, unfinished, trade_count, wins, losses,
    breakeven, win_rate, low_sample, test_confirmed)
SELECT id, 'Energy', 1, 0, 0, 1, 1, 0, 0, 0.1, true, '{"win_rate": 0.1}' FROM backtest_runs;
INSERT INTO backtest_events SELECT id, 'accumulation', 'PS', 3 FROM backtest_runs;
INSERT INTO watchlists (id, owner, name, symbols) VALUES (gen_random_uuid(), 'a', 'b\\c', '{A,B/C}');
INSERT INTO saved_scans (id, owner, name, filters, watchlist_id)
SELECT gen_random_uuid(), 'a', 'd', '{"symbols": ["A"], "rs_min": 0.10}', id FROM watchlists;
INSERT INTO idempotency_keys (owner, key, request, location, etag, body)
VALUES ('a', 'k', sha256('x'), '/a', '"1"', '\\x00ff');
INSERT INTO universes VALUES ('mine', E'a\\tb', '{A,B/C}', '2020-01-01Z');
UPDATE universes SET symbols = '{A}' WHERE key = 'sp500';
INSERT INTO gaps (symbol, timeframe, first_ts, last_ts, bars, kind, next_ask_at, answer)
VALUES ('A', '1d', '2020-01-02Z', '2020-01-03Z', 2, 'gap', '2020-01-04Z', 'nothing');
INSERT INTO audited_series VALUES ('A', '1d', '2020-01-04Z', true);
INSERT INTO unaudited_bars (symbol, timeframe, first_ts, last_ts) VALUES ('B', '1m', '-infinity', 'infinity');
INSERT INTO exchanges VALUES ('A', 'NYSE ARCA');
SELECT nextval('read_model_versions');
"""


@pytest.fixture
def environment(settings: Settings) -> Environment:
    return environment_of(settings)


@pytest.fixture
def elsewhere(settings: Settings, empty_database_url: str) -> Settings:
    """A stack on a database in which nothing was ever migrated."""
    return settings.model_copy(update={"database_url": empty_database_url})


@pytest.fixture
def filled(settings: Settings, environment: Environment, tmp_path: Path) -> Settings:
    """Bars, events and scores as services make them, and a row of everything else."""
    chance = random.Random(7)
    days = [f"2020-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)]
    rows = [f"{symbol},{day},{_prices(chance)}" for symbol in ("A", "SPY") for day in days]
    path = tmp_path / "bars.csv"
    path.write_text("\n".join([HEADER, *rows, "A,2020-12-30,1,1,2,1,1"]))
    with started(environment, *DETECTOR, where=tmp_path), started(environment, *RS_WORKER, where=tmp_path):
        rollo(environment, "import", path, "--wait", where=tmp_path)
    execute(settings.database_url, "DELETE FROM replicas; DELETE FROM outbox")  # they were killed
    execute(settings.database_url, PRIVATE)
    return settings


def _prices(chance: random.Random) -> str:
    low, high = sorted(chance.uniform(9, 11) for _ in range(2))
    first, last = (chance.uniform(low, high) for _ in range(2))
    return f"{first},{high},{low},{last},{chance.choice((50, 100, 400))}"


def content(database_url: str) -> dict[str, list[str]]:
    """Every row of every table that is kept, as text; without the epoch, which a restore changes."""
    names = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    tables = [name for [name] in fetch(database_url, names) if name not in backup.NOT_KEPT]
    found = {}
    for name in tables:
        what = "(t.partitions, t.installed_at)" if name == "installation" else "t"
        found[name] = [row for [row] in fetch(database_url, f"SELECT {what}::text FROM {name} t ORDER BY 1")]
    return found


def epoch(database_url: str) -> str:
    return str(fetch(database_url, "SELECT epoch FROM installation")[0][0])


def backed_up(settings: Settings, folder: Path, *arguments: str) -> Path:
    rollo(environment_of(settings), "backup", "tape.rollo", *arguments, where=folder)
    return folder / "tape.rollo"


def test_what_is_restored_is_what_was_there_with_a_new_epoch(
    filled: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    before = content(filled.database_url)
    assert all(before[name] for name in TABLES)
    told = rollo(environment_of(filled), "backup", "tape.rollo", "--json", where=tmp_path)
    said = orjson.loads(told.stdout)
    assert said["tables"] == {name: len(rows) for name, rows in before.items()}
    assert (tmp_path / "tape.rollo").stat().st_mode & 0o077 == 0

    told = rollo(environment_of(elsewhere), "restore", "tape.rollo", "--json", where=tmp_path)
    said = orjson.loads(told.stdout)
    assert (said["differences"], said["schema"], said["waiting"]) == (0, migrate.head(), 0)
    assert content(elsewhere.database_url) == before
    assert epoch(elsewhere.database_url) == said["epoch"] != epoch(filled.database_url)
    execute(elsewhere.database_url, "INSERT INTO dirty_dates (as_of) VALUES ('2020-01-01')")  # ids go on


def test_a_stack_that_holds_something_is_kept_unless_forced(
    filled: Settings, settings: Settings, tmp_path: Path
) -> None:
    path = backed_up(filled, tmp_path)
    before, old = content(settings.database_url), epoch(settings.database_url)
    execute(settings.database_url, "UPDATE bars SET close = 9.5; DELETE FROM api_keys")
    environment = environment_of(settings)
    refused = rollo(environment, "restore", path, where=tmp_path, code=2)
    assert "the stack is not empty: it has rows in " in refused.stderr
    assert " bars, dead_letters," in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert epoch(settings.database_url) == old
    told = rollo(environment, "restore", path, "--force", where=tmp_path)
    assert "0 differences between what is stored and what follows from it" in told.stdout
    assert content(settings.database_url) == before


def test_nothing_is_restored_under_services_at_work(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    path = backed_up(settings, tmp_path)
    execute(settings.database_url, "INSERT INTO replicas VALUES ('detector', 'detector-1-abc', now())")
    refused = rollo(environment, "restore", path, "--force", where=tmp_path, code=2)
    assert "services are at work on this database (detector-1-abc): stop them first" in refused.stderr
    execute(settings.database_url, "DELETE FROM replicas")
    assert "new epoch" in rollo(environment, "restore", path, "--no-verify", where=tmp_path).stdout


def test_who_stops_the_comparison_is_told_that_the_data_are_there(
    settings: Settings, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stopped(*_: object) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
        return 0

    path = backed_up(settings, tmp_path)
    monkeypatch.setattr("rollotape.cli.backup._differences", stopped)
    told = CliRunner().invoke(app, ["restore", str(path)], env=environment_of(elsewhere))
    assert told.exit_code == 130
    assert "committed: Ctrl-C loses nothing from here on" in told.stderr and "--no-verify" in told.stderr
    assert told.stderr.endswith(
        "rollo: stopped comparing; everything is restored and stays: `rollo verify` compares at any time\n"
    )
    assert epoch(elsewhere.database_url)


def test_results_that_do_not_follow_end_with_1(
    filled: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    first = "(SELECT min(event_ts) FROM vsa_events)"
    execute(filled.database_url, f"DELETE FROM vsa_events WHERE event_ts = {first}")
    path = backed_up(filled, tmp_path)
    told = rollo(environment_of(elsewhere), "restore", path, where=tmp_path, code=1)
    assert "differs: vsa_events" in told.stderr
    assert " 0 differences" not in told.stdout


def test_what_was_sent_is_waited_for_left_out_or_refused(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "bars.csv").write_text(f"{HEADER}\nA,2020-01-02,1,1,1,1,1\n")
    rollo(environment, "import", "bars.csv", where=tmp_path)
    refused = rollo(environment, "backup", "tape.rollo", where=tmp_path, code=2)
    assert "1 entries were sent and are not applied, and nobody reads them" in refused.stderr
    assert list(tmp_path.glob("tape*")) == []
    told = rollo(environment, "backup", "now.rollo", "--now", where=tmp_path)
    assert "1 entries that were sent and not applied are not in it" in told.stdout
    with started(environment, *DETECTOR, where=tmp_path):
        told = rollo(environment, "backup", "tape.rollo", "--json", where=tmp_path)
    said = orjson.loads(told.stdout)
    assert (said["tables"]["bars"], said["waiting"]) == (1, 0)


def test_entries_in_the_streams_make_a_stack_that_is_not_empty(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    path = backed_up(settings, tmp_path)
    with Redis.from_url(settings.redis_url) as redis:
        redis.xadd("bars.3", {"json": "{}"})
    refused = rollo(environment, "restore", path, where=tmp_path, code=2)
    assert "it has 1 entries in its streams that would be applied on top" in refused.stderr
    told = rollo(environment, "restore", path, "--force", "--no-verify", where=tmp_path)
    assert "1 entries wait in the streams and will be applied on top" in told.stdout


def test_a_backup_of_an_older_version_is_brought_to_the_newest_schema(
    settings: Settings, environment: Environment, elsewhere: Settings, tmp_path: Path
) -> None:
    older = migrate.revisions()[2]
    migrate.downgrade(settings.database_url, to=older)
    path = backed_up(settings, tmp_path)
    for target in (elsewhere, elsewhere, settings):  # nothing yet, the newest, and its own
        told = rollo(environment_of(target), "restore", path, "--json", "--no-verify", where=tmp_path)
        assert orjson.loads(told.stdout)["schema"] == migrate.head() == migrate.current(target.database_url)


IDLE = ("--replicas", "detector=0", "--replicas", "rs-worker=0")


# Files that are no backup


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A sound archive with another content."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    other = path.with_name("other.rollo")
    with zipfile.ZipFile(other, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return other


def manifest(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["manifest.json"] = orjson.dumps(orjson.loads(members["manifest.json"]) | changes)

    return change


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def flipped(path: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("tables/sectors.copy").header_offset + 200
    whole = bytearray(path.read_bytes())
    whole[at] ^= 0xFF
    path.write_bytes(whole)
    return path


def another_row(members: dict[str, bytes]) -> None:
    members["tables/sectors.copy"] += b"ZZZZ\t\\N\t\\N\t\\N\tstock\n"


DAMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "cut off": (cut, "is no backup, or is damaged or cut off"),
    "another file": (lambda p: p.write_text("a,b\n") and p, "is no backup, or is damaged or cut off"),  # type: ignore[dict-item,return-value]
    "not there": (lambda p: p.with_name("none"), "No such file or directory"),
    "a newer format": (lambda p: rewritten(p, manifest(format=2)), "has format 2, and this version knows 1"),
    "a newer schema": (lambda p: rewritten(p, manifest(schema="9999_far")), "schema 9999_far, and this"),
    "no manifest": (lambda p: rewritten(p, lambda m: m.pop("manifest.json")), "manifest cannot be read"),
    "a table less": (lambda p: rewritten(p, lambda m: m.pop("tables/bars.copy")), "lacks the table bars"),
    "a row more": (lambda p: rewritten(p, another_row), "table sectors is not what its manifest says"),
    "a flipped bit": (flipped, "damaged"),
}


OFTEN = ("cut off", "a newer schema", "a row more")
"""The damages that every run of the tests does; `make chaos` does all."""


@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=[pytest.mark.long] * (name not in OFTEN)) for name in DAMAGES]
)
def test_what_is_no_whole_backup_is_refused_and_changes_nothing(
    settings: Settings, environment: Environment, tmp_path: Path, damage: str
) -> None:
    execute(settings.database_url, "INSERT INTO sectors (symbol) VALUES ('MINE')")
    path = backed_up(settings, tmp_path)
    execute(settings.database_url, "DELETE FROM sectors WHERE symbol = 'MINE'")
    before, old = content(settings.database_url), epoch(settings.database_url)
    spoil, says = DAMAGES[damage]
    broken = spoil(path)
    for arguments in (["--check"], []):
        told = rollo(environment, "restore", broken, *arguments, where=tmp_path, code=2)
        assert says in told.stderr
        assert told.stderr.startswith("rollo: ")
        assert told.stderr.count("\n") == 1
    assert (content(settings.database_url), epoch(settings.database_url)) == (before, old)


def test_a_file_that_is_there_is_not_overwritten_by_accident(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    path = backed_up(settings, tmp_path)
    assert "is whole" in rollo(environment, "restore", path, "--check", where=tmp_path).stdout
    refused = rollo(environment, "backup", path, where=tmp_path, code=2)
    assert "is there already: name another file, or say --overwrite" in refused.stderr
    backed_up(settings, tmp_path, "--overwrite")
    assert [p.name for p in tmp_path.iterdir()] == ["tape.rollo"]


def test_a_full_disk_is_named_and_leaves_no_file(filled: Settings, tmp_path: Path) -> None:
    command = ["bash", "-c", 'ulimit -f 8; exec "$@"', "_", *ROLLO, "backup", "tape.rollo"]
    told = subprocess.run(
        command, env=environment_of(filled), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (told.returncode, told.stderr) == (1, "rollo: tape.rollo: File too large\n")
    assert list(tmp_path.glob("tape*")) == []


def test_a_table_of_tomorrow_is_backed_up_after_what_it_refers_to(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    execute(
        settings.database_url,
        "CREATE TABLE a_notes (symbol text REFERENCES sectors, at bigint GENERATED ALWAYS AS IDENTITY);"
        " INSERT INTO a_notes (symbol) VALUES ('AAPL'), ('MSFT')",
    )
    path = backed_up(settings, tmp_path)
    rollo(environment, "restore", path, "--force", "--no-verify", where=tmp_path)
    assert len(content(settings.database_url)["a_notes"]) == 2


def test_a_stack_that_does_not_run_is_backed_up_and_restored_all_the_same(data_dir: Path) -> None:
    first, second, file = data_dir / "first", data_dir / "second", data_dir / "tape.rollo"
    nowhere = installed_rollo("backup", str(file), "--data", str(first))
    assert nowhere.returncode == 2
    assert f"no stack runs on {first}" in nowhere.stderr
    with running_stack(first, *IDLE, "--port", str(free_port())) as up:
        under = installed_rollo("restore", str(file), "--data", str(first), "--force")
        assert under.returncode == 2
        execute(up.found.database_url, "INSERT INTO sectors (symbol) VALUES ('MINE')")
    kept = installed_rollo("backup", str(file), "--data", str(first))
    assert (kept.returncode, "its servers run as long as this command does" in kept.stderr) == (0, True)
    again = installed_rollo("restore", str(file), "--no-verify", "--data", str(second))
    assert (again.returncode, again.stderr.count("Traceback")) == (0, 0)
    with running_stack(second, *IDLE, "--port", str(free_port())) as up:
        refused = installed_rollo("restore", str(file), "--data", str(second))
        assert "services are at work on this database (api-gateway, cache-builder" in refused.stderr
        assert fetch(up.found.database_url, "SELECT FROM sectors WHERE symbol = 'MINE'")
