"""How commands end when something is wrong: one sentence that says what to do, and an exit code."""

import signal
from pathlib import Path

import asyncpg
import pytest
import redis.exceptions
import typer

from rollotape.cli import ends
from rollotape.postgres.pool import unavailable
from rollotape.settings import Settings
from support.commands import ROLLO, Environment, environment_of, rollo, started


@pytest.fixture
def environment(settings: Settings) -> Environment:
    return environment_of(settings)


@pytest.mark.parametrize(
    ("variables", "arguments", "code", "says"),
    [
        ({}, ["verify", "--data", "file"], 2, "file is no directory: name one with --data DIR"),
        ({"ROLLO_DATABASE_URL": "nonsense"}, ["verify"], 2, "ROLLO_DATABASE_URL is no URL like postgresql://"),
        ({"ROLLO_DATABASE_URL": "postgresql://h:x/d"}, ["migrate"], 2, "ROLLO_DATABASE_URL is no URL like"),
        ({}, ["contracts", "schema", "--out", "nowhere/x"], 1, "nowhere/x: No such file or directory"),
        ({}, ["bridge", "--source", "nonsense"], 2, "--source is no URL like redis://"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    environment: Environment, tmp_path: Path, variables: dict[str, str], arguments: list[str], code: int,
    says: str,
) -> None:  # fmt: skip
    (tmp_path / "file").touch()
    if "--data" in arguments:
        environment = {name: value for name, value in environment.items() if not name.startswith("ROLLO_")}
    told = rollo({**environment, **variables}, *arguments, where=tmp_path, code=code)
    assert told.stderr.startswith(f"rollo: {says}")
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["verify", "migrate"])
def test_a_login_that_is_rejected_is_a_matter_of_configuration(
    environment: Environment, settings: Settings, tmp_path: Path, command: str
) -> None:
    elsewhere = settings.database_url.rpartition("/")[0] + "/nosuch"
    told = rollo({**environment, "ROLLO_DATABASE_URL": elsewhere}, command, where=tmp_path, code=2)
    assert told.stderr.startswith('rollo: PostgreSQL rejects the login: database "nosuch" does not exist')
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["import", "a.csv"], ["bridge"]])
def test_nothing_is_sent_into_a_redis_that_may_evict(
    environment: Environment, settings: Settings, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "a.csv").write_text("symbol,date,open,high,low,close,volume\nA,2020-01-02,1,1,1,1,1\n")
    cache = {"ROLLO_REDIS_URL": str(settings.cache_url)}
    told = rollo({**environment, **cache}, *command, where=tmp_path, code=2)
    assert told.stderr.startswith("rollo: ROLLO_REDIS_URL names a Redis whose maxmemory-policy is allkeys")
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["import", "a.csv"], ["bridge"], ["bridge", "--source"]])
def test_who_waits_for_redis_says_so_once(
    environment: Environment, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "a.csv").write_text("symbol,date,open,high,low,close,volume\nA,2020-01-02,1,1,1,1,1\n")
    nowhere = "redis://:secret@127.0.0.1:1"
    away = {} if command[-1] == "--source" else {"ROLLO_REDIS_URL": nowhere}
    arguments = [*command, nowhere] if command[-1] == "--source" else command
    with started({**environment, **away}, *ROLLO, *arguments, where=tmp_path) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "waiting for Redis at 127.0.0.1:1 ...\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == 130
        assert running.stderr.read().startswith("rollo: stopped")


def test_of_a_server_that_was_named_it_is_said_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROLLO_REDIS_URL", "redis://:secret@redis-streams:6379/0")
    with pytest.raises(typer.Exit):
        ends.run(_fail(redis.exceptions.ConnectionError("gone")))
    said = capsys.readouterr().err
    assert "It was looked for at redis://redis-streams:6379/0 (ROLLO_REDIS_URL)" in said
    assert "rollo up" not in said
    assert "secret" not in said


async def _fail(error: Exception) -> None:
    with unavailable("postgres"):
        raise error


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (asyncpg.InterfaceError("connection is closed"), 1, "PostgreSQL cannot be reached, or went away"),
        (ConnectionResetError(), 1, "PostgreSQL cannot be reached, or went away"),
        (redis.exceptions.ConnectionError("gone"), 1, "Redis cannot be reached, or went away"),
        (asyncpg.InvalidPasswordError("password authentication failed"), 2, "PostgreSQL rejects the login"),
        (
            redis.exceptions.AuthenticationError("HELLO must be called with the client authenticated"),
            2,
            "Redis rejects the login: a password is needed; see to ROLLO_REDIS_URL",
        ),
    ],
)
def test_a_stack_that_stops_is_said_in_plain_words(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, says: str
) -> None:
    with pytest.raises(typer.Exit) as ended:
        ends.run(_fail(error))
    said = capsys.readouterr().err
    assert ended.value.exit_code == code
    assert says in said
    assert "InterfaceError" not in said
