"""`rollo up` as an operator meets it: started, disturbed, stopped, killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rollotape import cli
from rollotape.cli import stack
from rollotape.cli.up import PORT, SERVICES
from rollotape.embedded.children import running
from rollotape.embedded.server import free_port, is_free
from rollotape.errors import Refused
from rollotape.postgres import migrate
from support.processes import mentioning
from support.stacks import Stack, rollo, running_stack
from support.waiting import eventually_sync


def processes_of(started: Stack) -> list[int]:
    """Everything that belongs to a stack: itself, servers, services, guardian."""
    children = json.loads((started.data / "children.json").read_text())
    return [started.process.pid, *map(int, children), *mentioning(started.data)]


def nothing_left(pids: list[int]) -> bool:
    return not any(map(running, pids))


def test_a_stack_says_where_it_is_and_answers_there(data_dir: Path) -> None:
    with running_stack(data_dir, "--replicas", "detector=2") as up:
        assert up.get("/readyz")[0] == 200
        assert set(up.found.services) == {"detector-2", *(f"{service}-1" for service in SERVICES)}
        assert all(running(service.pid) for service in up.found.services.values())
        assert (data_dir / "stack.json").stat().st_mode & 0o077 == 0
        assert up.found.gateway_url in up.said
        for url in (up.found.redis_url, up.found.cache_url, up.found.database_url):
            address = url.rpartition("@")[2].split("/")[0]
            assert address in up.said
            assert url not in up.said, "a password was printed"
        assert all((data_dir / "logs" / f"{name}.log").exists() for name in up.found.services)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_signal_stops_everything_in_order(number: signal.Signals, data_dir: Path) -> None:
    with running_stack(data_dir) as up:
        pids = processes_of(up)
        assert up.stop(number) == 0
        assert nothing_left(pids)
        assert mentioning(data_dir) == {}
        assert up.said.endswith(f"Stopping: services, then servers.\nStopped. The data stay in {data_dir}.\n")
        assert not (data_dir / "stack.json").exists()
        assert '"level":"error"' not in (data_dir / "logs" / "detector-1.log").read_text()


def test_a_stack_that_is_killed_leaves_nothing_and_can_start_at_once(data_dir: Path) -> None:
    with running_stack(data_dir) as first:
        pids = processes_of(first)
        first.stop(signal.SIGKILL)
    with pytest.raises(Refused, match="was killed: start it again"):
        stack.find(data_dir)
    with running_stack(data_dir) as second:
        assert nothing_left(pids)
        assert second.get("/readyz")[0] == 200
        assert "applied" not in second.said


def test_what_dies_is_started_again_and_said(data_dir: Path) -> None:
    with running_stack(data_dir) as up:
        before = up.found
        os.kill(before.services["detector-1"].pid, signal.SIGKILL)
        eventually_sync(lambda: up.found.services["detector-1"].pid != before.services["detector-1"].pid)
        assert "detector-1 ended (signal 9); starting it again in 0.5 s" in up.said

        [valkey] = [pid for pid, command in mentioning(data_dir).items() if "redis-streams" in command]
        os.kill(valkey, signal.SIGKILL)
        eventually_sync(lambda: "streams ended and was started again" in up.said)
        eventually_sync(lambda: up.get("/readyz") == (200, {"status": "ready", "away": []}))
        assert up.found.redis_url == before.redis_url


def test_a_second_stack_on_the_same_data_refuses_and_disturbs_nothing(data_dir: Path) -> None:
    with running_stack(data_dir) as up:
        second = rollo("up", "--data", str(data_dir))
        assert second.returncode == 2
        assert f"another stack (process {up.process.pid}) runs on {data_dir}" in second.stderr
        assert up.found.pid == up.process.pid
        assert up.get("/readyz")[0] == 200


def test_commands_find_the_stack_by_its_directory(data_dir: Path) -> None:
    with running_stack(data_dir, "--replicas", "detector=0", "--replicas", "rs-worker=0"):
        for told in (rollo("migrate", "--data", str(data_dir)), rollo("migrate", ROLLO_DATA=str(data_dir))):
            assert (told.returncode, told.stdout) == (0, f"schema {migrate.head()}, 16 partitions\n")
    gone = rollo("migrate", "--data", str(data_dir))
    assert gone.returncode == 2
    assert f"no stack runs on {data_dir}: start one with `rollo up --data {data_dir}`" in gone.stderr


def test_a_port_that_was_asked_for_and_is_taken_is_refused(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as somebody:
        port = somebody.getsockname()[1]
        told = rollo("up", "--data", str(data_dir), "--port", str(port))
    assert told.returncode == 2
    assert f"port {port} is taken: choose another with --port" in told.stderr
    assert told.stdout == "" and not (data_dir / "servers.json").exists(), "nothing was started for it"


def test_the_usual_port_gives_way_to_a_free_one(data_dir: Path) -> None:
    taken = [socket.create_server(("127.0.0.1", PORT))] if is_free(PORT) else []
    try:
        idle = ("--replicas", "detector=0", "--replicas", "rs-worker=0")
        with running_stack(data_dir, *idle, usual_port=True) as up:
            assert up.get("/readyz")[0] == 200
            assert not up.found.gateway_url.endswith(f":{PORT}")
            assert f"Port {PORT} is taken by another program" in up.said
    finally:
        for somebody in taken:
            somebody.close()


def test_a_service_that_refuses_to_start_ends_the_stack_with_its_sentence(
    data_dir: Path, cache_url: str
) -> None:
    told = rollo("up", "--data", str(data_dir), ROLLO_REDIS_URL=cache_url)
    assert told.returncode == 2
    assert "ROLLO_REDIS_URL names a Redis whose maxmemory-policy is allkeys-lru" in told.stderr
    assert told.stderr.count("\n") == 1
    assert "starting it again" not in told.stdout
    assert mentioning(data_dir) == {}


@pytest.mark.parametrize("word", ["detector", "detector=x", "broker=1", "api-gateway=2", "detector=-1"])
def test_replicas_that_make_no_sense_are_refused(word: str, data_dir: Path) -> None:
    told = CliRunner().invoke(cli.app, ["up", "--data", str(data_dir), "--replicas", word])
    assert told.exit_code == 2
    assert not any(data_dir.iterdir())


def test_help_is_quick_because_it_imports_no_command() -> None:
    code = (
        "import sys, rollotape.cli as c, typer.testing as t;"
        "assert 'Start with: rollo demo' in t.CliRunner().invoke(c.app, ['--help']).output;"
        "print(*{m.partition('.')[0] for m in sys.modules} & {'asyncpg', 'redis', 'numpy', 'alembic'})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["export", "nosuch"], "Invalid value for 'table': 'nosuch' is not one of 'bars', 'vsa_events',"),
        (["up", "--port", "abc"], "Invalid value for '--port': must be a whole number, got 'abc'"),
        (["import", "x", "--revision", "-1"], "Invalid value for '--revision': must be at least 0, got '-1'"),
        (["replay", "x", "--speed", "fast"], "Invalid value for '--speed': must be a number, got 'fast'"),
        (["key", "revoke"], "Missing argument"),
    ],
)
def test_a_wrong_argument_is_told_in_our_words(arguments: list[str], says: str) -> None:
    told = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})
    assert told.exit_code == 2
    assert says in told.stderr


def test_every_command_explains_itself() -> None:
    listed = CliRunner().invoke(cli.app, ["--help"]).output
    for name in cli.COMMANDS:
        assert f" {name} " in listed
        told = CliRunner().invoke(cli.app, [name, "--help"], prog_name="rollo")
        assert told.exit_code == 0, told.output
        assert f"Usage: rollo {name}" in told.output
        assert "Example" in told.output
