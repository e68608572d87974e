"""`rollo replay` as a person runs it: through a real Redis, with a real terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from redis import Redis

from rollotape.settings import Settings
from support.commands import ROLLO, Environment, environment_of, rollo, started
from support.databases import fetch
from support.waiting import eventually_sync

DETECTOR = [sys.executable, "-m", "detector"]
HEADER = "symbol,timestamp,open,high,low,close,volume,timeframe"


@pytest.fixture
def environment(settings: Settings) -> Environment:
    return environment_of(settings)


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """Forty minutes and a day of two symbols, the last first, with a mistake."""
    rows = [f"{s},2018-02-05T15:{minute:02}:00Z,10,11,9,10,100,1m" for s in "BA" for minute in range(40)]
    days = [f"{s},2018-02-02T00:00:00Z,10,11,9,10,100,1d" for s in "BA"]
    path = tmp_path / "bars.csv"
    path.write_text("\n".join([HEADER, *rows[::-1], *days, "A,2018-02-05T15:00:00Z,10,1,9,10,100,1m"]))
    return path


def entries(settings: Settings) -> int:
    with Redis.from_url(settings.redis_url) as redis:
        return sum(int(redis.xlen(name)) for name in redis.keys("bars.*"))


def test_a_file_goes_through_the_streams_and_is_derived(
    environment: Environment, settings: Settings, bars: Path, tmp_path: Path
) -> None:
    with started(environment, *DETECTOR, where=tmp_path):
        told = rollo(environment, "replay", bars, "--speed", "100000", "--json", where=tmp_path)
        said = orjson.loads(told.stdout)
        assert (said["bars"], said["symbols"], said["unusable"]) == (82, 2, 1)
        assert (said["first"], said["last"]) == ("2018-02-02T21:00:00Z", "2018-02-05T15:40:00Z")
        eventually_sync(lambda: fetch(settings.database_url, "SELECT count(*) FROM bars")[0][0] == 82)
    assert "1 rows that no bar can come from are left out" in told.stderr
    assert "82 bars of 2 symbols, known from Fri 2018-02-02 21:00 UTC" in told.stderr

    refused = rollo(environment, "replay", bars, where=tmp_path, code=2)
    assert refused.stderr.count("\n") == 1
    assert "the stack holds 82 of these 82 bars already" in refused.stderr
    nothing = rollo(environment, "replay", bars, "--resume", where=tmp_path)
    assert nothing.stdout == "the stack holds all of these bars already: nothing was sent\n"
    before = entries(settings)
    again = rollo(
        environment, "replay", bars, "--again", "--timeframe", "1d", "--speed", "1e9", where=tmp_path
    )
    assert again.stdout.startswith("2 bars of 2 symbols sent in 2 entries")
    assert entries(settings) == before + 2


def test_who_is_stopped_says_where_and_goes_on_there(
    environment: Environment, settings: Settings, bars: Path, tmp_path: Path
) -> None:
    with started(environment, *DETECTOR, where=tmp_path):
        command = ["replay", str(bars), "--timeframe", "1m", "--speed", "120"]
        with started(environment, *ROLLO, *command, where=tmp_path) as replay:
            eventually_sync(lambda: fetch(settings.database_url, "SELECT count(*) FROM bars")[0][0] >= 4)
            replay.send_signal(signal.SIGINT)
            assert replay.wait(timeout=20) == 130
            assert replay.stderr is not None
            said = replay.stderr.read()
        assert re.search(
            r"rollo: stopped at Mon 2018-02-05 15:\d\d UTC of the market: \d+ of 80 bars were sent", said
        )
        sent = int(re.search(r"(\d+) of 80", said)[1])  # type: ignore[index]
        eventually_sync(lambda: fetch(settings.database_url, "SELECT count(*) FROM bars")[0][0] == sent)
        rest = rollo(environment, *command[:-1], "1e6", "--resume", where=tmp_path)
    assert rest.stdout.startswith(f"{80 - sent} bars of 2 symbols")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "yesterday"], "neither a day like 2018-02-05"),
        (["--from", "2018-02-05T15:00"], "write 2018-02-05T15:00Z for UTC"),
        (["--from", "2018-02-06", "--to", "2018-02-05"], "--from 2018-02-06 is not before --to 2018-02-05"),
        (["--speed", "0"], "must be above 0"),
        (["--resume", "--again"], "not both"),
        (["--timeframe", "2m"], "must be one of 1m 5m"),
        (["--symbols", "NOSUCH"], "no bar of the files matches --from, --to, --symbols and --timeframe"),
    ],
)
def test_a_mistake_is_named(
    environment: Environment, bars: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    told = rollo(environment, "replay", bars, *arguments, where=tmp_path, code=2)
    assert says in " ".join(re.sub("[│╭╮╰╯─]", " ", told.stderr).split())


class Terminal:
    """A command on a terminal of its own: what it shows, and what is typed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.shown = ""

    def type(self, key: str) -> None:
        os.write(self._descriptor, key.encode())

    def until(self, words: str, within_s: float = 30.0) -> None:
        """Return when words are shown that were not shown before."""
        start, deadline = len(self.shown), time.monotonic() + within_s
        while words not in self.shown[start:]:
            assert time.monotonic() < deadline, f"{words!r} is not in {self.shown[start:][-500:]!r}"
            if select.select([self._descriptor], [], [], 0.1)[0]:
                self.shown += os.read(self._descriptor, 65_536).decode("utf-8", "replace")


@contextmanager
def on_a_terminal(
    environment: Environment, *command: str | Path, where: Path
) -> Iterator[tuple["subprocess.Popen[bytes]", Terminal]]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*map(str, command)], env={**environment, "TERM": "xterm"}, cwd=where,
        stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=_own_terminal,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield process, Terminal(ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def _own_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_the_space_bar_pauses_and_goes_on(
    environment: Environment, settings: Settings, bars: Path, tmp_path: Path
) -> None:
    command = ["replay", str(bars), "--timeframe", "1m", "--speed", "120"]
    with (
        started(environment, *DETECTOR, where=tmp_path),
        on_a_terminal(environment, *ROLLO, *command, where=tmp_path) as (process, terminal),
    ):
        terminal.until("The space bar pauses")
        terminal.until("Mon 2018-02-05 15:0")
        terminal.type(" ")
        terminal.until("paused")
        held = entries(settings)
        shown = terminal.shown
        terminal.until("paused")  # drawn again, and nothing has moved
        terminal.until("paused")
        assert entries(settings) == held, shown
        terminal.type("p")
        eventually_sync(lambda: entries(settings) > held)
        terminal.type("\x03")
        terminal.until("the same command with --resume")
        assert process.wait(20) == 130
