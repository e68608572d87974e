"""The document of a backtest as rows of tables, and back: the same document, whatever order rows have."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import orjson

from rollotape.backtest.chance import ALL
from rollotape.backtest.parameters import in_order, parameters
from rollotape.backtest.report import CELL, GROUPINGS, Asked, Found, events, moment, rank
from rollotape.domain.performance import Performance
from rollotape.postgres.backtests import Kept

Document = dict[str, Any]

_NAMES = tuple(GROUPINGS)
_FIGURES = (*(f.name for f in fields(Performance)), "expectancy")
_COUNTS = ("patterns", "cancelled", "unfinished")
_TESTS = ("test_confirmed", "test_unconfirmed")
_NULL = {
    "trade_count": "null_trade_count", "avg_r": "null_own_avg_r", "null_avg_r": "null_avg_r",
    "null_low": "null_low", "null_high": "null_high", "p": "null_p",
}  # fmt: skip
"""Figures of chance, and their columns."""


def kept(asked: Asked, found: Found, told: Document, run_id: str, started_us: int, ended_us: int) -> Kept:
    """What is to be stored of a backtest that came to its end."""
    null = told["null"]
    run = {
        "id": run_id,
        "rule_set": asked.rules.name,
        "parameters": _json(parameters(asked.rules)),
        "timeframe": asked.timeframe,
        "only_symbols": told["only"],
        "from_ts": asked.since_us,
        "to_ts": asked.before_us,
        "turns": asked.turns,
        "seed": asked.seed,
        "started_at": started_us,
        "ended_at": ended_us,
        "symbols": found.symbols,
        "bars": found.bars,
        "first_bar": found.first_us,
        "last_bar": found.last_us,
        "null_dates": None if null is None else null["dates"],
        "null_any_p": None if null is None else null["any_p"],
    }
    return Kept(run, list(_results(told)), told["events"])


def document(stored: Kept) -> Document:
    """What the run said, word for word."""
    run, results = stored.run, stored.results
    groups = {ALL: [_group(ALL, row) for row in results if _grouping(row) == ()]}
    for name in _NAMES:
        rows = [row for row in results if _grouping(row) == (name,)]
        groups[name] = [_group(row[name], row) for row in sorted(rows, key=lambda row: rank(row[name]))]
    cells = [row for row in results if _grouping(row) == CELL]
    cells.sort(key=lambda row: [rank(row[name]) for name in CELL])
    return {
        **heading(str(run["id"]), run["started_at"], run["ended_at"]),
        "rule_set": run["rule_set"],
        "parameters": in_order(orjson.loads(run["parameters"])),
        "timeframe": run["timeframe"],
        "only": run["only_symbols"],
        "from": moment(run["from_ts"]),
        "to": moment(run["to_ts"]),
        "symbols": run["symbols"],
        "bars": run["bars"],
        "unusable_rows": 0,
        "first_bar": moment(run["first_bar"]),
        "last_bar": moment(run["last_bar"]),
        "events": events({(row["side"], row["kind"]): row["events"] for row in stored.events}),
        "groups": groups,
        "cells": [{**{name: row[name] for name in CELL}, **_figures(row)} for row in cells],
        "null": _null(run, results) if run["turns"] else None,
    }


def heading(run_id: str, started_us: int, ended_us: int) -> Document:
    """What only a run has that is stored."""
    return {"job_id": run_id, "started_at": moment(started_us), "ended_at": moment(ended_us)}


def _results(told: Document) -> Iterator[Mapping[str, Any]]:
    null = {one["value"]: one for one in (told["null"] or {"kinds": []})["kinds"]}
    for name, groups in told["groups"].items():
        for group in groups:
            key = {} if name == ALL else {name: group["value"]}
            judged = null.get(group["value"], {}) if name in (ALL, "kind") else {}
            yield _row(key, group, judged)
    for one in told["cells"]:
        yield _row({name: one[name] for name in CELL}, one, {})


def _row(key: Mapping[str, str], figures: Mapping[str, Any], judged: Mapping[str, Any]) -> Mapping[str, Any]:
    low, high = figures["win_rate_ci95"] or (None, None)
    own = [name for name in _FIGURES if name not in ("win_rate_ci95", "expectancy")]
    return {
        **{name: key.get(name) for name in _NAMES},
        **{name: figures[name] for name in (*_COUNTS, *own)},
        "win_rate_low": low,
        "win_rate_high": high,
        **{name: figures[name] and _json(figures[name]) for name in _TESTS},
        **{column: judged.get(name) for name, column in _NULL.items()},
    }


def _grouping(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in _NAMES if row[name] is not None)


def _group(value: str, row: Mapping[str, Any]) -> Document:
    return {"value": value, **_figures(row)}


def _figures(row: Mapping[str, Any]) -> Document:
    interval = None if row["win_rate_low"] is None else [row["win_rate_low"], row["win_rate_high"]]
    derived = {"win_rate_ci95": interval, "expectancy": row["avg_r_multiple"]}
    tests = {name: row[name] and orjson.loads(row[name]) for name in _TESTS}
    return {
        **{name: row[name] for name in _COUNTS},
        **{name: derived[name] if name in derived else row[name] for name in _FIGURES},
        **{name: told and {figure: told[figure] for figure in _FIGURES} for name, told in tests.items()},
    }


def _null(run: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Document:
    judged = {row["kind"] or ALL: row for row in results if row["null_trade_count"] is not None}
    return {
        "turns": run["turns"],
        "seed": run["seed"],
        "dates": run["null_dates"],
        "any_p": run["null_any_p"],
        "kinds": [
            {"value": value, **{name: judged[value][column] for name, column in _NULL.items()}}
            for value in sorted(judged, key=rank)
        ],
    }


def _json(told: Mapping[str, Any]) -> str:
    return orjson.dumps(told).decode()
