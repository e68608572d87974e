"""Trades of outside systems, held against what their events say: nothing in them follows from bars."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from rollotape.domain import signals
from rollotape.domain.analysis import Key
from rollotape.domain.ids import is_own
from rollotape.postgres.sql import queries
from rollotape.verification import Difference

Row = Mapping[str, Any]
_DERIVED = ("hash", "realized_r")
_MONEY = ("entry_price", "stop", "target", "exit_price")


async def read(connection: Any, key: Key) -> list[Row]:
    """Needs a connection with `raw_times`."""
    return [dict(row) for row in await connection.fetch(queries("verify")["outside_trades"], *key)]


def differences(stored: Sequence[Row]) -> Iterator[Difference]:
    for row in stored:
        expected = _derived(row)
        for column, value in expected.items():
            if row[column] != value:
                yield Difference("signals", f"{row['id']} {column}", str(row[column]), str(value))
        if is_own(row["id"]):
            yield Difference("signals", f"{row['id']}", "external", "an id of ours")


def _derived(row: Row) -> dict[str, Any]:
    """What we compute from what the sender says, which is everything else in the row."""
    said = {name: value for name, value in row.items() if name not in _DERIVED}
    for name, value in said.items():
        if isinstance(value, UUID):
            said[name] = UUID(str(value))
    money = {n: None if row[n] is None else signals.money(row[n]) for n in _MONEY}
    earned = signals.realized_r(money["entry_price"], signals.money(row["stop"]), money["exit_price"])
    return {"hash": signals.digest(said | money), "realized_r": earned}
