"""Paper trades: a pattern followed on later bars to its end, by stated rules, whether bars come one or many.

Entry at the open of the bar after detection; cancelled where that open lies at or beyond stop or target. From
the entry bar on the stop is reached before the target when a bar touches both, a gap through a level exits at
the open, and what is still open at the close of the 20th bar ends there.
"""

from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from rollotape.domain.bars import TIMEFRAMES, Rows

MOST_BARS = 20
"""A trade lasts no longer, the entry bar being the first; later bars do not touch it."""

Reason = Literal["stop", "target", "time", "beyond"]


@dataclass(frozen=True, slots=True)
class Trade:
    """A paper trade as of the last bar it was shown; times in microseconds since 1970.

    `exit_date` and `exit_price` are set exactly when it is CLOSED. `changed_at` is when its status became
    known: the end of that bar. Entry and exit carry the bars' session days, because holding counts those.
    """

    pattern_id: UUID
    symbol: str
    timeframe: str
    kind: str
    sign: int
    """1: long, of accumulation; -1: short."""
    stop: float
    target: float
    planned_r: float
    detected_ts: int
    """The bar that confirmed the pattern; the next one is the first that counts."""
    changed_at: int
    status: Literal["PENDING", "OPEN", "CLOSED", "CANCELLED"] = "PENDING"
    bars: int = 0
    """Bars held so far."""
    entry_price: float | None = None
    entry_date: int | None = None
    entry_session: int | None = None
    exit_price: float | None = None
    exit_date: int | None = None
    exit_session: int | None = None
    realized_r: float | None = None
    reason: Reason | None = None

    @property
    def finished(self) -> bool:
        return self.status in ("CLOSED", "CANCELLED")


def follow(trade: Trade, bars: Rows) -> Trade:
    """The trade after these analysed bars, which follow those it has seen, oldest first."""
    for bar in bars[: MOST_BARS - trade.bars]:
        if trade.finished:
            break
        trade = _next(trade, bar)
    return trade


def sound(sign: int, entry: float, stop: float) -> bool:
    """Whether the stop lies on the losing side of the entry; R has no meaning otherwise."""
    return (entry - stop) * sign > 0


def realized_r(entry: float, stop: float, exit_price: float) -> float:
    """R of a long or short trade with a sound stop: the side of the stop says which it is."""
    return (exit_price - entry) / (entry - stop)


def _next(trade: Trade, bar: Rows) -> Trade:
    start, end, opening = bar["ts"].item(), bar["end_ts"].item(), bar["open"].item()
    at_open = start if TIMEFRAMES[trade.timeframe].intraday else end
    session = bar["session"].item()
    if trade.status == "PENDING":
        if _stopped(trade, opening) or _reached(trade, opening):
            return replace(trade, status="CANCELLED", changed_at=end, reason="beyond")
        entry = {"entry_price": opening, "entry_date": at_open, "entry_session": session}
        trade = replace(trade, status="OPEN", changed_at=end, **entry)
    trade = replace(trade, bars=trade.bars + 1)
    low, high = (bar["low"].item(), bar["high"].item())[:: trade.sign]
    if _stopped(trade, opening):
        return _closed(trade, opening, at_open, end, session, "stop")
    if _reached(trade, opening):
        return _closed(trade, opening, at_open, end, session, "target")
    if _stopped(trade, low):
        return _closed(trade, trade.stop, end, end, session, "stop")
    if _reached(trade, high):
        return _closed(trade, trade.target, end, end, session, "target")
    if trade.bars == MOST_BARS:
        return _closed(trade, bar["close"].item(), end, end, session, "time")
    return trade


def _stopped(trade: Trade, price: float) -> bool:
    return (price - trade.stop) * trade.sign <= 0


def _reached(trade: Trade, price: float) -> bool:
    return (price - trade.target) * trade.sign >= 0


def _closed(trade: Trade, price: float, date: int, known: int, session: int, reason: Reason) -> Trade:
    assert trade.entry_price is not None
    return replace(
        trade,
        status="CLOSED",
        changed_at=known,
        exit_price=price,
        exit_date=date,
        exit_session=session,
        realized_r=realized_r(trade.entry_price, trade.stop, price),
        reason=reason,
    )
