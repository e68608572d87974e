"""Many symbols, each a story of chapters: schematics with trends and ranges between them, or none at all."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rollotape.domain.bars import TIMEFRAMES
from rollotape.simulation import plain
from rollotape.simulation.chance import Chance, Floats
from rollotape.simulation.difficulty import DIFFICULTIES, Difficulty
from rollotape.simulation.drawing import Drawn, Noise, draw, noise
from rollotape.simulation.schematic import VARIANTS, schematic
from rollotape.simulation.series import (
    ACCUMULATION,
    DISTRIBUTION,
    EVENT_FREE,
    MIRROR,
    SCHEMATIC,
    Label,
    Series,
    Times,
)

KINDS = (*VARIANTS, *EVENT_FREE)
"""What a market may consist of: variants of schematics, and series without any."""
SHARES = {"spring": 5, "no_spring": 3, "failed": 2, "failed_spring": 1}
"""How often each variant comes."""
TURNS = (True, True, False, True, True, False, True, True, False, True)
"""Which of ten symbols one after the other have schematics, where both sorts are wanted: seven."""
FAR = 0.4
"""Further from home than this, in logarithms, what comes next leads back."""


@dataclass(frozen=True, slots=True)
class Character:
    """What stays with a symbol."""

    price: float
    volatility: float
    """Standard deviation of the logarithm of a usual bar's change."""
    volume: float


@dataclass(frozen=True, slots=True)
class Chapter:
    """Some bars of a story in the units of the symbol; `side` -1 turns them over."""

    drawn: Drawn
    side: int
    events: Sequence[tuple[str, int]] = ()
    variant: str = ""


def variants(kinds: Sequence[str] = KINDS) -> list[str]:
    """Those among these kinds, each as often as it comes."""
    return [variant for variant in VARIANTS if variant in kinds for _ in range(SHARES[variant])]


class Market:
    """Symbols SIM001, SIM002, ...; each follows from (seed, its number, what is wanted) and nothing else."""

    def __init__(
        self,
        *,
        seed: int = 1,
        symbols: int = 20,
        difficulty: Difficulty = DIFFICULTIES["middle"],
        kinds: Sequence[str] = KINDS,
        timeframe: str = "1d",
    ) -> None:
        self.seed = seed
        self.symbols = [f"SIM{number:03d}" for number in range(1, symbols + 1)]
        self.timeframe = timeframe
        self._difficulty = difficulty
        self._variants = variants(kinds)
        self._event_free = [kind for kind in EVENT_FREE if kind in kinds]
        if not self._variants and not self._event_free:
            raise ValueError(f"no kinds of series in {kinds}: there are {', '.join(KINDS)}")

    def series(self, ts: Times) -> Iterator[Series]:
        """All symbols on these starts of bars, in the order of their names."""
        for number in range(len(self.symbols)):
            yield self.one(number, ts)

    def one(self, number: int, ts: Times, *, turned_over: bool = False) -> Series:
        """The symbol at that place; turned over it is its own mirror image, price p as home * home / p."""
        symbol, count = self.symbols[number], len(ts)
        chance = Chance(self.seed, symbol)
        character = self._character(chance)
        kind = self._kind(number)
        chapters = Story(self.seed, symbol, kind, self._variants, self._difficulty, character).chapters(count)
        return composed(symbol, self.timeframe, kind, ts, chapters, character, turned_over=turned_over)

    def _kind(self, number: int) -> str:
        has_both = self._variants and self._event_free
        if not self._event_free or (has_both and TURNS[number % len(TURNS)]):
            return SCHEMATIC
        free_before = sum(not TURNS[n % len(TURNS)] for n in range(number)) if has_both else number
        return self._event_free[free_before % len(self._event_free)]

    def _character(self, chance: Chance) -> Character:
        """Volatility of a bar goes with the root of its length, volume with the length; 390 minutes a day."""
        minutes = TIMEFRAMES[self.timeframe].length_us / 60e6
        days = {"1d": 1.0, "1w": 5.0}.get(self.timeframe, minutes / 390)
        return Character(
            price=round(chance.times(30, 300), 2),
            volatility=chance.times(0.009, 0.024) * math.sqrt(days),
            volume=chance.times(4e5, 2e7) * days,
        )


class Story:
    """The chapters of one symbol, one after the other until there are enough bars."""

    def __init__(
        self,
        seed: int | str,
        symbol: str,
        kind: str,
        variants: Sequence[str],
        difficulty: Difficulty,
        of: Character,
        *,
        far: float = FAR,
    ) -> None:
        self._seed, self._symbol, self._kind = seed, symbol, kind
        self._variants = variants
        self._difficulty = difficulty
        self._of = of
        self._far = far

    def chapters(self, count: int) -> list[Chapter]:
        chance = Chance(self._seed, self._symbol, "noise")
        left = noise(chance, count, self._difficulty)
        found: list[Chapter] = []
        place, side = 0.0, 0
        while len(left):
            chapter = self._chapter(len(found), left, place * self._of.volatility, side)
            found.append(chapter)
            side = chapter.side if chapter.variant else side
            place += chapter.side * float(chapter.drawn.close[-1])
            left = left.cut(len(chapter.drawn), len(left))
        return found

    def _chapter(self, number: int, left: Noise, away: float, last_side: int) -> Chapter:
        """`away` says how far from home the price is, in logarithms; `last_side` the schematic before."""
        chance = Chance(self._seed, self._symbol, number)
        is_plain = self._kind != SCHEMATIC or number == 0 or chance.happens(0.2)
        if is_plain:
            return self._plain(chance, left, away, first=number == 0)
        side = -last_side or (1 if chance.happens(0.5) else -1)
        if chance.happens(0.2):
            side = -side
        if abs(away) > self._far:  # the trend before it leads home, and where it fails, further there
            side = 1 if away > 0 else -1
        variant = chance.one_of(self._variants)
        plan = schematic(chance, self._difficulty, variant)
        if len(plan) > len(left):  # half a schematic would have labels that nobody can know yet
            return self._plain(chance, left, away, first=False)
        part = left.cut(0, len(plan))
        return Chapter(draw(plan.path(part, self._difficulty.noise), part), side, plan.events, variant)

    def _plain(self, chance: Chance, left: Noise, away: float, *, first: bool) -> Chapter:
        lengths = (60, 110) if first else (40, 120)
        if self._kind != SCHEMATIC:
            lengths = (90, 250)
        part = left.cut(0, min(len(left), chance.whole(*lengths)))
        calm = self._kind == "range" or (self._kind != "trend" and chance.happens(0.5))
        if calm:
            path, side = plain.sideways(chance, part), 1
        else:
            path = plain.trend(chance, part, up=True)
            side = 1 if chance.happens(0.5) else -1
            if abs(away) > self._far:
                side = 1 if away < 0 else -1
        if self._kind == "news":
            path = plain.with_news(chance, part, path)
        return Chapter(draw(path, part), side)


def composed(
    symbol: str,
    timeframe: str,
    kind: str,
    ts: Times,
    chapters: Sequence[Chapter],
    of: Character,
    *,
    turned_over: bool = False,
) -> Series:
    """Chapters end to end, as prices in cents and volumes in whole shares."""
    if turned_over:
        chapters = [replace(chapter, side=-chapter.side) for chapter in chapters]
    columns: dict[str, list[Floats]] = {name: [] for name in ("open", "high", "low", "close", "volume")}
    labels: list[Label] = []
    place, first, schematics = 0.0, 0, 0
    for chapter in chapters:
        drawn, side = chapter.drawn, chapter.side
        high, low = (drawn.high, drawn.low) if side > 0 else (drawn.low, drawn.high)
        for name, column in zip(columns, (drawn.open, high, low, drawn.close), strict=False):
            columns[name].append(place + side * column)
        columns["volume"].append(drawn.volume)
        if chapter.variant:
            schematics += 1
            told = (timeframe, ACCUMULATION if side > 0 else DISTRIBUTION)
            for event, at in chapter.events:
                name = event if side > 0 else MIRROR[event]
                when = int(ts[first + at])
                labels.append(Label(symbol, *told, name, when, f"{symbol}-{schematics}", chapter.variant))
        place += side * float(drawn.close[-1])
        first += len(drawn)
    prices = {name: _cents(of, parts) for name, parts in columns.items() if name != "volume"}
    volume = np.maximum(1, np.rint(of.volume * np.concatenate(columns["volume"])))
    return Series(symbol, timeframe, kind, ts, volume=volume, labels=tuple(labels), **prices)


def _cents(of: Character, parts: list[Floats]) -> Floats:
    """Rounding keeps the order of open, high, low and close."""
    return np.maximum(0.01, np.rint(of.price * np.exp(of.volatility * np.concatenate(parts)) * 100) / 100)
