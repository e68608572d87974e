"""A running stack as its operator sees it: sound, ill, away for a moment, copied to another place."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rollotape.embedded.server import free_port
from support.databases import execute
from support.processes import mentioning
from support.stacks import ROLLO, environment, rollo, running_stack


def test_a_doctor_says_by_the_exit_code_how_a_stack_is(data_dir: Path) -> None:
    with running_stack(data_dir, "--port", str(free_port())) as up:
        sound = rollo("doctor", "--data", str(data_dir))
        assert (sound.returncode, sound.stderr) == (0, "")
        assert "0 broken, 0 warnings" in sound.stdout
        execute(up.found.database_url, "DELETE FROM sectors")
        ill = rollo("doctor", "--data", str(data_dir))
        assert (ill.returncode, "run `rollo import-sectors FILE.csv`" in ill.stdout) == (1, True)
        execute(up.found.database_url, "UPDATE alembic_version SET version_num = '9999_far'")
        assert rollo("doctor", "--data", str(data_dir), "--json").returncode == 2
    stopped = rollo("doctor", "--data", str(data_dir))
    assert (stopped.returncode, "no stack runs" in stopped.stdout) == (2, True)


def test_top_outlives_a_redis_that_is_killed(data_dir: Path) -> None:
    command = [str(ROLLO), "top", "--json", "--every", "0.2", "--data", str(data_dir)]
    with (
        running_stack(data_dir, "--port", str(free_port())),
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True) as top,
    ):
        assert top.stdout is not None
        looks = map(json.loads, top.stdout)
        assert next(looks)["away"] == {}
        ill = _without_redis(data_dir, looks)
        assert ill["postgres"]["schema"]
        assert next(look for look in looks if not look["away"])["streams"]
        top.send_signal(signal.SIGINT)
        assert top.wait(20) == 130


def _without_redis(data_dir: Path, looks: Iterator[Any]) -> Any:
    """A look at the stack while its Redis is away: it is back so soon that one kill may be overlooked."""
    for _ in range(20):
        for pid in [pid for pid, named in mentioning(data_dir).items() if "redis-streams" in named]:
            os.kill(pid, signal.SIGKILL)
        for look in islice(looks, 10):
            if "redis" in look["away"]:
                return look
    raise AssertionError("Redis was killed twenty times, and top never saw it away")
