"""What a producer sent, on disk until it is known to be stored: Redis may lose it, and it is sent again.

A folder of files, one line for each message: a checksum, when it was sent (ms since 1970), its stream, and
its payload. Lines are only ever added; a file goes as a whole, when everything in it is known to be stored. A
process that is killed leaves at most one line that is not whole, the last one, which is cut off: its message
was never sent, for it is written first.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time_ns
from types import TracebackType
from typing import Self
from zlib import crc32

from rollotape.errors import Refused
from rollotape.producers.frames import Message

MOST_BYTES = 256 * 1024 * 1024
FILE_BYTES = 8 * 1024 * 1024
SYNC_S = 1.0
"""Written at once, so that no kill loses it; on the disk itself within so long, in case of a power cut."""


@dataclass(frozen=True, slots=True)
class Written:
    """One message as the journal has it."""

    sent_ms: int
    stream: str
    payload: bytes


class Journal:
    """Of one producer; a second process that opens the same folder is refused."""

    def __init__(
        self,
        folder: Path,
        *,
        most_bytes: int = MOST_BYTES,
        file_bytes: int = FILE_BYTES,
        now_ms: Callable[[], int] = lambda: time_ns() // 1_000_000,
    ) -> None:
        self.folder = folder
        self._most_bytes, self._file_bytes = most_bytes, file_bytes
        self._now_ms = now_ms
        self._lock = -1
        self._file = -1
        self._path: Path | None = None
        self._sizes: dict[Path, int] = {}
        self._number = 0
        self._synced, self._is_dirty = monotonic(), False

    def __enter__(self) -> Self:
        """Raises Refused: another process has this journal, or the folder cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Refused(f"the journal {self.folder} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise Refused(f"the journal {self.folder} is in use: is the same producer running?") from None
        for path in sorted(self.folder.glob("*.log")):
            self._sizes[path] = _cut(path)
            self._number = int(path.stem)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.roll()
        os.close(self._lock)

    @property
    def size(self) -> int:
        """Bytes of everything that is not yet known to be stored, and of what shares a file with it."""
        return sum(self._sizes.values())

    @property
    def has_room(self) -> bool:
        return self.size < self._most_bytes

    def append(self, messages: Sequence[Message]) -> None:
        """Write them down, before they are sent. Blocks for as long as the disk takes, now and then."""
        now = self._now_ms()
        for start in range(0, len(messages), 1_000):
            lines = b"".join(_line(now, stream, load) for stream, load in messages[start : start + 1_000])
            self._write(lines)
        if monotonic() - self._synced >= SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Have what was written on the disk itself."""
        if self._is_dirty and self._file >= 0:
            os.fdatasync(self._file)
        self._synced, self._is_dirty = monotonic(), False

    def roll(self) -> None:
        """Begin a new file with the next message."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
        self._file, self._path = -1, None

    def files(self) -> list[Path]:
        """Those that are not written any more, the oldest first."""
        return sorted(path for path in self._sizes if path != self._path)

    def read(self, path: Path) -> Iterator[Written]:
        """Every message of a file, in the order in which they were written."""
        with path.open("rb") as file:
            for line in file:
                found = _read(line)
                if found is not None:  # a line that rotted on the disk says nothing
                    yield found

    def forget(self, path: Path) -> None:
        """All of it is known to be stored."""
        path.unlink(missing_ok=True)
        self._sizes.pop(path, None)

    def _write(self, lines: bytes) -> None:
        if self._path is not None and self._sizes[self._path] >= self._file_bytes:
            self.roll()
        if self._path is None:
            self._number += 1
            self._path = self.folder / f"{self._number:010d}.log"
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._sizes[self._path] = 0
        left = memoryview(lines)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            os.ftruncate(self._file, self._sizes[self._path])  # what comes later must begin a line
            raise
        self._sizes[self._path] += len(lines)
        self._is_dirty = True


def _line(now_ms: int, stream: str, payload: bytes) -> bytes:
    """A line break means the same as a space in JSON, and what is no JSON is refused either way."""
    said = b"%d %s %s" % (now_ms, stream.encode(), payload.replace(b"\n", b" "))
    return b"%08x %s\n" % (crc32(said), said)


def _read(line: bytes) -> Written | None:
    """None where the line is not whole."""
    checksum, _, said = line[:-1].partition(b" ")
    if line[-1:] != b"\n" or checksum != b"%08x" % crc32(said):
        return None
    sent_ms, stream, payload = said.split(b" ", 2)
    return Written(int(sent_ms), stream.decode(), payload)


def _cut(path: Path) -> int:
    """Take away what a process that was killed did not finish; the size of what is left."""
    size = 0
    with path.open("rb") as file:
        for line in file:
            if line[-1:] != b"\n":
                break
            size += len(line)
    if size < path.stat().st_size:
        os.truncate(path, size)
    return size
