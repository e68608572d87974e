"""Processes of ours: asked first, killed when they do not listen, never left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollotape.embedded import children
from rollotape.embedded.children import Children, command_of, end, guard, running
from support.waiting import eventually_sync

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path / "children.json") as opened:
        yield opened


def test_a_child_is_asked_and_ends(family: Children, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = family.spawn(["sleep", "60"], log=log)
    assert running(child.pid)
    family.stop(child)
    assert child.returncode == -signal.SIGTERM
    assert not running(child.pid)


def test_a_child_that_does_not_listen_is_killed(family: Children, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = family.spawn([sys.executable, "-c", DEAF], log=log)
    eventually_sync(lambda: (tmp_path / "log").read_text() == "deaf\n")
    family.stop(child, within_s=0.2)
    assert child.returncode == -signal.SIGKILL


def test_who_is_listed_and_who_is_gone(family: Children, tmp_path: Path) -> None:
    record = tmp_path / "children.json"
    with (tmp_path / "log").open("wb") as log:
        child = family.spawn(["sleep", "60"], log=log)
    assert json.loads(record.read_text()) == {str(child.pid): [signal.SIGTERM, "sleep 60"]}
    family.kill(child)
    assert json.loads(record.read_text()) == {}
    family.stop(child)  # harmless


def test_leaving_stops_whoever_still_runs(tmp_path: Path) -> None:
    with Children(tmp_path / "children.json") as family, (tmp_path / "log").open("wb") as log:
        pids = [family.spawn(["sleep", "60"], log=log).pid for _ in range(3)]
        guardian = family.guardian_pid
    assert not any(map(running, [*pids, guardian]))


def test_a_record_of_a_dead_predecessor_is_worked_off(tmp_path: Path) -> None:
    left = subprocess.Popen(["sleep", "61"], start_new_session=True)
    eventually_sync(lambda: command_of(left.pid) == "sleep 61")
    (tmp_path / "children.json").write_text(json.dumps({left.pid: [signal.SIGTERM, "sleep 61"]}))
    with Children(tmp_path / "children.json"):
        assert left.wait(10) == -signal.SIGTERM


def test_a_number_that_means_another_command_by_now_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "62"], start_new_session=True) as somebody:
        eventually_sync(lambda: command_of(somebody.pid) == "sleep 62")
        record = {somebody.pid: [signal.SIGTERM, "valkey-server redis.conf"]}
        (tmp_path / "children.json").write_text(json.dumps(record))
        with Children(tmp_path / "children.json"):
            assert somebody.poll() is None
        somebody.kill()


def test_a_torn_record_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "children.json").write_text('{"12": [15, "sl')
    with Children(tmp_path / "children.json"):
        pass


def test_the_guardian_ends_those_it_was_not_told_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: dict[int, int] = {}
    monkeypatch.setattr(children, "end", ended.update)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    lines, pen = os.pipe()
    os.write(pen, b"+11 15\n+12 2\n+13 15\n-12\n")
    os.close(pen)
    with os.fdopen(lines, "rb") as pipe:
        guard(pipe)
    assert ended == {11: 15, 13: 15}


def test_ending_kills_who_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "GRACE_S", 0.2)
    command = [sys.executable, "-c", DEAF]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout
        assert deaf.stdout.readline() == b"deaf\n"
        end({deaf.pid: signal.SIGTERM})
        assert deaf.wait(10) == -signal.SIGKILL


def test_a_number_that_nobody_has_is_not_running() -> None:
    assert not running(2**22 + 1)
    assert command_of(2**22 + 1) == ""
    assert "pytest" in command_of(os.getpid()) or sys.executable in command_of(os.getpid())
