"""`rollo import-universe` as a person runs it."""

import gzip
import json
from pathlib import Path

import pytest

from rollotape.settings import Settings
from support import databases
from support.commands import Environment, environment_of, rollo


@pytest.fixture
def environment(settings: Settings) -> Environment:
    return environment_of(settings)


def _members(database_url: str, key: str) -> list[str]:
    [row] = databases.fetch(database_url, "SELECT symbols FROM universes WHERE key = $1", key)
    return list(row[0])


def test_a_list_has_just_the_symbols_of_its_last_file(
    environment: Environment, tmp_path: Path, database_url: str
) -> None:
    assert _members(database_url, "sp500") == []
    (tmp_path / "a.csv.gz").write_bytes(
        gzip.compress(b"Ticker;Weight\nmsft;5\nAAPL;7\nAAPL;7\n\nbad symbol;1\nBRK.B;2\n")
    )
    said = json.loads(
        rollo(environment, "import-universe", "a.csv.gz", "--key", "sp500", "--json", where=tmp_path).stdout
    )
    assert _members(database_url, "sp500") == ["AAPL", "BRK.B", "MSFT"]
    assert [said[n] for n in ("rows", "kept", "added", "removed", "repeated")] == [5, 3, 3, 0, 1]
    assert [(r["line"], r["symbol"]) for r in said["refused"]] == [(6, "BAD SYMBOL")]

    when = "SELECT changed_at, description FROM universes WHERE key = 'sp500'"
    first = databases.fetch(database_url, when)
    again = rollo(environment, "import-universe", "a.csv.gz", "--key", "sp500", where=tmp_path).stdout
    assert "kept     3 symbols; 0 of them new or changed" in again
    assert databases.fetch(database_url, when) == first
    assert first[0]["description"] == "S&P 500"

    (tmp_path / "b.csv").write_text("symbol\nAAPL\nXOM\n")
    said = json.loads(
        rollo(
            environment, "import-universe", "b.csv", "--key", "sp500", "--description", "Of today", "--json",
            where=tmp_path,
        ).stdout
    )  # fmt: skip
    assert (said["added"], said["removed"]) == (1, 2)
    assert _members(database_url, "sp500") == ["AAPL", "XOM"]
    assert databases.fetch(database_url, when)[0]["description"] == "Of today"


def test_exchanges_are_kept_by_symbol(environment: Environment, tmp_path: Path, database_url: str) -> None:
    (tmp_path / "a.csv").write_text(
        'symbol,name,exchange\nA,"Agilent, Inc.",nyse\nMSFT,Microsoft,NASDAQ\nA,,Amex\n,Nobody,NYSE\nX,,N*\n'
    )
    (tmp_path / "b.csv").write_text("Market,Symbol\nNYSE American,A\n")
    said = json.loads(
        rollo(environment, "import-universe", "a.csv", "--exchanges", "--json", where=tmp_path).stdout
    )
    assert (said["kept"], said["changed"], len(said["refused"])) == (2, 2, 3)
    assert said["refused"][0]["reason"] == "line 2 says NYSE"
    assert (
        "new or changed"
        in rollo(environment, "import-universe", "b.csv", "--exchanges", where=tmp_path).stdout
    )
    rows = databases.fetch(database_url, "SELECT symbol, exchange FROM exchanges ORDER BY symbol")
    assert [tuple(row) for row in rows] == [("A", "NYSE AMERICAN"), ("MSFT", "NASDAQ")]


@pytest.mark.parametrize(
    ("options", "content", "code", "sentence"),
    [
        (["--key", "sp500"], "symbol\na b\n", 1, "a symbol has 1 to 20 characters"),
        (["--key", "sp500"], "name\nApple\n", 2, "f.csv: the first line must name the columns, like symbol;"),
        (["--exchanges"], "symbol\nA\n", 2, "exchange is not in 'symbol'"),
        (["--key", "x", "--exchanges"], "symbol,exchange\nA,N\n", 2, "say which list the file is by --key"),
        ([], "symbol\nA\n", 2, "say which list the file is by --key"),
        (["--key", "leaders"], "symbol\nA\n", 2, "leaders follows from the scores"),
        (["--key", "sector:x"], "symbol\nA\n", 2, "is no key of a list"),
    ],
)
def test_what_cannot_be_kept_changes_nothing(
    environment: Environment,
    tmp_path: Path,
    database_url: str,
    options: list[str],
    content: str,
    code: int,
    sentence: str,
) -> None:
    databases.execute(database_url, "UPDATE universes SET symbols = '{OLD}' WHERE key = 'sp500'")
    (tmp_path / "f.csv").write_text(content)
    done = rollo(environment, "import-universe", "f.csv", *options, where=tmp_path, code=code)
    assert sentence in done.stdout + done.stderr
    assert _members(database_url, "sp500") == ["OLD"]
    assert databases.fetch(database_url, "SELECT count(*) FROM universes, exchanges")[0][0] == 0
