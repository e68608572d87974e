"""Bars packed into frames: up to 1,000 bars of one partition and timeframe in one stream entry."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from typing import Any

import orjson

from rollotape.domain.bars import NUMBERS
from rollotape.events import MAX_FRAME_BARS, MAX_PAYLOAD_BYTES
from rollotape.streams.partitions import partition_of, stream_name

MAX_SYMBOL = 64
"""Longer symbols travel alone and are refused there: a full frame stays far below the largest payload."""

assert MAX_FRAME_BARS * (MAX_SYMBOL * 4 + 27 + 6 * 26) < MAX_PAYLOAD_BYTES

_COLUMNS = ("symbol", "ts", *NUMBERS, "revision")
Message = tuple[str, bytes]
"""A stream and the payload of one entry."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Columns of equal length, of one timeframe; `ts` is RFC 3339 and a missing number is None."""

    timeframe: str
    symbol: list[str]
    ts: list[str]
    open: list[float | None]
    high: list[float | None]
    low: list[float | None]
    close: list[float | None]
    volume: list[float | None]
    revision: list[int]

    def __len__(self) -> int:
        return len(self.symbol)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        return zip(*(getattr(self, name) for name in _COLUMNS), strict=True)

    def only(self, chosen: list[bool]) -> "Bars":
        columns = (list(compress(getattr(self, name), chosen)) for name in _COLUMNS)
        return Bars(self.timeframe, *columns)


class Framer:
    """Collects bars per partition and gives out full frames; the bars of a symbol keep their order."""

    def __init__(self, partitions: int, frame_bars: int = 500) -> None:
        """With `frame_bars` 1, every bar becomes an entry of its own, without the form of a frame."""
        if not 1 <= frame_bars <= MAX_FRAME_BARS:
            raise ValueError(f"a frame holds 1 to {MAX_FRAME_BARS} bars, not {frame_bars}")
        self._partitions = partitions
        self._frame_bars = frame_bars
        self._waiting: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        self._streams: dict[str, str] = {}

    def add(self, bars: Bars) -> list[Message]:
        """The frames that these bars fill."""
        full: list[Message] = []
        timeframe, size = bars.timeframe, self._frame_bars
        for row in bars.rows():
            stream = self._streams.get(row[0]) or self.stream_of(row[0])
            waiting = self._waiting.setdefault((stream, timeframe), [])
            waiting.append(row)
            if len(waiting) >= size:
                full.append((stream, self._encode(timeframe, waiting)))
                waiting.clear()
        return full

    def flush(self) -> list[Message]:
        """What is left, as frames that are not full."""
        left = [(stream, self._encode(tf, rows)) for (stream, tf), rows in self._waiting.items() if rows]
        self._waiting.clear()
        return left

    def stream_of(self, symbol: str) -> str:
        if len(self._streams) > 100_000:  # a hostile file may name any number of symbols
            self._streams.clear()
        stream = stream_name("bars", partition_of(symbol, self._partitions))
        self._streams[symbol] = stream
        return stream

    def _encode(self, timeframe: str, rows: list[tuple[Any, ...]]) -> bytes:
        if self._frame_bars == 1:
            [row] = rows
            bar = dict(zip(_COLUMNS, row, strict=True))
            return orjson.dumps({"version": 1, "timeframe": timeframe, **bar})
        columns = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
        if not any(columns["revision"]):
            del columns["revision"]
        return orjson.dumps({"version": 1, "timeframe": timeframe, "frame": columns})
