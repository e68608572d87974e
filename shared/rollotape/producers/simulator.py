"""A market that does not exist: companies that go through whole Wyckoff schematics, and funds of them.

Every bar is a function of (seed, symbol, session), whenever and from wherever it is asked for, so that a
demonstration that starts again tomorrow tells the same story about yesterday. Every other stock tells its
own in days, over weeks and months, and moves a little with the market and its sector. The others tell it in
quarter hours, so that ranges open, are tested and left while somebody watches; their days are what these come
to. What is shorter is laid through what is longer. A fund is the mean of its stocks.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np

from rollotape.domain.sessions import DAY_US, Sessions
from rollotape.producers.companies import STOCKS, Fund, Stock, funds_of
from rollotape.producers.frames import Bars
from rollotape.producers.laying import Ohlcv, laid
from rollotape.producers.telling import (
    MINUTE_US,
    QUARTER_US,
    SESSIONS,
    Calendar,
    InDays,
    InQuarters,
    OfMembers,
    Teller,
)
from rollotape.simulation.chance import Chance, Floats
from rollotape.simulation.series import Label

SEA, BAY, MEMORY = 0.004, 0.003, 0.6
"""How far market and sector are from their usual level, as logarithms, and what stays from day to day."""
IN_QUARTERS = 2
"""Every second stock tells its story in quarter hours."""

Timed = list[tuple[datetime, Bars]]
"""Bars of all symbols, and when they are over."""


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
        self._calendar = Calendar(sessions)
        self._seed = seed
        sea = _tide(seed, "market", SEA)
        tides = {name: sea + _tide(seed, name, BAY) for name in {s.sector for s in stocks}}
        self.stocks: dict[str, InDays | InQuarters] = {
            stock.symbol: InQuarters(stock, seed, self._calendar)
            if number % IN_QUARTERS == IN_QUARTERS - 1
            else InDays(stock, seed, self._calendar, tides[stock.sector])
            for number, stock in enumerate(stocks)
        }
        self._tellers: dict[str, Teller] = {
            fund.symbol: OfMembers(fund, seed, self._calendar, [self.stocks[s.symbol] for s in fund.members])
            for fund in (funds_of(stocks) if funds is None else funds)
        }
        self._tellers |= self.stocks
        self.symbols = tuple(self._tellers)

    def closed_before(self, now: datetime) -> int:
        """How many sessions have closed: the number of the next one, or of the one that is open."""
        return int(np.searchsorted(self._calendar.closes, _us(now), side="right"))

    def opening(self, session: int) -> datetime:
        return _time(int(self._calendar.opens[session]))

    def labels(self, first: int, last: int) -> list[Label]:
        """What an analyst would write on the bars of these sessions who knows how they go on."""
        return [label for stock in self.stocks.values() for label in stock.labels(first, last)]

    def days(self, first: int, last: int) -> Bars:
        """Daily bars of the sessions `first` up to and without `last`, symbol by symbol."""
        first = max(0, first)
        starts = [_time(day * DAY_US) for day in self._calendar.days[first:last].tolist()]
        return _columns(
            "1d",
            [
                (symbol, start, bar)
                for symbol, teller in self._tellers.items()
                for start, bar in zip(starts, teller.days(first, last).rows(), strict=True)
            ],
        )

    def quarters(self, session: int) -> Timed:
        """The quarter hours of a session in order, one bar for every symbol."""
        return self._timed("15m", session, QUARTER_US, self._quarters(session))

    def minutes(self, session: int) -> Timed:
        """Its minutes in order, likewise."""
        drawn = {symbol: self._minutes(symbol, session) for symbol in self._tellers}
        return self._timed("1m", session, MINUTE_US, drawn)

    def again(self, symbol: str, timeframe: str, first_us: int, last_us: int) -> Bars:
        """The bars of one symbol that start between two times, both included, as they were told before."""
        begin, end = np.searchsorted(self._calendar.closes, (first_us, last_us), side="right").tolist()
        told: list[tuple[int, Ohlcv]] = []
        if timeframe == "1d":
            starts = self._calendar.days[begin : end + 1] * DAY_US
            told += zip(starts.tolist(), self._tellers[symbol].days(begin, end + 1).rows(), strict=True)
        else:
            for session in range(begin, min(end + 1, len(self._calendar.days))):
                length_us, bars = (
                    (MINUTE_US, self._minutes(symbol, session))
                    if timeframe == "1m"
                    else (QUARTER_US, self._tellers[symbol].quarters(session))
                )
                told += zip(self._calendar.starts(session, length_us).tolist(), bars, strict=True)
        wanted = [(symbol, _time(start), bar) for start, bar in told if first_us <= start <= last_us]
        return _columns(timeframe, wanted)

    def _minutes(self, symbol: str, session: int) -> list[Ohlcv]:
        return [
            minute
            for number, quarter in enumerate(self._tellers[symbol].quarters(session))
            for minute in laid(
                quarter, QUARTER_US // MINUTE_US, self._chance(symbol, session, number), is_day=False
            )
        ]

    def _quarters(self, session: int) -> dict[str, list[Ohlcv]]:
        return {symbol: teller.quarters(session) for symbol, teller in self._tellers.items()}

    def _chance(self, symbol: str, session: int, quarter: int) -> Random:
        return Random(f"{self._seed} {symbol} {self._calendar.days[session]} {quarter}")

    def _timed(self, timeframe: str, session: int, length_us: int, drawn: dict[str, list[Ohlcv]]) -> Timed:
        starts = [_time(us) for us in self._calendar.starts(session, length_us).tolist()]
        length = timedelta(microseconds=length_us)
        return [
            (start + length, _columns(timeframe, [(s, start, bars[i]) for s, bars in drawn.items()]))
            for i, start in enumerate(starts)
        ]


def _tide(seed: int, name: str, size: float) -> Floats:
    """A level that comes and goes, one for each session."""
    return size * Chance(seed, name).clustered(SESSIONS, MEMORY)


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


def _us(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _time(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
