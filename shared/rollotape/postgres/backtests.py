"""Tables `backtest_*`: written by `rollo backtest` when a run comes to its end, wholly or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from rollotape.facts import Message
from rollotape.postgres import outbox
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

Row = Mapping[str, Any]

RUN = (
    "id", "rule_set", "parameters", "timeframe", "only_symbols", "from_ts", "to_ts", "turns", "seed",
    "started_at", "ended_at", "symbols", "bars", "first_bar", "last_bar", "null_dates", "null_any_p",
)  # fmt: skip
RESULT = (
    "kind", "phase", "side", "sector", "patterns", "cancelled", "unfinished", "trade_count", "wins", "losses",
    "breakeven", "win_rate", "win_rate_ex_breakeven", "win_rate_low", "win_rate_high", "low_sample",
    "profit_factor", "profit_factor_state", "avg_r_multiple", "max_drawdown_r", "max_drawdown_state",
    "avg_holding_sessions", "median_holding_sessions", "sqn", "test_confirmed", "test_unconfirmed",
    "null_trade_count", "null_own_avg_r", "null_avg_r", "null_low", "null_high", "null_p",
)  # fmt: skip
EVENT = ("side", "kind", "events")


@dataclass(frozen=True, slots=True)
class Kept:
    """One run as rows; times in microseconds since 1970."""

    run: Row
    results: Sequence[Row]
    events: Sequence[Row]


class Backtests:
    """Needs a pool opened with `raw_times`."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._sql = queries("backtests")

    async def store(self, kept: Kept, messages: Sequence[Message]) -> Unsaid | None:
        """A run and what is to be said of it, in one transaction.

        None when a run of this id is stored already: nothing is changed, and nothing said again. So who does
        not know whether a commit was heard may try again.
        """
        run_id = kept.run["id"]
        async with self._pool.acquire() as connection, connection.transaction():
            new = f"{_insert('backtest_runs', RUN)} ON CONFLICT (id) DO NOTHING RETURNING id"
            if await connection.fetchval(new, *(kept.run[name] for name in RUN)) is None:
                return None
            for table, columns, rows in (
                ("backtest_results", RESULT, kept.results),
                ("backtest_events", EVENT, kept.events),
            ):
                values = [(run_id, *(row[name] for name in columns)) for row in rows]
                await connection.executemany(_insert(table, ("run_id", *columns)), values)
            return await outbox.add(connection, messages)

    async def runs(self) -> "list[Record]":
        """Every run with its figures in all, the newest first."""
        return list(await self._pool.fetch(self._sql["runs"]))

    async def named(self, beginning: str) -> list[UUID]:
        """The runs whose id begins like this; of several, two."""
        return [run_id for [run_id] in await self._pool.fetch(self._sql["named"], beginning)]

    async def read(self, run_id: UUID) -> Kept | None:
        """Everything that is stored of a run."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            run = await connection.fetchrow(self._sql["run"], run_id)
            if run is None:
                return None
            results = await connection.fetch(self._sql["results"], run_id)
            return Kept(run, results, await connection.fetch(self._sql["events"], run_id))


def _insert(table: str, columns: Sequence[str]) -> str:
    values = ", ".join(f"${i}" for i in range(1, len(columns) + 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - our own names
