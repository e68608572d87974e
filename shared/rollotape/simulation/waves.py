"""Trends as analysts see them: impulses and corrections, one after the other."""

from rollotape.simulation.chance import Chance
from rollotape.simulation.plan import Plan


def wave(plan: Plan, chance: Chance, bars: int, slope: float, noise: float) -> None:
    """About so many bars that gain `slope` each on the whole; begins and ends with an impulse."""
    up = 1 if slope > 0 else -1
    end = len(plan) + bars
    while True:
        impulse = chance.whole(7, 18)
        back = chance.whole(3, 8)
        share = chance.about(0.2, 0.5)
        """What the correction takes of the impulse."""
        gain = abs(slope) * (impulse + back) / (1 - share)
        gain = max(gain, 2.0)
        price = plan.last.price + up * gain
        turn = plan.high if up > 0 else plan.low
        turn(impulse, price, off=chance.between(0.2, 0.6), noise=noise)
        if len(plan) >= end:
            return
        other = plan.low if up > 0 else plan.high
        there = price - up * max(gain * share, 1.3)
        other(back, there, off=chance.between(0.2, 0.6), noise=noise, volume=0.9)
