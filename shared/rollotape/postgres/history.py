"""Whole histories as they are stored, one symbol after the other, for those who read and write nothing."""

from collections.abc import Collection
from typing import Any, NamedTuple

import asyncpg
import numpy as np

from rollotape.domain.bars import BAR, NUMBERS, Rows
from rollotape.postgres.pool import POSTGRES_EPOCH_US
from rollotape.postgres.sql import queries

_POSTGRES_EPOCH_DAYS = 10_957


class Stored(NamedTuple):
    """A symbol with analysed bars; times in microseconds since 1970."""

    symbol: str
    sector: str | None
    first_us: int
    last_us: int


class History:
    """Needs a pool opened with `raw_times`: times are integer microseconds."""

    def __init__(self, pool: "asyncpg.Pool[Any]", timeframe: str, before_us: int) -> None:
        self._pool, self._timeframe, self._before = pool, timeframe, before_us
        self._sql = queries("history")

    async def symbols(self, wanted: Collection[str] | None) -> list[Stored]:
        """In the order of their names; all that there are where None are named."""
        asked = None if wanted is None else sorted(wanted)
        found = await self._pool.fetch(self._sql["symbols"], self._timeframe, asked, self._before)
        return [Stored(*record) for record in found]

    async def bars(self, symbol: str) -> Rows:
        """The analysed bars of a symbol, oldest first, without what the rules do not look at."""
        columns = await self._pool.fetchrow(self._sql["bars"], symbol, self._timeframe, self._before)
        assert columns is not None
        rows = np.zeros(len(columns["ts"] or b"") // 8, BAR)
        if len(rows):
            for name in ("ts", "end_ts"):
                rows[name] = np.frombuffer(columns[name], ">i8")
                rows[name] += POSTGRES_EPOCH_US
            for name in NUMBERS:
                rows[name] = np.frombuffer(columns[name], ">f8")
            rows["session"] = np.frombuffer(columns["session"], ">i4")
            rows["session"] += _POSTGRES_EPOCH_DAYS
            rows["regular"] = True
        return rows
