"""The five-year daily file as messages for the streams; or, without it, a market made up in its shape."""

import gzip
import os
import random
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from rollotape.producers.csv import CsvFile, Options
from rollotape.producers.frames import Framer, Message

NAME = "bars_daily_sp500.csv.gz"
REPOSITORY = Path(__file__).parents[2]
SEED = 20130208

STOCKS = 505
DAYS = 1_226
"""505 times 1,226 is within a few rows of the real file, whose young stocks have less than five years."""


def five_years(folder: Path) -> tuple[Path, bool]:
    """The file, and whether it is the real one; what is made up is written to `folder`."""
    shared = Path(os.environ.get("ROLLO_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if (real := shared / NAME).exists():
        return real, True
    made_up = folder / NAME
    with gzip.open(made_up, "wt", encoding="utf-8", compresslevel=1) as file:
        file.write("symbol,date,open,high,low,close,volume\n")
        file.writelines(_rows())
    return made_up, False


def messages(path: Path, partitions: int, frame_bars: int = 1) -> Iterator[list[Message]]:
    """What `rollo import` would send, block by block: every row, those to be refused as well."""
    framer = Framer(partitions, frame_bars)
    for block in CsvFile(path, Options()).blocks():
        framed = [message for columns in block.columns for message in framer.add(columns.bars)]
        yield framed + [(framer.stream_of(odd.symbol), odd.payload) for odd in block.odd]
    yield framer.flush()


def shuffled(sorted_messages: list[Message]) -> list[Message]:
    """The same messages in an order that is always the same, and random."""
    mixed = list(sorted_messages)
    random.Random(SEED).shuffle(mixed)
    return mixed


def _rows() -> Iterator[str]:
    """Random walks by symbol, then date; a few rows that must be refused, as in the real file."""
    numbers = np.random.default_rng(SEED)
    weekdays = [d for d in (date(2013, 2, 8) + timedelta(days=i) for i in range(2_000)) if d.weekday() < 5]
    dates = [d.isoformat() for d in weekdays[:DAYS]]
    for n in range(STOCKS):
        close = np.round(50 * np.exp(np.cumsum(numbers.normal(0, 0.015, DAYS))) + 1, 2)
        open_ = np.round(close * np.exp(numbers.normal(0, 0.006, DAYS)), 2)
        width = np.abs(numbers.normal(0, 0.008, (2, DAYS)))
        high = np.round(np.maximum(open_, close) * (1 + width[0]), 2)
        low = np.round(np.minimum(open_, close) * (1 - width[1]), 2)
        volume = np.round(np.exp(numbers.normal(14, 0.5, DAYS))).astype(int)
        if n < 23:
            high[DAYS // 2] = low[DAYS // 2] - 1
        columns = (c.tolist() for c in (open_, high, low, close, volume))
        for day, o, h, l, c, v in zip(dates, *columns, strict=True):  # noqa: E741 - the letters of the fields
            yield f"S{n:03d},{day},{o},{h},{l},{c},{v}\n"
