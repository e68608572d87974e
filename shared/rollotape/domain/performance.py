"""What closed trades have earned: shares, factors, falls and how sure one may be of them.

All figures are over closed trades, in R; percentages are 0..100. A figure that there is none of is None, with
a reason where there is more than one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import fsum, sqrt
from typing import Literal, NamedTuple
from uuid import UUID

from rollotape.domain.sessions import Sessions

BREAKEVEN_R = 1e-9
"""Less than this, either way, is neither won nor lost."""
FEWEST = 30
"""Fewer trades than this are a low sample."""
FLAT_R = 1e-12
"""A spread of R smaller than this divides nothing."""
WILSON_Z = 1.959964

NoFactor = Literal["no_losses", "no_trades"]


class Closed(NamedTuple):
    """A trade that has ended."""

    id: UUID
    realized_r: float
    exit_date: int
    """Instant of the exit, in microseconds since 1970."""
    sessions: int
    """Sessions held, from `held`."""
    test_confirmed: bool | None = None
    """Whether its pattern's test had come by the exit; None where the type has no test."""


@dataclass(frozen=True, slots=True)
class Performance:
    trade_count: int
    wins: int
    losses: int
    breakeven: int
    win_rate: float | None
    win_rate_ex_breakeven: float | None
    win_rate_ci95: tuple[float, float] | None
    low_sample: bool
    profit_factor: float | None
    profit_factor_state: NoFactor | None
    """Why there is no profit factor."""
    avg_r_multiple: float | None
    max_drawdown_r: float | None
    avg_holding_sessions: float | None
    median_holding_sessions: float | None
    sqn: float | None

    @property
    def expectancy(self) -> float | None:
        """Another name for the mean R."""
        return self.avg_r_multiple


def performance(trades: Iterable[Closed]) -> Performance:
    """The figures of these trades, whose order does not matter."""
    found = sorted(trades, key=lambda trade: (trade.exit_date, trade.id.bytes))
    earned = [trade.realized_r for trade in found]
    won = [r for r in earned if r > BREAKEVEN_R]
    lost = [r for r in earned if r < -BREAKEVEN_R]
    held_for = [trade.sessions for trade in found]
    factor, state = profit_factor(earned)
    return Performance(
        trade_count=len(earned),
        wins=len(won),
        losses=len(lost),
        breakeven=len(earned) - len(won) - len(lost),
        win_rate=_percent(len(won), len(earned)),
        win_rate_ex_breakeven=_percent(len(won), len(won) + len(lost)),
        win_rate_ci95=wilson(len(won), len(earned)),
        low_sample=len(earned) < FEWEST,
        profit_factor=factor,
        profit_factor_state=state,
        avg_r_multiple=_mean(earned),
        max_drawdown_r=max_drawdown(earned),
        avg_holding_sessions=_mean(held_for),
        median_holding_sessions=_median(held_for),
        sqn=sqn(earned),
    )


def by_test(trades: Iterable[Closed]) -> tuple[Performance | None, Performance | None]:
    """Of patterns whose test had come by the exit, and of those whose had not; None where there are none."""
    found = list(trades)
    confirmed, unconfirmed = ([t for t in found if t.test_confirmed is flag] for flag in (True, False))
    return (
        performance(confirmed) if confirmed else None,
        performance(unconfirmed) if unconfirmed else None,
    )


def profit_factor(earned: Sequence[float]) -> tuple[float | None, NoFactor | None]:
    """R won by R lost, or why that cannot be said; 0 where there are losses only."""
    if not earned:
        return None, "no_trades"
    lost = fsum(r for r in earned if r < -BREAKEVEN_R)
    if not lost:
        return None, "no_losses"
    return fsum(r for r in earned if r > BREAKEVEN_R) / -lost, None


def max_drawdown(earned: Sequence[float]) -> float | None:
    """The largest fall of R added up, in this order, from its highest so far, which is at first 0."""
    if not earned:
        return None
    levels = list(accumulate(earned, initial=0.0))
    return max(peak - level for peak, level in zip(accumulate(levels, max), levels, strict=True))


def sqn(earned: Sequence[float]) -> float | None:
    """System quality number: how far the mean is from 0, by its standard error."""
    mean = _mean(earned)
    if mean is None or len(earned) < 2:
        return None
    deviation = sqrt(fsum((r - mean) ** 2 for r in earned) / (len(earned) - 1))
    return sqrt(len(earned)) * mean / deviation if deviation >= FLAT_R else None


def wilson(wins: int, trades: int) -> tuple[float, float] | None:
    """Between which percentages the win rate lies, 95 times of 100."""
    if not trades:
        return None
    share, z = wins / trades, WILSON_Z
    scale = 1 + z * z / trades
    middle = (share + z * z / (2 * trades)) / scale
    half = z * sqrt(share * (1 - share) / trades + z * z / (4 * trades * trades)) / scale
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def held(sessions: Sessions, entry_day: int, exit_day: int) -> int:
    """Sessions in (entry day, exit day], days since 1970; 0 within one session."""
    first, last = sessions.days.searchsorted([entry_day, exit_day], side="right").tolist()
    return int(last - first)


def _mean(values: Sequence[float]) -> float | None:
    return fsum(values) / len(values) if values else None


def _median(values: Sequence[float]) -> float | None:
    ordered, half = sorted(values), len(values) // 2
    if not ordered:
        return None
    return float(ordered[half]) if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
