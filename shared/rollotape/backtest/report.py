"""What a backtest found, as one document: events, figures by type, phase, side and sector, and chance."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rollotape.backtest.chance import ALL, Chance, Verdict
from rollotape.backtest.parameters import parameters
from rollotape.backtest.trades import Followed
from rollotape.domain.performance import by_test, performance, told
from rollotape.domain.wyckoff.facts import Side
from rollotape.domain.wyckoff.rules import KINDS, MIRRORED, Rules

UNKNOWN = "unknown"
ORDER = ("SPRING", "SOS", "LPS", "UTAD", "SOW", "LPSY")
EVENTS: Mapping[Side, Sequence[str]] = {
    "accumulation": KINDS,
    "distribution": [MIRRORED.get(kind, kind) for kind in KINDS],
}
"""Every kind of event, in the order of a schematic."""

GROUPINGS: Mapping[str, Callable[[Followed], str]] = {
    "kind": lambda f: f.pattern.kind,
    "phase": lambda f: f.pattern.phase,
    "side": lambda f: f.pattern.side,
    "sector": lambda f: f.sector or UNKNOWN,
}
CELL = ("kind", "phase", "sector")
"""What a cell is one value of each."""


@dataclass(slots=True)
class Asked:
    """What a backtest was about; times in microseconds since 1970."""

    rules: Rules
    timeframe: str
    only: Collection[str] | None
    """Symbols; None: all that there are."""
    since_us: int | None
    before_us: int | None
    turns: int
    seed: int


@dataclass(slots=True)
class Found:
    """Grows symbol by symbol; bars are not kept."""

    symbols: int = 0
    bars: int = 0
    unusable: int = 0
    first_us: int | None = None
    last_us: int | None = None
    followed: list[Followed] = field(default_factory=list)
    events: Counter[tuple[Side, str]] = field(default_factory=Counter)


def document(asked: Asked, found: Found, chance: Chance | None) -> dict[str, Any]:
    """Only what JSON has; a figure that there is none of is null."""
    groups = {ALL: [_group(ALL, found.followed)]}
    for name in GROUPINGS:
        parts = _parts(found.followed, (name,))
        groups[name] = [_group(value, parts[value,]) for (value,) in sorted(parts, key=_ranks)]
    cells = _parts(found.followed, CELL)
    return {
        "rule_set": asked.rules.name,
        "parameters": parameters(asked.rules),
        "timeframe": asked.timeframe,
        "only": None if asked.only is None else sorted(asked.only),
        "from": moment(asked.since_us),
        "to": moment(asked.before_us),
        "symbols": found.symbols,
        "bars": found.bars,
        "unusable_rows": found.unusable,
        "first_bar": moment(found.first_us),
        "last_bar": moment(found.last_us),
        "events": events(found.events),
        "groups": groups,
        "cells": [_cell(values, cells[values]) for values in sorted(cells, key=_ranks)],
        "null": None if chance is None else _null(asked, chance),
    }


def events(counted: Mapping[tuple[Side, str], int]) -> list[dict[str, Any]]:
    """Of every kind, also of those that did not occur."""
    return [
        {"side": side, "kind": kind, "events": counted.get((side, kind), 0)}
        for side, kinds in EVENTS.items()
        for kind in kinds
    ]


def moment(us: int | None) -> str | None:
    if us is None:
        return None
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


def _parts(followed: Sequence[Followed], names: Sequence[str]) -> dict[tuple[str, ...], list[Followed]]:
    parts: dict[tuple[str, ...], list[Followed]] = {}
    for one in followed:
        parts.setdefault(tuple(GROUPINGS[name](one) for name in names), []).append(one)
    return parts


def rank(value: str) -> tuple[int, str]:
    """The order of the tables: types as they come in a schematic, what nobody knows last."""
    return (ORDER.index(value), "") if value in ORDER else (len(ORDER) + (value == UNKNOWN), value)


def _ranks(values: Sequence[str]) -> list[tuple[int, str]]:
    return [rank(value) for value in values]


def _cell(values: Sequence[str], followed: Sequence[Followed]) -> dict[str, Any]:
    return {**dict(zip(CELL, values, strict=True)), **_counted(followed)}


def _group(value: str, followed: Sequence[Followed]) -> dict[str, Any]:
    return {"value": value, **_counted(followed)}


def _counted(followed: Sequence[Followed]) -> dict[str, Any]:
    states = [f.trade.status for f in followed]
    closed = [c for f in followed if (c := f.closed)]
    confirmed, unconfirmed = by_test(closed)
    return {
        "patterns": len(followed),
        "cancelled": states.count("CANCELLED"),
        "unfinished": states.count("OPEN") + states.count("PENDING"),
        **told(performance(closed)),
        "test_confirmed": confirmed and told(confirmed),
        "test_unconfirmed": unconfirmed and told(unconfirmed),
    }


def _null(asked: Asked, chance: Chance) -> dict[str, Any]:
    verdicts = chance.verdicts()
    smallest = [v.p for name, v in verdicts.items() if name != ALL]
    return {
        "turns": asked.turns,
        "seed": asked.seed,
        "dates": max(0, chance.calendar.count),
        "any_p": min(1.0, len(smallest) * min(smallest)) if smallest else None,
        "kinds": [_judged(name, verdicts[name]) for name in sorted(verdicts, key=rank)],
    }


def _judged(name: str, verdict: Verdict) -> dict[str, Any]:
    return {"value": name, **asdict(verdict)}
