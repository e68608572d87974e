"""The rule sets of volume spread analysis as data, in the notation of the trade.

A condition compares two terms, perhaps with a factor: `v > 1.5 V20`, `c < o`, `clv >= 0.4`. Terms are

    o h l c v     the bar's numbers; `v[-1]` is the bar before
    s, clv        spread h - l; (c - l) / (h - l), 0.5 when h = l
    V20, S20      means of volume and spread over the previous 20 bars
    low20, high20 lowest low and highest high of the previous 20 bars

`trend up` asks for the trend at the bar, `demand in 10` for a rule of that name whose described bar lies
among the previous 10. ` or ` joins alternatives. Everything else about a rule, its look-back included,
follows from its conditions.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, cached_property
from typing import Literal

LOOKBACK = 20
TREND_LOOKBACK = 25
MAX_DAYS = 60
"""A daily mean whose bars reach back further than this is no yardstick any more."""

Direction = Literal["bullish", "bearish"]
Trend = Literal["up", "down", "none"]


@dataclass(frozen=True, slots=True)
class Term:
    name: str
    back: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """left op numerator / denominator * right; without `right` the factor stands alone."""

    left: Term
    op: str
    numerator: int
    denominator: int
    right: Term | None


@dataclass(frozen=True, slots=True)
class InTrend:
    trend: Trend


@dataclass(frozen=True, slots=True)
class Among:
    """The bar described by rule `name` lies among the previous `bars`."""

    name: str
    bars: int


Condition = Comparison | InTrend | Among


@dataclass(frozen=True, eq=False)
class Rule:
    """One way to an event of `kind`.

    `described` and `judged` say which bar, 0 or -1 from the confirming one, the event is about, and at which
    the means must be evaluable. A rule without a direction is a word for other rules, never published.
    """

    kind: str
    direction: Direction | None
    when: tuple[str, ...]
    described: int = 0
    judged: int = 0

    @cached_property
    def conditions(self) -> tuple[tuple[Condition, ...], ...]:
        """All of the outer must hold; of each inner, one."""
        return tuple(tuple(_parse(text) for text in anyof.split(" or ")) for anyof in self.when)


@dataclass(frozen=True, eq=False)
class RuleSet:
    """Versioned by its name: change a rule, and the name changes."""

    name: str
    rules: tuple[Rule, ...]

    @cache  # noqa: B019 - rule sets are few and live as long as the process
    def named(self, kind: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.kind == kind)

    @cache  # noqa: B019 - as above
    def lookback(self, rule: Rule) -> int:
        """Bars before the confirming one that the rule needs, those of the rules it names included.

        The trend asks for none: with fewer bars than it wants, it is `none`.
        """
        needed = LOOKBACK - rule.judged
        for condition in (c for anyof in rule.conditions for c in anyof):
            needed = max(needed, self._reach(condition))
        return needed

    def _reach(self, condition: Condition) -> int:
        match condition:
            case Comparison(left, _, _, _, right):
                terms = (left, right) if right else (left,)
                return max(t.back + (LOOKBACK if t.name.endswith("20") else 0) for t in terms)
            case Among(name, bars):
                return bars + max(self.lookback(r) + r.described for r in self.named(name))
        return 0

    @cached_property
    def reach(self) -> int:
        """No bar further back than this bears on an event: no bar further on is touched by a change."""
        return max(TREND_LOOKBACK, *(self.lookback(rule) for rule in self.rules))


_TERM = r"([ohlcvs]|clv|[VS]20|low20|high20)(?:\[-(\d+)\])?"
_COMPARISON = re.compile(rf"{_TERM} (<=|>=|<|>) (?:(\d+(?:\.\d+)?)(?: |$))?(?:{_TERM})?")


def _parse(text: str) -> Condition:
    match text.split():
        case ["trend", ("up" | "down") as trend]:
            return InTrend(trend)
        case [name, "in", bars]:
            return Among(name, int(bars))
    found = _COMPARISON.fullmatch(text)
    if found is None or not (found[4] or found[5]):
        raise ValueError(f"not a condition of a rule: {text!r}")
    numerator, denominator = Decimal(found[4] or 1).as_integer_ratio()
    right = Term(found[5], int(found[6] or 0)) if found[5] else None
    return Comparison(Term(found[1], int(found[2] or 0)), found[3], numerator, denominator, right)


_ABSORPTION = ("v > 1.5 V20", "s < 0.5 S20")
_CLIMAX = ("v[-1] > 2.5 V20", "s[-1] > S20", "s < s[-1]")

SEED_1 = RuleSet(
    "seed-1",
    (
        Rule("no_demand", "bearish", (*_ABSORPTION, "c < o", "trend up")),
        Rule("no_supply", "bullish", (*_ABSORPTION, "c > o", "trend down")),
        Rule("stopping_volume", "bullish", (*_CLIMAX, "c[-1] < o[-1]", "c > o"), described=-1),
        Rule("stopping_volume", "bearish", (*_CLIMAX, "c[-1] > o[-1]", "c < o"), described=-1),
    ),
)
"""What it calls no demand and no supply, VSA readers call absorption, and it is rare."""

_QUIET = ("s < 0.7 S20", "v < v[-1]", "v < v[-2]")

CLASSIC_1 = RuleSet(
    "classic-1",
    (
        Rule("supply", None, ("c > c[-1]", "v > 1.5 V20", "clv < 0.4")),
        Rule("demand", None, ("c < c[-1]", "v > 1.5 V20", "clv > 0.6")),
        Rule("no_demand", "bearish", ("c > c[-1]", *_QUIET, "clv <= 0.6", "trend up or supply in 10")),
        Rule("no_supply", "bullish", ("c < c[-1]", *_QUIET, "clv >= 0.4", "trend down or demand in 10")),
        Rule(
            "stopping_volume",
            "bullish",
            ("c[-1] < c[-2]", "c > c[-1]", "clv[-1] >= 0.4", "v[-1] > 2 V20[-1]", "l[-1] < low20[-1]"),
            described=-1,
            judged=-1,
        ),
        Rule(
            "test",
            "bullish",
            (
                "l < l[-1]",
                "v < v[-1]",
                "v < v[-2]",
                "clv >= 0.7",
                "demand in 20 or selling_climax in 20 or stopping_volume in 20",
            ),
        ),
        Rule("upthrust", "bearish", ("clv <= 0.3", "h > high20", "s > 1.3 S20", "v > 1.3 V20")),
        Rule(
            "selling_climax",
            "bullish",
            ("c < c[-1]", "clv >= 0.4", "v > 2.5 V20", "s > 1.5 S20", "l < low20"),
        ),
        Rule(
            "buying_climax",
            "bearish",
            ("c > c[-1]", "clv <= 0.6", "v > 2.5 V20", "s > 1.5 S20", "h > high20"),
        ),
    ),
)
"""For readers of Tom Williams: direction by the previous close, demand and supply judged by low volume."""

RULE_SETS = (SEED_1, CLASSIC_1)
REACH = 42
"""Bars that a change reaches at most, over every rule set: the largest `RuleSet.reach` and two to spare."""
