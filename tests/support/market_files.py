"""Small files in the place of those that documents name: markets of the same shape, and a few bad rows."""

import csv
import gzip
import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

from support.wyckoff import drawn

DAYS = 300
FIRST = date(2017, 1, 2)
SP500 = ("AAPL", "MSFT", "XOM", "CVX", "COP", "SLB", "OXY", "JPM", "GE", "T")
SECTORS = {
    "AAPL": "Information Technology", "MSFT": "Information Technology", "XOM": "Energy", "CVX": "Energy",
    "COP": "Energy", "SLB": "Energy", "OXY": "Energy", "JPM": "Financials", "GE": "Industrials",
    "T": "Telecommunication Services",
}  # fmt: skip
FUNDS = ("SPY", "XLE", "XLK", "XLF", "XLI")
SCHEMATICS = (0, 3, 5, 7, 9)
"""Seeds of symbols with whole schematics: among them a trade on every type of pattern."""
_HEADER = ("date", "open", "high", "low", "close", "volume", "symbol")


def write_all(folder: Path) -> None:
    """What the five minutes of the README ask for."""
    stocks = [*_bars(SP500, 1), *_schematics(), ["2017-02-06", "", "", "", "10.5", "100", "AAPL"]]
    _write(folder / "bars_daily_sp500.csv.gz", _HEADER, stocks)
    _write(folder / "bars_daily_etf.csv.gz", _HEADER, list(_bars(FUNDS, 2)))
    with (folder / "sectors.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("symbol", "sector"), *SECTORS.items()])


def put_real(folder: Path, data: Path) -> None:
    """The real ones instead."""
    for name in ("bars_daily_sp500.csv.gz", "bars_daily_etf.csv.gz", "sectors.csv"):
        (folder / name).unlink()
        (folder / name).symlink_to(data / name)


def _bars(symbols: Sequence[str], seed: int) -> Iterator[list[str]]:
    drawn = random.Random(seed)
    weekdays = [d for n in range(DAYS * 2) if (d := FIRST + timedelta(n)).weekday() < 5][:DAYS]
    for symbol in symbols:
        price = 50.0
        for day in weekdays:
            before, price = price, price * (1 + drawn.gauss(0.0004, 0.015))
            high = max(before, price) * (1 + drawn.random() / 99)
            low = min(before, price) * (1 - drawn.random() / 99)
            volume = int(drawn.lognormvariate(14, 0.5))
            yield [day.isoformat(), *(f"{p:.2f}" for p in (before, high, low, price)), str(volume), symbol]


def _schematics() -> Iterator[list[str]]:
    for seed in SCHEMATICS:
        for bar in drawn(seed):
            prices = (repr(bar[name].item()) for name in ("open", "high", "low", "close"))
            volume = str(int(bar["volume"].item()))
            yield [str(bar["ts"].astype("M8[us]").astype("M8[D]")), *prices, volume, f"SIM{seed}"]


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with gzip.open(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
