"""What a new installation knows from the start."""

import csv
from importlib.resources import files


def sectors() -> list[tuple[str, str, str, str, str]]:
    """(symbol, name, sector, industry, kind) of well-known US stocks, benchmarks, and sector funds."""
    text = files("rollotape.seed").joinpath("sectors.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return [(r["symbol"], r["name"], r["sector"], r["industry"], r["kind"]) for r in rows]
