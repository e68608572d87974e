"""What commands are told about the CSV files that they read."""

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from rollotape.cli import ends
from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.bars import timeframe as known_timeframe
from rollotape.producers import cells
from rollotape.producers.csv import Options

FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="CSV files, plain or gzipped, as `rollo import` takes.")
]
TimeframeOption = Annotated[
    str | None, typer.Option(help="Of all bars in the files: 1m 5m 15m 30m 1h 4h 1d 1w. 1d unless given.")
]
RevisionOption = Annotated[
    int | None, typer.Option(min=0, help="Higher than before where a file restates bars. 0 unless given.")
]
SymbolOption = Annotated[
    str | None, typer.Option(help="For files of one symbol without a column for it.")
]
TimezoneOption = Annotated[
    str | None, typer.Option(help="Of timestamps that name none, like UTC or America/New_York.")
]
ThousandsOption = Annotated[
    str | None,
    typer.Option(help="What separates thousands: . or , or space or '. With . decimals have a comma."),
]


def options_of(
    timeframe: str | None,
    revision: int | None,
    symbol: str | None,
    timezone: str | None,
    thousands: str | None = None,
) -> Options:
    """How files are to be read; ends the program where an option means nothing."""
    known = known_timeframe(timeframe) if timeframe is not None else None
    if timeframe is not None and known is None:
        ends.stop(f"--timeframe {timeframe}: must be one of {' '.join(TIMEFRAMES)}", ends.USAGE)
    try:
        zone = ZoneInfo(timezone) if timezone else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        ends.stop(f"--timezone {timezone}: no such zone; try UTC or America/New_York", ends.USAGE)
    separator = " " if thousands == "space" else thousands
    if separator is not None and separator not in cells.THOUSANDS:
        ends.stop(f"--thousands {thousands}: must be . or , or space or '", ends.USAGE)
    one = cells.symbol(symbol) if symbol else None
    return Options(known.name if known else None, revision, one, zone, separator)
