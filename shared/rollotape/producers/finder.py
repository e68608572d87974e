"""An example of a producer of pattern events: breakouts and pullbacks, by rules that fit on a screen.

It stands for the scanner that you already have. It is none of our own analysis: it reads the bars that it is
shown, as any program could, keeps what it found in memory, and tells of it in the contract of
`patterns.{p}`: detected, updated at every later bar, expired. Its rules, over the 20 bars before:

| BREAKOUT | closes above their high on 1.5 times their volume; aims as far again as they reached |
| PULLBACK | the mean of 20 is above that of 50; dips below the former, closes above it, on less volume |

BREAKDOWN and RALLY are their mirrors. A pattern is over when a bar touches its stop or its target, or after
20 bars. A breakout is confirmed by a test when a later bar comes back to the level and closes beyond it.
"""

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import orjson

from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.sessions import Sessions
from rollotape.producers.frames import Bars, Message
from rollotape.streams.partitions import partition_of, stream_name

SOURCE = "example-finder"
RULE_SET = "example-1"
TIMEFRAMES_SEEN = ("1d", "15m")
BARS = 20
SLOW = 50
RSI_BARS = 14
ENDS_AFTER = 20
WARM_UP = timedelta(days=120)
"""Older days change nothing any more."""


class Candle(NamedTuple):
    """A bar, upside down where a fall is looked for."""

    open: float
    high: float
    low: float
    close: float
    volume: float

    def mirrored(self) -> "Candle":
        return Candle(-self.open, -self.low, -self.high, -self.close, self.volume)

    @property
    def closes_at(self) -> float:
        """0 at its low, 1 at its high."""
        return (self.close - self.low) / (self.high - self.low) if self.high > self.low else 0.5


class Plan(NamedTuple):
    """What a rule proposes; prices as the candles have them."""

    level: float
    stop: float
    target: float
    conviction: float
    """0 to 1: how much the volume speaks for it."""


@dataclass(slots=True)
class Found:
    """A pattern that is not over. `sign` is -1 for one that expects a fall."""

    kind: str
    sign: int
    known_at: datetime
    entry: float
    plan: Plan
    confidence: float
    tested: bool | None
    age: int = 0
    revision: int = 0

    def over(self, bar: Candle) -> bool:
        return bar.low <= self.plan.stop or bar.high >= self.plan.target or self.age >= ENDS_AFTER

    def grow(self, bar: Candle) -> None:
        """A later bar: older by one, and tested where the level was touched and held."""
        self.age += 1
        self.revision += 1
        if self.tested is False:
            self.tested = bar.low <= self.plan.level < bar.close

    def trust(self, bar: Candle) -> float:
        """Confidence grows on the way to the target and fades on the way to the stop."""
        gained = bar.close - self.entry
        way = (self.plan.target - self.entry) if gained > 0 else (self.entry - self.plan.stop)
        return min(1.0, max(0.0, self.confidence + 0.2 * gained / way))


@dataclass(slots=True)
class Track:
    """The last bars of one symbol and timeframe, and what was found on them."""

    bars: deque[Candle] = field(default_factory=lambda: deque(maxlen=SLOW + 1))
    found: list[Found] = field(default_factory=list)


class Finder:
    """Shown the bars of every symbol in their order, it answers with events to be sent."""

    LIFETIME: ClassVar = timedelta(days=28)
    """So long at most is a pattern active, should nobody say that it is over."""

    def __init__(self, sessions: Sessions, *, partitions: int, symbols: Collection[str]) -> None:
        self._sessions = sessions
        self._partitions = partitions
        self._symbols = frozenset(symbols)
        self._tracks: dict[tuple[str, str], Track] = {}

    def look(self, bars: Bars, since: datetime) -> list[Message]:
        """What these bars mean; of patterns that were found before `since` nobody is told."""
        if bars.timeframe not in TIMEFRAMES_SEEN:
            return []
        said = []
        for symbol, ts, *numbers, _ in bars.rows():
            if symbol not in self._symbols:
                continue
            known_at = self._known_at(bars.timeframe, datetime.fromisoformat(ts))
            if known_at < since - WARM_UP:
                continue
            track = self._tracks.setdefault((symbol, bars.timeframe), Track())
            stream = stream_name("patterns", partition_of(symbol, self._partitions))
            for event in _judge(track, Candle(*numbers), known_at):
                if event["detected_at"] >= since:
                    who = {"version": 1, "source": SOURCE, "symbol": symbol, "timeframe": bars.timeframe}
                    said.append((stream, orjson.dumps(who | event)))
        return said

    def _known_at(self, timeframe: str, ts: datetime) -> datetime:
        """When a bar is over; a day is, when its session closes."""
        if timeframe != "1d":
            return ts + timedelta(microseconds=TIMEFRAMES[timeframe].length_us)
        day = (ts - _EPOCH).days
        return _EPOCH + timedelta(microseconds=int(self._sessions.close_of(np.array([day]))[0]))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _judge(track: Track, bar: Candle, known_at: datetime) -> Iterator[dict[str, Any]]:
    """Events about patterns that are there already, then those that this bar completes."""
    before = list(track.bars)
    track.bars.append(bar)
    if len(before) < SLOW:
        return
    shown = _indicators([*before, bar])
    for found in list(track.found):
        upright = bar if found.sign > 0 else bar.mirrored()
        found.grow(upright)
        over = found.over(upright)
        if over:
            track.found.remove(found)
        yield _event("expired" if over else "updated", found, upright, shown)
    for sign, kinds in ((1, ("BREAKOUT", "PULLBACK")), (-1, ("BREAKDOWN", "RALLY"))):
        if any(f.sign == sign for f in track.found):
            continue  # one at a time in each direction
        upright, past = (bar, before) if sign > 0 else (bar.mirrored(), [b.mirrored() for b in before])
        plan, kind = _breakout(past, upright), kinds[0]
        if plan is None:
            plan, kind = _pullback(past, upright), kinds[1]
        if plan is not None:
            new = _found(kind, sign, known_at, upright, plan)
            track.found.append(new)
            yield _event("detected", new, upright, shown)


def _breakout(before: list[Candle], bar: Candle) -> Plan | None:
    past = before[-BARS:]
    top, bottom = max(b.high for b in past), min(b.low for b in past)
    volume = _mean([b.volume for b in past])
    if bar.close <= top or bar.volume < 1.5 * volume:
        return None
    stop = min(bar.low, top) - 0.5 * _mean([b.high - b.low for b in past])
    return Plan(top, stop, bar.close + (top - bottom), min(1.0, bar.volume / volume / 4))


def _pullback(before: list[Candle], bar: Candle) -> Plan | None:
    past = before[-BARS:]
    fast = _mean([b.close for b in past])
    volume = _mean([b.volume for b in past])
    if fast <= _mean([b.close for b in before[-SLOW:]]) or not bar.low < fast < bar.close > bar.open:
        return None
    stop = bar.low - 0.5 * _mean([b.high - b.low for b in past])
    target = max(b.high for b in past)
    if bar.volume >= volume or target - bar.close < bar.close - stop:
        return None
    return Plan(fast, stop, target, 1.0 - bar.volume / volume)


def _found(kind: str, sign: int, known_at: datetime, bar: Candle, plan: Plan) -> Found:
    reward = (plan.target - bar.close) / (bar.close - plan.stop)
    confidence = 0.3 + 0.3 * plan.conviction + 0.2 * bar.closes_at + 0.1 * min(1.0, reward / 3)
    tested = False if kind in ("BREAKOUT", "BREAKDOWN") else None
    return Found(kind, sign, known_at, bar.close, plan, confidence, tested)


def _event(event: str, found: Found, bar: Candle, shown: Mapping[str, float | None]) -> dict[str, Any]:
    entry, plan = found.entry, found.plan
    risk = entry - plan.stop
    prices = {
        "entry": entry, "stop": plan.stop, "target_1": plan.target, "target_2": entry + 3 * risk
    }  # fmt: skip
    upright = {name: round(found.sign * price, 4) for name, price in prices.items()}
    return {
        "event": event,
        "revision": found.revision,
        "pattern_type": found.kind,
        "side": "accumulation" if found.sign > 0 else "distribution",
        "confidence": round(found.trust(bar), 4),
        **shown,
        **{name: price if price > 0 else None for name, price in upright.items()},
        "planned_r": round((plan.target - entry) / risk, 4),
        "test_confirmed": found.tested,
        "rule_set": RULE_SET,
        "detected_at": found.known_at,
        "confirmed_at": found.known_at,
        "expires_at": found.known_at + Finder.LIFETIME,
    }


def _indicators(bars: list[Candle]) -> dict[str, float | None]:
    """Of the last bar, as docs/domain.md defines them."""
    closes = [b.close for b in bars]
    volume = _mean([b.volume for b in bars[-BARS - 1 : -1]])
    moves = [b - a for a, b in pairwise(closes[-RSI_BARS - 1 :])]
    gains, losses = math.fsum(m for m in moves if m > 0), -math.fsum(m for m in moves if m < 0)
    return {
        "price": closes[-1],
        "change_pct": round(100 * (closes[-1] / closes[-2] - 1), 4),
        "vol_ratio": round(bars[-1].volume / volume, 4) if volume else None,
        "rsi": round(100 * gains / (gains + losses), 4) if gains + losses else None,
        "sma_20": round(_mean(closes[-BARS:]), 4),
        "sma_50": round(_mean(closes[-SLOW:]), 4),
    }


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
