"""Bars that files give twice with other numbers: the stream keeps one of each, and the sender should know."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollotape.domain.bars import NUMBERS
from rollotape.producers.csv import Columns

_ROW = np.dtype([("key", np.int64), ("numbers", np.int64), ("file", np.int32), ("line", np.int32)])


@dataclass(frozen=True, slots=True)
class Twice:
    """How many bars, and where the later row of the first pair stands."""

    bars: int
    path: Path
    line: int


@dataclass(slots=True)
class Watch:
    """Remembers 24 bytes of every row, hashes of 64 bits among them: it warns, nothing is decided by it."""

    _files: list[Path] = field(default_factory=list)
    _parts: list[NDArray[Any]] = field(default_factory=list)

    def add(self, path: Path, columns: Columns, *, without: Collection[int] = ()) -> None:
        """All rows but the lines `without`, which will be refused."""
        if not self._files or self._files[-1] != path:
            self._files.append(path)
        bars = columns.bars
        part = np.empty(len(bars), _ROW)
        keys = zip(bars.symbol, columns.seconds, bars.revision, strict=True)
        part["key"] = [hash((*key, bars.timeframe)) for key in keys]
        numbers = zip(*(getattr(bars, name) for name in NUMBERS), strict=True)
        part["numbers"] = [hash(row) for row in numbers]
        part["file"], part["line"] = len(self._files) - 1, columns.lines
        self._parts.append(part[~np.isin(part["line"], list(without))] if without else part)

    def found(self) -> Twice | None:
        """Bars of one symbol, time and revision whose rows differ; the same row again is no matter."""
        if not self._parts:
            return None
        rows = np.concatenate(self._parts)
        rows = rows[np.argsort(rows["key"], kind="stable")]
        again = rows["key"][1:] == rows["key"][:-1]
        other = again & (rows["numbers"][1:] != rows["numbers"][:-1])
        if not other.any():
            return None
        later = rows[1:][other]
        first = later[np.lexsort((later["line"], later["file"]))[0]]
        path, line = self._files[int(first["file"])], int(first["line"])
        return Twice(len(np.unique(later["key"])), path, line)
