"""Histories from CSV files, judged by the rules of a stream, so that a backtest needs no stack."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rollotape.domain import bars as domain
from rollotape.domain.bars import Rows
from rollotape.domain.sessions import Sessions
from rollotape.errors import Refused
from rollotape.producers.csv import CsvFile
from rollotape.producers.replay import Choice, Tape, read


@dataclass(frozen=True, slots=True)
class Market:
    """The bars of some files by symbol."""

    timeframe: str
    tape: Tape
    symbols: list[str]

    @property
    def first_us(self) -> int:
        return int(self.tape.ts.min())

    @property
    def last_us(self) -> int:
        return int(self.tape.ts.max())

    def histories(self, sessions: Sessions) -> Iterator[tuple[str, Rows]]:
        """The analysed bars of each symbol, oldest first; of bars for one time the one that a stack keeps."""
        for symbol, _, places in self.tape.keys():  # noqa: SIM118 - a method that cuts the tape, no dictionary
            yield symbol, _analysed(symbol, self.timeframe, self.tape.only(places), sessions)


def market(
    files: Sequence[CsvFile],
    choice: Choice,
    sessions: Sessions,
    now_ms: int,
    progress: Callable[[CsvFile, int, int], None] = lambda _source, _rows, _position: None,
) -> Market:
    """Read files whole; `choice` names a timeframe.

    Raises:
        Refused: a file is damaged, or none of its rows is wanted.
    """
    assert choice.timeframe is not None
    tape = read(files, choice, sessions, now_ms, progress)
    if not len(tape):
        raise Refused("no bar of the file matches --symbols, --timeframe and --to")
    return Market(choice.timeframe, tape, sorted(set(tape.symbol.tolist())))


def _analysed(symbol: str, timeframe: str, tape: Tape, sessions: Sessions) -> Rows:
    count = len(tape)
    numbers = {name: column.tolist() for name, column in tape.numbers.items()}
    found = domain.candidates(
        timeframe, [symbol] * count, [0.0] * count, numbers,
        tape.revision.tolist(), [False] * count, [0] * count,
    )  # fmt: skip
    found.bars["ts"] = tape.ts
    bars = domain.complete(found, sessions)
    bars = bars[np.lexsort((*domain.precedence(bars), bars["ts"]))]
    last = np.append(bars["ts"][1:] != bars["ts"][:-1], True)
    return bars[last & domain.analysed(bars)]
