"""Closes for tests of strength: made from a few numbers, or read from market data."""

import csv
import gzip
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rollotape.domain import sectors
from rollotape.domain.strength import Closes, Market

EPOCH = date(1970, 1, 1)
MONDAY = 16_804
"""Days since 1970 of 2016-01-04."""

Days = list[tuple[date, float]]
"""Closes of one symbol, oldest first."""

ODD = (
    "APTV", "DWDP", "BHF", "BMY", "DHR", "ICE", "O", "ES", "ORCL", "CHRW", "LUV", "T", "VZ", "CTL", "BRK.B",
)  # fmt: skip
"""Short histories, holes, a tie, and a sector without a fund."""


def number(day: date) -> int:
    return (day - EPOCH).days


def day(number: int) -> date:
    return EPOCH + timedelta(days=number)


def weekdays(count: int, first: int = MONDAY) -> list[int]:
    """Days since 1970 of so many weekdays in a row, from a Monday on."""
    return [first + i + 2 * (i // 5) for i in range(count)]


def closes(days: Sequence[int], values: Sequence[float], *, cut: bool = False) -> Closes:
    return Closes(np.array(days, np.int64), np.array(values, float), cut)


def market(
    stocks: Mapping[str, Closes], of: Mapping[str, str | None], benchmarks: Mapping[str, Closes]
) -> Market:
    return Market.of(stocks, of, benchmarks)


@cache
def read(path: Path) -> dict[str, Days]:
    """Closes of sound rows of a file of daily bars."""
    found: dict[str, Days] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if bar := _sound(row):
                found.setdefault(row["symbol"], []).append((date.fromisoformat(row["date"]), bar[3]))
    return found


def _sound(row: Mapping[str, Any]) -> list[float] | None:
    cells = [row[name] for name in ("open", "high", "low", "close", "volume")]
    if not all(cells):
        return None
    o, h, low, c, v = map(float, cells)
    return [o, h, low, c, v] if low <= min(o, c) and max(o, c) <= h else None


def packed(series: Days) -> Closes:
    return closes([number(d) for d, _ in series], [c for _, c in series])


@cache
def sectors_of(path: Path) -> dict[str, str | None]:
    with path.open(encoding="utf-8") as file:
        return {row["symbol"]: sectors.sector(row["sector"]) for row in csv.DictReader(file)}


def forty(stocks: Mapping[str, Days]) -> list[str]:
    """The odd ones, and others from all over the alphabet."""
    others = [s for s in sorted(stocks) if s not in ODD]
    return sorted([*ODD, *others[:: len(others) // (40 - len(ODD))][: 40 - len(ODD)]])
