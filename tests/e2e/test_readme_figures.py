"""What five years gave, as the README shows it: typed as it says, equal to a reference digit by digit."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from time import time_ns
from typing import Any

import pytest

from rollotape.domain.performance import told
from rollotape.postgres.analytics import Filters, Split, Window
from support import documents, folders, market_files
from support import performance_reference as reference
from support.closed_trades import stored_trades
from support.databases import fetch
from support.documents import ROOT, Command
from support.performance_reference import Traded
from support.reading import Reader
from support.stacks import Stack, running_stack
from support.waiting import eventually_sync

TYPED = ("rollo import ", "rollo import-sectors ")
ASKED = "curl 'http://127.0.0.1:8080/api/analytics/"
PAPER = Filters(origin="paper")
ROLLED_UP_S = 120.0


@pytest.fixture(scope="module")
def commands() -> list[Command]:
    """Of the README, in their order."""
    blocks = [block for block in documents.blocks(ROOT / "README.md") if block.language == "console"]
    return [command for block in blocks for command in documents.commands(block)]


@pytest.fixture(scope="module")
def imported(shared_data: Path, commands: list[Command]) -> Iterator[tuple[Stack, Reader]]:
    """A stack with the real files, imported as the README says."""
    with folders.open_folder() as folder, running_stack(folder / ".rollo") as stack:
        market_files.write_all(folder)
        market_files.put_real(folder, shared_data)
        reader = Reader(folder, gateway=stack.found.gateway_url, data=stack.data)
        for command in commands:
            if command.text.startswith(TYPED):
                reader.run(command)
        eventually_sync(lambda: _is_rolled_up(stack), within_s=ROLLED_UP_S, what="rollups")
        yield stack, reader


def _is_rolled_up(stack: Stack) -> bool:
    left = fetch(stack.found.database_url, "SELECT count(*) FROM unrolled_days")[0][0]
    _, said = stack.get("/api/analytics/pattern-performance?days=all")
    closed = "SELECT count(*) FROM signals WHERE status = 'CLOSED'"
    [[stored]] = fetch(stack.found.database_url, closed)
    return bool(left == 0 and said["total"]["trade_count"] == stored)


@pytest.fixture(scope="module")
def trades(imported: tuple[Stack, Reader]) -> list[Traded]:
    return stored_trades(imported[0].found.database_url)


def _asked(commands: list[Command], about: str) -> Command:
    [command] = [c for c in commands if c.text.startswith(f"{ASKED}{about}?days=all")]
    return command


def _window() -> Window:
    return Window(None, time_ns() // 1_000)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _split(split: Split) -> dict[str, Any]:
    parts = {"test_confirmed": split.test_confirmed, "test_unconfirmed": split.test_unconfirmed}
    return told(split.performance) | {name: part and told(part) for name, part in parts.items()}


def test_the_table_of_patterns_is_what_is_shown_and_what_a_reference_says(
    imported: tuple[Stack, Reader], commands: list[Command], trades: list[Traded]
) -> None:
    command = _asked(commands, "pattern-performance")
    printed = imported[1].run(command)

    assert printed == command.shown
    found = reference.pattern_performance(trades, _window(), PAPER)
    expected = []
    for row in found.rows:
        figures = told(row.split.performance)
        low, high = figures["win_rate_ci95"]
        shown = row.pattern_type, figures["trade_count"], figures["wins"], figures["win_rate"], low, high
        expected.append(",".join(map(_cell, shown)))
    assert printed[1:] == expected
    assert len(expected) == 6
    assert sum(told(row.split.performance)["trade_count"] for row in found.rows) > 1_000


def test_sectors_are_what_a_reference_says(
    imported: tuple[Stack, Reader], commands: list[Command], trades: list[Traded]
) -> None:
    stack, reader = imported
    stocks = [dict(row) for row in fetch(stack.found.database_url, "SELECT * FROM sector_mapping")]
    expected = reference.sector_breakdown(trades, stocks, _window(), PAPER)

    said = json.loads("".join(reader.run(_asked(commands, "sector-breakdown"))))

    assert [(row["sector"], row["leader_count"]) for row in said["sectors"]] == [
        (row.sector, row.leader_count) for row in expected.rows
    ]
    for row, of in zip(said["sectors"], expected.rows, strict=True):
        assert row.items() >= _split(of.split).items(), of.sector
    assert said["total"].items() >= _split(expected.total).items()
    assert len(expected.rows) > 11


def test_a_trend_is_what_a_reference_says(
    imported: tuple[Stack, Reader], commands: list[Command], trades: list[Traded]
) -> None:
    expected = reference.trend(trades, "SPRING", _window(), PAPER)

    rows = list(csv.DictReader(imported[1].run(_asked(commands, "trend/SPRING"))))

    assert [row["date"] for row in rows] == [day.date.isoformat() for day in expected.rows]
    for row, day in zip(rows, expected.rows, strict=True):
        shown = {name: getattr(day, name) for name in row if name != "date"}
        assert {name: float(row[name]) for name in shown} == {n: float(v) for n, v in shown.items()}, day.date
    assert len(rows) > 100


def test_trades_are_those_of_a_reference(
    imported: tuple[Stack, Reader], commands: list[Command], trades: list[Traded]
) -> None:
    springs = Filters(origin="paper", pattern_types=("SPRING",))
    expected = reference.asked(trades, _window(), springs)

    said = json.loads("".join(imported[1].run(_asked(commands, "trades/SPRING"))))

    newest = list(reversed(expected))[:5]
    assert [t["id"] for t in said["trades"]] == [str(t.id) for t in newest]
    assert [t["realized_r"] for t in said["trades"]] == [float(t.r) for t in newest]
    assert said["pagination"]["total"] == len(expected)
