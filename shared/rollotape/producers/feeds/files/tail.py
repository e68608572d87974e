"""Whole lines of a file that grows: a torn last line waits, and a file that was replaced is begun anew."""

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from rollotape.errors import Refused

CHUNK_BYTES = 1 << 20
HEAD_BYTES = 512
_ZIPPED, _UTF_16 = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")


class Lines(NamedTuple):
    """Whole lines that follow each other; `begins` where they are the first ones of a file."""

    begins: bool
    first_line: int
    texts: list[str]


class Tail:
    """One path, whatever file is there: read to its end, then the next one that takes its place.

    Two ways of rotation are known: the file is renamed and another one created, or it is cut to nothing and
    written from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn: list[str] = []
        """Beginnings of last lines of files that were replaced before the line was ended: no row is guessed
        from them."""
        self._file: BinaryIO | None = None
        self._head = b""
        self._rest = b""
        self._line = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def is_there(self) -> bool:
        """Whether there was a file the last time that something was read."""
        return self._file is not None

    @property
    def waits(self) -> bool:
        """Whether the last line has not ended yet."""
        return bool(self._rest)

    def read(self) -> Lines | None:
        """Some whole lines, None when there are no more for now.

        Raises:
            Refused: it is no text that could be followed.
        """
        while True:
            if self._file is None and not self._open():
                return None
            if lines := self._next():
                return lines
            if not self._is_replaced():
                return None
            self._close()

    def _open(self) -> bool:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise Refused(f"{self.path}: {error.strerror}") from error
        self._file, self._head, self._rest, self._line = file, b"", b"", 1
        return True

    def _next(self) -> Lines | None:
        assert self._file is not None
        while part := self._file.read(CHUNK_BYTES):
            if len(self._head) < HEAD_BYTES:
                self._look_at(part)
            whole, end, rest = (self._rest + part).rpartition(b"\n")
            self._rest = rest
            if len(rest) > CHUNK_BYTES:
                raise Refused(f"{self.path}: a line has more than a million characters: no CSV file")
            if end:
                texts = self._decoded(whole)
                first, self._line = self._line, self._line + len(texts)
                return Lines(first == 1, first, texts)
        return None

    def _look_at(self, part: bytes) -> None:
        """The beginning tells one file from another, and text from what is none."""
        self._head = (self._head + part)[:HEAD_BYTES]
        if self._head.startswith(_ZIPPED):
            raise Refused(f"{self.path}: a gzipped file cannot be followed: `rollo import` reads it")
        if self._head.startswith(_UTF_16):
            raise Refused(f"{self.path}: the file is UTF-16; save it as UTF-8")

    def _decoded(self, whole: bytes) -> list[str]:
        """Bytes that are no UTF-8 become \\xNN, which no number has, so their row is refused."""
        encoding = "utf-8-sig" if self._line == 1 else "utf-8"
        return whole.decode(encoding, "backslashreplace").split("\n")

    def _is_replaced(self) -> bool:
        """Whether another file is at the path, or this one was begun anew. Not while there is none."""
        assert self._file is not None
        try:
            there = self.path.stat()
        except OSError:
            return False
        here = os.fstat(self._file.fileno())
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            return True
        return (
            here.st_size < self._file.tell()
            or os.pread(self._file.fileno(), len(self._head), 0) != self._head
        )

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._rest.strip():
            self.torn.append(self._rest[:200].decode("utf-8", "backslashreplace"))
        self._rest = b""
