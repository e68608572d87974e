"""Both rule sets read from the prose of docs/domain.md into plain loops over exact decimals.

Slow and without ideas, so that it can be compared with the prose line by line; it shares nothing with the
code that it checks. Decimals are added, subtracted and multiplied only, and a result that would have to be
rounded is an error.
"""

from collections.abc import Iterator, Sequence
from decimal import Context, Decimal, Inexact, localcontext
from fractions import Fraction
from typing import NamedTuple

Event = tuple[str, str, str, int, int]
"""(rule set, kind, direction, index of the bar described, index of the bar that confirmed it)"""

_EXACT = Context(prec=2_000, traps=[Inexact])
_TWENTIETH = Decimal("0.05")


class Bar(NamedTuple):
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - the letter of the field
    c: Decimal
    v: Decimal
    day: int
    """Days since 1970."""


def bar(o: float, h: float, l: float, c: float, v: float, day: int) -> Bar:  # noqa: E741 - as above
    """A bar of the shortest decimals that read back as these doubles."""
    do, dh, dl, dc, dv = (Decimal(repr(x)) for x in (o, h, l, c, v))
    return Bar(do, dh, dl, dc, dv, day)


def judge(bars: Sequence[Bar], *, daily: bool, trend: str | None = None) -> tuple[list[bool], set[Event]]:
    """Whether each bar is evaluable, and every event of `seed-1` and `classic-1`.

    `bars` are the analysed bars of one symbol and timeframe, oldest first. `trend`, where given, is the
    trend at every bar.
    """
    with localcontext(_EXACT):
        tape = Tape(bars, daily, trend)
        return tape.evaluable, set(tape.events())


class Tape:
    def __init__(self, bars: Sequence[Bar], daily: bool, trend: str | None) -> None:
        self.b = bars
        self.daily = daily
        self.v20: list[Decimal | None] = [None] * len(bars)
        self.s20: list[Decimal | None] = [None] * len(bars)
        for t in range(20, len(bars)):
            volume = spread = Decimal(0)
            for previous in bars[t - 20 : t]:
                volume += previous.v
                spread += previous.h - previous.l
            self.v20[t] = volume * _TWENTIETH
            self.s20[t] = spread * _TWENTIETH
        self.evaluable = [self._evaluable(t) for t in range(len(bars))]
        self.trend = [trend or self._trend(t) for t in range(len(bars))]

    def events(self) -> Iterator[Event]:
        for t in range(len(self.b)):
            if self.seed_no_demand(t):
                yield "seed-1", "no_demand", "bearish", t, t
            if self.seed_no_supply(t):
                yield "seed-1", "no_supply", "bullish", t, t
            direction = self.seed_stopping_volume(t)
            if direction:
                yield "seed-1", "stopping_volume", direction, t - 1, t
            if self.no_demand(t):
                yield "classic-1", "no_demand", "bearish", t, t
            if self.no_supply(t):
                yield "classic-1", "no_supply", "bullish", t, t
            if self.stopping_volume(t - 1):
                yield "classic-1", "stopping_volume", "bullish", t - 1, t
            if self.test(t):
                yield "classic-1", "test", "bullish", t, t
            if self.upthrust(t):
                yield "classic-1", "upthrust", "bearish", t, t
            if self.selling_climax(t):
                yield "classic-1", "selling_climax", "bullish", t, t
            if self.buying_climax(t):
                yield "classic-1", "buying_climax", "bearish", t, t

    # What the rules speak of

    def _evaluable(self, t: int) -> bool:
        """20 previous bars exist, both means are > 0, and daily ones reach back 60 days at most."""
        v20, s20 = self.v20[t], self.s20[t]
        if v20 is None or s20 is None:
            return False
        if self.daily and self.b[t].day - self.b[t - 20].day > 60:
            return False
        return v20 > 0 and s20 > 0

    def _trend(self, t: int) -> str:
        """up: SMA20(t-1) > SMA20(t-6) and c[t-1] > SMA20(t-1); down mirrored; else none."""
        if t < 25:
            return "none"
        before, earlier, close = self._sma20(t - 1), self._sma20(t - 6), self.b[t - 1].c
        if before > earlier and close > before:
            return "up"
        if before < earlier and close < before:
            return "down"
        return "none"

    def _sma20(self, k: int) -> Decimal:
        """Mean close of the 20 bars ending at k."""
        total = Decimal(0)
        for one in self.b[k - 19 : k + 1]:
            total += one.c
        return total * _TWENTIETH

    def v_over(self, factor: str, t: int, of: int) -> bool:
        """Volume of bar t above so many times V20 at bar `of`."""
        mean = self.v20[of]
        return mean is not None and self.b[t].v > Decimal(factor) * mean

    def s(self, t: int) -> Decimal:
        return self.b[t].h - self.b[t].l

    def s_over(self, factor: str, t: int, of: int) -> bool:
        mean = self.s20[of]
        return mean is not None and self.s(t) > Decimal(factor) * mean

    def s_under(self, factor: str, t: int, of: int) -> bool:
        mean = self.s20[of]
        return mean is not None and self.s(t) < Decimal(factor) * mean

    def clv(self, t: int) -> Fraction:
        if self.b[t].h == self.b[t].l:
            return Fraction(1, 2)
        return Fraction(self.b[t].c - self.b[t].l) / Fraction(self.s(t))

    def new_low(self, t: int) -> bool:
        return all(self.b[t].l < previous.l for previous in self.b[t - 20 : t])

    def new_high(self, t: int) -> bool:
        return all(self.b[t].h > previous.h for previous in self.b[t - 20 : t])

    def quieter(self, t: int) -> bool:
        """Less volume than both previous bars."""
        return self.b[t].v < self.b[t - 1].v and self.b[t].v < self.b[t - 2].v

    # seed-1

    def seed_no_demand(self, t: int) -> bool:
        return self._absorbs(t) and self.b[t].c < self.b[t].o and self.trend[t] == "up"

    def seed_no_supply(self, t: int) -> bool:
        return self._absorbs(t) and self.b[t].c > self.b[t].o and self.trend[t] == "down"

    def _absorbs(self, t: int) -> bool:
        return self.evaluable[t] and self.v_over("1.5", t, t) and self.s_under("0.5", t, t)

    def seed_stopping_volume(self, t: int) -> str | None:
        """Describes t-1; V20(t) and S20(t) contain bar t-1. The direction, where there is an event."""
        if not (
            self.evaluable[t]
            and self.v_over("2.5", t - 1, t)
            and self.s_over("1", t - 1, t)
            and self.s(t) < self.s(t - 1)
        ):
            return None
        climax, answer = self.b[t - 1], self.b[t]
        if climax.c < climax.o and answer.c > answer.o:
            return "bullish"
        if climax.c > climax.o and answer.c < answer.o:
            return "bearish"
        return None

    # classic-1. An event needs its whole look-back, that of the events it refers to included.

    def supply(self, t: int) -> bool:
        b = self.b
        return (
            self.evaluable[t]
            and b[t].c > b[t - 1].c
            and self.v_over("1.5", t, t)
            and self.clv(t) < Fraction(4, 10)
        )

    def demand(self, t: int) -> bool:
        b = self.b
        return (
            self.evaluable[t]
            and b[t].c < b[t - 1].c
            and self.v_over("1.5", t, t)
            and self.clv(t) > Fraction(6, 10)
        )

    def no_demand(self, t: int) -> bool:
        return (
            t >= 30
            and self.evaluable[t]
            and self.b[t].c > self.b[t - 1].c
            and self.s_under("0.7", t, t)
            and self.quieter(t)
            and self.clv(t) <= Fraction(6, 10)
            and (self.trend[t] == "up" or any(self.supply(k) for k in range(t - 10, t)))
        )

    def no_supply(self, t: int) -> bool:
        return (
            t >= 30
            and self.evaluable[t]
            and self.b[t].c < self.b[t - 1].c
            and self.s_under("0.7", t, t)
            and self.quieter(t)
            and self.clv(t) >= Fraction(4, 10)
            and (self.trend[t] == "down" or any(self.demand(k) for k in range(t - 10, t)))
        )

    def stopping_volume(self, k: int) -> bool:
        """Bar k is the stopping bar and the one after it, where there is one, closed higher."""
        b = self.b
        return (
            20 <= k < len(b) - 1
            and self.evaluable[k]
            and b[k].c < b[k - 1].c
            and self.v_over("2", k, k)
            and self.new_low(k)
            and self.clv(k) >= Fraction(4, 10)
            and b[k + 1].c > b[k].c
        )

    def test(self, t: int) -> bool:
        return (
            t >= 40
            and self.evaluable[t]
            and self.b[t].l < self.b[t - 1].l
            and self.quieter(t)
            and self.clv(t) >= Fraction(7, 10)
            and any(
                self.demand(k) or self.selling_climax(k) or self.stopping_volume(k) for k in range(t - 20, t)
            )
        )

    def upthrust(self, t: int) -> bool:
        return (
            self.evaluable[t]
            and self.v_over("1.3", t, t)
            and self.s_over("1.3", t, t)
            and self.new_high(t)
            and self.clv(t) <= Fraction(3, 10)
        )

    def selling_climax(self, t: int) -> bool:
        return (
            self.evaluable[t]
            and self.v_over("2.5", t, t)
            and self.s_over("1.5", t, t)
            and self.new_low(t)
            and self.b[t].c < self.b[t - 1].c
            and self.clv(t) >= Fraction(4, 10)
        )

    def buying_climax(self, t: int) -> bool:
        return (
            self.evaluable[t]
            and self.v_over("2.5", t, t)
            and self.s_over("1.5", t, t)
            and self.new_high(t)
            and self.b[t].c > self.b[t - 1].c
            and self.clv(t) <= Fraction(6, 10)
        )
