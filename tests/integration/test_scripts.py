"""What commands tell a script: one JSON document on standard output, and an exit code."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from rollotape.postgres import migrate
from rollotape.settings import Settings
from support.commands import Environment, environment_of, rollo
from support.databases import execute


@pytest.fixture
def environment(settings: Settings) -> Environment:
    return environment_of(settings)


def told(environment: Environment, where: Path, *arguments: str, code: int = 0) -> Any:
    return orjson.loads(rollo(environment, *arguments, "--json", where=where, code=code).stdout)


def test_a_script_may_ask_for_the_schema_before_it_migrates(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    newest = migrate.revisions()[-1]
    status = told(environment, tmp_path, "migrate", "--status")
    assert status == {"revision": newest, "newest": newest, "missing": [], "is_newest": True}
    migrate.downgrade(settings.database_url, to=migrate.revisions()[-2])
    assert told(environment, tmp_path, "migrate", "--status", code=1)["missing"] == [newest]
    words = rollo(environment, "migrate", "--status", where=tmp_path, code=1).stdout
    assert words == f"schema {migrate.revisions()[-2]}; missing: {newest}\n"
    assert told(environment, tmp_path, "migrate")["applied"] == [newest]
    migrate.downgrade(settings.database_url, to="base")
    assert told(environment, tmp_path, "migrate", "--status", code=1)["revision"] is None
    execute(settings.database_url, "INSERT INTO alembic_version VALUES ('9999_far')")
    unknown = rollo(environment, "migrate", "--status", where=tmp_path, code=1).stdout
    assert unknown == f"schema 9999_far, which this version does not know; its newest is {newest}\n"


def test_keys_letters_and_models_are_told_as_json(
    settings: Settings, environment: Environment, tmp_path: Path
) -> None:
    made = told(environment, tmp_path, "key", "create", "--scope", "read", "--name", "kitchen")
    assert told(environment, tmp_path, "key", "revoke", made["id"])["revoked"] is True
    [key] = told(environment, tmp_path, "key", "list")
    assert key["revoked_at"]

    execute(
        settings.database_url,
        "INSERT INTO dead_letters"
        " (stream, entry_id, row, sha256, service, fields, reasons, payload, arrived_at)"
        " SELECT 'bars.3', n || '-1', 0, '', 'detector', '{ts}', '{is missing}', '{}', now()"
        " FROM generate_series(1, 2) n",
    )
    first, second = (letter["id"] for letter in told(environment, tmp_path, "dlq", "list"))
    again = told(environment, tmp_path, "dlq", "requeue", str(first))
    assert again == {"entries": 1, "letters": 1, "missing": 0}
    assert told(environment, tmp_path, "dlq", "drop", str(second), "--yes") == {"dropped": 1}

    rebuilt = told(environment, tmp_path, "cache", "rebuild")
    assert (rebuilt["entries"], rebuilt["version"]) == (0, 1)
