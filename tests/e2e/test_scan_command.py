"""`rollo scan` as a person runs it."""

import asyncio
import json
import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from rollotape.cli import stack
from rollotape.settings import Settings
from support import databases
from support.gateway import Setup, build_model, insert_patterns, serve
from support.stacks import ROLLO, environment, rollo
from support.terminals import ALTERNATE, NORMAL, Terminal, terminal
from support.waiting import eventually_sync


def test_a_scan_is_a_table_or_the_answer_itself(settings: Settings) -> None:
    setups = [Setup(1), Setup(2, "MSFT", confidence=0.6, side="distribution", phase=None)]
    asyncio.run(insert_patterns(settings.database_url, setups))
    asyncio.run(build_model(settings))
    with serve(settings) as url:
        table = rollo("scan", "--url", url)
        answer = rollo("scan", "--url", url, "--json", "--symbols", "MSFT")
        refused = rollo("scan", "--url", url, "--sectors", "Wheat")
        keyed = rollo("scan", "--url", url, "--sort", "symbol", ROLLO_API_KEY="rollo_any")

    assert "2 of 2 patterns" in table.stdout
    assert table.stdout.index("AAPL") < table.stdout.index("MSFT")
    assert [item["symbol"] for item in json.loads(answer.stdout)["patterns"]] == ["MSFT"]
    assert (refused.returncode, "sectors" in refused.stderr) == (2, True)
    assert keyed.returncode == 0


def test_without_a_gateway_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    away = rollo("scan", "--url", "http://127.0.0.1:1")
    nowhere = rollo("scan", "--data", str(tmp_path))
    wrong = rollo("scan", "--url", "file:///etc/passwd")

    assert (away.returncode, nowhere.returncode, wrong.returncode) == (1, 2, 2)
    assert "cannot be asked" in away.stderr
    assert "no stack runs" in nowhere.stderr


SETUPS = [
    Setup(1),
    Setup(2, "MSFT", confidence=0.6, side="distribution", phase=None),
    Setup(3, "XOM", "15m", "SOS", confidence=0.4),
]


@pytest.fixture
def scanned(settings: Settings) -> Settings:
    asyncio.run(insert_patterns(settings.database_url, SETUPS))
    asyncio.run(build_model(settings))
    return settings


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((), {"AAPL", "MSFT"}),
        (("--confidence", "0.3"), {"AAPL", "MSFT", "XOM"}),
        (("--confidence", "0.3", "--timeframes", "15m"), {"XOM"}),
        (("--confidence", "0.3", "--types", "sos"), {"XOM"}),
        (("--side", "distribution"), {"MSFT"}),
        (("--symbols", "aapl,xom"), {"AAPL"}),
        (("--excess", "1000"), set()),
        (("--count", "1"), {"AAPL"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_filters_are_those_of_the_gateway(
    filters: tuple[str, ...], expected: set[str], scanned: Settings
) -> None:
    with serve(scanned) as url:
        answer = rollo("scan", "--url", url, "--json", *filters)
    assert {item["symbol"] for item in json.loads(answer.stdout)["patterns"]} == expected


def running_on(place: Path, url: str) -> None:
    """What a stack leaves in its directory for commands to find it by."""
    stack.write(place, stack.Stack("redis://127.0.0.1:1", "", "postgresql://127.0.0.1:2/x", url, os.getpid()))


def expire(settings: Settings, symbol: str) -> None:
    statement = f"UPDATE patterns SET status = 'expired' WHERE symbol = '{symbol}'"
    databases.execute(settings.database_url, statement)
    asyncio.run(build_model(settings))


def shows(watching: Terminal, moment: int, *words: str) -> None:
    eventually_sync(lambda: all(w in watching.since(moment) for w in words), what=f"{words} on the screen")


def test_watching_in_a_terminal_goes_on_when_the_stack_comes_back_elsewhere(
    scanned: Settings, tmp_path: Path
) -> None:
    with ExitStack() as first:
        running_on(tmp_path, first.enter_context(serve(scanned)))
        with terminal("scan", "--watch", "--data", str(tmp_path)) as watching:
            shows(watching, 0, "2 of 2 patterns", "AAPL", "MSFT", "Ctrl-C ends")
            first.close()
            away = "the gateway cannot be asked (connection refused)"
            shows(watching, watching.now(), away, "AAPL", "Asking again every second")
            stack.remove(tmp_path)
            shows(watching, watching.now(), "no stack runs on", "AAPL")

            expire(scanned, "MSFT")
            with serve(scanned) as again:
                running_on(tmp_path, again)
                shows(watching, watching.now(), "1 of 1 patterns", "Ctrl-C ends")
                assert watching.interrupt() == 130
            _, _, left = watching.raw.rpartition(NORMAL)
            assert ALTERNATE in watching.raw
            assert "AAPL" in left, "the last picture stays"
            assert "Traceback" not in watching.raw


def test_a_small_terminal_shows_what_fits_and_says_how_much_does_not(scanned: Settings) -> None:
    with serve(scanned) as url, terminal(
        "scan", "--watch", "--url", url, "--confidence", "0", columns=60, lines=6
    ) as watching:  # fmt: skip
        shows(watching, 0, "3 of 3 patterns", "AAPL", "1 more; Ctrl-C ends")
        assert "XOM" not in watching.since()
        assert watching.interrupt() == 130


def test_watching_into_a_file_is_lines_of_what_comes_and_goes(scanned: Settings, tmp_path: Path) -> None:
    output = tmp_path / "watched.txt"
    with serve(scanned) as url, output.open("wb") as file:
        process = subprocess.Popen(
            [ROLLO, "scan", "--watch", "--url", url], stdout=file, stderr=file, env=environment()
        )  # fmt: skip
        try:
            eventually_sync(lambda: "+ MSFT" in output.read_text(), what="the first lines")
            expire(scanned, "MSFT")
            eventually_sync(lambda: "- MSFT" in output.read_text(), what="a line about what went")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    lines = output.read_text().splitlines()
    assert lines[0].startswith("2 of 2 patterns as of ")
    assert [line.split()[:2] for line in lines[1:4]] == [["+", "AAPL"], ["+", "MSFT"], ["-", "MSFT"]]
    assert "\x1b" not in output.read_text()


def test_watching_without_any_stack_ends_with_a_sentence(tmp_path: Path) -> None:
    told = rollo("scan", "--watch", "--data", str(tmp_path))
    assert told.returncode == 2
    assert "no stack runs" in told.stderr
