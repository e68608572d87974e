"""A market that does not exist: seeded, with the cycles of accumulation and distribution of a real one.

Every bar is a function of (seed, symbol, session), whenever and from wherever it is asked for, so that a
demonstration that starts again tomorrow tells the same story about yesterday. Days are made first: each stock
walks through the four regimes of the cycle, and between the sessions all of them, and those of a sector, move
together. A fund is the mean of its stocks. The minutes of a day are then laid through its open, high, low,
close and volume.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random

import numpy as np

from rollotape.domain.sessions import Sessions
from rollotape.producers.companies import STOCKS, Fund, Stock, funds_of
from rollotape.producers.frames import Bars

FIRST_DAY = date(2021, 1, 4)
"""Where every walk begins. Later first days would tell another story about the same day."""
MINUTE_US = 60_000_000
FUND_WICK = 0.5
"""Of its members' mean."""


@dataclass(frozen=True, slots=True)
class Ohlcv:
    open: float
    high: float
    low: float
    close: float
    volume: int


@dataclass(frozen=True, slots=True)
class Stroke:
    """One bar as a plan: change and spread in usual days, volume in usual ones, where in it it closes."""

    change: float
    spread: float
    volume: float
    close_at: float


CLIMAX_DOWN = (Stroke(-2.4, 3.2, 4.2, 0.50), Stroke(1.2, 1.5, 1.9, 0.85), Stroke(0.9, 1.2, 1.2, 0.80))
CLIMAX_UP = (Stroke(2.4, 3.2, 4.2, 0.50), Stroke(-1.2, 1.5, 1.9, 0.15), Stroke(-0.9, 1.2, 1.2, 0.20))
SHAKEOUT = (Stroke(-0.9, 2.0, 1.6, 0.75), Stroke(0.8, 1.1, 1.1, 0.85), Stroke(-0.2, 0.6, 0.45, 0.75))
UPTHRUST = (Stroke(0.5, 2.0, 1.9, 0.12), Stroke(-0.8, 1.1, 1.1, 0.15), Stroke(0.2, 0.6, 0.45, 0.25))
BREAK_UP = (Stroke(2.1, 2.4, 2.3, 0.90), Stroke(-0.4, 0.7, 0.6, 0.40), Stroke(-0.3, 0.6, 0.5, 0.55))
BREAK_DOWN = (Stroke(-2.1, 2.4, 2.3, 0.10), Stroke(0.4, 0.7, 0.6, 0.60), Stroke(0.3, 0.6, 0.5, 0.45))
ABSORBED_UP = (Stroke(-0.12, 0.35, 2.4, 0.40),)
ABSORBED_DOWN = (Stroke(0.12, 0.35, 2.4, 0.60),)
NO_INTEREST_UP = (Stroke(0.15, 0.5, 0.40, 0.50),)
NO_INTEREST_DOWN = (Stroke(-0.15, 0.5, 0.40, 0.50),)


@dataclass(frozen=True, slots=True)
class Regime:
    """One quarter of the cycle: how long, where to, what happens in it now and then, and how it ends."""

    days: tuple[int, int]
    drift: float
    pull: float
    """How strongly the price is drawn back to the middle of its range, as a share of the distance."""
    asides: tuple[tuple[Stroke, ...], ...]
    ending: tuple[Stroke, ...]


CYCLE = (
    Regime((45, 90), 0.0, 0.14, (SHAKEOUT, NO_INTEREST_DOWN, ABSORBED_DOWN), SHAKEOUT + BREAK_UP),
    Regime((35, 75), 0.22, 0.0, (NO_INTEREST_UP, ABSORBED_UP), CLIMAX_UP),
    Regime((45, 90), 0.0, 0.14, (UPTHRUST, NO_INTEREST_UP, ABSORBED_UP), UPTHRUST + BREAK_DOWN),
    Regime((30, 60), -0.24, 0.0, (NO_INTEREST_DOWN, ABSORBED_DOWN), CLIMAX_DOWN),
)
ASIDE_CHANCE = 0.05
CALM = 0.65
"""Of the volatility is what most days have; the tide and the climaxes bring the rest."""


class Walk:
    """The days of one stock, one after the other."""

    def __init__(self, stock: Stock, seed: int) -> None:
        self._stock = stock
        self._one = CALM * stock.volatility
        self._random = Random(f"{seed} {stock.symbol}")
        self._home = math.log(stock.price)
        self._price = self._home
        self._heat = 1.0
        """Volatility in usual ones; large moves come in clusters."""
        self._busy = 0.0
        """Logarithm of volume in usual ones; so does volume."""
        self._strokes: deque[Stroke] = deque()
        self._enter(self._random.randrange(4), self._random.random())

    def next(self, tide: float = 0.0) -> Ohlcv:
        """The next day; `tide` is what lifts or lowers all prices before it opens, as a logarithm."""
        self._price += tide
        self._middle += tide
        if not self._days and not self._strokes:
            self._enter((self._regime + 1) % 4, 1.0)
        if not self._strokes:
            self._plan()
        planned = self._strokes.popleft() if self._strokes else None
        return self._draw(planned or self._usual())

    def _enter(self, regime: int, share: float) -> None:
        self._regime = regime
        self._days = max(5, round(self._random.randint(*CYCLE[regime].days) * share))
        self._middle = self._price

    def _plan(self) -> None:
        regime = CYCLE[self._regime]
        self._days -= 1
        if not self._days:
            self._strokes.extend(regime.ending)
        elif self._random.random() < ASIDE_CHANCE:
            self._strokes.extend(self._random.choice(regime.asides))

    def _usual(self) -> Stroke:
        regime, random = CYCLE[self._regime], self._random
        fat = random.gauss(0, 1) / math.sqrt(random.gammavariate(2.5, 0.4))  # Student's t(5): fat tails
        self._heat = math.sqrt(0.06 + 0.08 * min(fat * fat, 9) * self._heat**2 + 0.86 * self._heat**2)
        self._busy = 0.7 * self._busy + random.gauss(0, 0.22)
        homesick = 0.004 * (self._home - self._price) / self._one  # so that no price wanders off
        pull = regime.pull * (self._middle - self._price) / self._one
        change = 0.75 * fat * self._heat + regime.drift + pull + homesick
        spread = abs(change) + self._heat * random.gammavariate(4, 0.18)
        volume = math.exp(self._busy) * (0.75 + 0.35 * min(abs(change), 3))
        return Stroke(change, spread, volume, min(1.0, max(0.0, 0.5 + 0.28 * change + random.gauss(0, 0.18))))

    def _draw(self, stroke: Stroke) -> Ohlcv:
        one = self._one
        opening = self._price + one * self._random.gauss(0, 0.06)
        self._price += max(-0.2, min(0.2, stroke.change * one))
        low = self._price - stroke.close_at * stroke.spread * one
        prices = (opening, low + stroke.spread * one, low, self._price)
        o, h, low_price, c = (round(math.exp(p), 2) for p in prices)
        volume = max(100, round(self._stock.volume * stroke.volume))
        return Ohlcv(o, max(o, h, c), min(o, low_price, c), c, volume)


class Tide:
    """A level that comes and goes, and its change from session to session."""

    def __init__(self, seed: str, *, daily: float, memory: float) -> None:
        self._random = Random(seed)
        self._daily = daily
        self._memory = memory
        self._level = 0.0
        self._changes: list[float] = []

    def change(self, session: int) -> float:
        while len(self._changes) <= session:
            level = self._memory * self._level + self._random.gauss(0, self._daily)
            self._changes.append(level - self._level)
            self._level = level
        return self._changes[session]


class Market:
    """All stocks and funds on the sessions of one calendar."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        seed: int = 1,
        stocks: Sequence[Stock] = STOCKS,
        funds: Sequence[Fund] | None = None,
    ) -> None:
        """Without `funds`, those that these stocks make up."""
        funds = funds_of(stocks) if funds is None else funds
        first = int(np.searchsorted(sessions.days, _number(FIRST_DAY)))
        self._days = sessions.days[first:].tolist()
        self._opens = sessions.opens[first:].tolist()
        self._closes = sessions.closes[first:].tolist()
        self._seed = seed
        self._sea = Tide(f"{seed} market", daily=0.008, memory=0.995)
        names = {s.sector for s in stocks}
        self._bays = {name: Tide(f"{seed} {name}", daily=0.005, memory=0.99) for name in names}
        self._stocks = {stock.symbol: stock for stock in stocks}
        self._funds = {fund.symbol: fund for fund in funds}
        self._walks = {stock.symbol: Walk(stock, seed) for stock in stocks}
        self.symbols = (*self._funds, *self._stocks)
        self._walked: dict[str, list[Ohlcv]] = {symbol: [] for symbol in self.symbols}

    def closed_before(self, now: datetime) -> int:
        """How many sessions have closed: the number of the next one, or of the one that is open."""
        return int(np.searchsorted(self._closes, _us(now), side="right"))

    def opening(self, session: int) -> datetime:
        return _time(self._opens[session])

    def days(self, first: int, last: int) -> Bars:
        """Daily bars of the sessions `first` up to and without `last`, symbol by symbol."""
        rows = [
            (symbol, self._midnight(session), self._day(symbol, session))
            for symbol in self.symbols
            for session in range(max(0, first), last)
        ]
        return _columns("1d", rows)

    def minutes(self, session: int) -> list[tuple[datetime, Bars]]:
        """The minutes of a session in order: when each is over, and its bars, one for every symbol."""
        count = (self._closes[session] - self._opens[session]) // MINUTE_US
        drawn = {symbol: list(self._minutes(symbol, session, count)) for symbol in self.symbols}
        starts = [_time(self._opens[session] + minute * MINUTE_US) for minute in range(count)]
        return [
            (start + timedelta(minutes=1), _columns("1m", [(s, start, bars[i]) for s, bars in drawn.items()]))
            for i, start in enumerate(starts)
        ]

    def _day(self, symbol: str, session: int) -> Ohlcv:
        walked = self._walked[symbol]
        while len(walked) <= session:
            walked.append(self._next(symbol, len(walked)))
        return walked[session]

    def _next(self, symbol: str, session: int) -> Ohlcv:
        if fund := self._funds.get(symbol):
            return self._mean(fund, session)
        bay = self._bays[self._stocks[symbol].sector]
        return self._walks[symbol].next(self._sea.change(session) + bay.change(session))

    def _mean(self, fund: Fund, session: int) -> Ohlcv:
        days = [self._day(stock.symbol, session) for stock in fund.members]
        bases = [self._day(s.symbol, session - 1).close if session else s.price for s in fund.members]
        before = self._walked[fund.symbol][-1].close if session else fund.price
        usual = [day.volume / stock.volume for day, stock in zip(days, fund.members, strict=True)]
        o, h, low, c = (
            before * math.fsum(price / base for price, base in zip(prices, bases, strict=True)) / len(bases)
            for prices in zip(*((d.open, d.high, d.low, d.close) for d in days), strict=True)
        )
        top, bottom = max(o, c), min(o, c)  # its members do not reach their extremes at the same moment
        h, low = top + FUND_WICK * (h - top), bottom - FUND_WICK * (bottom - low)
        volume = round(fund.volume * math.fsum(usual) / len(usual))
        return Ohlcv(round(o, 2), round(h, 2), round(low, 2), round(c, 2), volume)

    def _minutes(self, symbol: str, session: int, count: int) -> Iterator[Ohlcv]:
        random = Random(f"{self._seed} {symbol} {self._days[session]}")
        return minutes_of(self._day(symbol, session), count, random)

    def _midnight(self, session: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=self._days[session])


def minutes_of(day: Ohlcv, count: int, random: Random) -> Iterator[Ohlcv]:
    """Minutes from the day's open to its close that touch its high and its low and add up to its volume."""
    path = _path(day, count, random)
    usual = max(0.01, math.fsum(abs(b - a) for a, b in pairwise(path)) / count)
    bars = [_wicked(a, b, usual, day, random) for a, b in pairwise(path)]
    weights = [_interest(i / count, bar, usual, random) for i, bar in enumerate(bars)]
    share = (day.volume - count) / math.fsum(weights)
    volumes = [1 + int(share * weight) for weight in weights]
    volumes[-1] += day.volume - sum(volumes)
    for (o, h, low, c), volume in zip(bars, volumes, strict=True):
        yield Ohlcv(o, h, low, c, volume)


def _path(day: Ohlcv, count: int, random: Random) -> list[float]:
    """Prices at the ends of the minutes: bridges between open, the two extremes and close."""
    first, second = sorted(random.sample(range(1, count), 2))
    extremes = [day.high, day.low] if random.random() < 0.5 else [day.low, day.high]
    anchors = [(0, day.open), (first, extremes[0]), (second, extremes[1]), (count, day.close)]
    noise = (day.high - day.low) / math.sqrt(count) * 0.9
    path = [day.open]
    for (start, a), (end, b) in pairwise(anchors):
        price = a
        for left in range(end - start, 1, -1):
            price += (b - price) / left + random.gauss(0, noise) * math.sqrt((left - 1) / left)
            price = min(day.high, max(day.low, price))
            path.append(round(price, 2))
        path.append(b)
    return path


def _wicked(
    a: float, b: float, usual: float, day: Ohlcv, random: Random
) -> tuple[float, float, float, float]:
    """A bar from a to b with wicks, inside the day."""
    above, below = (usual * random.expovariate(1.6) for _ in range(2))
    return a, min(day.high, round(max(a, b) + above, 2)), max(day.low, round(min(a, b) - below, 2)), b


def _interest(when: float, bar: tuple[float, float, float, float], usual: float, random: Random) -> float:
    """Volume follows the time of day and the spread; now and then much volume moves nothing."""
    _, high, low, _ = bar
    u_shape = 0.6 + 4.8 * (when - 0.5) ** 2
    spread = (high - low) / usual
    surprise = 3.5 if random.random() < 0.012 else 1.0
    return u_shape * (0.35 + 0.4 * spread) * surprise * math.exp(random.gauss(0, 0.3))


def _columns(timeframe: str, rows: Sequence[tuple[str, datetime, Ohlcv]]) -> Bars:
    return Bars(
        timeframe,
        symbol=[symbol for symbol, _, _ in rows],
        ts=[ts.strftime("%Y-%m-%dT%H:%M:%SZ") for _, ts, _ in rows],
        open=[bar.open for _, _, bar in rows],
        high=[bar.high for _, _, bar in rows],
        low=[bar.low for _, _, bar in rows],
        close=[bar.close for _, _, bar in rows],
        volume=[float(bar.volume) for _, _, bar in rows],
        revision=[0] * len(rows),
    )


def _number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _us(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _time(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
