"""What starting, stopping and killing a server process have in common."""

import os
import socket
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rollotape.embedded.children import Child, Children
from rollotape.embedded.programs import Program
from rollotape.errors import Refused

START_S = 60.0
"""Recovery after a crash replays what was written since the last checkpoint: seconds, rarely more."""
LOG_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Terms:
    """What a server is started with; `port` and `program` are those of the last start on the same data."""

    data: Path
    children: Children
    password: str
    port: int | None = None
    program: str | None = None
    durable: bool = True


class Server(ABC):
    """One server on 127.0.0.1. `port` is kept over restarts as long as nobody else has taken it."""

    def __init__(self, name: str, terms: Terms, program: Program) -> None:
        self.name = name
        self.program = program
        self.port = terms.port or free_port()
        self.password = terms.password
        self.durable = terms.durable
        self.notices: list[str] = []
        self.log = terms.data / "logs" / f"{name}.log"
        self._children = terms.children
        self._child: Child | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Address with user and password."""

    @abstractmethod
    def _spawn(self, log: IO[bytes]) -> Child:
        """Start the process on `self.port`."""

    @abstractmethod
    def _ready(self, child: Child) -> bool:
        """Whether it takes connections; answers at once."""

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.alive else None

    def start(self) -> None:
        """Return when it answers; harmless when it runs.

        Raises:
            Refused: it does not start; the message ends with its last words.
        """
        deadline = time.monotonic() + START_S
        while self.pid is None:
            last_words = self._attempt(deadline)
            hopeless = "in use" not in last_words or time.monotonic() > deadline
            if self.pid is None and hopeless:
                raise Refused(f"{self.name} did not start ({self.program.path}): {last_words[-800:]}")

    def stop(self) -> None:
        if self._child:
            self._children.stop(self._child)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._child:
            self._children.kill(self._child)

    def _attempt(self, deadline: float) -> str:
        """Start once; return what was logged when it ended by itself or did not answer in time.

        The port can be lost between choosing and using it, and the shared memory of a PostgreSQL that was
        killed is in use until its last process has noticed: both say "in use" and call for another try.
        """
        if not is_free(self.port):
            self.port = free_port()
        with open_log(self.log) as log:
            logged = os.fstat(log.fileno()).st_size
            self._child = self._spawn(log)
        while self._child.alive and not self._ready(self._child):
            if time.monotonic() > deadline:
                self._children.kill(self._child)
            time.sleep(0.02)
        if self._child.alive:
            return ""
        self._children.forget(self._child)
        time.sleep(0.1)
        return self.log.read_bytes()[logged:].decode("utf-8", "replace").strip()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def open_log(path: Path) -> IO[bytes]:
    """Open for appending; a long log of earlier runs is put aside as `.1`."""
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(path.suffix + ".1"))
    return path.open("ab")


def write_private(path: Path, text: str) -> None:
    """Replace a file that only we may read, all of it or nothing."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
