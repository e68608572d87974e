"""The cast of the simulated market: companies that do not exist, and the funds that are made of them.

The stocks are made up, so that nobody takes a price of theirs for a real one. The funds bear the names of
real ones, because strength is measured by these; what they cost here is simulated as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rollotape.domain import sectors
from rollotape.domain.sectors import Listing


@dataclass(frozen=True, slots=True)
class Stock:
    symbol: str
    price: float
    volume: float
    """Shares on a usual day."""
    volatility: float
    """Standard deviation of a usual day's return."""
    sector: str
    name: str


@dataclass(frozen=True, slots=True)
class Fund:
    """Moves as the mean of its members."""

    symbol: str
    price: float
    """At the first close."""
    volume: float
    members: tuple[Stock, ...]
    kind: str = "etf"
    sector: str | None = None


# In each sector of six members two lead: a fifth, rounded up.
_COMPANIES = {
    "Information Technology": (
        ("ALDR", 48.0, 3.1e6, 0.019, "Alder Circuits"), ("DLPH", 141.0, 5.2e6, 0.021, "Delphi Software"),
        ("INKO", 76.0, 2.9e6, 0.018, "Inko Displays"), ("VOLT", 81.0, 3.9e6, 0.020, "Voltaire Devices"),
        ("ZEPH", 193.0, 4.4e6, 0.022, "Zephyr Cloud"), ("BYTN", 67.0, 6.1e6, 0.024, "Byton Storage"),
    ),
    "Health Care": (
        ("FERN", 305.0, 1.1e6, 0.013, "Fern Therapeutics"), ("MIRA", 410.0, 2.7e6, 0.018, "Mira Diagnostics"),
        ("WREN", 104.0, 2.6e6, 0.017, "Wren Hospitals"), ("SALV", 59.0, 5.0e6, 0.016, "Salve Pharma"),
        ("VITA", 133.0, 1.9e6, 0.019, "Vitanova Devices"), ("CURA", 38.0, 8.2e6, 0.026, "Curapath Bio"),
    ),
    "Financials": (
        ("BRYN", 212.0, 1.9e6, 0.015, "Bryn Trust"), ("HRTH", 119.0, 3.7e6, 0.016, "Hearth Savings"),
        ("LOOM", 98.0, 2.2e6, 0.014, "Loom Insurance"), ("PNNY", 44.0, 9.1e6, 0.018, "Penny Payments"),
        ("VALT", 156.0, 2.5e6, 0.017, "Vaulted Bank"), ("LEDG", 71.0, 4.0e6, 0.016, "Ledger Exchanges"),
    ),
    "Consumer Discretionary": (
        ("CASK", 87.5, 2.4e6, 0.017, "Cask & Kitchen"), ("GALE", 34.0, 12.5e6, 0.027, "Gale Motors"),
        ("JUNO", 258.0, 4.1e6, 0.020, "Juno Fashion"), ("TREK", 64.0, 3.6e6, 0.021, "Trekline Travel"),
        ("CRFT", 112.0, 1.8e6, 0.018, "Craftwell Homes"), ("HALO", 29.0, 10.4e6, 0.025, "Halo Games"),
    ),
    "Consumer Staples": (
        ("OAKS", 167.0, 1.4e6, 0.012, "Oaks Household"), ("PLUM", 71.0, 3.3e6, 0.014, "Plum Foods"),
        ("BREW", 53.0, 5.7e6, 0.013, "Brewers United"), ("SOAP", 88.0, 2.9e6, 0.011, "Soapworks"),
        ("GRAN", 41.0, 4.8e6, 0.015, "Granary Mills"), ("CORN", 126.0, 1.6e6, 0.012, "Cornershop Stores"),
    ),
    "Industrials": (
        ("QUIL", 133.0, 1.7e6, 0.016, "Quill Logistics"), ("RUNE", 45.0, 7.6e6, 0.022, "Rune Airways"),
        ("ANVL", 178.0, 1.5e6, 0.015, "Anvil Machines"), ("RAIL", 92.0, 2.8e6, 0.014, "Railbound"),
        ("TURB", 61.0, 4.3e6, 0.019, "Turbine Works"), ("CRAN", 147.0, 1.3e6, 0.017, "Crane Harbour"),
    ),
    "Energy": (
        ("KELP", 52.0, 6.3e6, 0.022, "Kelp Offshore"), ("TARN", 58.0, 4.9e6, 0.021, "Tarn Petroleum"),
        ("GYSR", 83.0, 3.4e6, 0.020, "Geyser Drilling"), ("PIPE", 36.0, 7.9e6, 0.016, "Pipeway"),
        ("FLAR", 24.0, 13.1e6, 0.029, "Flare Gas"), ("REFN", 109.0, 2.1e6, 0.019, "Refinex"),
    ),
    "Materials": (
        ("SLTE", 189.0, 2.0e6, 0.015, "Slate Quarries"), ("EMBR", 63.0, 8.8e6, 0.024, "Ember Steel"),
        ("CLAY", 47.0, 3.5e6, 0.018, "Claybourne"), ("ORES", 31.0, 11.2e6, 0.026, "Ores of the North"),
        ("GLZE", 95.0, 1.9e6, 0.016, "Glaze Coatings"), ("SALT", 78.0, 2.3e6, 0.015, "Salt Chemicals"),
    ),
    "Utilities": (
        ("UMBR", 224.0, 1.3e6, 0.012, "Umbra Power"), ("WATT", 66.0, 3.0e6, 0.011, "Wattage Electric"),
        ("AQUA", 51.0, 2.7e6, 0.012, "Aquaduct Water"), ("GRID", 84.0, 2.2e6, 0.011, "Gridlock Networks"),
        ("LAMP", 39.0, 4.1e6, 0.013, "Lamplight Gas"), ("HYDR", 73.0, 1.8e6, 0.014, "Hydra Dams"),
    ),
    "Real Estate": (
        ("YARR", 37.0, 9.7e6, 0.018, "Yarrow Towers"), ("LOFT", 116.0, 1.5e6, 0.015, "Lofthouse"),
        ("PLAZ", 62.0, 2.9e6, 0.017, "Plaza Malls"), ("SHED", 134.0, 1.7e6, 0.014, "Shedwell Storage"),
        ("ACRE", 48.0, 3.8e6, 0.016, "Acreage Farms"), ("DOMI", 91.0, 1.4e6, 0.013, "Domicile Homes"),
    ),
    "Communication Services": (
        ("NOVE", 29.0, 15.8e6, 0.024, "Novella Streaming"), ("ECHO", 103.0, 3.2e6, 0.019, "Echo Networks"),
        ("PRSS", 55.0, 2.6e6, 0.017, "Press & Page"), ("SGNL", 142.0, 2.4e6, 0.016, "Signal Mobile"),
        ("REEL", 77.0, 4.5e6, 0.021, "Reelhouse Films"), ("CHAT", 212.0, 5.3e6, 0.023, "Chatterbox"),
    ),
}  # fmt: skip
assert set(_COMPANIES) == set(sectors.FUNDS)

STOCKS = tuple(
    Stock(symbol, price, volume, volatility, sector, f"{name} (simulated)")
    for sector, companies in _COMPANIES.items()
    for symbol, price, volume, volatility, name in companies
)
_GROWTH = ("Information Technology", "Communication Services", "Consumer Discretionary")


def funds_of(stocks: Sequence[Stock]) -> tuple[Fund, ...]:
    """The market, its growth stocks, and every sector that any of the stocks belongs to."""
    growth = tuple(s for s in stocks if s.sector in _GROWTH)
    of_sectors = ((name, tuple(s for s in stocks if s.sector == name)) for name in sectors.FUNDS)
    found = (
        Fund(sectors.MARKET, 450.0, 70e6, tuple(stocks), "benchmark"),
        Fund("QQQ", 380.0, 45e6, growth, "benchmark"),
        *(Fund(sectors.FUNDS[name], 90.0, 12e6, members, sector=name) for name, members in of_sectors),
    )
    return tuple(fund for fund in found if fund.members)


def listings(stocks: Sequence[Stock] = STOCKS) -> list[Listing]:
    """What is to be told of the stocks, so that they are ranked; every installation knows the funds."""
    return [Listing(s.symbol, s.name, s.sector, None, "stock") for s in stocks]
