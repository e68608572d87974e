"""Five years of made-up trades and their patterns as rows of PostgreSQL; the same ones for the same day.

Patterns are those of our own rule set and of outside systems. A pattern of ours has one paper trade; trades
of outside systems name any pattern of the days before, or none. Most losses are a whole stop, some more or
less, few trades end where they began; exits of daily bars share their instant.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench import market
from bench.packing import Block, Column, pack
from rollotape import calendars
from rollotape.domain.ids import OWN_VERSION
from rollotape.domain.sectors import FUNDS
from rollotape.domain.sessions import DAY_US

SYMBOLS = 8_000
YEARS_DAYS = 1_826
TYPES = ("SPRING", "UTAD", "SOS", "SOW", "LPS", "LPSY", "BULL_FLAG", "BEAR_FLAG")
"""Long and short by turns; the last two are of outside systems only, and so is no type at all."""
OWN_TYPES, WITH_TEST = 6, 2
PHASES = ("A", "B", "C", "D", "E")
TIMEFRAMES = ("1d", "1h", "1w")
MOST_HELD = 20
BLOCK = 200_000
HOUR_US, MINUTE_US = 3_600_000_000, 60_000_000

_COUNTS = tuple(
    f'\x01{{"no_demand": {d}, "no_supply": {s}, "stopping_volume": {v}}}'
    for d in range(4) for s in range(4) for v in range(3)
)  # fmt: skip
_PRELIMINARY = (
    *(f'\x01{{"AR": {a}, "PS": {p}, "SC": 1, "ST": {s}}}' for a in (0, 1) for p in (0, 1) for s in range(4)),
    None,
)

Array = NDArray[Any]


def symbol(n: int) -> str:
    return f"S{n:04d}"


_NAMES = tuple(symbol(n) for n in range(SYMBOLS))


@dataclass(frozen=True, slots=True)
class Days:
    """Sessions that are over, the oldest first."""

    days: Array
    opens: Array
    closes: Array

    @classmethod
    def until(cls, now_us: int) -> Self:
        known = calendars.sessions()
        chosen = (known.closes <= now_us) & (known.days > now_us // DAY_US - YEARS_DAYS)
        return cls(known.days[chosen], known.opens[chosen], known.closes[chosen])

    def __len__(self) -> int:
        return len(self.days)


@dataclass(frozen=True)
class Patterns:
    """One value per pattern in every column, by the session of their detection."""

    days: Days
    session: Array
    ids: Array
    own: Array
    kind: Array
    symbol: Array
    timeframe: Array
    phase: Array
    test: Array
    """0: not confirmed, 1: confirmed, 2: has no test."""
    confirmed_after: Array
    """In days."""

    @classmethod
    def make(cls, count: int, days: Days) -> Self:
        rng = np.random.default_rng(market.SEED)
        own = rng.random(count) < 0.6
        kind = np.where(own, rng.integers(0, OWN_TYPES, count), rng.integers(0, len(TYPES), count))
        late = rng.random(count) < 0.1
        own_phase = np.where(kind < WITH_TEST, 2, np.where(late, 4, 3))
        any_phase = np.where(late, len(PHASES), rng.integers(0, len(PHASES), count))
        tested = np.where(kind < WITH_TEST, rng.integers(0, 2, count), 2)
        return cls(
            days=days,
            session=np.sort(rng.integers(0, len(days) - 1, count, dtype=np.int16)),
            ids=_ids(rng, np.where(own, OWN_VERSION, 5)),
            own=own,
            kind=kind.astype(np.int8),
            symbol=_symbols(rng, count),
            timeframe=rng.choice(3, count, p=(0.6, 0.3, 0.1)).astype(np.int8),
            phase=np.where(own, own_phase, any_phase).astype(np.int8),
            test=tested.astype(np.int8),
            confirmed_after=rng.integers(1, 8, count),
        )

    @cached_property
    def starts(self) -> Array:
        """Number of the first pattern of each session."""
        return np.searchsorted(self.session, np.arange(len(self.days) + 1))

    def blocks(self) -> Iterator[Block]:
        for first in range(0, len(self.session), BLOCK):
            yield pack(self._columns(slice(first, first + BLOCK)))

    def _columns(self, rows: slice) -> dict[str, Column]:
        own, kind, test = self.own[rows], self.kind[rows], self.test[rows]
        count = len(own)
        rng = np.random.default_rng((market.SEED, 1, rows.start))
        detected = self.days.closes[self.session[rows]]
        tested_at = detected + self.confirmed_after[rows] * DAY_US
        none = np.zeros(count, np.int8)
        return {
            "id": Column(self.ids[rows]),
            "source": Column.words(("outside", "rollo"), own.astype(np.int8)),
            "symbol": Column.words(_NAMES, self.symbol[rows]),
            "timeframe": Column.words(TIMEFRAMES, self.timeframe[rows]),
            "pattern_type": Column.words(TYPES, kind),
            "side": Column.words(("accumulation", "distribution"), kind % 2),
            "phase": Column.words((*PHASES, None), self.phase[rows]),
            "status": Column.words(("expired",), none),
            "revision": Column.numbers(none, ">i8"),
            "hash": Column.numbers(none, ">i8"),
            "confidence": Column.numbers(np.round(rng.uniform(0.3, 0.99, count), 3), ">f8"),
            "test_confirmed": Column(test == 1).unless(test == 2),
            "detected_at": Column.times(detected),
            "confirmed_at": Column.times(tested_at).unless(test != 1),
            "expires_at": Column.times(detected + 28 * DAY_US),
            "confirmed_ts": Column.times(detected - DAY_US).unless(~own),
            "vsa_events": Column.words(_COUNTS, rng.integers(0, len(_COUNTS), count)),
            "preliminary_events": Column.words(
                _PRELIMINARY, np.where(own, rng.integers(0, len(_PRELIMINARY) - 1, count), -1)
            ),
        }


@dataclass(frozen=True)
class Trades:
    """One value per trade in every column, by the session of their exit."""

    patterns: Patterns
    exit: Array
    held: Array
    paper: Array
    pattern: Array
    """Its number; -1: none."""

    @classmethod
    def make(cls, count: int, now_us: int) -> Self:
        """So many, all of them closed."""
        days = Days.until(now_us)
        patterns = Patterns.make(max(1, count // 5), days)
        rng = np.random.default_rng((market.SEED, 2))
        followed = np.flatnonzero(patterns.own)
        held = _held(rng, len(followed))
        ends = patterns.session[followed] + 1 + held
        done = ends < len(days)
        followed, held, ends = followed[done], held[done], ends[done]
        others = count - len(followed)
        held = np.concatenate([held, _held(rng, others)])
        exits = np.concatenate([ends, rng.integers(MOST_HELD + 5, len(days), others)]).astype(np.int16)
        begun = exits[len(followed) :] - held[len(followed) :] - rng.integers(1, 4, others)
        named = _one_of(patterns.starts, begun, rng.random(others))
        named[rng.random(others) < 0.1] = -1
        order = np.argsort(exits, kind="stable")
        return cls(
            patterns,
            exits[order],
            held[order],
            order < len(followed),
            np.concatenate([followed, named])[order].astype(np.int32),
        )

    def __len__(self) -> int:
        return len(self.exit)

    def blocks(self) -> Iterator[Block]:
        for first in range(0, len(self), BLOCK):
            yield pack(self._columns(slice(first, first + BLOCK)))

    def _columns(self, rows: slice) -> dict[str, Column]:
        rng = np.random.default_rng((market.SEED, 3, rows.start))
        known, paper, pattern = self.patterns, self.paper[rows], self.pattern[rows]
        count, alone = len(paper), pattern < 0
        any_kind = rng.integers(0, len(TYPES) + 1, count)
        kind = np.where(alone, any_kind, known.kind[pattern])
        timeframe = np.where(alone, 0, known.timeframe[pattern])
        entered, left = self._instants(rng, rows, timeframe)
        generated = np.where(
            paper, known.days.closes[known.session[pattern]], entered - rng.integers(1, 60, count) * MINUTE_US
        )
        entry, stop, target, exit_price = _prices(rng, np.where(kind % 2 == 0, 1, -1))
        none = np.zeros(count, np.int8)
        days = known.days.days
        return {
            "id": Column(_ids(rng, np.where(paper, OWN_VERSION, 4))),
            "origin": Column.words(("external", "paper"), paper.astype(np.int8)),
            "source": Column.words(("outside", "rollo"), paper.astype(np.int8)),
            "revision": Column.numbers(none, ">i8"),
            "hash": Column.numbers(none, ">i8"),
            "symbol": Column.words(_NAMES, np.where(alone, _symbols(rng, count), known.symbol[pattern])),
            "timeframe": Column.words(TIMEFRAMES, timeframe),
            "pattern_id": Column(known.ids[pattern]).unless(alone),
            "pattern_type": Column.words((*TYPES, None), kind),
            "direction": Column.words(("long", "short"), kind % 2),
            "status": Column.words(("CLOSED",), none),
            "generated_at": Column.times(generated),
            "changed_at": Column.times(left),
            "entry_date": Column.times(entered),
            "entry_price": Column.prices(entry),
            "entry_session": Column.days(days[self.exit[rows] - self.held[rows]]),
            "stop": Column.prices(stop),
            "target": Column.prices(target),
            "planned_r": Column.numbers((target - entry) / (entry - stop), ">f8"),
            "bars_held": Column.numbers(self.held[rows] + 1, ">i4"),
            "exit_date": Column.times(left),
            "exit_price": Column.prices(exit_price),
            "exit_session": Column.days(days[self.exit[rows]]),
            "exit_reason": Column.words(("stop", "target", "time"), rng.integers(0, 3, count)),
            "realized_r": Column.numbers((exit_price - entry) / (entry - stop), ">f8"),
            "sessions_held": Column.numbers(self.held[rows], ">i4"),
        }

    def _instants(self, rng: np.random.Generator, rows: slice, timeframe: Array) -> tuple[Array, Array]:
        """Paper trades enter at an open and leave at the end of a bar, others at any moment."""
        days, paper = self.patterns.days, self.paper[rows]
        leaving = self.exit[rows]
        entering = leaving - self.held[rows]
        opens, closes = days.opens[leaving], days.closes[leaving]
        hour = opens + rng.integers(1, 4, len(paper)) * HOUR_US
        moment = opens + (rng.random(len(paper)) * (closes - opens)).astype(np.int64)
        left = np.where(paper, np.where(timeframe == 1, hour, closes), moment)
        first = days.opens[entering]
        span = np.where(entering == leaving, left, days.closes[entering]) - first
        return first + np.where(paper, 0, (rng.random(len(paper)) * span).astype(np.int64)), left


def listings() -> list[tuple[str, str, str | None, str]]:
    """Symbol, name, sector, kind; some are in no sector, and some in no list."""
    sectors = [*FUNDS, None]
    weights = np.array([*range(20, 9, -1), 3.0])
    chosen = np.random.default_rng((market.SEED, 4)).choice(len(sectors), SYMBOLS, p=weights / weights.sum())
    known = zip(_NAMES, chosen.tolist(), strict=True)
    return [(name, name, sectors[n], "stock") for name, n in known if not name.endswith("99")]


def _symbols(rng: np.random.Generator, count: int) -> Array:
    """Some are traded more than others."""
    return (rng.random(count) ** 1.5 * SYMBOLS).astype(np.int16)


def _held(rng: np.random.Generator, count: int) -> Array:
    return np.minimum(rng.geometric(0.18, count) - 1, MOST_HELD).astype(np.int16)


def _one_of(starts: Array, sessions: Array, chance: Array) -> Array:
    """Number of a pattern of each session, or of the last one before it where it has none."""
    first, end = starts[sessions], starts[sessions + 1]
    chosen: Array = np.where(first < end, first + (chance * (end - first)).astype(np.int64), first - 1)
    return np.maximum(chosen, 0)


def _ids(rng: np.random.Generator, versions: Array) -> Array:
    octets = rng.integers(0, 256, (len(versions), 16), dtype=np.uint8)
    octets[:, 6] = octets[:, 6] & 0x0F | (versions << 4)
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    ids: Array = octets.view("V16").ravel()
    return ids


def _prices(rng: np.random.Generator, sign: Array) -> tuple[Array, Array, Array, Array]:
    """Entry, stop, target and exit in units of 0.0001, to the cent."""
    count = len(sign)
    entry = np.exp(rng.uniform(np.log(500), np.log(90_000), count)).astype(np.int64)
    risk = np.maximum(5, (entry * rng.uniform(0.01, 0.05, count)).astype(np.int64))
    moved = sign * np.round(_outcomes(rng, count) * risk).astype(np.int64)
    exit_price = np.maximum(entry + moved, 100)
    target = np.maximum(entry + 2 * sign * risk, 100)
    return entry * 100, (entry - sign * risk) * 100, target * 100, exit_price * 100


def _outcomes(rng: np.random.Generator, count: int) -> Array:
    """R before it is rounded to cents."""
    won = np.minimum(0.1 + rng.exponential(1.4, count), 12)
    lost = np.where(rng.random(count) < 0.7, -1.0, rng.uniform(-1.6, -0.05, count))
    chance = rng.random(count)
    return np.where(chance < 0.46, won, np.where(chance < 0.95, lost, 0.0))
