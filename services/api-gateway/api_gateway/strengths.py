"""Scores as items of JSON and rows of CSV, the same wherever they are shown."""

from collections.abc import Iterable
from typing import Any

from api_gateway import responses
from rollotape.domain.strength import PERIODS, STATUSES
from rollotape.domain.strength.rows import STATUS_LETTERS

COLUMNS = (
    "symbol", "name", "sector", "as_of",
    "rs_score", *(f"excess_{p}" for p in PERIODS), *(f"sector_excess_{p}" for p in PERIODS),
    "rs_ratio", *(f"rs_ratio_{p}" for p in PERIODS[1:]), "mansfield", "rating",
    "sector_rank", "is_sector_leader",
)  # fmt: skip
_STATUS = dict(zip(STATUS_LETTERS, STATUSES, strict=True))
_STATUS_COLUMNS = tuple(f"{of}_{p}" for of in ("status", "sector_status") for p in PERIODS)


def item(row: Any) -> dict[str, Any]:
    """One row of scores, as JSON shows it."""
    values = {**row, "excess_30d": row["rs_score"]}
    said = {name: values[name] for name in COLUMNS}
    market, sector = _statuses(row["market_status"]), _statuses(row["sector_status"])
    return said | {"status": market, "sector_status": sector}


def _statuses(letters: str) -> dict[str, str]:
    return {period: _STATUS[letter] for period, letter in zip(PERIODS, letters, strict=True)}


def table(rows: Iterable[Any]) -> bytes:
    """The same as CSV; statuses become columns."""
    return responses.table((*COLUMNS, *_STATUS_COLUMNS), map(_cells, rows))


def _cells(row: Any) -> list[Any]:
    said = item(row)
    statuses = [*said.pop("status").values(), *said.pop("sector_status").values()]
    return [*said.values(), *statuses]
