"""What `rollo feed` is asked wrongly is said before anything is connected or sent."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rollotape.cli.feed import app
from rollotape.cli.feeding import Terminal, line
from rollotape.producers.feeds.standing import Standing

ACCOUNT = {"ROLLO_ALPACA_KEY": "k", "ROLLO_ALPACA_SECRET": "s"}
NOWHERE = {
    "ROLLO_REDIS_URL": "redis://127.0.0.1:1/0",
    "ROLLO_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
}


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        ("alpaca --symbols AAPL", {}, "ROLLO_ALPACA_KEY and ROLLO_ALPACA_SECRET not set"),
        ("alpaca --symbols AAPL", {"ROLLO_ALPACA_KEY": "k"}, "ROLLO_ALPACA_SECRET not set: make a key"),
        ("alpaca", ACCOUNT, "name symbols: --symbols AAPL,MSFT"),
        ("alpaca --symbols EUR=X", ACCOUNT, "--symbols EUR=X: must be 1 to 20 characters"),
        ("alpaca --symbols A --timeframe 1h", ACCOUNT, "--timeframe 1h: this feed has 1m 5m 15m 30m 1d 1w"),
        ("alpaca --symbols A --timeframe 1M", ACCOUNT, "--timeframe 1M: this feed has"),
        ("alpaca --symbols A --source nyse", ACCOUNT, "--source nyse: must be one of iex sip delayed_sip"),
        ("alpaca --symbols A --adjustment no", ACCOUNT, "--adjustment no: must be one of raw split all"),
        (
            "alpaca --symbols A", ACCOUNT | {"ROLLO_ALPACA_DATA_URL": "http://far"},
            "ROLLO_ALPACA_DATA_URL: must begin with https:// unless it is on this machine",
        ),
        (
            "alpaca --symbols A", ACCOUNT | {"ROLLO_ALPACA_STREAM_URL": "http://127.0.0.1"},
            "ROLLO_ALPACA_STREAM_URL: 'http://127.0.0.1' is no URL like wss://host",
        ),
        ("yfinance --symbols A --since 2999-01-01", {}, "--since 2999-01-01: is in the future"),
        ("yfinance --symbols-file none.txt", {}, "--symbols-file none.txt: cannot be read"),
        ("yfinance --symbols A", {"ROLLO_YAHOO_URL": "ftp://h"}, "ROLLO_YAHOO_URL: 'ftp://h' is no URL"),
        ("csv a.csv --name Upper", {}, "--name Upper: must be 1 to 40 characters"),
        ("csv a.csv --timeframe 2m", {}, "--timeframe 2m: must be one of"),
    ],
)  # fmt: skip
def test_it_is_said_with_the_name_and_the_value(
    arguments: str, environment: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (NOWHERE | environment).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, arguments.split())
    assert done.exit_code == 2
    assert says in done.stderr


def test_symbols_of_a_file_are_the_first_words_of_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "symbols.txt"
    path.write_text("# mine\naapl Apple\n\nBRK-B,Berkshire\nno!\n")
    done = CliRunner().invoke(app, ["yfinance", "--symbols", "spy", "--symbols-file", str(path)])
    assert "--symbols NO!: must be" in done.stderr


def test_a_terminal_shows_sentences_above_one_line_that_changes() -> None:
    shown = io.StringIO()
    terminal = Terminal("alpaca", Console(file=shown, force_terminal=True, width=120))
    standing = Standing("live", sent=1_234, restated=5, newest_us=1_772_634_600_000_000, interruptions=2)
    with terminal:
        terminal.happened("live", "bars [follow] as they close", reason="x")
        terminal.stands(standing)
        terminal.happened("stopped", "1,234 bars sent")
    assert "bars [follow] as they close" in shown.getvalue()
    assert "1,234 bars sent\n" not in shown.getvalue()
    assert line(standing) == (
        "live  1,234 bars sent  5 restated  newest 2026-03-04 14:30 UTC  2 interruptions"
    )
