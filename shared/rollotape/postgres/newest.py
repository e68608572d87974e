"""What is newest of every symbol: its last bars, and where it stands. Reads only."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

    from rollotape.postgres.market import Connection

_SQL = queries("newest")


async def bars(
    connection: "Connection", symbols: Collection[str] | None, timeframes: Collection[str]
) -> "list[Record]":
    """The last stored bar of each symbol (None: of all) and timeframe that has one."""
    if symbols is None:
        symbols = [row["symbol"] for row in await connection.fetch(_SQL["symbols"])]
    return list(await connection.fetch(_SQL["bars"], list(symbols), list(timeframes)))


async def standing(connection: "Connection") -> "list[Record]":
    """Of every stock its sector, ratio and score, as scans filter by them."""
    return list(await connection.fetch(_SQL["standing"]))
