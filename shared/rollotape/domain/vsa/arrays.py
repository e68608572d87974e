"""Every rule decided for many bars of many symbols at once; the same answer however they are cut."""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rollotape.domain import exact
from rollotape.domain.bars import Flags, Rows
from rollotape.domain.exact import Numbers
from rollotape.domain.vsa.rules import (
    LOOKBACK,
    MAX_DAYS,
    TREND_LOOKBACK,
    Among,
    Comparison,
    Condition,
    InTrend,
    Rule,
    RuleSet,
    Term,
    Trend,
)

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Found(NamedTuple):
    """Events of one rule: positions of the confirming bars; the described ones are `described` away."""

    rule_set: str
    rule: Rule
    confirmed: NDArray[np.int64]


@dataclass(slots=True)
class Series:
    """Analysed bars of one or more symbols and timeframes, one after the other, each oldest first.

    Of `bars` (n) bar i is the `position[i]`-th of its series, counted from 0; `daily` (n) tells which are
    daily, whose means may not reach back for ever. `trend`, where given, replaces the computed one.
    """

    bars: Rows
    position: NDArray[np.int64]
    daily: Flags
    trend: Trend | None = None
    _memo: dict[object, Any] = field(default_factory=dict)

    @property
    def evaluable(self) -> Flags:
        """Which bars have 20 previous ones with means above zero, near enough in time."""
        flags: Flags = self._once("evaluable", self._evaluable)
        return flags

    def find(self, rule_set: RuleSet) -> Iterator[Found]:
        """Every event of a rule set; a rule without a direction is not one."""
        for rule in rule_set.rules:
            if rule.direction is not None:
                [at] = np.nonzero(self._fired(rule_set, rule))
                yield Found(rule_set.name, rule, at)

    def _fired(self, rule_set: RuleSet, rule: Rule) -> Flags:
        fired: Flags = self._once((rule_set.name, rule), lambda: self._decide(rule_set, rule))
        return fired

    def _decide(self, rule_set: RuleSet, rule: Rule) -> Flags:
        enough = self.position >= rule_set.lookback(rule)
        fired: Flags = _back(self.evaluable, -rule.judged) & enough
        for anyof in rule.conditions:
            if not fired.any():
                break
            fired = fired & self._any(rule_set, anyof)
        return fired

    def _any(self, rule_set: RuleSet, anyof: Sequence[Condition]) -> Flags:
        first, *others = (self._holds(rule_set, c) for c in anyof)
        for other in others:
            first = first | other
        return first

    def _holds(self, rule_set: RuleSet, condition: Condition) -> Flags:
        match condition:
            case InTrend(trend):
                up_or_down: Flags = self._once("trends", self._trends)[trend]
                return up_or_down
            case Among(name, bars):
                described = np.zeros(len(self.bars), bool)
                for rule in rule_set.named(name):
                    described |= _back(self._fired(rule_set, rule), rule.described)
                return _sums(described.astype(np.int64), bars) > 0
            case Comparison():
                return self._compare(condition)

    def _compare(self, comparison: Comparison) -> Flags:
        left, left_unit = self._term(comparison.left)
        right, right_unit = self._term(comparison.right) if comparison.right else (1, 1)
        compare = _OPERATORS[comparison.op]
        flags = compare(
            left * (comparison.denominator * right_unit), right * (comparison.numerator * left_unit)
        )
        return np.asarray(flags, bool)

    def _term(self, term: Term) -> tuple[Any, Any]:
        """A term as numerator and positive denominator, so that no division rounds anything."""
        above, below = self._once(term.name, lambda: self._plain(term.name))
        if term.back:
            above = _back(above, term.back)
            below = below if isinstance(below, int) else _back(below, term.back, fill=1)
        return above, below

    def _plain(self, name: str) -> tuple[Any, Any]:
        o, h, low, c = self._once("prices", lambda: exact.prices(self.bars))
        match name:
            case "o":
                return o, 1
            case "h":
                return h, 1
            case "l":
                return low, 1
            case "c":
                return c, 1
            case "v":
                return self._once("volumes", lambda: exact.volumes(self.bars)), 1
            case "s":
                return h - low, 1
            case "clv":
                flat = np.asarray(h == low, bool)
                return np.where(flat, 1, 2 * (c - low)), np.where(flat, 2, 2 * (h - low))
            case "V20":
                return _sums(self._term(Term("v"))[0], LOOKBACK), LOOKBACK
            case "S20":
                return _sums(h - low, LOOKBACK), LOOKBACK
            case "low20":
                return _extremes(low, np.min), 1
            case "high20":
                return _extremes(h, np.max), 1
        raise AssertionError(name)

    def _evaluable(self) -> Flags:
        volume, _ = self._term(Term("V20"))
        spread, _ = self._term(Term("S20"))
        session = self.bars["session"]
        near = session - _back(session, LOOKBACK) <= MAX_DAYS
        positive = np.asarray((volume > 0) & (spread > 0), bool)
        flags: Flags = (self.position >= LOOKBACK) & positive & (near | ~self.daily)
        return flags

    def _trends(self) -> dict[str, Flags]:
        count = len(self.bars)
        if self.trend is not None:
            return {t: np.full(count, self.trend == t) for t in ("up", "down")}
        close, _ = self._term(Term("c"))
        mean = _sums(close, LOOKBACK)  # 20 SMA20 of the bar before
        earlier, last = _back(mean, 5), LOOKBACK * _back(close, 1)
        enough = self.position >= TREND_LOOKBACK
        up = np.asarray((mean > earlier) & (last > mean), bool) & enough
        down = np.asarray((mean < earlier) & (last < mean), bool) & enough
        return {"up": up, "down": down}

    def _once(self, name: object, compute: Callable[[], Any]) -> Any:
        if name not in self._memo:
            self._memo[name] = compute()
        return self._memo[name]


def series(parts: Sequence[Rows], daily: Sequence[bool]) -> Series:
    """Join analysed bars of several keys; `daily[i]` belongs to `parts[i]`."""
    lengths = [len(p) for p in parts]
    starts = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
    return Series(
        np.concatenate(parts), np.arange(len(starts)) - starts, np.repeat(np.array(daily, bool), lengths)
    )


def _back(values: Any, bars: int, fill: int = 0) -> Any:
    """The value `bars` earlier (later when negative); `fill` where there is none."""
    out = np.full_like(values, fill)
    if bars > 0:
        out[bars:] = values[:-bars]
    elif bars < 0:
        out[:bars] = values[-bars:]
    else:
        out[:] = values
    return out


def _sums(values: Numbers, bars: int) -> Numbers:
    """Sum over the previous `bars`, the bar itself excluded. Whole numbers: running sums are exact."""
    total = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])
    out = np.zeros_like(values)
    out[bars:] = total[bars:-1] - total[: -bars - 1]
    if len(values) > 1:  # a series shorter than the look-back still has what there is
        short = min(bars, len(values))
        out[1:short] = total[1:short]
    return out


def _extremes(values: Numbers, extreme: Callable[..., Any]) -> Numbers:
    """Extreme over the previous 20 bars."""
    out = np.zeros_like(values)
    if len(values) > LOOKBACK:
        out[LOOKBACK:] = extreme(sliding_window_view(values[:-1], LOOKBACK), axis=1)
    return out
