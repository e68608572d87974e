"""Files of sectors: what is understood, and what is said about the rest."""

import gzip
from pathlib import Path

import pytest

from rollotape import seed
from rollotape.domain.sectors import BENCHMARKS, FUNDS, SECTORS, Listing
from rollotape.errors import Refused
from rollotape.producers.sectors import SectorFile, read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sectors.csv"


def given(file: Path, text: str) -> SectorFile:
    file.write_text(text, "utf-8")
    return read(file)


def test_a_plain_file_is_kept_row_by_row(file: Path) -> None:
    found = given(file, "symbol,name,sector,industry\nAAPL,Apple,Information Technology,Hardware\n")
    assert found.kept == [Listing("AAPL", "Apple", "Information Technology", "Hardware", None)]
    assert (found.rows, found.repeated, found.refused) == (1, 0, [])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Ticker;GICS Sector\r\naapl;technology\r\n", id="semicolons, names and case of others"),
        pytest.param("SECTOR\tSYMBOL\nTechnology\tAAPL\n", id="tabs, another order"),
        pytest.param('\ufeffsymbol,sector,weight\n\n"AAPL","Information  Technology",7\n', id="quotes"),
    ],
)
def test_files_of_others_are_understood(file: Path, text: str) -> None:
    assert given(file, text).kept == [Listing("AAPL", None, "Information Technology", None)]


def test_a_gzipped_file_is_the_same_file(file: Path) -> None:
    file.write_bytes(gzip.compress(b"symbol,sector\nXOM,Energy\n"))
    assert read(file).kept == [Listing("XOM", None, "Energy", None)]


def test_the_old_sector_is_known(file: Path) -> None:
    assert given(file, "symbol,sector\nT,Telecommunication Services\n").kept[0].sector == SECTORS[-1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("AAPL,Tech stuff,", "'Tech stuff' is no sector; sectors are Information Technology, Health Care"),
        ("AAPL,,", "it has no sector"),
        ("AAPL", "it has no sector"),
        ("A B,Energy,", "a symbol has 1 to 20 characters"),
        (",Energy,", "a symbol has 1 to 20 characters"),
        ("XOM,Energy,bond", "the kind 'bond' is none of stock, etf, benchmark"),
        ("SPY,Energy,stock", "it is a benchmark"),
    ],
)
def test_a_row_that_cannot_be_kept_costs_no_other(file: Path, row: str, reason: str) -> None:
    found = given(file, f"symbol,sector,kind\nXOM,Energy,\n{row}\nCVX,Energy,\n")
    assert [listing.symbol for listing in found.kept] == ["XOM", "CVX"]
    [refusal] = found.refused
    assert refusal.line == 3
    assert reason in str(refusal)


def test_a_row_said_twice_is_counted_and_one_that_contradicts_is_refused(file: Path) -> None:
    found = given(file, "symbol,sector\nXOM,Energy\nxom,energy\nXOM,Utilities\n")
    assert len(found.kept) == found.repeated == 1
    assert str(found.refused[0]) == "line 4: XOM: line 2 says something else"


def test_a_fund_needs_no_sector(file: Path) -> None:
    found = given(file, "symbol,sector,kind\nQQQ,,benchmark\nSPY,,\nARKK,,etf\n")
    assert [listing.symbol for listing in found.kept] == ["QQQ", "SPY", "ARKK"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "must name the columns, like symbol,name,sector,industry; symbol and sector is not in ''"),
        (b"symbol,name\nA,B\n", "sector is not in 'symbol,name'"),
        (b"symbol,ticker,sector\n", "two columns could be the symbol"),
        (b"\x1f\x8bnonsense", "damaged"),
        (b"symbol,sector\nA\xff,Energy\n", "not UTF-8"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_name(file: Path, content: bytes, sentence: str) -> None:
    file.write_bytes(content)
    with pytest.raises(Refused, match=r"sectors\.csv: ") as refused:
        read(file)
    assert sentence in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No such file"):
        read(tmp_path / "nothing.csv")


def test_the_seed_knows_every_sector_and_every_benchmark() -> None:
    listings = [Listing(*row) for row in seed.sectors()]
    stocks = [listing for listing in listings if listing.kind == "stock"]
    assert len(stocks) >= 120
    assert {listing.sector for listing in stocks} == set(FUNDS)
    assert {listing.symbol for listing in listings} > {*BENCHMARKS, "QQQ", "DIA", "IWM"}
    assert not {listing.symbol for listing in stocks} & set(BENCHMARKS)
    assert len({listing.symbol for listing in listings}) == len(listings)
    assert {FUNDS[str(x.sector)] for x in listings if x.kind == "etf"} == set(FUNDS.values())
