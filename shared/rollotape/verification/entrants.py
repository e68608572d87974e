"""Saved scans once more: one scan after the other, one pattern after the other, by what was saved."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from rollotape.postgres import universes
from rollotape.postgres.sql import queries
from rollotape.verification import Difference

Row = Mapping[str, Any]

_WORDS = {
    "pattern_types": "pattern_type", "symbols": "symbol", "sectors": "sector", "timeframes": "timeframe",
    "phase": "phase", "side": "side",
}  # fmt: skip
_LEAST = {"confidence_min": "confidence", "vol_min": "vol_ratio"}
_NO_FILTERS = {"universe", "watchlist_id", "sort_by", "sort_order"}
"""The first two say which symbols; the others ask for nothing."""


@dataclass(slots=True)
class Outcome:
    """What was compared, and what was found."""

    entrants_checked: int = 0
    scans_pending: int = 0
    """Scans that are still to be looked at in this very snapshot; they were not compared."""
    symbols_pending: int = 0
    differences: list[Difference] = field(default_factory=list)


async def check(connection: Any, symbols: Sequence[str] | None) -> Outcome:
    """Compare who is in saved scans, of these symbols or of all. The connection is inside a snapshot."""
    found, sql = Outcome(), queries("verify_entrants")
    scans = await connection.fetch(sql["scans"])
    late = {i for [i] in await connection.fetch(sql["pending_scans"])}
    if await connection.fetchval(sql["pending_everything"]):
        late |= {scan["id"] for scan in scans}
    pending = {symbol for [symbol] in await connection.fetch(sql["pending_symbols"])}
    found.scans_pending, found.symbols_pending = len(late), len(pending) if scans else 0
    stored: dict[Any, set[str]] = {}
    for scan_id, symbol in await connection.fetch(sql["entrants"], symbols):
        stored.setdefault(scan_id, set()).add(symbol)
    if not scans:
        return found
    active = await connection.fetch(sql["active"], symbols)
    members = {u.key: frozenset(u.symbols) for u in await universes.load(connection)}
    for scan in scans:
        if scan["id"] in late:
            continue
        expected = _expected(scan, active, members)
        held = stored.get(scan["id"], set())
        found.entrants_checked += len(held)
        for symbol in sorted((held ^ expected) - pending):
            found.differences.append(_difference(scan["id"], symbol, symbol in held))
    return found


def _difference(scan_id: Any, symbol: str, is_stored: bool) -> Difference:
    stored, expected = ("in it", "") if is_stored else ("", "in it")
    return Difference("entrants", f"{scan_id} {symbol}", stored, expected)


def _expected(scan: Row, active: Sequence[Row], members: Mapping[str, Collection[str]]) -> set[str]:
    said = orjson.loads(scan["filters"])
    among = [members.get(said["universe"], ())] if "universe" in said else []
    if "watchlist_id" in said:
        among.append(frozenset(scan["watchlist"]))
    return {
        row["symbol"] for row in active if all(row["symbol"] in some for some in among) and _passes(row, said)
    }


def _passes(row: Row, said: Mapping[str, Any]) -> bool:
    """What is unknown fails a filter on it."""
    ours = row["rs_score"] is not None
    strength = {
        "rs_min": row["own_ratio"] if ours else row["rs_ratio"],
        "rs_excess_min": row["rs_score"] if ours else row["rs_excess"],
    }
    for name, wanted in {"confidence_min": 0.5, **said}.items():
        if name in _WORDS:
            passes = row[_WORDS[name]] in wanted
        elif name in _LEAST:
            passes = row[_LEAST[name]] is not None and row[_LEAST[name]] >= wanted
        elif name in strength:
            value = strength[name]
            passes = value is not None and value >= wanted
        elif name == "rsi_range":
            passes = row["rsi"] is not None and wanted[0] <= row["rsi"] <= wanted[1]
        elif name == "test_confirmed":
            passes = row["test_confirmed"] is wanted
        else:
            passes = name in _NO_FILTERS
        if not passes:
            return False
    return True
