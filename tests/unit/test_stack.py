"""Where a command finds its stack."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from rollotape.cli import stack
from rollotape.errors import Refused

REDIS, CACHE, DATABASE = "redis://:secret@127.0.0.1:1/0", "redis://127.0.0.1:2/0", "postgresql://me@127.0.0.1:3/rollo"


def a_stack(pid: int) -> stack.Stack:
    services = {"detector-1": stack.Service(pid, "http://127.0.0.1:5")}
    return stack.Stack(REDIS, CACHE, DATABASE, "http://127.0.0.1:4", pid, services)


def test_what_is_written_is_read_by_nobody_else(tmp_path: Path) -> None:
    written = a_stack(os.getpid())
    stack.write(tmp_path, written)
    assert stack.read(tmp_path) == written == stack.find(tmp_path)
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0


def test_a_directory_is_enough(tmp_path: Path) -> None:
    stack.write(tmp_path, a_stack(os.getpid()))
    found = stack.address(tmp_path)
    assert (found.redis_url, found.cache_url, found.database_url) == (REDIS, CACHE, DATABASE)


def test_the_directory_may_come_from_the_environment_or_be_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.write(tmp_path, a_stack(os.getpid()))
    monkeypatch.setenv("ROLLO_DATA", str(tmp_path))
    assert stack.address(None).database_url == DATABASE
    monkeypatch.delenv("ROLLO_DATA")
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath(".rollo").mkdir()
    stack.write(tmp_path / ".rollo", a_stack(os.getpid()))
    assert stack.address(None).database_url == DATABASE


def test_the_environment_wins_over_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.write(tmp_path, a_stack(os.getpid()))
    monkeypatch.setenv("ROLLO_DATABASE_URL", "postgresql://elsewhere/rollo")
    found = stack.address(tmp_path)
    assert (found.redis_url, found.database_url) == (REDIS, "postgresql://elsewhere/rollo")


def test_with_both_addresses_no_directory_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLO_REDIS_URL", REDIS)
    monkeypatch.setenv("ROLLO_DATABASE_URL", DATABASE)
    assert stack.address(tmp_path / "nowhere").redis_url == REDIS


def test_for_the_database_its_address_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLO_DATABASE_URL", DATABASE)
    assert stack.database(tmp_path / "nowhere").database_url == DATABASE


def test_no_stack_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=rf"no stack runs on {tmp_path}: start one with `rollo up --data"):
        stack.address(tmp_path)


def test_no_stack_may_be_a_misspelt_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLO_REDIS_ULR", REDIS)
    with pytest.raises(Refused, match=r"; ROLLO_REDIS_ULR is set, .* did you mean ROLLO_REDIS_URL\?$"):
        stack.address(tmp_path)


def test_rollo_up_is_advised_where_the_stack_is_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack.starts_one() == " `rollo up` starts one."
    monkeypatch.setenv("ROLLO_REDIS_URL", REDIS)
    monkeypatch.setenv("ROLLO_DATABASE_URL", DATABASE)
    assert stack.starts_one() == ""


def test_a_stack_that_was_killed_is_not_taken_for_one_that_runs(tmp_path: Path) -> None:
    stack.write(tmp_path, a_stack(2**22 + 1))
    with pytest.raises(Refused, match="was killed: start it again"):
        stack.address(tmp_path)


def test_a_wrong_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.write(tmp_path, a_stack(os.getpid()))
    monkeypatch.setenv("ROLLO_POOL_SIZE", "many")
    with pytest.raises(Refused, match="ROLLO_POOL_SIZE"):
        stack.address(tmp_path)


def test_where_none_is_named_and_none_runs_the_demonstration_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROLLO_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath(stack.DEMO).mkdir(parents=True)
    stack.write(tmp_path / stack.DEMO, a_stack(os.getpid()))
    assert stack.find(None).gateway_url == "http://127.0.0.1:4"
    stack.write(tmp_path / stack.DEFAULT, replace(a_stack(os.getpid()), gateway_url="http://127.0.0.1:9"))
    assert stack.find(None).gateway_url == "http://127.0.0.1:9", "real bars go first"
    with pytest.raises(Refused, match="no stack runs"):
        stack.find(Path("elsewhere"))
