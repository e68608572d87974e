"""What so many symbols need, from what was measured of few: arithmetic, and no opinion about machines.

python -m bench.sizes [SYMBOLS ...]        from the figures of `make bench ARGS=sizing` in build/bench.json
"""

import argparse
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rollotape.settings import Settings

MINUTES, SESSIONS = 390, 252
"""Of a regular session, and of a year."""
ASKED = (500, 10_000, 100_000)
DIGESTED_S = 10.0
"""In which the bars of a minute are to be stored, and read."""
BUSY = 0.6
"""Of a core, no more: what comes late, restated or at the close of a day needs room."""
KEYS = 2
"""Timeframes of a symbol: minutes and days."""
WINDOW_BARS = 256
"""Bars to which a window may grow before a detector cuts it; with less room it forgets, and reads again."""
PARTITIONS = 16
DETECTOR_BARS = 5_000_000
"""Of windows in one detector, at most: whoever takes over from it reads as many again."""
PER_DETECTOR = 4
"""Partitions of a detector, so that shares are even and another one can join."""
REPLICAS = 2
"""Of each service, so that one may die."""
MB, GB = 1e6, 1e9


@dataclass(frozen=True, slots=True)
class Size:
    """One installation; bytes, unless said otherwise."""

    symbols: int
    bars_a_day: int
    at_the_close: int
    """Bars that come at once, each minute."""
    detectors: int
    partitions: int
    postgres_cores: float
    redis_cores: float
    window_bars: int
    """ROLLO_WINDOW_BARS of each detector."""
    detector_memory: float
    rs_worker_memory: float
    redis_minute: float
    """What a minute weighs in the streams: so much more is held for each minute in which nobody reads."""
    read_model: float
    wal_a_day: float
    disk_a_year: float
    symbols_disk: float


def size(symbols: int, figure: Mapping[str, float]) -> Size:
    """`figure` by names without `sizing.`."""
    a_day = symbols * MINUTES
    a_year = a_day * SESSIONS
    cores = symbols / 1e6 / DIGESTED_S / BUSY
    windows = symbols * KEYS * WINDOW_BARS
    busy = cores * figure["detector_cpu_us_per_bar"]
    detectors = max(REPLICAS, math.ceil(busy), math.ceil(windows / DETECTOR_BARS))
    kept = math.ceil(windows / detectors)
    window = max(Settings.model_fields["window_bars"].default, kept)
    of_a_symbol = figure["pg_bytes_per_bar"] + figure["pg_bytes_per_score"]
    return Size(
        symbols,
        a_day,
        symbols,
        detectors,
        max(PARTITIONS, 2 ** math.ceil(math.log2(PER_DETECTOR * detectors))),
        cores * figure["postgres_cpu_us_per_bar"],
        cores * figure["redis_cpu_us_per_bar"],
        window,
        figure["detector_base_mb"] * MB + kept * figure["detector_bytes_per_window_bar"],
        figure["rs_worker_base_mb"] * MB + symbols * figure["rs_worker_bytes_per_symbol"],
        symbols * figure["redis_bytes_per_bar"],
        symbols * figure["patterns_active_per_symbol"] * figure["redis_bytes_per_active_pattern"],
        a_day * figure["wal_bytes_per_bar"],
        a_year * figure["pg_bytes_per_minute"] + symbols * SESSIONS * of_a_symbol,
        symbols * KEYS * figure["pg_bytes_per_series"],
    )


def lines(sizes: Iterable[Size]) -> list[tuple[str, ...]]:
    """Rows of a table, the first one its heading."""
    found = list(sizes)
    rows: list[tuple[str, ...]] = [("symbols at one minute", *(f"{s.symbols:,}" for s in found))]

    def row(name: str, values: Iterable[str]) -> None:
        rows.append((name, *values))

    row("bars a day", (f"{s.bars_a_day:,}" for s in found))
    row("bars that come at the close of a minute", (f"{s.at_the_close:,}" for s in found))
    row("bars a second, if they came evenly", (f"{s.at_the_close / 60:,.0f}" for s in found))
    row("detectors", (f"{s.detectors}" for s in found))
    row("partitions (`ROLLO_PARTITIONS`)", (f"{s.partitions}" for s in found))
    row("cores of PostgreSQL", (_cores(s.postgres_cores) for s in found))
    row("cores of the streams' Redis", (_cores(s.redis_cores) for s in found))
    row("`ROLLO_WINDOW_BARS`", (f"{s.window_bars:,}" for s in found))
    row("memory of a detector", (_bytes(s.detector_memory) for s in found))
    row("memory of an rs-worker", (_bytes(s.rs_worker_memory) for s in found))
    row("read model of scans, in Redis", (_bytes(s.read_model) for s in found))
    row("streams, for a minute in which nobody reads", (_bytes(s.redis_minute) for s in found))
    row("WAL of PostgreSQL a day", (_bytes(s.wal_a_day) for s in found))
    row("disk of PostgreSQL for the symbols", (_bytes(s.symbols_disk) for s in found))
    row("disk of PostgreSQL a year", (_bytes(s.disk_a_year) for s in found))
    return rows


def table(rows: list[tuple[str, ...]]) -> Table:
    heading, *others = rows
    made = Table(title=f"What is needed, if a minute is to be stored and read in {DIGESTED_S:g} s")
    for n, name in enumerate(heading):
        made.add_column(name, justify="right" if n else "left", no_wrap=True)
    for row in others:
        made.add_row(*row)
    return made


def markdown(rows: list[tuple[str, ...]]) -> str:
    """The same for a guide."""
    heading, *others = rows
    ruler = ("---", *("---:" for _ in heading[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, ruler, *others))


def of_file(path: Path) -> dict[str, float]:
    """Figures of the bench, by names without its own."""
    known: Mapping[str, float] = json.loads(path.read_text("utf-8"))
    prefix = "sizing."
    return {name.removeprefix(prefix): value for name, value in known.items() if name.startswith(prefix)}


def _cores(cores: float) -> str:
    """A tenth of a core is as good as less."""
    return f"{max(0.1, math.ceil(cores * 10) / 10):.1f}"


def _bytes(count: float) -> str:
    return f"{count / GB:,.1f} GB" if count >= GB else f"{max(1.0, count / MB):,.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.sizes", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("symbols", nargs="*", type=int, help=f"{ASKED} by default")
    parser.add_argument("--figures", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--markdown", action="store_true", help="print it as the guide has it")
    given = parser.parse_args()
    figures = of_file(given.figures)
    rows = lines(size(n, figures) for n in given.symbols or ASKED)
    if given.markdown:
        print(markdown(rows))
    else:
        Console(width=110).print(table(rows))


if __name__ == "__main__":
    main()
