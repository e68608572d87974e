"""Who tells the days and quarter hours of a simulated stock or fund, and in what they tell a story.

Sessions have numbers, from 0 on `FIRST_DAY`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Protocol

import numpy as np

from rollotape.domain.sessions import DAY_US, Sessions
from rollotape.producers.companies import Fund, Stock
from rollotape.producers.laying import Ohlcv, laid
from rollotape.simulation.chance import Chance, Floats
from rollotape.simulation.difficulty import DIFFICULTIES
from rollotape.simulation.market import FAR, Character, Story, composed, variants
from rollotape.simulation.series import SCHEMATIC, Label, Series, Times

FIRST_DAY = date(2021, 1, 4)
"""Where every story begins. A later first day would tell another story about the same day."""
SESSIONS = 7_500
"""Where every story in days ends, in 2050: how much is told bears on how it is told."""
MINUTE_US = 60_000_000
QUARTER_US = 15 * MINUTE_US
QUARTERS = 26
"""Of a session that is not short."""
PART_SESSIONS = 126
"""Stories in quarter hours are told half a year at a time. Then results are published, and the price is
elsewhere in the morning."""
DIFFICULTY = DIFFICULTIES["easy"]
FUND_WICK = 0.5
"""Of its members' mean."""


class Calendar:
    """The sessions of the market by their numbers."""

    def __init__(self, sessions: Sessions) -> None:
        first = int(np.searchsorted(sessions.days, (FIRST_DAY - date(1970, 1, 1)).days))
        told = slice(first, first + SESSIONS)
        self.days, self.opens, self.closes = sessions.days[told], sessions.opens[told], sessions.closes[told]

    def starts(self, session: int, length_us: int) -> Times:
        """Of the bars of a session; one that would reach beyond its close is none."""
        opened, closed = self.opens[session], self.closes[session]
        starts: Times = opened + length_us * np.arange((closed - opened) // length_us, dtype=np.int64)
        return starts


@dataclass(frozen=True, slots=True)
class Table:
    """Bars one after the other."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def of(cls, series: Series) -> "Table":
        return cls(series.open, series.high, series.low, series.close, series.volume)

    @classmethod
    def chained(cls, parts: "Sequence[Table]") -> "Table":
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def rows(self) -> list[Ohlcv]:
        prices = (column.tolist() for column in (self.open, self.high, self.low, self.close))
        return [Ohlcv(*row) for row in zip(*prices, map(int, self.volume.tolist()), strict=True)]

    def cut(self, first: int, last: int) -> "Table":
        return Table(*(getattr(self, name)[first:last] for name in self.__slots__))

    def joined(self, starts: Times) -> "Table":
        """Longer bars that begin with these."""
        ends = np.append(starts[1:], len(self.close)) - 1
        high, low = np.maximum.reduceat(self.high, starts), np.minimum.reduceat(self.low, starts)
        return Table(self.open[starts], high, low, self.close[ends], np.add.reduceat(self.volume, starts))


class Teller(Protocol):
    def days(self, first: int, last: int) -> Table:
        """Of the sessions `first` up to and without `last`."""
        ...

    def quarters(self, session: int) -> list[Ohlcv]: ...


class InDays:
    """A stock whose story is told in days, each of them lifted or lowered by a tide, in logarithms."""

    def __init__(self, stock: Stock, seed: int, calendar: Calendar, tide: Floats) -> None:
        self._symbol, self._seed, self._calendar = stock.symbol, seed, calendar
        character = Character(stock.price, stock.volatility, stock.volume)
        self.story = _told(f"{seed}", stock.symbol, "1d", calendar.days * DAY_US, character, FAR)
        told, lift = Table.of(self.story), np.exp(tide)
        o, h, low, c = (_cents(column * lift) for column in (told.open, told.high, told.low, told.close))
        self._days = Table(o, h, low, c, told.volume)

    def labels(self, first: int, last: int) -> list[Label]:
        """What an analyst would write on the bars of these sessions."""
        days = self.story.ts[first:last]
        return [label for label in self.story.labels if days[0] <= label.event_us <= days[-1]]

    def days(self, first: int, last: int) -> Table:
        return self._days.cut(first, last)

    def quarters(self, session: int) -> list[Ohlcv]:
        return _through(
            self.days(session, session + 1), self._calendar, session, f"{self._seed} {self._symbol}"
        )


class InQuarters:
    """A stock whose story is told in quarter hours."""

    def __init__(self, stock: Stock, seed: int, calendar: Calendar) -> None:
        share = 1 / QUARTERS
        self._character = Character(stock.price, stock.volatility * math.sqrt(share), stock.volume * share)
        self._far = FAR * math.sqrt(share)
        self._symbol, self._seed, self._calendar = stock.symbol, seed, calendar
        self._early = Chance(seed, stock.symbol, "results").whole(0, PART_SESSIONS - 1)
        """Not all companies publish on the same day."""
        self._parts: dict[int, Part] = {}

    def labels(self, first: int, last: int) -> list[Label]:
        since, until = self._calendar.opens[first], self._calendar.closes[last - 1]
        told = [label for part in self._during(first, last) for label in part.story.labels]
        return [label for label in told if since <= label.event_us < until]

    def days(self, first: int, last: int) -> Table:
        parts = self._during(first, last)
        days = Table.chained([Table.of(part.story).joined(part.starts) for part in parts])
        return days.cut(first - parts[0].first, last - parts[0].first)

    def quarters(self, session: int) -> list[Ohlcv]:
        [part] = self._during(session, session + 1)
        at = session - part.first
        bounds = [*part.starts.tolist(), len(part.story)]
        return Table.of(part.story).cut(bounds[at], bounds[at + 1]).rows()

    def _during(self, first: int, last: int) -> "list[Part]":
        begin, end = ((session + self._early) // PART_SESSIONS for session in (first, last - 1))
        return [self._part(number) for number in range(begin, end + 1)]

    def _part(self, number: int) -> "Part":
        if number not in self._parts:
            self._parts[number] = self._tell(number)
        return self._parts[number]

    def _tell(self, number: int) -> "Part":
        first = number * PART_SESSIONS - self._early
        sessions = range(max(0, first), min(SESSIONS, first + PART_SESSIONS))
        starts = [self._calendar.starts(session, QUARTER_US) for session in sessions]
        counts = np.array([len(of) for of in starts])
        story = _told(
            f"{self._seed} {number}", self._symbol, "15m", np.concatenate(starts), self._character, self._far
        )
        return Part(sessions[0], np.cumsum(counts) - counts, story)


@dataclass(frozen=True, slots=True)
class Part:
    """Half a year of quarter hours."""

    first: int
    """Its first session."""
    starts: Times
    """The place of the first quarter hour of each of its sessions."""
    story: Series


class OfMembers:
    """A fund: the geometric mean of its stocks, from its price on the day before everything."""

    def __init__(self, fund: Fund, seed: int, calendar: Calendar, members: Sequence[Teller]) -> None:
        self._fund, self._seed, self._calendar = fund, seed, calendar
        self._members = members

    def days(self, first: int, last: int) -> Table:
        fund, told = self._fund, [member.days(first, last) for member in self._members]
        o, h, low, c = (
            fund.price
            * np.exp(_mean([np.log(column / s.price) for column, s in zip(all_, fund.members, strict=True)]))
            for all_ in zip(*((d.open, d.high, d.low, d.close) for d in told), strict=True)
        )
        top, bottom = np.maximum(o, c), np.minimum(o, c)
        h, low = top + FUND_WICK * (h - top), bottom - FUND_WICK * (bottom - low)  # not all at one moment
        usual = _mean([d.volume / s.volume for d, s in zip(told, fund.members, strict=True)])
        return Table(_cents(o), _cents(h), _cents(low), _cents(c), np.rint(fund.volume * usual))

    def quarters(self, session: int) -> list[Ohlcv]:
        key = f"{self._seed} {self._fund.symbol}"
        return _through(self.days(session, session + 1), self._calendar, session, key)


def _told(seed: str, symbol: str, timeframe: str, ts: Times, of: Character, far: float) -> Series:
    """A story of schematics on these starts of bars."""
    story = Story(seed, symbol, SCHEMATIC, variants(), DIFFICULTY, of, far=far)
    return composed(symbol, timeframe, SCHEMATIC, ts, story.chapters(len(ts)), of)


def _through(day: Table, calendar: Calendar, session: int, key: str) -> list[Ohlcv]:
    """Quarter hours laid through a day."""
    [bar] = day.rows()
    count = len(calendar.starts(session, QUARTER_US))
    return list(laid(bar, count, Random(f"{key} {calendar.days[session]}")))


def _mean(columns: Sequence[Floats]) -> Floats:
    total: Floats = np.sum(columns, axis=0)
    return total / len(columns)


def _cents(prices: Floats) -> Floats:
    return np.rint(prices * 100) / 100
