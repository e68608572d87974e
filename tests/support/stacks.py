"""Stacks started as an operator starts them: by the command `rollo`, as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollotape.cli import stack
from rollotape.embedded.server import free_port
from support.waiting import eventually_sync

ROLLO = Path(sys.executable).with_name("rollo")
UP_S = 60.0
_OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Stack:
    """A running `rollo up` or `rollo demo`."""

    process: "subprocess.Popen[bytes]"
    data: Path
    output: Path

    @property
    def found(self) -> stack.Stack:
        """What its stack.json says now."""
        return stack.read(self.data)

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self.output.read_text("utf-8")

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON body of a GET."""
        try:
            with _OPEN.open(self.found.gateway_url + path, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = 90.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(within_s)


@contextmanager
def running_stack(
    data: Path, *arguments: str, command: str = "up", usual_port: bool = False, **variables: str
) -> Iterator[Stack]:
    """A stack that is ready; killed on leaving unless it has ended by then.

    On a port of its own, so that stacks that start at once do not want the same one.
    """
    data.mkdir(exist_ok=True)
    output = data / "output.txt"
    port = () if usual_port or "--port" in arguments else ("--port", str(free_port()))
    arguments = ("--data", str(data), *port, *arguments)
    with output.open("wb") as file:
        process = subprocess.Popen(
            [ROLLO, command, *arguments], stdout=file, stderr=subprocess.STDOUT, env=environment(**variables)
        )
    started = Stack(process, data, output)
    try:
        eventually_sync(lambda: _is_up(started), within_s=UP_S, what="a stack that is ready")
        yield started
    finally:
        if process.poll() is None:
            started.stop()
        process.wait()


def rollo(*arguments: str, within_s: float = 120.0, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end; output is text."""
    command, variables = [str(ROLLO), *arguments], environment(**variables)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=within_s, check=False, env=variables
    )  # fmt: skip


def environment(**variables: str) -> dict[str, str]:
    """Ours without a width, so that words are not broken, and with the given variables."""
    return dict(os.environ) | {"COLUMNS": "200", "NO_COLOR": "1"} | variables


def _is_up(started: Stack) -> bool:
    assert started.process.poll() is None, f"ended with {started.process.returncode}: {started.said}"
    try:
        return started.found.pid == started.process.pid
    except FileNotFoundError:
        return False
