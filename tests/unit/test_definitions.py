"""The worked examples of docs/definitions.md and strength.md, computed."""

import doctest
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollotape.domain.sessions import DAY_US
from rollotape.domain.strength import STATUSES
from rollotape.domain.vsa.rules import RULE_SETS
from rollotape.domain.wyckoff.facts import Event, Range
from rollotape.domain.wyckoff.rules import CURRENT, KINDS, MIRRORED
from support import documents
from support.bars import MONDAY, Ohlcv, by_arrays, by_windows, rows
from support.wyckoff import CALM, fold, script

PAGE = documents.ROOT / "docs" / "definitions.md"
BEFORE = 60
DRIFT = {"flat": 0.0, "rising": 0.5, "falling": -0.5}
ELSEWHERE = {"client.md"}
"""Its examples ask a gateway: `tests/integration/test_client_page.py`."""
PYTHON = [
    path
    for path in documents.documents()
    if path.name not in ELSEWHERE and any(block.language == "python" for block in documents.blocks(path))
]


def table(first: str) -> list[list[str]]:
    """Cells of the rows of the table whose first column has this name."""
    lines = iter(PAGE.read_text("utf-8").splitlines())
    for line in lines:
        if line.startswith(f"| {first} |"):
            next(lines)
            break
    found: list[list[str]] = []
    for line in lines:
        if not line.startswith("|"):
            return found
        found.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return found


def examples() -> Iterator[tuple[str, list[Ohlcv], str]]:
    """What was before, the bars, and the events known at the last one."""
    rest = table("before")
    while rest:
        size = next((i for i, row in enumerate(rest[1:], 1) if row[0]), len(rest))
        bars = [tuple(float(cell.replace(",", "")) for cell in row[1:6]) for row in rest[:size]]
        assert not any(row[6] for row in rest[: size - 1])
        yield rest[0][0], bars, rest[size - 1][6]  # type: ignore[misc]
        rest = rest[size:]


def history(drift: float) -> list[Ohlcv]:
    closes = [100 - drift * (BEFORE - 1 - i) for i in range(BEFORE)]
    return [(c - drift, c + 1, c - 1, c, 1000) for c in closes]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_examples_in_python_print_what_is_shown(path: Path) -> None:
    text = "\n".join("\n".join(block.lines) for block in documents.blocks(path) if block.language == "python")
    example = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
    told: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(example, out=told.append).failed == 0, "".join(told)


@pytest.mark.parametrize(("before", "bars", "events"), list(examples()))
def test_a_volume_spread_example_has_exactly_its_events(before: str, bars: list[Ohlcv], events: str) -> None:
    whole = rows([*history(DRIFT[before]), *bars])
    for judge in (by_arrays, by_windows):
        _, found = judge(whole)
        assert {" ".join(event[:3]) for event in found} == set(filter(None, events.split("; ")))


def test_every_volume_spread_event_has_an_example() -> None:
    shown = {event for _, _, events in examples() for event in events.split("; ") if event}
    rules = {(s.name, rule.kind, rule.direction) for s in RULE_SETS for rule in s.rules if rule.direction}
    assert shown == {" ".join(rule) for rule in rules}


def test_the_schematic_is_read_as_it_is_told() -> None:
    told = table("bar")
    bars = [tuple(float(cell.replace(",", "")) for cell in row[1:5]) for row in told]
    first = (MONDAY + CALM - 1) * DAY_US
    facts = fold(script(*bars), CURRENT)  # type: ignore[arg-type]
    events = [f for f in facts if isinstance(f, Event)]
    seen = {(f.kind, (f.event_ts - first) // DAY_US, (f.confirmed_ts - first) // DAY_US) for f in events}
    phases = {(f.confirmed_ts - first) // DAY_US: f.phase for f in facts if isinstance(f, Range)}
    shown = {
        (event.split(" ")[0], int(event.split(" ")[-1]), int(row[0]))
        for row in told
        for event in filter(None, row[5].split("; "))
    }
    assert seen == shown
    assert {kind for kind, _, _ in seen} == set(KINDS)
    reached = {int(row[0]): row[6] for row in told if row[6]}
    assert {bar: phases[bar] for bar in reached} == reached


def test_every_wyckoff_event_and_status_of_strength_is_named() -> None:
    assert {(row[0], row[1]) for row in table("event")} == {(k, MIRRORED.get(k, k)) for k in KINDS}
    assert {row[0] for row in table("`status` of a period")} == set(STATUSES)
