"""One side's bars as the rules of a range read them, and the pen that writes down what they find."""

from math import exp
from typing import Any, Literal
from uuid import UUID

from numpy.typing import NDArray

from rollotape.domain import patterns
from rollotape.domain.bars import MAX_PRICE
from rollotape.domain.wyckoff import confidence, facts
from rollotape.domain.wyckoff.confidence import Values
from rollotape.domain.wyckoff.facts import Event, Fact, Pattern, Phase, Range, Side, Standing, Status
from rollotape.domain.wyckoff.indicators import indicators
from rollotape.domain.wyckoff.rules import LOOKBACK, MIRRORED, PATTERNS, TREND
from rollotape.domain.wyckoff.state import RISE, Mark, OpenRange
from rollotape.domain.wyckoff.tape import QUANTUM, Tape

TARGET_2_R = 3


class Chart:
    """Prices in this side's view: for distribution the low is the high with its sign turned, and so on."""

    def __init__(self, key: tuple[str, str], tape: Tape, side: Side) -> None:
        self.symbol, self.timeframe = key
        self.side, self.rules, self.tape = side, tape.rules, tape
        self.view = tape.accumulation if side == "accumulation" else tape.distribution
        unread = max(tape.start - 1, 0)
        self.high: list[int] = _listed(self.view.high, unread)
        self.low: list[int] = _listed(self.view.low, unread)
        self.close: list[int] = _listed(self.view.close, unread)
        self.volume: list[float] = _listed(tape.bars["volume"], unread)
        self.quiet: list[bool] = _listed(tape.quiet, unread)
        self.strong: list[bool] = _listed(tape.strong, unread)
        self.said: list[tuple[int, Fact]] = []
        """Facts and the positions of the bars that confirmed them."""

    def bottom(self, i: int) -> Mark:
        """The bar, with its low for its price."""
        name = "low" if self.view.sign > 0 else "high"
        return self._mark(i, self.tape.bars[name][i].item(), self.low[i])

    def top(self, i: int) -> Mark:
        """The bar, with its high for its price."""
        name = "high" if self.view.sign > 0 else "low"
        return self._mark(i, self.tape.bars[name][i].item(), self.high[i])

    def _mark(self, i: int, price: float, level: int) -> Mark:
        tape, spread = self.tape, self.high[i] - self.low[i]
        volume_sum, spread_sum = tape.volume_sum[i].item(), tape.spread_sum[i].item()
        judged, a20 = bool(tape.evaluable[i]), tape.true_range_sum[i].item() / LOOKBACK
        return Mark(
            at=i,
            ts=self.ts(i),
            price=price,
            level=level,
            close=self.close[i],
            volume=self.volume[i],
            spread=spread,
            volume_ratio=LOOKBACK * self.volume[i] / volume_sum if judged else 0.0,
            spread_ratio=LOOKBACK * spread / spread_sum if judged and spread_sum else 0.0,
            range_ratio=spread / a20 if judged else 0.0,
            decline=self.view.below[i].item() / TREND / a20 if judged else 0.0,
            place=(self.close[i] - self.low[i]) / spread if spread else 0.5,
        )

    def ts(self, i: int) -> int:
        ts: int = self.tape.bars["ts"][i].item()
        return ts

    def _ends(self, i: int) -> int:
        end: int = self.tape.bars["end_ts"][i].item()
        return end

    def _own(self, kind: str) -> str:
        return kind if self.side == "accumulation" else MIRRORED.get(kind, kind)

    def event(
        self, i: int, kind: str, bar: Mark, values: Values, of: OpenRange | None, price: float | None = None
    ) -> float:
        """Write an event about `bar`, known at position `i`; returns its confidence."""
        worth, terms = confidence.weigh(self.rules, kind, values)
        told = Event(
            self.symbol, self.timeframe, self.rules.name, self.side, self._range_id(of), self._own(kind),
            bar.ts, self.ts(i), self._ends(i), bar.price if price is None else price, worth, terms,
        )  # fmt: skip
        self.said.append((i, told))
        return worth

    def status(
        self,
        i: int,
        kind: str,
        bar: Mark,
        status: Literal["confirmed", "expired", "superseded", "test_passed"],
        of: OpenRange | None,
    ) -> None:
        told = Status(
            self.symbol, self.timeframe, self.rules.name, self.side, self._range_id(of), self._own(kind),
            bar.ts, status, self.ts(i), self._ends(i),
        )  # fmt: skip
        self.said.append((i, told))

    def range(
        self,
        i: int,
        of: OpenRange,
        status: Standing = "open",
    ) -> None:
        """Write down how the range stands; a completed one goes on as markup or markdown."""
        if status == "completed":
            self.phase(i, of, "E")
        reaction = of.reaction.price if of.reaction and of.stage != RISE else None
        below, above = (of.support_price, reaction) if self.view.sign > 0 else (reaction, of.support_price)
        range_id = self._range_id(of)
        assert range_id is not None
        told = Range(
            self.symbol, self.timeframe, self.rules.name, self.side, range_id, of.opened_ts, of.climax.ts,
            self.ts(i), self._ends(i), status, of.phases[-1][0], tuple(of.phases),
            below, above, of.unit_sum * QUANTUM / LOOKBACK,
        )  # fmt: skip
        self.said.append((i, told))

    def phase(self, i: int, of: OpenRange, letter: Phase) -> bool:
        """Enter a phase, unless it or a later one was reached already."""
        if of.phases and of.phases[-1][0] >= letter:
            return False
        of.phases.append((letter, self.ts(i)))
        return True

    def pattern(self, i: int, kind: str, bar: Mark, worth: float, of: OpenRange) -> None:
        """Write the trade that a SPRING, SOS or LPS proposes, in linear prices."""
        assert kind in PATTERNS
        assert of.reaction is not None
        creek, entry = of.reaction.price, self.tape.bars["close"][i].item()
        stop = self._below(creek, of) if kind == "SOS" else bar.price
        inside = kind == "SPRING" and self.close[i] < of.reaction.level
        target = creek if inside else creek * (creek / of.support_price)
        far = entry + TARGET_2_R * (entry - stop)
        detected, range_id = self._ends(i), self._range_id(of)
        assert range_id is not None
        ratio = LOOKBACK * self.volume[i] / self.tape.volume_sum[i].item() if self.tape.evaluable[i] else None
        told = Pattern(
            self.symbol, self.timeframe, self.rules.name, self.side, range_id, self._own(kind), bar.ts,
            self.ts(i), detected, patterns.expires_at(self.timeframe, detected), of.phases[-1][0],
            worth, entry, stop, target, far if 0 < far < MAX_PRICE else None,
            (target - entry) / (entry - stop), False if kind == "SPRING" else None,
            indicators(self.tape.bars, i, ratio),
        )  # fmt: skip
        self.said.append((i, told))

    def _below(self, creek: float, of: OpenRange) -> float:
        distance = float(self.rules.sos_stop) * of.unit_sum * QUANTUM / LOOKBACK
        return creek * exp(-self.view.sign * distance)

    def _range_id(self, of: OpenRange | None) -> UUID | None:
        if of is None:
            return None
        return facts.range_id(self.symbol, self.timeframe, self.rules.name, self.side, of.opened_ts)


def _listed(column: NDArray[Any], unread: int) -> list[Any]:
    """The column as a list, quicker bar by bar; nobody looks at the first `unread`, which are None."""
    listed: list[Any] = column[unread:].tolist()
    return [None] * unread + listed
