"""What trades have earned, from the definitions, trade by trade: decimals only, no SQL and nothing rolled up.

Slow on purpose. Every function takes all trades there are and says what a right answer is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from rollotape.domain.performance import Performance
from rollotape.postgres.analytics import (
    Filters,
    OfSector,
    OfType,
    PatternPerformance,
    SectorBreakdown,
    Split,
    Trend,
    TrendDay,
    Window,
)

NEW_YORK = ZoneInfo("America/New_York")
SIX, TWELVE = Decimal("0.000001"), Decimal("0.000000000001")
EDGE = Decimal("0.000000001")
Z = Decimal("1.959964")


@dataclass(frozen=True)
class Traded:
    """A trade with what is known of its pattern and its symbol. Going trades have no exit."""

    id: UUID
    symbol: str
    timeframe: str
    origin: str
    status: str
    generated_at: datetime
    pattern_type: str | None
    entry: Decimal
    stop: Decimal
    exit_price: Decimal | None = None
    exit: datetime | None = None
    sessions: int | None = None
    sector: str | None = None
    pattern_id: UUID | None = None
    phase: str | None = None
    tested: bool | None = None
    tested_at: datetime | None = None

    @property
    def r(self) -> Decimal:
        assert self.exit_price is not None
        with localcontext() as context:
            context.prec = 90
            return ((self.exit_price - self.entry) / (self.entry - self.stop)).quantize(TWELVE, ROUND_HALF_UP)

    @property
    def ended(self) -> datetime:
        assert self.exit is not None
        return self.exit

    @property
    def day(self) -> date:
        return self.ended.astimezone(NEW_YORK).date()

    @property
    def test(self) -> bool | None:
        """Whether the test had come by the exit."""
        if not self.tested:
            return self.tested
        return self.tested_at is None or self.tested_at <= self.ended


def asked(trades: Iterable[Traded], window: Window, filters: Filters) -> list[Traded]:
    """Closed trades of the window that pass the filters, by exit instant, then by id as bytes."""
    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=window.now_us)
    today = now.astimezone(NEW_YORK).date()
    found = [t for t in trades if t.exit is not None and passes(t, filters) and t.exit <= now]
    if window.days is not None:
        found = [t for t in found if t.day >= today - timedelta(days=window.days)]
    return sorted(found, key=lambda t: (t.ended, t.id.bytes))


def passes(trade: Traded, filters: Filters) -> bool:
    return all(
        [
            filters.phase in (None, trade.phase),
            filters.timeframe in (None, trade.timeframe),
            filters.origin in (None, trade.origin),
            not filters.pattern_types or trade.pattern_type in filters.pattern_types,
            not filters.symbols or trade.symbol in filters.symbols,
            not filters.sectors or trade.sector in filters.sectors,
        ]
    )


def performance(trades: Sequence[Traded], *, drawn_down: bool = True) -> Performance:
    """Of trades in their order."""
    earned, lasted = [t.r for t in trades], [t.sessions for t in trades if t.sessions is not None]
    won, lost = [r for r in earned if r > EDGE], [r for r in earned if r < -EDGE]
    count = len(earned)
    with localcontext() as context:
        context.prec = 50
        state = "no_trades" if not count else "no_losses" if not lost else None
        fall_state = "no_trades" if not count else None if drawn_down else "too_many_trades"
        mean = total(earned) / count if count else None
        return Performance(
            trade_count=count,
            wins=len(won),
            losses=len(lost),
            breakeven=count - len(won) - len(lost),
            win_rate=six(Decimal(100 * len(won)) / count) if count else None,
            win_rate_ex_breakeven=six(Decimal(100 * len(won)) / (len(won) + len(lost)))
            if won or lost
            else None,
            win_rate_ci95=wilson(Decimal(len(won)), Decimal(count)) if count else None,
            low_sample=count < 30,
            profit_factor=six(total(won) / abs(total(lost))) if lost else None,
            profit_factor_state=state,  # type: ignore[arg-type]
            avg_r_multiple=None if mean is None else six(mean),
            max_drawdown_r=six(fall(earned)) if count and drawn_down else None,
            max_drawdown_state=fall_state,  # type: ignore[arg-type]
            avg_holding_sessions=six(Decimal(sum(lasted)) / len(lasted)) if lasted else None,
            median_holding_sessions=six(median([Decimal(n) for n in lasted])) if lasted else None,
            sqn=sqn(earned),
        )


def total(values: Iterable[Decimal]) -> Decimal:
    with localcontext() as context:
        context.prec = 200
        return sum(values, Decimal(0))


def fall(earned: Sequence[Decimal]) -> Decimal:
    """The largest of all differences between a level and a later one, the 0 at the start being a level."""
    levels = [total(earned[:n]) for n in range(len(earned) + 1)]
    return max(high - low for n, high in enumerate(levels) for low in levels[n:])


def sqn(earned: Sequence[Decimal]) -> Decimal | None:
    count = Decimal(len(earned))
    if count < 2:
        return None
    mean = total(earned) / count
    deviation = (sum(((r - mean) ** 2 for r in earned), Decimal(0)) / (count - 1)).sqrt()
    return None if deviation < TWELVE else six(count.sqrt() * mean / deviation)


def wilson(wins: Decimal, count: Decimal) -> tuple[Decimal, Decimal]:
    """The roots of (p - share)**2 = z**2 * p * (1 - p) / n."""
    share = wins / count
    a, b, c = 1 + Z * Z / count, -(2 * share + Z * Z / count), share * share
    root = max(Decimal(0), b * b - 4 * a * c).sqrt()
    low, high = (-b - root) / (2 * a), (-b + root) / (2 * a)
    return six(100 * max(low, Decimal(0))), six(100 * min(high, Decimal(1)))


def median(values: Sequence[Decimal]) -> Decimal:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def six(value: Decimal) -> Decimal:
    return value.quantize(SIX, ROUND_HALF_EVEN)


def split(trades: Sequence[Traded], **how: Any) -> Split:
    yes, no = ([t for t in trades if t.test is flag] for flag in (True, False))
    parts = [performance(part, **how) if part else None for part in (yes, no)]
    return Split(performance(trades, **how), *parts)


def phases(trades: Sequence[Traded]) -> dict[str, int]:
    return dict(Counter(t.phase or "unknown" for t in trades))


def pattern_performance(
    trades: Iterable[Traded], window: Window, filters: Filters, **how: Any
) -> PatternPerformance:
    found = asked(trades, window, filters)
    rows = []
    for name in sorted({t.pattern_type for t in found}, key=last):
        alike = [t for t in found if t.pattern_type == name]
        rows.append(OfType(name, split(alike, **how), phases(alike)))
    return PatternPerformance(rows, split(found, **how), phases(found), newest(found))


def sector_breakdown(
    trades: Iterable[Traded],
    stocks: Sequence[Mapping[str, Any]],
    window: Window,
    filters: Filters,
    **how: Any,
) -> SectorBreakdown:
    """`stocks` are rows of sector_mapping."""
    found = asked(trades, window, filters)
    stocks = [s for s in stocks if not filters.sectors or s["sector"] in filters.sectors]
    rows = []
    for name in sorted({t.sector for t in found} | {s["sector"] for s in stocks}, key=last):
        alike, members = [t for t in found if t.sector == name], [s for s in stocks if s["sector"] == name]
        scores = [Decimal(str(s["rs_score"])) for s in members if s["rs_score"] is not None]
        leaders = len([s for s in members if s["is_sector_leader"]])
        funds = {s["etf"] for s in members} - {None}
        rows.append(
            OfSector(
                name, split(alike, **how), leaders, six(median(scores)) if scores else None,
                funds.pop() if funds else None,
            )
        )  # fmt: skip
    return SectorBreakdown(rows, split(found, **how), sum(row.leader_count for row in rows), newest(found))


def trend(
    trades: Sequence[Traded], pattern_type: str, window: Window, filters: Filters, *, rolling: bool = True
) -> Trend:
    def found(window: Window) -> list[Traded]:
        return [t for t in asked(trades, window, filters) if t.pattern_type == pattern_type]

    within, ever = found(window), found(window._replace(days=None))
    rows = []
    for day in sorted({t.day for t in within}):
        ended = performance([t for t in within if t.day == day])
        last20 = performance([t for t in ever if t.day <= day][-20:])
        line = (last20.trade_count, last20.win_rate, last20.avg_r_multiple) if rolling else (None, None, None)
        assert ended.win_rate is not None and ended.avg_r_multiple is not None
        rows.append(TrendDay(day, ended.trade_count, ended.wins, ended.win_rate, ended.avg_r_multiple, *line))
    return Trend(pattern_type, rows, None if rolling else "too_many_trades", newest(within))


def newest(trades: Sequence[Traded]) -> datetime | None:
    return max((t.ended for t in trades), default=None)


def last(name: str | None) -> tuple[bool, str]:
    return name is None, name or ""
