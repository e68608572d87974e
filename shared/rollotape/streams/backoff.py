"""How we wait for a Redis that is away."""

import random
from dataclasses import dataclass, field

from rollotape.redis.outages import is_outage

__all__ = ["Backoff", "is_outage"]

FIRST_S = 0.05
LONGEST_S = 2.0


@dataclass(slots=True)
class Backoff:
    """Delays of 0.05 s doubling to 2 s, each cut by up to half at random: replicas must not march in step."""

    first_s: float = FIRST_S
    longest_s: float = LONGEST_S
    _next_s: float = field(default=0.0, init=False)

    def delay_s(self) -> float:
        self._next_s = min(self._next_s * 2, self.longest_s) if self._next_s else self.first_s
        return self._next_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._next_s = 0.0
