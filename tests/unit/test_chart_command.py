"""`rollo chart --file` as a person runs it, without a stack."""

import gzip
import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rollotape import cli
from rollotape.cli import chart as charts
from rollotape.cli.chart import Wanted, of_file

MARKET = ("--symbols", "2", "--bars", "600", "--seed", "3", "--kinds", "spring", "--difficulty", "easy")


def rollo(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars in which whole schematics are."""
    folder = tmp_path_factory.mktemp("market")
    rollo("simulate", *MARKET, "--out", folder)
    return folder / "bars.csv"


@pytest.fixture(scope="module")
def symbol(file: Path) -> str:
    return file.read_text("utf-8").splitlines()[1].partition(",")[0]


def test_a_file_becomes_a_picture_with_its_events(file: Path, symbol: str, tmp_path: Path) -> None:
    out = tmp_path / "chart.png"

    said = rollo("chart", symbol.lower(), "--file", file, "--out", out).stderr

    assert out.read_bytes().startswith(b"\x89PNG")
    assert said.startswith("250 bars, ")
    shown = of_file(file, Wanted(symbol, "1d", None, None))
    assert f"{len(shown.marks)} events" in said


def test_a_script_hears_what_is_in_the_picture(file: Path, symbol: str, tmp_path: Path) -> None:
    out = tmp_path / "chart.svg"

    said = json.loads(rollo("chart", symbol, "--file", file, "--out", out, "--json").stdout)

    shown = of_file(file, Wanted(symbol, "1d", None, None))
    assert (said["file"], said["bars"]) == (str(out), 250)
    assert [event["kind"] for event in said["events"]] == [mark.text for mark in shown.marks]
    assert [box["phase"] for box in said["ranges"]] == [box.phases[-1][0] for box in shown.boxes]


def test_whole_schematics_are_marked(file: Path, symbol: str) -> None:
    shown = of_file(file, Wanted(symbol, "1d", 0, None))

    assert {"SC", "AR", "SOS"} <= {mark.text for mark in shown.marks}
    assert shown.boxes and shown.dots


def test_an_earlier_end_shows_a_part_of_the_same(file: Path, symbol: str) -> None:
    whole = of_file(file, Wanted(symbol, "1d", 0, None))
    last = whole.bars[400].ts

    part = of_file(file, Wanted(symbol, "1d", 0, last + 1))

    assert part.bars == whole.bars[:401]
    assert {(m.at, m.text) for m in part.marks} <= {(m.at, m.text) for m in whole.marks}


def test_a_file_of_one_symbol_needs_no_column_for_it(file: Path, symbol: str, tmp_path: Path) -> None:
    lines = file.read_text("utf-8").splitlines()
    one = tmp_path / "one.csv.gz"
    rows = ["ts,open,high,low,close,volume"]
    rows += [line.split(",", 2)[2] for line in lines if line.startswith(f"{symbol},")]
    one.write_bytes(gzip.compress("\n".join(rows).encode()))

    wanted = Wanted(symbol, "1d", None, None)

    assert of_file(one, wanted).marks == of_file(file, wanted).marks


def test_volume_spread_events_can_be_left_out(file: Path, symbol: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    rollo("chart", symbol, "--file", file, "--out", one)
    rollo("chart", symbol, "--file", file, "--out", other, "--no-vsa")

    assert len(other.read_bytes()) < len(one.read_bytes())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("NONE --out {tmp}/a.png", "has no 1d bars of NONE in that time"),
        ("{symbol} --out {tmp}/a.pdf", "a picture ends in .png or .svg"),
        ("{symbol} --out {tmp}/no/a.png", "there is no folder"),
        ("{symbol} --out {tmp}/a.png --timeframe 1M", "--timeframe 1M: must be one of"),
        ("'A B' --out {tmp}/a.png", "is no symbol"),
        ("{symbol} --out {tmp}/a.png --from 2017-01-02 --to 2016-01-02", "is not before"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    file: Path, symbol: str, tmp_path: Path, arguments: str, said: str
) -> None:
    words = shlex.split(arguments.format(tmp=tmp_path, symbol=symbol))

    assert said in rollo("chart", *words, "--file", file, code=2).output
    assert not list(tmp_path.glob("a.*"))


def test_more_bars_than_a_picture_takes_are_refused(
    file: Path, symbol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "MOST_BARS", 500)

    said = rollo("chart", symbol, "--file", file, "--from", "1990-01-01", "--out", tmp_path / "a.png", code=2)

    assert "600 bars are too many" in said.output


def test_pictures_in_the_documents_are_small_and_all_of_them_are_shown() -> None:
    docs = Path(__file__).parents[2] / "docs"
    pictures = list((docs / "pictures").iterdir())

    assert pictures
    assert all(path.stat().st_size < 80_000 for path in pictures)
    shown = (docs / "wyckoff.md").read_text("utf-8")
    assert all(f"(pictures/{path.name})" in shown for path in pictures)
