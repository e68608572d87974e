"""`rollo import-sectors`, and the exports that follow from it, as a person runs them."""

import json
from pathlib import Path

import pytest

from rollotape.settings import Settings
from support import databases
from support.commands import Environment, environment_of, rollo

HEADER = (
    "symbol,as_of,rs_score,excess_30d,excess_21,excess_63,excess_126,excess_252,sector_excess_30d,"
    "sector_excess_21,sector_excess_63,sector_excess_126,sector_excess_252,rs_ratio,mansfield,rating,"
    "is_sector_leader\n"
)


@pytest.fixture
def environment(settings: Settings) -> Environment:
    return environment_of(settings)


def test_the_summary_accounts_for_every_row(
    environment: Environment, tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "s.csv").write_text(
        "Ticker;Company;Sector\naapl;Apple;Technology\nT;AT&T;Telecommunication Services\nX;Steel;Iron\n"
        "T;AT&T;Telecommunication Services\nNEW;;Energy\n"
    )
    said = json.loads(rollo(environment, "import-sectors", "s.csv", "--json", where=tmp_path).stdout)
    assert [said[n] for n in ("rows", "kept", "repeated", "without_fund")] == [5, 3, 1, 1]
    assert (said["changed"], said["moved"]) == (2, 2), "Apple is known to be just that"
    [refused] = said["refused"]
    assert (refused["line"], refused["symbol"]) == (4, "X")
    query = "SELECT symbol, timeframe, first_ts::text, last_ts::text FROM dirty_symbols"
    marks = databases.fetch(database_url, query)
    assert sorted(map(tuple, marks)) == [(s, "1d", "-infinity", "infinity") for s in ("NEW", "T")]

    again = rollo(environment, "import-sectors", "s.csv", where=tmp_path).stdout
    assert "kept     3; 0 of them new or changed" in again
    assert "line 4: X: 'Iron' is no sector; sectors are Information Technology, " in again
    assert "1 belong to Telecommunication Services, which has no fund" in again


def test_a_benchmark_stays_one(environment: Environment, tmp_path: Path, database_url: str) -> None:
    (tmp_path / "s.csv").write_text("symbol,sector\nQQQ,Technology\n")
    rollo(environment, "import-sectors", "s.csv", where=tmp_path)
    rows = databases.fetch(database_url, "SELECT sector, kind FROM sectors WHERE symbol = 'QQQ'")
    assert [tuple(r) for r in rows] == [("Information Technology", "benchmark")]


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        ("symbol,sector\nX,Iron\n", 1, "'Iron' is no sector"),
        ("symbol,name\nX,Y\n", 2, "s.csv: the first line must name the columns"),
    ],
)
def test_a_file_of_which_nothing_can_be_kept_is_a_failure(
    environment: Environment, tmp_path: Path, content: str, code: int, sentence: str
) -> None:
    (tmp_path / "s.csv").write_text(content)
    done = rollo(environment, "import-sectors", "s.csv", where=tmp_path, code=code)
    assert sentence in done.stdout + done.stderr


def test_scores_are_exported_with_what_is_unknown_left_empty(
    environment: Environment, tmp_path: Path, database_url: str
) -> None:
    databases.execute(
        database_url,
        "INSERT INTO rs_scores (as_of, symbol, rs_score, is_sector_leader, market_status, sector_status) "
        "VALUES ('2018-02-07', 'B', 0.1, true, 'oiiii', 'nnnnn'),"
        "('2018-02-06', 'B', 5, false, 'oiiii', 'nnnnn'),"
        "('2018-02-07', 'A', NULL, false, 'iiiii', 'iiiii')",
    )
    assert rollo(environment, "export", "rs_scores", where=tmp_path).stdout == (
        f"{HEADER}A,2018-02-07,,,,,,,,,,,,,,,f\nB,2018-02-06,5,5,,,,,,,,,,,,,f\nB,2018-02-07,0.1,0.1,,,,,,,,,,,,,t\n"
    )
