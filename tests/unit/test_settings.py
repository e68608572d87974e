"""Where settings come from, and what is said when they are wrong."""

import json
import logging
import re
from pathlib import Path

import pytest
import structlog

from rollotape import arguments, logs, settings
from rollotape.errors import Refused

REDIS, DATABASE = "redis://redis-streams:6379/0", "postgresql://rollo@postgres:5432/rollo"


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLO_REDIS_URL", REDIS)
    monkeypatch.setenv("ROLLO_DATABASE_URL", DATABASE)


def refusal() -> str:
    with pytest.raises(Refused) as refused:
        settings.load()
    return str(refused.value)


def test_a_password_may_come_in_a_file_and_is_put_into_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("p@ss/w:rd%\n")
    for server in ("REDIS", "CACHE", "DATABASE"):
        monkeypatch.setenv(f"ROLLO_{server}_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("ROLLO_CACHE_URL", "redis://user@redis-cache/1?socket_timeout=3")
    found = settings.load()
    assert found.redis_url == "redis://:p%40ss%2Fw%3Ard%25@redis-streams:6379/0"
    assert found.cache_url == "redis://user:p%40ss%2Fw%3Ard%25@redis-cache/1?socket_timeout=3"
    assert found.database_url == "postgresql://rollo:p%40ss%2Fw%3Ard%25@postgres:5432/rollo"


def test_a_password_may_come_in_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLO_DATABASE_PASSWORD", "quiet")
    assert settings.load().database_url == "postgresql://rollo:quiet@postgres:5432/rollo"
    assert "quiet" not in repr(settings.load().database_password)


def test_several_hosts_stay_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLO_DATABASE_URL", "postgresql://rollo@one:5432,two:5433/rollo")
    monkeypatch.setenv("ROLLO_DATABASE_PASSWORD", "quiet")
    assert settings.load().database_url == "postgresql://rollo:quiet@one:5432,two:5433/rollo"


def test_every_setting_may_come_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("postgresql://me:secret@there/rollo")
    (tmp_path / "partitions").write_text("32\n")
    monkeypatch.delenv("ROLLO_DATABASE_URL")
    monkeypatch.setenv("ROLLO_DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("ROLLO_PARTITIONS_FILE", str(tmp_path / "partitions"))
    assert settings.named("database_url")
    found = settings.load()
    assert (found.database_url, found.partitions) == ("postgresql://me:secret@there/rollo", 32)


def test_what_is_missing_is_named_with_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROLLO_REDIS_URL")
    monkeypatch.setenv("ROLLO_DATABASE_URL", "")
    said = refusal()
    assert "ROLLO_REDIS_URL is not set (Redis that keeps the streams" in said
    assert "ROLLO_DATABASE_URL is not set (PostgreSQL 15 or newer" in said


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_file_that_holds_no_value_is_named_with_its_variable(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "url"
    if content is not None:
        place.write_bytes(content)
    monkeypatch.delenv("ROLLO_DATABASE_URL")
    monkeypatch.setenv("ROLLO_DATABASE_URL_FILE", str(place))
    monkeypatch.setenv("ROLLO_PARTITIONS", "many")
    said = refusal()
    assert f"ROLLO_DATABASE_URL_FILE: {place} " in said
    assert "ROLLO_PARTITIONS" in said, "everything wrong is said at once"
    assert "is not set" not in said


def test_of_two_values_none_is_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLO_REDIS_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("ROLLO_DATABASE_URL", "postgresql://rollo:one@postgres/rollo")
    monkeypatch.setenv("ROLLO_DATABASE_PASSWORD", "two")
    said = refusal()
    assert "ROLLO_REDIS_URL and ROLLO_REDIS_URL_FILE are both set: keep one" in said
    monkeypatch.delenv("ROLLO_REDIS_URL_FILE")
    said = refusal()
    assert "ROLLO_DATABASE_URL has a password in it, and ROLLO_DATABASE_PASSWORD is set as well" in said
    assert "two" not in said and "rollo:one" not in said


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name", "postgresql://h:x/d"])
def test_an_address_that_is_none_is_refused_without_being_repeated(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLO_DATABASE_URL", url)
    assert refusal() == "ROLLO_DATABASE_URL is no URL like postgresql://user:password@host:5432/name"


def test_a_service_takes_no_arguments_and_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused, match="detector --help"):
        arguments.heed("detector", ["--port", "80"])
    with pytest.raises(SystemExit) as ended:
        arguments.heed("detector", ["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(f"  ROLLO_{name.upper()} " in said for name in settings.Settings.model_fields)
    arguments.heed("detector", [])


def test_a_setting_that_is_missing_because_it_is_misspelt_is_named_with_both_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ROLLO_REDIS_URL")
    monkeypatch.setenv("ROLLO_REDIS_ULR", REDIS)
    assert refusal().endswith("; ROLLO_REDIS_ULR is set, and nothing reads it: did you mean ROLLO_REDIS_URL?")


def test_a_service_says_which_variables_nobody_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROLLO_LEESE_S", "5")
    monkeypatch.setenv("ROLLO_STREAMS_MEMORY", "1gb")
    handlers = logging.getLogger().handlers[:]
    try:
        logs.configure("detector", "one")
        told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        logging.getLogger().handlers[:] = handlers
        structlog.reset_defaults()
    assert [(t["event"], t["variable"], t["meant"]) for t in told] == [
        ("variable_unread", "ROLLO_LEESE_S", "ROLLO_LEASE_S")
    ]


def test_variables_of_the_compose_file_are_known() -> None:
    compose = (Path(__file__).parents[2] / "docker-compose.yml").read_text("utf-8")
    there = dict.fromkeys(re.findall(r"\bROLLO_[A-Z_]+", compose), "x")
    assert len(there) > 5 and settings.unread(there) == {}


def test_an_address_is_shown_without_its_login() -> None:
    shown = settings.without_login("postgresql://rollo:quiet@one:5432,two:5433/rollo?sslmode=require")
    assert shown == "postgresql://one:5432,two:5433/rollo"
