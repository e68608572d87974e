"""Workers as processes: started as a person starts them or forked, told to stop, paused and killed."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol

import pytest

from rollotape.embedded import Children
from rollotape.embedded.children import Child
from support import mutants
from support.gates import Gate

Environment = Mapping[str, str]


class Process(Protocol):
    """One process of ours."""

    @property
    def pid(self) -> int: ...

    def ended(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        ...

    def kill(self) -> None:
        """SIGKILL; returns when it has ended."""
        ...


class Starter(Protocol):
    def __call__(self, service: str, environment: Environment, log: Path) -> Process: ...


class _Program:
    def __init__(self, children: Children, child: Child) -> None:
        self._children = children
        self._child = child
        self.pid = child.pid

    def ended(self) -> int | None:
        code = self._child.poll()
        if code is not None:
            self._children.forget(self._child)
        return code

    def kill(self) -> None:
        self._children.kill(self._child)


class _Fork:
    def __init__(self, process: ForkServerProcess) -> None:
        assert process.pid
        self._process = process
        self.pid = process.pid

    def ended(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()
        self._process.join(10)


def programs(children: Children) -> Starter:
    """Started by `python -m detector`; takes seconds of processor time, most of them for imports."""

    def start(service: str, environment: Environment, log: Path) -> Process:
        with log.open("ab") as file:
            command = [sys.executable, "-P", "-m", service.replace("-", "_")]
            return _Program(children, children.spawn(command, log=file, env={**os.environ, **environment}))

    return start


def forks(*changes: str) -> Starter:
    """Forked from a process that has imported everything; with bugs or conditions of `mutants` if named."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.mutants"])
    with pytest.MonkeyPatch.context() as patch:  # before Python 3.12.3 its path is not handed on
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        forkserver.ensure_running()

    def start(service: str, environment: Environment, log: Path) -> Process:
        arguments = (service, changes, dict(environment), log)
        process = context.Process(target=mutants.run, args=arguments, daemon=True)
        process.start()
        return _Fork(process)

    return start


class Worker:
    """One replica, which keeps its name and its gates over restarts."""

    def __init__(
        self,
        service: str,
        number: int,
        start: Starter,
        environment: Environment,
        folder: Path,
        gates: Sequence[Gate] = (),
    ) -> None:
        self.service = service
        self.name = name = f"{service}-{number}"
        self.gates = gates
        self.log = folder / f"{name}.log"
        self.killed = 0
        self._start = start
        self._environment = environment
        self._earlier = 0
        """Lines of its log that an earlier life wrote."""
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process, f"{self.name} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        assert self._process is None, f"{self.name} runs already"
        own = {"ROLLO_INSTANCE": self.name, "ROLLO_OPS_PORT": "0"}
        to_gates = {_VARIABLES[gate.kind]: gate.url for gate in self.gates}
        self._earlier = len(self._lines())
        self._process = self._start(self.service, {**self._environment, **own, **to_gates}, self.log)

    @property
    def started(self) -> bool:
        """Whether it has said so in its present life."""
        return any('"event":"started"' in line for line in self._lines()[self._earlier :])

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process = None
            self.killed += 1

    def ask_to_stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def ended(self) -> int | None:
        """The exit code once it has ended; None while it runs."""
        return self._process.ended() if self._process else 0

    def forget(self) -> None:
        """It has ended."""
        self._process = None

    def errors(self) -> list[str]:
        """Lines of its log that no outage explains; asyncio complains of every connection that breaks."""
        return [
            line
            for line in self._lines()
            if not line.startswith("{") or ('"level":"error"' in line and '"logger":"asyncio"' not in line)
        ]

    def last_words(self, count: int = 12) -> str:
        return "\n".join(line[:400] for line in self._lines()[-count:])

    def _lines(self) -> list[str]:
        return self.log.read_text("utf-8", "replace").splitlines() if self.log.exists() else []


_VARIABLES = {"redis": "ROLLO_REDIS_URL", "postgres": "ROLLO_DATABASE_URL"}
