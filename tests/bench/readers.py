"""The processes that are timed: a detector as `rollo up` runs it, the ceiling, the plain service."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from bench import machine
from bench.stage import Clock, Reader, Stage
from rollotape.embedded.server import open_log
from rollotape.supervisor import Supervisor

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Run:
    """What a reader took for its entries, from the first delivery to the last acknowledgement."""

    seconds: float
    bars: int
    cpu_s: float | None
    peak_bytes: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Bars per second."""
        return self.bars / self.seconds


@contextmanager
def detector(stage: Stage, environment: Mapping[str, str]) -> Iterator[tuple[Reader, str]]:
    """One real detector, by the supervisor of `rollo up`; yields it with the address of its metrics."""
    logs = stage.folder / "logs"
    kept = dict(environment) | {"ROLLO_STREAM_MB": "100000"}  # the next run reads the same streams again
    supervisor = Supervisor(stage.servers.children, logs, kept, {"detector": 1}, stage.show.say)
    supervisor.start()
    try:
        [replica] = supervisor.replicas
        child = replica.child
        assert child
        log = logs / f"{replica.name}.log"
        yield Reader(child.pid, "detector", lambda: child.alive, log), f"{replica.ops_url}/metrics"
    finally:
        supervisor.stop()


@contextmanager
def contender(
    stage: Stage, group: str, environment: Mapping[str, str], arguments: list[str]
) -> Iterator[Reader]:
    """A module of ours as a process of its own, stopped afterwards if it has not ended."""
    path = stage.folder / "logs" / f"{group}.log"
    surroundings = os.environ | dict(environment) | {"PYTHONPATH": str(TESTS)}
    with open_log(path) as log:
        command = [sys.executable, "-m", f"bench.{group}", *arguments]
        child = stage.servers.children.spawn(command, log=log, env=surroundings)
    try:
        # One that reads until nothing is left ends well, and before the clock has looked again.
        yield Reader(child.pid, group, lambda: child.alive or child.returncode == 0, path)
    finally:
        stage.servers.children.stop(child, within_s=2.0)


async def measured(clock: Clock, bars: int, metrics_url: str | None = None) -> Run:
    """From the group's first delivery until everything is acknowledged."""
    usage = Usage(clock.reader.pid)
    began = await clock.begun()
    usage.look()
    before_s, clock.looked = usage.cpu_s, usage.look
    ended = await clock.finished()
    cpu_s = None if before_s is None or usage.cpu_s is None else usage.cpu_s - before_s
    return Run(ended - began, bars, cpu_s, usage.peak_bytes, scraped(metrics_url) if metrics_url else {})


@dataclass(slots=True)
class Usage:
    """The last that was seen of a process: the ceiling ends before it can be asked at the end."""

    pid: int
    cpu_s: float | None = None
    peak_bytes: int | None = None

    def look(self) -> None:
        self.cpu_s = machine.cpu_s(self.pid) or self.cpu_s
        self.peak_bytes = machine.peak_bytes(self.pid) or self.peak_bytes


_SAMPLE = re.compile(r"^(rollo_\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


def scraped(url: str) -> dict[str, float]:
    """Our own metrics by name and labels."""
    with urlopen(url, timeout=10) as answer:
        return {name: float(value) for name, value in _SAMPLE.findall(answer.read().decode())}
