"""What closed trades have earned: shares, factors, falls and how sure one may be of them.

The rules of numbers: R is a decimal of 12 places, further ones rounded half away from zero, as it is stored.
Sums of R are exact. What is divided or rooted is so to 50 digits, and each figure is rounded once, at its
end, half to even, to 6 places. Counts are integers; percentages are 0..100. A figure that there is none of is
None, with a reason where there is more than one.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache, reduce
from itertools import accumulate
from typing import Any, Literal, NamedTuple
from uuid import UUID

from rollotape.domain.sessions import Sessions

BREAKEVEN_R = Decimal("1e-9")
"""Less than this, either way, is neither won nor lost."""
FEWEST = 30
"""Fewer trades than this are a low sample."""
FLAT_R = Decimal("1e-12")
"""A spread of R smaller than this divides nothing."""
WILSON_Z = Decimal("1.959964")

NoFactor = Literal["no_losses", "no_trades"]
NoFall = Literal["no_trades", "too_many_trades"]

_R_PLACES = Decimal("1e-12")
_PLACES = Decimal("1e-6")
_EXACT = Context(prec=400, rounding=ROUND_HALF_UP, traps=[Inexact, InvalidOperation])
_TO_R = Context(prec=400, rounding=ROUND_HALF_UP, traps=[InvalidOperation])
_FIFTY = Context(prec=50, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])
_ZERO = Decimal(0)
_WILSON_SQUARE = _FIFTY.multiply(WILSON_Z, WILSON_Z)


class Closed(NamedTuple):
    """A trade that has ended."""

    id: UUID
    realized_r: float | Decimal
    exit_date: int
    """Instant of the exit, in microseconds since 1970."""
    sessions: int | None
    """Sessions held, from `held`; None where nobody knows."""
    test_confirmed: bool | None = None
    """Whether its pattern's test had come by the exit; None where the type has no test."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What adds up over trades one after the other, so that a long time follows from short ones."""

    trades: int = 0
    wins: int = 0
    losses: int = 0
    r_sum: Decimal = _ZERO
    r_won: Decimal = _ZERO
    r_lost: Decimal = _ZERO
    r_squares: Decimal = _ZERO
    r_high: Decimal = _ZERO
    """Highest of R added up, the 0 at the start included."""
    r_low: Decimal = _ZERO
    r_fall: Decimal | None = _ZERO
    """Largest fall from the highest so far; None where that was not looked for."""
    held: Mapping[int, int] = field(default_factory=dict)
    """Trades by the sessions they were held."""

    def then(self, later: "Measure") -> "Measure":
        """Both, where all of `later` comes after all of this."""
        add, high = _EXACT.add, _EXACT.add(self.r_sum, later.r_high)
        low = add(self.r_sum, later.r_low)
        fall = None
        if self.r_fall is not None and later.r_fall is not None:
            fall = max(self.r_fall, later.r_fall, _EXACT.subtract(self.r_high, low))
        return Measure(
            trades=self.trades + later.trades,
            wins=self.wins + later.wins,
            losses=self.losses + later.losses,
            r_sum=add(self.r_sum, later.r_sum),
            r_won=add(self.r_won, later.r_won),
            r_lost=add(self.r_lost, later.r_lost),
            r_squares=add(self.r_squares, later.r_squares),
            r_high=max(self.r_high, high),
            r_low=min(self.r_low, low),
            r_fall=fall,
            held=Counter(self.held) + Counter(later.held),
        )


NOTHING = Measure()


@dataclass(frozen=True, slots=True)
class Performance:
    trade_count: int
    wins: int
    losses: int
    breakeven: int
    win_rate: Decimal | None
    win_rate_ex_breakeven: Decimal | None
    win_rate_ci95: tuple[Decimal, Decimal] | None
    low_sample: bool
    profit_factor: Decimal | None
    profit_factor_state: NoFactor | None
    """Why there is no profit factor."""
    avg_r_multiple: Decimal | None
    max_drawdown_r: Decimal | None
    max_drawdown_state: NoFall | None
    """Why there is no drawdown."""
    avg_holding_sessions: Decimal | None
    median_holding_sessions: Decimal | None
    sqn: Decimal | None

    @property
    def expectancy(self) -> Decimal | None:
        """Another name for the mean R."""
        return self.avg_r_multiple


_FIGURES = [one.name for one in fields(Performance)]


def performance(trades: Iterable[Closed]) -> Performance:
    """The figures of these trades, whose order does not matter."""
    return figures(measure(trades))


def by_test(trades: Iterable[Closed]) -> tuple[Performance | None, Performance | None]:
    """Of patterns whose test had come by the exit, and of those whose had not; None where there are none."""
    found = list(trades)
    confirmed, unconfirmed = ([t for t in found if t.test_confirmed is flag] for flag in (True, False))
    return (
        performance(confirmed) if confirmed else None,
        performance(unconfirmed) if unconfirmed else None,
    )


def measure(trades: Iterable[Closed]) -> Measure:
    """Of these trades in the order of their exits, then of their ids as bytes."""
    found = sorted(trades, key=lambda trade: (trade.exit_date, trade.id.bytes))
    earned = [exact_r(trade.realized_r) for trade in found]
    won = [r for r in earned if r > BREAKEVEN_R]
    lost = [r for r in earned if r < BREAKEVEN_R.copy_negate()]
    levels = list(accumulate(earned, _EXACT.add, initial=_ZERO))
    return Measure(
        trades=len(earned),
        wins=len(won),
        losses=len(lost),
        r_sum=levels[-1],
        r_won=added(won),
        r_lost=added(lost),
        r_squares=added(_EXACT.multiply(r, r) for r in earned),
        r_high=max(levels),
        r_low=min(levels),
        r_fall=max(map(_EXACT.subtract, accumulate(levels, max), levels)),
        held=Counter(trade.sessions for trade in found if trade.sessions is not None),
    )


def figures(of: Measure) -> Performance:
    """What can be said of a measure."""
    factor, state = _profit_factor(of)
    decided, no_fall = of.wins + of.losses, _no_fall(of)
    return Performance(
        trade_count=of.trades,
        wins=of.wins,
        losses=of.losses,
        breakeven=of.trades - decided,
        win_rate=percent(of.wins, of.trades),
        win_rate_ex_breakeven=percent(of.wins, decided),
        win_rate_ci95=wilson(of.wins, of.trades),
        low_sample=of.trades < FEWEST,
        profit_factor=factor,
        profit_factor_state=state,
        avg_r_multiple=mean(of.r_sum, of.trades),
        max_drawdown_r=None if no_fall or of.r_fall is None else rounded(of.r_fall),
        max_drawdown_state=no_fall,
        avg_holding_sessions=_mean_held(of.held),
        median_holding_sessions=_median_held(of.held),
        sqn=_sqn(of),
    )


def told(of: Performance) -> dict[str, Any]:
    """As JSON has it: numbers of 6 places, which a double holds."""
    said = {name: _number(getattr(of, name)) for name in _FIGURES}
    return {**said, "expectancy": said["avg_r_multiple"]}


def exact_r(r: float | Decimal) -> Decimal:
    """R as it is added up: of 12 places."""
    return Decimal(r).quantize(_R_PLACES, context=_TO_R)


def rounded(value: Decimal) -> Decimal:
    """A figure as it is answered; there is no -0."""
    return _FIFTY.add(value.quantize(_PLACES, context=_FIFTY), _ZERO)


def added(values: Iterable[Decimal]) -> Decimal:
    """Every digit of it."""
    return reduce(_EXACT.add, values, _ZERO)


def mean(total: Decimal, count: int) -> Decimal | None:
    return rounded(_FIFTY.divide(total, Decimal(count))) if count else None


@lru_cache(maxsize=4_096)
@lru_cache(10_000)  # a trend of years asks for few, again and again
def percent(part: int, whole: int) -> Decimal | None:
    return mean(Decimal(100 * part), whole)


def wilson(wins: int, trades: int) -> tuple[Decimal, Decimal] | None:
    """Between which percentages the win rate lies, 95 times of 100."""
    if not trades:
        return None
    add, times, by, square = _FIFTY.add, _FIFTY.multiply, _FIFTY.divide, _WILSON_SQUARE
    n = Decimal(trades)
    share = by(Decimal(wins), n)
    scale = add(1, by(square, n))
    middle = add(share, by(square, 2 * trades))
    inner = add(by(times(share, _FIFTY.subtract(1, share)), n), by(square, 4 * trades * trades))
    half = times(WILSON_Z, _FIFTY.sqrt(inner))
    low, high = by(_FIFTY.subtract(middle, half), scale), by(add(middle, half), scale)
    return rounded(times(100, max(_ZERO, low))), rounded(times(100, min(Decimal(1), high)))


def held(sessions: Sessions, entry_day: int, exit_day: int) -> int:
    """Sessions in (entry day, exit day], days since 1970; 0 within one session."""
    first, last = sessions.days.searchsorted([entry_day, exit_day], side="right").tolist()
    return int(last - first)


def _profit_factor(of: Measure) -> tuple[Decimal | None, NoFactor | None]:
    """R won by R lost, or why that cannot be said; 0 where there are losses only."""
    if not of.trades:
        return None, "no_trades"
    if not of.losses:
        return None, "no_losses"
    return rounded(_FIFTY.divide(of.r_won, of.r_lost.copy_negate())), None


def _no_fall(of: Measure) -> NoFall | None:
    if not of.trades:
        return "no_trades"
    return "too_many_trades" if of.r_fall is None else None


def _sqn(of: Measure) -> Decimal | None:
    """System quality number: how far the mean is from 0, by its standard error."""
    if of.trades < 2:
        return None
    n, pairs = Decimal(of.trades), Decimal(of.trades * (of.trades - 1))
    spread = _EXACT.subtract(_EXACT.multiply(n, of.r_squares), _EXACT.multiply(of.r_sum, of.r_sum))
    if spread < _EXACT.multiply(_EXACT.multiply(FLAT_R, FLAT_R), pairs):
        return None
    deviation = _FIFTY.sqrt(_FIFTY.divide(spread, pairs))
    average = _FIFTY.divide(of.r_sum, n)
    return rounded(_FIFTY.divide(_FIFTY.multiply(_FIFTY.sqrt(n), average), deviation))


def _mean_held(trades: Mapping[int, int]) -> Decimal | None:
    return mean(Decimal(_total(count * n for count, n in trades.items())), _total(trades.values()))


def _median_held(trades: Mapping[int, int]) -> Decimal | None:
    if not (whole := _total(trades.values())):
        return None
    ordered = sorted(trades.items())
    upto = list(accumulate(n for _, n in ordered))
    middle = [ordered[bisect_right(upto, at)][0] for at in ((whole - 1) // 2, whole // 2)]
    return mean(Decimal(middle[0] + middle[1]), 2)


def _total(counts: Iterable[int]) -> int:
    return reduce(int.__add__, counts, 0)


def _number(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_number(one) for one in value]
    return float(value) if isinstance(value, Decimal) else value
