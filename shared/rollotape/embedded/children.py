"""Processes of ours: out of reach of the terminal's Ctrl-C, and never outliving us.

Each child leads a session of its own, so that Ctrl-C reaches only us and we stop the children in order.
Against our own sudden death stands a guardian: a small process reading a pipe whose other end only we
hold. When the pipe ends, whatever we had not reported as gone is asked to stop, and then killed. (A
parent-death signal would do the same on Linux only, and fires when the *thread* that started the child ends.)
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

GRACE_S = 5.0
"""How long the guardian waits between asking and killing."""


class Child(subprocess.Popen[bytes]):
    """One process and the signal that asks it to stop."""

    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def alive(self) -> bool:
        return self.poll() is None


class Children:
    """Starts and stops processes; a context manager that leaves none behind.

    `keep_open` are descriptors (a lock, say) that stay open until the last child has ended, even
    when we are killed. `record` is a file that names the children: what a start finds in it was left
    by a predecessor that died together with its guardian, and is ended first.
    """

    def __init__(self, record: Path, keep_open: Sequence[int] = ()) -> None:
        self._record = record
        _end_leftovers(record)
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(record)],  # named for those who read process lists
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=keep_open,
            start_new_session=True,
            cwd="/",
        )
        self._running: dict[int, Child] = {}

    @property
    def guardian_pid(self) -> int:
        return self._guardian.pid

    def spawn(
        self,
        args: Sequence[str | Path],
        *,
        log: IO[bytes],
        stop_signal: signal.Signals = signal.SIGTERM,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> Child:
        """Start a process whose output goes to `log`, as another user if `identity` says so."""
        child = Child(
            [str(a) for a in args],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
            **(identity or {}),
        )
        child.stop_signal = stop_signal
        self._running[child.pid] = child
        self._write_record()
        self._tell(f"+{child.pid} {int(stop_signal)}")
        return child

    def stop(self, *children: Child, within_s: float = 10.0) -> None:
        """Ask them all to stop, wait, then kill who is left; harmless when they have ended already."""
        for child in children:
            child.send_signal(child.stop_signal)
        deadline = time.monotonic() + within_s
        for child in children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kill(child)
            self.forget(child)

    def kill(self, child: Child) -> None:
        """Kill the child and what shares its session's process group, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        self.forget(child)

    def forget(self, child: Child) -> None:
        """The child has ended: its number may belong to somebody else from now on."""
        if self._running.pop(child.pid, None):
            self._tell(f"-{child.pid}")
            self._write_record()

    def close(self) -> None:
        """Stop whatever still runs, and let the guardian go."""
        self.stop(*reversed(self._running.values()))
        with contextlib.suppress(BrokenPipeError):
            assert self._guardian.stdin
            self._guardian.stdin.close()
        self._guardian.wait()

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_record(self) -> None:
        children = {pid: [int(c.stop_signal), _joined(c.args)] for pid, c in self._running.items()}
        self._record.write_text(json.dumps(children), "utf-8")

    def _tell(self, line: str) -> None:
        pipe = self._guardian.stdin
        assert pipe
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guardian: we still stop our children
            pipe.write(line.encode() + b"\n")
            pipe.flush()


def _end_leftovers(record: Path) -> None:
    """End the processes that a record names, unless their number means another command by now."""
    try:
        left = json.loads(record.read_text("utf-8"))
    except (OSError, ValueError):
        return
    end({int(pid): number for pid, (number, command) in left.items() if command_of(int(pid)) == command})
    record.unlink()


def _joined(args: object) -> str:
    return " ".join(map(str, args)) if isinstance(args, list) else str(args)


def guard(lines: IO[bytes]) -> None:
    """Keep the list of children; when the pipe ends, end those that are left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left: dict[int, int] = {}
    for line in lines:
        pid, *stop_signal = line[1:].split()
        if line.startswith(b"+"):
            left[int(pid)] = int(stop_signal[0])
        else:
            left.pop(int(pid), None)
    end(left)


def end(stop_signals: Mapping[int, int]) -> None:
    """Send each process (not necessarily a child of ours) its signal; kill what is left after `GRACE_S`."""
    for pid, number in reversed(list(stop_signals.items())):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(map(running, stop_signals)):
        time.sleep(0.05)
    for pid in filter(running, stop_signals):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def running(pid: int) -> bool:
    """Whether a process has this number and has not ended (a zombie has)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state != "Z"


def command_of(pid: int) -> str:
    """The command line of a running process, empty when there is none."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        try:
            words = subprocess.check_output(["ps", "-o", "command=", "-p", str(pid)])
        except (OSError, subprocess.CalledProcessError):
            words = b""
    return words.decode("utf-8", "replace").strip()


if __name__ == "__main__":
    guard(sys.stdin.buffer)
