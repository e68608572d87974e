"""Many saved scans held against one pattern are those scans held against many patterns."""

from random import Random
from typing import Any

import pytest

from rollotape.domain.entrants import Book, Criteria, criteria, fill
from rollotape.domain.scan import Row

SYMBOLS = [f"S{n}" for n in range(8)]
UNIVERSES = ("sp500", "leaders")


def _row(r: Random, n: int) -> Row:
    return Row(
        id=f"00000000-0000-4000-8000-{n:012x}",
        symbol=r.choice(SYMBOLS),
        pattern_type=r.choice(("SPRING", "SOS", "FLAG")),
        timeframe=r.choice(("1d", "1h")),
        side=r.choice((None, "accumulation", "distribution")),
        phase=r.choice((None, "C", "D")),
        sector=r.choice((None, "Energy", "Utilities")),
        confidence=r.choice((0.2, 0.5, 0.8, 0.8, 1.0)),
        rs_ratio=r.choice((None, 0.9, 1.1)),
        rs_excess=r.choice((None, -3.0, 0.0, 3.0)),
        vol_ratio=r.choice((None, 0.0, 1.0, 2.0)),
        rsi=r.choice((None, 30.0, 50.0, 70.0)),
        test_confirmed=r.choice((None, True, False)),
        detected_at=n,
        expires_at=n + 1,
    )


def _said(r: Random) -> dict[str, Any]:
    offered: dict[str, Any] = {
        "pattern_types": r.sample(("SPRING", "SOS", "FLAG"), 2), "symbols": r.sample(SYMBOLS, 4),
        "sectors": ["Energy"], "timeframes": ["1d"], "phase": ["C", "D"], "side": ["accumulation"],
        "confidence_min": r.choice((0.0, 0.5, 0.8)), "rs_min": 1.0, "rs_excess_min": r.choice((-3.0, 0.0)),
        "vol_min": r.choice((0.0, 1.0)), "rsi_range": [30.0, 50.0], "test_confirmed": r.random() < 0.5,
        "universe": r.choice(UNIVERSES), "sort_by": "symbol",
    }  # fmt: skip
    return {name: offered[name] for name in r.sample(sorted(offered), r.randint(0, 4))}


@pytest.mark.parametrize("seed", range(40))
def test_both_ways_find_the_same_pattern_of_every_symbol(seed: int) -> None:
    r = Random(f"entrants {seed}")
    watchlists: tuple[list[str] | None, ...] = (None, None, [], r.sample(SYMBOLS, 5))
    scans = {n: criteria(_said(r), r.choice(watchlists)) for n in range(r.randint(0, 40))}
    rows = [_row(r, n) for n in range(r.randint(0, 60))]
    memberships = {s: [u for u in UNIVERSES if r.random() < 0.5] for s in r.sample(SYMBOLS, 6)}

    filled = fill(scans, rows, memberships)

    assert Book(scans).find(rows, memberships) == filled
    left_out = set(r.sample(sorted(scans), len(scans) // 2))
    rest = {pair: row for pair, row in filled.items() if pair[0] not in left_out}
    assert Book(scans).find(rows, memberships, without=left_out) == rest


def test_a_scan_that_says_nothing_asks_for_half_confidence() -> None:
    r = Random(1)
    rows = [_row(r, n)._replace(symbol=f"S{n}", confidence=c) for n, c in enumerate((0.49, 0.5, 0.9))]
    assert [symbol for _, symbol in Book({1: criteria({}, None)}).find(rows, {})] == ["S1", "S2"]


@pytest.mark.parametrize(
    ("said", "unknown"),
    [
        ({"rs_min": -1e9}, "rs_ratio"),
        ({"rs_excess_min": -1e9}, "rs_excess"),
        ({"vol_min": 0.0}, "vol_ratio"),
        ({"rsi_range": [0.0, 100.0]}, "rsi"),
        ({"test_confirmed": False}, "test_confirmed"),
        ({"phase": ["C"]}, "phase"),
        ({"side": ["accumulation"]}, "side"),
        ({"sectors": ["Energy"]}, "sector"),
    ],
)
def test_what_is_unknown_fails_a_filter_on_it(said: dict[str, Any], unknown: str) -> None:
    values: dict[str, Any] = {
        "id": "1", "symbol": "A", "pattern_type": "SOS", "timeframe": "1d", "side": "accumulation",
        "phase": "C", "sector": "Energy", "confidence": 0.9, "rs_ratio": 1.0, "rs_excess": 1.0,
        "vol_ratio": 1.0, "rsi": 50.0,
        "test_confirmed": False, "detected_at": 0, "expires_at": 1,
    }  # fmt: skip
    known = Row(**values)
    book = Book({1: criteria(said, None)})
    assert book.find([known], {}) == {(1, "A"): known}
    assert book.find([Row(**values | {unknown: None})], {}) == {}


def test_symbols_are_those_named_and_on_the_watchlist() -> None:
    assert criteria({"symbols": ["A", "B"]}, ["B", "C"]).symbols == frozenset("B")
    assert criteria({}, []).symbols == frozenset()
    assert isinstance(criteria({}, None), Criteria)
    assert criteria({}, None).symbols is None
