"""Whole schematics, told as accumulations; a distribution is the same turned over.

What is drawn, in the order of the chart, and what it means: `docs/simulation.md`. Distances are in usual days
(standard deviations of a day's change), levels inside the range are shares of its height.
"""

from dataclasses import dataclass

from rollotape.simulation.chance import Chance
from rollotape.simulation.difficulty import Difficulty
from rollotape.simulation.plan import Plan
from rollotape.simulation.waves import wave

VARIANTS = ("spring", "no_spring", "failed", "failed_spring")
"""How phase C ends: through a spring or without one; or the range breaks, without or after a spring."""


def schematic(chance: Chance, difficulty: Difficulty, variant: str) -> Plan:
    """One accumulation from the decline before it to the advance after it."""
    story = _Story(Plan(), chance, difficulty, chance.between(*difficulty.pace))
    story.decline()
    story.climax()
    story.cause()
    if "spring" in variant and variant != "no_spring":
        story.spring()
    if variant in ("spring", "no_spring"):
        if variant == "no_spring":
            story.higher_low()
        story.strength()
        story.last_support()
        wave(story.plan, chance, story.bars(30, 90), chance.between(0.14, 0.26), 0.85)
    else:
        story.fail(after_spring=variant == "failed_spring")
    return story.plan


@dataclass(slots=True)
class _Story:
    """The levels that later parts refer to, found by earlier ones."""

    plan: Plan
    chance: Chance
    difficulty: Difficulty
    pace: float
    bottom: float = 0.0
    """Low of the climax."""
    height: float = 0.0
    """From the low of the climax to the high of the automatic rally."""
    support: float = 0.0
    """Lowest low of climax and secondary tests."""
    creek: float = 0.0
    """Highest high of the range."""

    def bars(self, least: int, most: int) -> int:
        return max(1, round(self.chance.between(least, most + 1) * self.pace - 0.5))

    def leg(self, to: float, least: int = 4) -> int:
        """Bars for a swing to there: as far as it is, so long it takes."""
        distance = abs(to - self.plan.last.price)
        return max(least, round(distance / self.chance.between(0.4, 0.9) * self.pace))

    def odd(self) -> bool:
        return self.chance.happens(self.difficulty.oddities)

    def volume(self, least: float, most: float) -> float:
        return float(self.chance.times(least, most) ** self.difficulty.volume)

    def spread(self, least: float, most: float) -> float:
        return float(self.chance.times(least, most) ** self.difficulty.spread)

    def level(self, share: float) -> float:
        return self.bottom + share * self.height

    def decline(self) -> None:
        """A downtrend in waves, and towards its end support that is only preliminary: demand on volume
        stops it for some days, then it goes on."""
        plan, chance = self.plan, self.chance
        wave(plan, chance, self.bars(45, 110), -chance.between(0.1, 0.22), 0.9)
        for _ in range(chance.one_of((0, 1, 1, 1, 1, 1, 1, 2))):
            self.correct()
            down = plan.lowest() - chance.about(1.0, 4.0)
            plan.close(self.bars(3, 9), down + chance.between(1.0, 2.4), volume=1.25)
            at = plan.low(1, down, off=chance.between(0.7, 1.6), volume=1.3)
            plan.mark(at, volume=self.volume(1.6, 2.6), spread=self.spread(1.2, 1.9))
            plan.event("PS", at)
            plan.high(self.bars(3, 7), down + chance.about(2.2, 4.8), off=0.5, volume=0.95)

    def correct(self) -> None:
        """Some days up, unless that is where the price comes from."""
        if self.plan.last.turn < 0:
            price = self.plan.last.price + self.chance.between(1.6, 3.0)
            self.plan.high(self.bars(3, 7), price, volume=0.9)

    def climax(self) -> None:
        """Panic into strong hands: the widest bar on the highest volume at the low of everything; then the
        automatic rally, quick because supply is gone."""
        plan, chance = self.plan, self.chance
        self.height = chance.about(6.0, 12.5)
        self.correct()
        self.bottom = self.support = plan.lowest() - chance.about(3.5, 8.0)
        spread = self.spread(2.1, 3.4)
        wide = spread * 1.7
        start = self.bottom + wide * chance.between(0.8, 0.95)
        steps = self.bars(4, 10)
        if self.odd() and start + wide * 0.6 < plan.last.price:  # two days of panic, the second the lower
            first = plan.close(steps, start, volume=1.5)
            plan.mark(first, volume=self.volume(2.2, 3.2), spread=self.spread(1.6, 2.2))
        else:
            plan.close(max(1, steps - 2), min(plan.last.price, start + chance.between(0.5, 2.0)), volume=1.35)
            plan.close(2, start, volume=1.6)
        at = plan.low(1, self.bottom, off=wide * chance.about(0.2, 0.75), volume=2.0)
        plan.mark(at, volume=self.volume(3.4, 6.5), spread=spread)
        plan.event("SC", at)
        self.creek = self.bottom + self.height
        rise = self.bars(4, 10)
        halfway = max(1, round(rise * chance.between(0.3, 0.55)))
        plan.close(halfway, self.level(chance.between(0.45, 0.7)), volume=1.5, noise=0.6)
        plan.event("AR", plan.high(rise - halfway, self.creek, off=chance.between(0.3, 1.1), volume=1.1))

    def cause(self) -> None:
        """Secondary tests of the climax on less volume and narrower bars, and swings from one side of the
        range to the other that get quieter."""
        self.test_climax(first=True)
        for swing in range(self.chance.one_of((0, 1, 1, 2, 2, 3))):
            self.swing_up()
            if swing == 0 or self.chance.happens(0.6):
                self.test_climax(first=False)
            else:
                self.dip(self.chance.between(0.33, 0.5))

    def test_climax(self, *, first: bool) -> None:
        """Back to where the climax was: does supply come again? Less of it does."""
        plan, chance = self.plan, self.chance
        share = chance.about(0.0, 0.24)
        if self.odd():  # an undercut on the way is still a test
            share = -chance.between(0.01, 0.05)
        price = self.level(share)
        if abs(price - self.support) < 0.1:
            price = self.support + 0.1
        off, volume = chance.between(0.3, 1.0), 0.85 if first else 0.75
        at = plan.low(self.leg(price), price, off=off, volume=volume, quiet=0.85)
        most = 1.5 if first else 1.15
        plan.mark(at, volume=self.volume(0.65, most))
        plan.event("ST", at)
        self.support = min(self.support, price)

    def swing_up(self) -> None:
        plan, chance = self.plan, self.chance
        share = chance.about(0.6, 0.98)
        if self.odd():  # a look above the creek that does not hold
            share = chance.between(1.01, 1.08)
        price = self.level(share)
        plan.high(self.leg(price), price, off=chance.between(0.3, 1.0), volume=0.85, quiet=0.9)
        self.creek = max(self.creek, price)

    def dip(self, share: float) -> None:
        """A low in the middle of the range, which tests nothing."""
        price = self.level(share)
        self.plan.low(self.leg(price), price, volume=0.7, quiet=0.8)

    def spring(self) -> None:
        """Below support, to find out whether supply is left: none follows, and the price is back within days.
        Then often a test of that: lower volume, and the low holds."""
        plan, chance = self.plan, self.chance
        self.swing_up()
        low = self.support - self.height * chance.about(0.04, 0.22)
        before = self.support + chance.between(0.15, 1.2)
        outside = chance.one_of((0, 0, 0, 1, 1, 2, 3))
        """Closes below support."""
        plan.close(self.leg(before), before, volume=0.8, quiet=0.85, least=self.support)
        reach = self.support - low
        off = reach + chance.between(0.15, 1.0) if outside == 0 else reach * chance.between(0.25, 0.8)
        kind = chance.one_of(((0.5, 0.9), (0.5, 0.9), (0.9, 1.5), (0.9, 1.5), (1.5, 2.6)))
        at = plan.low(1, low, off=off, volume=0.9)
        plan.mark(at, volume=self.volume(*kind), spread=self.spread(0.9, 1.7))
        plan.event("SPRING", at)
        if outside:
            plan.close(outside, self.support + chance.between(0.2, 0.9), volume=1.1, noise=0.4)
        if chance.happens(0.8):
            self.test_spring(low)

    def test_spring(self, low: float) -> None:
        plan, chance = self.plan, self.chance
        rise = max(plan.last.close + 1.2, self.level(chance.between(0.3, 0.65)))
        plan.high(self.leg(rise, 3), rise, volume=1.05)
        price = min(max(self.support + self.height * chance.about(-0.04, 0.2), low + 0.25), rise - 1.5)
        at = plan.low(self.leg(price, 3), price, off=chance.between(0.4, 1.0), volume=0.6, quiet=0.6)
        plan.mark(at, volume=self.volume(0.4, 0.75))
        plan.event("TEST", at)

    def higher_low(self) -> None:
        """Without a spring demand already holds the price up in the range."""
        self.swing_up()
        self.dip(self.chance.between(0.35, 0.6))

    def strength(self) -> None:
        """Through the creek with effort and result: volume and spread grow together."""
        plan, chance = self.plan, self.chance
        before = self.creek - chance.between(0.3, 1.5)
        plan.close(self.leg(before), before, volume=1.15, most=self.creek)
        at = plan.close(1, self.creek + chance.between(0.8, 2.3), volume=1.4)
        plan.mark(at, volume=self.volume(1.9, 3.4), spread=self.spread(1.5, 2.4))
        plan.event("SOS", at)

    def last_support(self) -> None:
        """The old resistance is support now: a pullback on low volume and narrow bars ends near the creek."""
        plan, chance = self.plan, self.chance
        for again in range(2 if self.odd() else 1):
            on = chance.between(1.4, 4.0) + again * 0.5
            top = plan.last.close + on
            plan.high(self.bars(2, 6), top, volume=1.15, noise=0.5)
            price = self.creek + self.height * chance.about(-0.08, 0.22)
            price = min(max(price, plan.last_low() + 0.3) if again else price, top - 1.6)
            at = plan.low(
                self.bars(3, 9), price, off=chance.between(0.4, 1.0), volume=0.62, quiet=0.6, noise=0.7
            )
            plan.mark(at, volume=self.volume(0.4, 0.75))
            plan.event("LPS", at)

    def fail(self, *, after_spring: bool) -> None:
        """Supply was left after all: a last rally, then through support on volume, and down."""
        plan, chance = self.plan, self.chance
        if after_spring:
            price = max(self.level(chance.between(0.45, 0.8)), plan.last.close + 1.2)
            plan.high(self.leg(price), price, volume=0.85)
        else:
            self.swing_up()
        under = plan.lowest()
        before = under + chance.between(0.3, 1.2)
        plan.close(self.leg(before), before, volume=1.0, least=under)
        at = plan.close(1, under - chance.between(1.0, 2.4), volume=1.5)
        plan.mark(at, volume=self.volume(1.7, 3.0), spread=self.spread(1.5, 2.3))
        plan.close(self.bars(2, 4), plan.last.close - chance.between(1.0, 2.5), volume=1.3)
        wave(plan, chance, self.bars(30, 70), -chance.between(0.12, 0.22), 0.9)
