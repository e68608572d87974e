"""The eleven sectors, the fund that stands for each, and the names that others use for them."""

from typing import NamedTuple

MARKET = "SPY"
"""The benchmark of every stock."""

FUNDS = {
    "Information Technology": "XLK",
    "Health Care": "XLV",
    "Financials": "XLF",
    "Consumer Discretionary": "XLY",
    "Consumer Staples": "XLP",
    "Industrials": "XLI",
    "Energy": "XLE",
    "Materials": "XLB",
    "Utilities": "XLU",
    "Real Estate": "XLRE",
    "Communication Services": "XLC",
}
WITHOUT_FUND = ("Telecommunication Services",)
"""Sectors of the past: known, ranked, but no fund stands for them."""

SECTORS = (*FUNDS, *WITHOUT_FUND)
BENCHMARKS = (MARKET, *FUNDS.values())
"""Never stocks, whatever a table says."""

_ALIASES = {"technology": "Information Technology", "healthcare": "Health Care"}
_BY_NAME = {name.casefold(): name for name in SECTORS} | _ALIASES


class Listing(NamedTuple):
    """What is said of one symbol; `kind` is stock, etf or benchmark, None where nothing is said of it."""

    symbol: str
    name: str | None
    sector: str | None
    industry: str | None
    kind: str | None = None


def sector(name: str) -> str | None:
    """The sector by its name or an alias of it, in any case; None when there is none."""
    return _BY_NAME.get(" ".join(name.split()).casefold())


def benchmarks(of_sector: str | None) -> tuple[str, str | None]:
    """The market, and the fund of the sector where there is one."""
    return MARKET, FUNDS.get(of_sector) if of_sector else None
