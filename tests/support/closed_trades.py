"""Trades as rows of a database: of our own making into it, and whatever is there out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from cache_builder import counting
from rollotape.postgres.pool import open_pool
from rollotape.postgres.rollups import Rollups
from rollotape.settings import Settings
from support.databases import fetch
from support.performance_reference import Traded

_STORED = """
SELECT s.id, s.symbol, s.timeframe, s.origin, s.status, s.generated_at, s.pattern_type,
       s.entry_price AS entry, s.stop, s.exit_price, s.exit_date AS exit, s.sessions_held AS sessions,
       x.sector, s.pattern_id, p.phase, p.test_confirmed AS tested, p.confirmed_at AS tested_at
FROM signals s
LEFT JOIN patterns p ON p.id = s.pattern_id
LEFT JOIN sectors x ON x.symbol = s.symbol AND x.kind = 'stock'
"""
_INSERT = """
INSERT INTO signals (id, origin, source, symbol, timeframe, pattern_id, pattern_type, direction, status,
                     generated_at, changed_at, entry_date, entry_price, stop, exit_date, exit_price,
                     sessions_held, realized_r)
VALUES ($1, $2, 'test', $3, $4, $5, $6, 'long', $7, $8, $9, $8, 100, 90, $10, $11, $12, $13)
"""


def ago(days: float) -> datetime:
    """So long before now, to the second."""
    return (datetime.now(UTC) - timedelta(days=days)).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade at 100 with its stop at 90; it is closed unless `r` is None. `n` makes its id."""

    n: int
    r: float | None
    days_ago: float = 1.0
    symbol: str = "AAPL"
    pattern_type: str | None = "SPRING"
    pattern: int | None = None
    origin: str = "paper"
    timeframe: str = "1d"
    held: int = 3
    status: str = "OPEN"
    """Of one that is not closed."""

    @property
    def id(self) -> UUID:
        return UUID(int=self.n)

    def row(self) -> tuple[object, ...]:
        ended, closed = ago(self.days_ago), self.r is not None
        exit_ = (ended, 100 + 10 * self.r, self.held, self.r) if self.r is not None else (None,) * 4
        return (
            self.id, self.origin, self.symbol, self.timeframe, self.pattern and UUID(int=self.pattern),
            self.pattern_type, "CLOSED" if closed else self.status, ended - timedelta(days=5), ended, *exit_,
        )  # fmt: skip


async def insert_trades(database_url: str, trades: Sequence[Trade]) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.executemany(_INSERT, [trade.row() for trade in trades])
    finally:
        await connection.close()


def stored_trades(database_url: str) -> list[Traded]:
    """Every trade that is stored, for a reference to work on."""
    return [Traded(**dict(row)) for row in fetch(database_url, _STORED)]


async def roll_up(settings: Settings) -> None:
    """As a cache-builder does, until nothing is due."""
    async with await open_pool(settings, service="test", raw_times=True, size=1) as pool:
        rollups = Rollups(pool)
        while await rollups.run():
            pass
        await counting.count(pool)
