"""Scores as rows of a table, and which of them are not what is stored."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rollotape.domain import sectors
from rollotape.domain.strength import PERIODS, Scores
from rollotape.domain.strength.market import Floats, Ints

COLUMNS = (
    "as_of",
    "symbol",
    "rs_score",
    *(f"excess_{p}" for p in PERIODS[1:]),
    *(f"sector_excess_{p}" for p in PERIODS),
    "rs_ratio",
    *(f"rs_ratio_{p}" for p in PERIODS[1:]),
    "mansfield",
    "rating",
    "sector_rank",
    "is_sector_leader",
    "market_status",
    "sector_status",
)
STATUS_LETTERS = "oisn"
"""ok, insufficient_history, stale, no_benchmark."""

Row = tuple[Any, ...]
"""Values of COLUMNS; the first two are the key."""
Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Changes:
    """What makes the stored rows of some days right."""

    written: list[Row]
    """New and changed rows."""
    removed: list[Key]
    """Keys of rows that are stored and changed or gone."""
    by_day: Counter[int]
    """How many rows of each day are new, changed or gone."""


def changes(scores: Scores, stored: Iterable[Row]) -> Changes:
    """`stored` are all rows of the days that were scored."""
    held = {row[:2]: row for row in stored}
    written, removed = [], []
    for row in rows(scores):
        old = held.pop(row[:2], None)
        if old != row:
            written.append(row)
            if old is not None:
                removed.append(row[:2])
    by_day = Counter([row[0] for row in written])
    by_day.update(day for day, _ in held)
    return Changes(written, [*removed, *held], by_day)


def rows(scores: Scores) -> list[Row]:
    """One row for every stock and day with a bar, by day and symbol."""
    cells = np.nonzero(scores.has_bar)
    day, stock = cells
    market, sector = scores.excess
    columns = [
        scores.days[day].tolist(),
        [scores.symbols[i] for i in stock.tolist()],
        *(_or_none(period[cells]) for period in (*market, *sector, *scores.ratio, scores.mansfield)),
        _or_none(scores.rating[cells]),
        _or_none(scores.rank[cells]),
        scores.leader[cells].tolist(),
        *(_letters([period[cells] for period in statuses]) for statuses in scores.status),
    ]
    return list(zip(*columns, strict=True))


def _or_none(values: Floats | Ints) -> list[Any]:
    """NaN, and 0 among whole numbers, stand for None."""
    found = values.astype(object)
    found[np.isnan(values) if values.dtype.kind == "f" else values == 0] = None
    return list(found.tolist())


def _letters(statuses: Sequence[Any]) -> list[str]:
    """One letter per period; few combinations occur, so each is spelled once."""
    code = np.zeros(len(statuses[0]), np.int64)
    for status in statuses:
        code = code * len(STATUS_LETTERS) + status
    distinct, which = np.unique(code, return_inverse=True)
    spelled = [_spell(c, len(statuses)) for c in distinct.tolist()]
    return [spelled[i] for i in which.tolist()]


def _spell(code: int, periods: int) -> str:
    base = len(STATUS_LETTERS)
    return "".join(STATUS_LETTERS[code // base**i % base] for i in reversed(range(periods)))


def mapping(stocks: Mapping[str, str | None], scores: Scores | None) -> list[Row]:
    """symbol, sector, etf, as_of, rs_score, rank, is_sector_leader of every stock, as of the newest day."""
    place = {symbol: i for i, symbol in enumerate(scores.symbols)} if scores else {}
    found = []
    for symbol, sector in stocks.items():
        day, score, rank, leader = None, None, None, False
        if scores:
            day = int(scores.days[0])
        if scores and (i := place.get(symbol)) is not None and not np.isnan(scores.rs_score[0, i]):
            score = float(scores.rs_score[0, i])
            rank, leader = int(scores.rank[0, i]) or None, bool(scores.leader[0, i])
        found.append((symbol, sector, sectors.benchmarks(sector)[1], day, score, rank, leader))
    return found
