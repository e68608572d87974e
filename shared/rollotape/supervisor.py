"""Keeps the services of a stack running on one machine, and says so when it had to start one again."""

import asyncio
import http.client
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rollotape.embedded.children import Child, Children
from rollotape.embedded.server import free_port, open_log
from rollotape.errors import Refused

READY_S = 60.0
STOP_S = 20.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 15.0
SETTLED_S = 60.0
"""A service that lived for longer died of something new: the next delay is short again."""
REFUSED = 2
"""Exit code of a service that does not start like this, however often it is tried."""
TAIL_BYTES = 64 * 1024
HOPELESS = 3
"""A service that ends so often before it was ever ready has a reason that waiting does not cure."""

assert FIRST_DELAY_S < LONGEST_DELAY_S < SETTLED_S


@dataclass(slots=True)
class Replica:
    """One process of a service; `name` is "detector-2", as its log is called."""

    service: str
    number: int
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ops_port: int = field(default_factory=free_port)
    child: Child | None = None
    started: float = 0.0
    start_at: float = 0.0
    delay_s: float = FIRST_DELAY_S
    ended: int = 0
    was_ready: bool = False

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"

    @property
    def pid(self) -> int:
        return self.child.pid if self.child else 0

    @property
    def ops_url(self) -> str:
        return f"http://127.0.0.1:{self.ops_port}"


class Supervisor:
    """Starts replicas, waits until they are ready, starts again those that end, stops them all.

    `say` is told, in sentences, what the operator should know.
    """

    def __init__(
        self,
        children: Children,
        logs: Path,
        environment: Mapping[str, str],
        replicas: Mapping[str, int],
        say: Callable[[str], None],
    ) -> None:
        self.replicas = [
            Replica(service, number, environment)
            for service, count in replicas.items()
            for number in range(1, count + 1)
        ]
        self._children = children
        self._logs = logs
        self._say = say

    def start(self) -> None:
        for replica in self.replicas:
            self._spawn(replica)

    async def ready(self) -> None:
        """Return when every replica says that it is ready.

        Raises:
            Refused: one refused to start, ended again and again, or was not ready in time; the message has
                its last words.
        """
        deadline = time.monotonic() + READY_S
        while waiting := [r for r in self.replicas if not r.was_ready]:
            self.tick()
            answers = await asyncio.gather(*(asyncio.to_thread(_is_ready, r.ops_port) for r in waiting))
            for replica, answer in zip(waiting, answers, strict=True):
                replica.was_ready = answer
            hopeless = next((r for r in waiting if r.ended >= HOPELESS), None)
            if hopeless or time.monotonic() > deadline:
                raise Refused(self._obituary(hopeless or waiting[0]))
            await asyncio.sleep(0.1)

    def tick(self) -> list[Replica]:
        """Notice who ended and start again whose time has come; who was started.

        Raises:
            Refused: one refused to start; the message is its own.
        """
        now = time.monotonic()
        for replica in self.replicas:
            if replica.child and not replica.child.alive:
                self._note_end(replica, replica.child, now)
        due = [r for r in self.replicas if r.child is None and now >= r.start_at]
        for replica in due:
            self._spawn(replica)
        return due

    def stop(self) -> None:
        """Stop the services in the reverse order of starting: who answers first, who works last."""
        for service in reversed(dict.fromkeys(r.service for r in self.replicas)):
            running = [r.child for r in self.replicas if r.service == service and r.child]
            self._children.stop(*running, within_s=STOP_S)

    def kill(self) -> None:
        """For those who cannot wait."""
        for replica in self.replicas:
            if replica.child:
                self._children.kill(replica.child)

    def _spawn(self, replica: Replica) -> None:
        environment = dict(os.environ) | dict(replica.environment) | {
            "ROLLO_INSTANCE": replica.name,
            "ROLLO_OPS_PORT": str(replica.ops_port),
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        # -P: a folder called like a service, where we happen to be, must not be taken for it.
        command = [sys.executable, "-P", "-m", replica.service.replace("-", "_")]
        with open_log(self._log(replica)) as log:
            replica.child = self._children.spawn(command, log=log, env=environment)
        replica.started = time.monotonic()

    def _note_end(self, replica: Replica, child: Child, now: float) -> None:
        if now - replica.started > SETTLED_S:
            replica.delay_s = FIRST_DELAY_S
        self._children.forget(child)
        replica.child = None
        replica.ended += 1
        if child.returncode == REFUSED:
            raise Refused(self._last_sentence(replica) or self._obituary(replica))
        replica.start_at = now + replica.delay_s
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        again = f"starting it again in {replica.delay_s:g} s"
        self._say(f"{replica.name} ended ({how}); {again}. Its log is {self._log(replica)}.")
        replica.delay_s = min(replica.delay_s * 2, LONGEST_DELAY_S)

    def _last_sentence(self, replica: Replica) -> str:
        """The last line of the log that is for people; the others are JSON."""
        lines = reversed(self._tail(replica).splitlines())
        return next((line.strip() for line in lines if line.strip() and not line.startswith("{")), "")

    def _obituary(self, replica: Replica) -> str:
        words = self._tail(replica).strip()[-1_500:]
        return f"{replica.name} does not get ready. The end of {self._log(replica)}:\n{words}"

    def _tail(self, replica: Replica) -> str:
        with self._log(replica).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            return log.read().decode("utf-8", "replace")

    def _log(self, replica: Replica) -> Path:
        return self._logs / f"{replica.name}.log"


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
