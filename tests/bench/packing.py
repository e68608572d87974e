"""Columns of any table as PostgreSQL's binary COPY format, laid out by numpy, not encoded value by value.

Rows of one layout, that is with texts of the same lengths and nulls in the same places, are written together,
so that within a block their order changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rollotape.postgres.pool import POSTGRES_EPOCH_US

_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_POSTGRES_EPOCH_DAYS = 10_957
_DIGITS = 10_000
"""Digits of a numeric come by four."""
_NUMERIC = np.dtype(
    [("digits", ">i2"), ("weight", ">i2"), ("sign", ">i2"), ("scale", ">i2"), ("value", ">u2", 2)]
)

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """Values as they travel; `lengths` where these differ (texts), `missing` where some are null."""

    values: Array
    lengths: Array | None = None
    missing: Array | None = None

    @classmethod
    def numbers(cls, values: Array, kind: str) -> Self:
        return cls(values.astype(kind))

    @classmethod
    def times(cls, us: Array) -> Self:
        """Of microseconds since 1970."""
        return cls((us - POSTGRES_EPOCH_US).astype(">i8"))

    @classmethod
    def days(cls, days: Array) -> Self:
        """Of days since 1970."""
        return cls((days - _POSTGRES_EPOCH_DAYS).astype(">i4"))

    @classmethod
    def prices(cls, units: Array) -> Self:
        """Of whole numbers of 0.0001, from 1 to below 10,000."""
        made = np.zeros(len(units), _NUMERIC)
        made["digits"], made["scale"] = 2, 8
        made["value"][:, 0], made["value"][:, 1] = units // _DIGITS, units % _DIGITS
        return cls(made)

    @classmethod
    def words(cls, vocabulary: tuple[str | None, ...], chosen: Array) -> Self:
        """Of each row one of few texts; None is null."""
        known = np.array([(word or "").encode() for word in vocabulary])
        lengths = np.array([len(word or "") for word in vocabulary])
        missing = np.array([word is None for word in vocabulary])
        return cls(known[chosen], lengths[chosen], missing[chosen] if missing.any() else None)

    def unless(self, missing: Array) -> "Column":
        return Column(self.values, self.lengths, missing)


class Block(NamedTuple):
    """Rows for COPY."""

    rows: int
    columns: tuple[str, ...]
    data: bytes


def pack(columns: Mapping[str, Column]) -> Block:
    values = list(columns.values())
    return Block(len(values[0].values), tuple(columns), b"".join([_HEADER, *_layouts(values), _TRAILER]))


def _layouts(columns: list[Column]) -> Iterator[bytes]:
    kinds = np.zeros(len(columns[0].values), np.int64)
    for column in columns:
        if column.lengths is not None:
            kinds = kinds * (column.lengths.max() + 1) + column.lengths
        if column.missing is not None:
            kinds = kinds * 2 + column.missing
    _, kinds = np.unique(kinds, return_inverse=True)
    order = np.argsort(kinds, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1):
        yield _packed(columns, rows)


def _packed(columns: list[Column], rows: Array) -> bytes:
    """Rows of one layout: a count of fields, then a length before each value."""
    first = rows[0]
    layout: list[tuple[str, Any]] = [("fields", ">i2")]
    for n, column in enumerate(columns):
        layout.append((f"#{n}", ">i4"))
        if column.missing is None or not column.missing[first]:
            length = column.lengths[first] if column.lengths is not None else None
            layout.append((f"{n}", column.values.dtype if length is None else f"S{length}"))
    made = np.zeros(len(rows), layout)
    made["fields"] = len(columns)
    for n, column in enumerate(columns):
        there = f"{n}" in (made.dtype.names or ())
        made[f"#{n}"] = made.dtype[f"{n}"].itemsize if there else -1
        if there:
            made[f"{n}"] = column.values[rows]
    return made.tobytes()
