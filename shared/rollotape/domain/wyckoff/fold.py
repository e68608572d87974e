"""The fold over bars: from a state and the bars after it to facts and the next state.

Where no range is open, bars that are no candidate of anything are passed over; so most cost nothing.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from rollotape.domain.wyckoff import confidence, ranges
from rollotape.domain.wyckoff.chart import Chart
from rollotape.domain.wyckoff.facts import Fact, Side
from rollotape.domain.wyckoff.rules import CREST, LOOKBACK
from rollotape.domain.wyckoff.state import Mark, SideState, State, dump, load
from rollotape.domain.wyckoff.tape import Tape

Key = tuple[str, str]
"""(symbol, timeframe)"""

class Checkpoint(NamedTuple):
    """The state after the bar `ts`."""

    ts: int
    state: State


@dataclass(frozen=True, slots=True)
class Folded:
    state: State
    """After the last bar."""
    facts: list[Fact]
    checkpoints: list[Checkpoint]
    """At the bars that were asked for."""


class Fold:
    """A fold under way, for those who do not know yet how far it has to go."""

    def __init__(self, key: Key, state: State, tape: Tape) -> None:
        """`state` is the one before the tape's start."""
        self.state, self._tape = state, tape
        self.reached = tape.start
        """Position of the next bar."""
        self._states = load(state, tape.start - 1)
        self._sides = (
            _Side(key, tape, "accumulation", self._states[0]),
            _Side(key, tape, "distribution", self._states[1]),
        )

    def to(self, position: int) -> Checkpoint:
        """Fold the bars up to this position, itself included; positions only grow."""
        assert position >= self.reached
        for side in self._sides:
            side.run(self.reached, position + 1)
        self.reached = position + 1
        self.state = dump(self._states, position)
        return Checkpoint(self._tape.bars["ts"][position].item(), self.state)

    def facts(self) -> list[Fact]:
        """Everything found so far, by confirming bar, accumulation first, in the order it was found."""
        said = [(at, n, fact) for n, side in enumerate(self._sides) for at, fact in side.said]
        said.sort(key=lambda found: found[:2])
        return [fact for *_, fact in said]


def advance(key: Key, state: State, tape: Tape, *, keep: Sequence[int] = ()) -> Folded:
    """Fold all bars from the tape's start on; `keep` are positions, in order, whose states are wanted."""
    fold = Fold(key, state, tape)
    kept = [fold.to(position) for position in keep]
    if fold.reached < len(tape):
        fold.to(len(tape) - 1)
    return Folded(fold.state, fold.facts(), kept)


class _Side:
    def __init__(self, key: Key, tape: Tape, side: Side, state: SideState) -> None:
        self.state, self.rules, self._bars = state, tape.rules, len(tape)
        view = tape.accumulation if side == "accumulation" else tape.distribution
        self.climaxes: list[int] = view.climaxes.tolist()
        self.candidates: list[int] = sorted([*self.climaxes, *view.supports.tolist()])
        self._opened = key, tape, side
        self.reader = None if state.range is None else ranges.Reader(self.chart, state.range)

    @cached_property
    def chart(self) -> Chart:
        """Only drawn when something happens on this side, which is seldom."""
        return Chart(*self._opened)

    @property
    def said(self) -> list[tuple[int, Fact]]:
        return self.chart.said if "chart" in self.__dict__ else []

    def run(self, start: int, stop: int) -> None:
        i = start
        while i < stop:
            if self.reader is None:
                i = self._next(i)
                if i >= stop:
                    return
            self._bar(i)
            i += 1

    def _next(self, i: int) -> int:
        """The next bar at which something can happen while no range is open."""
        at = bisect_left(self.candidates, i)
        candidate = self.candidates[at] if at < len(self.candidates) else self._bars
        if self.state.supports:
            return max(i, min(candidate, self.state.supports[0].at + self.rules.ps_bars))
        return candidate

    def _bar(self, i: int) -> None:
        at = bisect_left(self.candidates, i)
        candidate = at < len(self.candidates) and self.candidates[at] == i
        climactic = candidate and _among(self.climaxes, i)
        if candidate and self.rules.ps_proven and (self.reader is None or not self.reader.of.proven):
            self._propose(i)
        if self.reader is not None:
            before = self.reader.of.proven, self.reader.of.climax
            if not self.reader.step(i, climactic):
                self.reader = self.state.range = None
            elif self.reader.of.proven and (True, self.reader.of.climax) != before:
                self._climax(i, self.reader)
                candidate = False
        if self.reader is None and candidate:
            if climactic:
                self.state.range = ranges.opened(self.chart, i)
                self.reader = ranges.Reader(self.chart, self.state.range)
                if self.state.range.proven:
                    self._climax(i, self.reader)
            elif not self.rules.ps_proven:
                self._support(i)
        self._expire(i)

    def _climax(self, i: int, reader: ranges.Reader) -> None:
        """A climax confirms the preliminary supports above it."""
        of, waiting = reader.of, []
        self.state.last_climax = of.climax.at
        for mark in self.state.supports:
            if mark.level <= of.climax.level:
                waiting.append(mark)
                continue
            if self.rules.ps_proven:
                if not self._rallied(mark, reader):
                    continue
                self._write_support(i, mark)
            self.chart.status(i, "PS", mark, "confirmed", of)
        self.state.supports = [] if self.rules.ps_proven else waiting

    def _propose(self, i: int) -> None:
        """A bar that will have been preliminary support, should a climax follow."""
        low = self.chart.view.low
        if low[i] < low[i - LOOKBACK : i].min():
            self.state.supports.append(self.chart.bottom(i))

    def _rallied(self, mark: Mark, reader: ranges.Reader) -> bool:
        """Whether its low held for some bars, and how high the price came before it broke."""
        until = reader.of.climax.at
        lows: list[int] = self.chart.view.low[mark.at + 1 : until].tolist()
        highs: list[int] = self.chart.view.high[mark.at + 1 : until].tolist()
        held = next((n for n, low in enumerate(lows) if low < mark.level), len(lows))
        if held < max(1, self.rules.ps_hold):
            return False
        rally: int = max(highs[:held]) - mark.level
        return rally >= reader.distance.ps_rally

    def _support(self, i: int) -> None:
        """Preliminary support, unless the decline it belongs to had its climax already."""
        chart, last = self.chart, self.state.last_climax
        if last is not None and last >= self._crest(i):
            return
        bar = chart.bottom(i)
        self._write_support(i, bar)
        self.state.supports.append(bar)

    def _write_support(self, i: int, bar: Mark) -> None:
        self.chart.event(i, "PS", bar, confidence.preliminary_support(bar), None)

    def _crest(self, i: int) -> int:
        """Where the decline began: the highest close of the last 60 bars, the last of equals."""
        closes: list[int] = self.chart.view.close[i + 1 - CREST : i + 1].tolist()
        return i - closes[::-1].index(max(closes))

    def _expire(self, i: int) -> None:
        supports = self.state.supports
        while supports and i - supports[0].at >= self.rules.ps_bars:
            mark = supports.pop(0)
            if not self.rules.ps_proven:
                self.chart.status(i, "PS", mark, "expired", None)


def _among(positions: list[int], i: int) -> bool:
    at = bisect_left(positions, i)
    return at < len(positions) and positions[at] == i
