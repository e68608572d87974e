"""The programs of this distribution, run as a person runs them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rollotape.settings import Settings

ROLLO = [sys.executable, "-c", "from rollotape.cli import main; main()"]
Environment = Mapping[str, str]


def environment_of(settings: Settings) -> Environment:
    """What makes every program work on these servers."""
    urls = {
        "ROLLO_REDIS_URL": settings.redis_url,
        "ROLLO_CACHE_URL": settings.cache_url or "",
        "ROLLO_DATABASE_URL": settings.database_url,
    }
    return {**os.environ, **urls, "ROLLO_AUTH": "off", "COLUMNS": "200"}


def rollo(
    environment: Environment, *arguments: str | Path, where: Path, code: int = 0, answer: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; asserts its exit code and that no traceback is shown."""
    done = subprocess.run(
        [*ROLLO, *map(str, arguments)], env=environment, cwd=where, input=answer,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@contextmanager
def started(
    environment: Environment, *command: str | Path, where: Path
) -> Iterator["subprocess.Popen[str]"]:
    """A program that runs beside the test and is ended with it."""
    process = subprocess.Popen(
        [*map(str, command)], env=environment, cwd=where, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
