"""A command in a terminal of its own, as a person sees it."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from support.stacks import ROLLO

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[=>])")
ALTERNATE, NORMAL = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """What a command has written, and what of it followed a moment."""

    def __init__(self, process: "subprocess.Popen[bytes]", descriptor: int) -> None:
        self.process = process
        self._written = bytearray()
        self._descriptor = descriptor
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # of a terminal that nobody has open any more
            while part := os.read(self._descriptor, 65_536):
                self._written += part

    @property
    def raw(self) -> str:
        return bytes(self._written).decode("utf-8", "replace")

    def now(self) -> int:
        return len(self._written)

    def since(self, moment: int = 0) -> str:
        """Text without colours and movements."""
        return _ESCAPES.sub("", bytes(self._written[moment:]).decode("utf-8", "replace"))

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        self._reader.join(5)
        return code


@contextmanager
def terminal(*arguments: str, columns: int = 120, lines: int = 30) -> Iterator[Terminal]:
    """`rollo` with these arguments in a terminal of this size; killed on leaving unless it has ended."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    unwanted = {"COLUMNS", "LINES", "NO_COLOR"}
    environment = {k: v for k, v in os.environ.items() if k not in unwanted} | {"TERM": "xterm-256color"}
    process = subprocess.Popen(
        [ROLLO, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)
