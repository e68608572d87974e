"""Bars as PostgreSQL's binary COPY format, laid out by numpy, not encoded value by value."""

from collections.abc import Sequence
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from rollotape.domain.analysis import Index, Key
from rollotape.domain.bars import Rows
from rollotape.postgres.pool import POSTGRES_EPOCH_US

COLUMNS = (
    "symbol", "timeframe", "ts", "open", "high", "low", "close", "volume", "revision", "synthetic", "hash",
    "end_ts", "session_date", "hours", "arrived_at", "evaluable",
)  # fmt: skip
_FIXED = (
    ("ts", ">i8"), ("open", ">f8"), ("high", ">f8"), ("low", ">f8"), ("close", ">f8"), ("volume", ">f8"),
    ("revision", ">i8"), ("synthetic", "?"), ("hash", ">i8"), ("end_ts", ">i8"), ("session", ">i4"),
)  # fmt: skip
_TIMES = ("ts", "end_ts", "arrived")
_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_POSTGRES_EPOCH_DAYS = 10_957


def pack(keys: Sequence[Key], index: Index, rows: Rows) -> BytesIO:
    """Row i belongs to `keys[index[i]]`. Rows of one layout are written together, in their order."""
    symbols, timeframes = (np.array([key[i].encode() for key in keys]) for i in (0, 1))
    widths = np.array([len(s) << 4 | len(t) << 2 for s, t in keys])
    kinds = widths[index] | rows["regular"] << 1 | (rows["evaluable"] < 0)
    parts = [_HEADER]
    for kind in np.unique(kinds).tolist():
        chosen = np.flatnonzero(kinds == kind)
        parts.append(_packed(kind, symbols[index[chosen]], timeframes[index[chosen]], rows[chosen]))
    return BytesIO(b"".join([*parts, _TRAILER]))


def _packed(kind: int, symbols: NDArray[np.bytes_], timeframes: NDArray[np.bytes_], rows: Rows) -> bytes:
    hours = b"regular" if kind & 2 else b"extended"
    out = np.repeat(_prototype(kind >> 4, kind >> 2 & 3, len(hours), bool(kind & 1)), len(rows))
    out["symbol"], out["timeframe"], out["hours"] = symbols, timeframes, hours
    for name in ("open", "high", "low", "close", "volume", "revision", "synthetic", "hash"):
        out[name] = rows[name]
    for name in _TIMES:
        out[name] = rows[name] - POSTGRES_EPOCH_US
    out["session"] = rows["session"] - _POSTGRES_EPOCH_DAYS
    if not kind & 1:
        out["evaluable"] = rows["evaluable"]
    return out.tobytes()


@cache
def _prototype(symbol: int, timeframe: int, hours: int, null: bool) -> NDArray[np.void]:
    """One row with every length filled in: a count of fields, then a length before each value."""
    fields = [("symbol", f"S{symbol}"), ("timeframe", f"S{timeframe}"), *_FIXED, ("hours", f"S{hours}")]
    fields += [("arrived", ">i8"), *([] if null else [("evaluable", "?")])]
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in fields:
        layout += [(f"{name}#", ">i4"), (name, kind)]
    row = np.zeros((), layout + [("evaluable#", ">i4")] * null)
    row["fields"] = len(COLUMNS)
    for name, _ in fields:
        row[f"{name}#"] = row.dtype[name].itemsize
    if null:
        row["evaluable#"] = -1
    return row
