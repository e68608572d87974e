"""The same rules decided for one bar from its window alone, in Python's whole numbers.

Slower, shorter, and sharing nothing with the array version but the rules: `rollo verify` and the tests hold
one against the other.
"""

import operator
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import reduce
from typing import Any, NamedTuple

from rollotape.domain.vsa.rules import (
    LOOKBACK,
    MAX_DAYS,
    TREND_LOOKBACK,
    Comparison,
    Condition,
    InTrend,
    Rule,
    RuleSet,
    Term,
    Trend,
)

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Columns(NamedTuple):
    """A window of analysed bars, oldest first: whole numbers, and days since 1970."""

    open: Sequence[int]
    high: Sequence[int]
    low: Sequence[int]
    close: Sequence[int]
    volume: Sequence[int]
    session: Sequence[int]

    def window(self, start: int, stop: int) -> "Columns":
        return Columns(*(column[start:stop] for column in self))


def whole(values: Sequence[float]) -> list[int]:
    """Doubles as the whole numbers of one decimal scale, fine enough for all of them."""
    decimals = [Decimal(repr(value)) for value in values]
    places = max((-int(d.as_tuple().exponent) for d in decimals), default=0)
    return [int(d.scaleb(max(places, 0))) for d in decimals]


class Window:
    """One bar, the last of `bars`, judged by the bars before it."""

    def __init__(self, bars: Columns, *, daily: bool, trend: Trend | None = None) -> None:
        self._bars = bars
        self._last = len(bars.close) - 1
        self._daily = daily
        self._trend = trend

    def evaluable(self, at: int | None = None) -> bool:
        """Whether 20 previous bars exist, with means above zero and near enough in time."""
        t = self._last if at is None else at
        if t < LOOKBACK:
            return False
        if self._daily and self._bars.session[t] - self._bars.session[t - LOOKBACK] > MAX_DAYS:
            return False
        return self._mean("V20", t)[0] > 0 and self._mean("S20", t)[0] > 0

    def events(self, rule_set: RuleSet) -> Iterator[Rule]:
        """The rules that the last bar confirms."""
        return (r for r in rule_set.rules if r.direction is not None and self._fires(rule_set, r, self._last))

    def _fires(self, rule_set: RuleSet, rule: Rule, t: int) -> bool:
        if t < rule_set.lookback(rule) or t > self._last:
            return False
        for anyof in rule.conditions:  # plain loops: this runs a dozen times for every stored bar
            for condition in anyof:
                if self._holds(rule_set, condition, t):
                    break
            else:
                return False
        return self.evaluable(t + rule.judged)

    def _holds(self, rule_set: RuleSet, condition: Condition, t: int) -> bool:
        if isinstance(condition, Comparison):
            above, below = self._value(condition.left, t)
            other, unit = self._value(condition.right, t) if condition.right else (1, 1)
            holds: bool = _OPERATORS[condition.op](
                above * unit * condition.denominator, other * below * condition.numerator
            )
            return holds
        if isinstance(condition, InTrend):
            return self._trend_at(t) == condition.trend
        return any(
            self._fires(rule_set, rule, described - rule.described)
            for described in range(t - condition.bars, t)
            for rule in rule_set.named(condition.name)
        )

    def _value(self, term: Term, t: int) -> tuple[int, int]:
        """A term as numerator and positive denominator."""
        t -= term.back
        o, h, low, c, v, _ = self._bars
        match term.name:
            case "o":
                return o[t], 1
            case "h":
                return h[t], 1
            case "l":
                return low[t], 1
            case "c":
                return c[t], 1
            case "v":
                return v[t], 1
            case "s":
                return h[t] - low[t], 1
            case "clv":
                return (c[t] - low[t], h[t] - low[t]) if h[t] > low[t] else (1, 2)
            case "low20":
                return min(low[t - LOOKBACK : t]), 1
            case "high20":
                return max(h[t - LOOKBACK : t]), 1
        return self._mean(term.name, t)

    def _mean(self, name: str, t: int) -> tuple[int, int]:
        _, h, low, _, v, _ = self._bars
        previous = slice(t - LOOKBACK, t)
        if name == "V20":
            return _total(v[previous]), LOOKBACK
        return _total(h[previous]) - _total(low[previous]), LOOKBACK

    def _trend_at(self, t: int) -> Trend:
        if self._trend is not None:
            return self._trend
        if t < TREND_LOOKBACK:
            return "none"
        close: Any = self._bars.close
        mean, earlier = _total(close[t - 20 : t]), _total(close[t - 25 : t - 5])
        last = LOOKBACK * close[t - 1]
        if mean > earlier and last > mean:
            return "up"
        return "down" if mean < earlier and last < mean else "none"


def _total(values: Sequence[int]) -> int:
    return reduce(operator.add, values)  # the builtin sum is banned here, for the sake of floats
