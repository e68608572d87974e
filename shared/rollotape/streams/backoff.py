"""How we wait for a Redis that is away, and which errors mean that it is."""

import random
from dataclasses import dataclass, field

import redis.exceptions as answers

FIRST_S = 0.05
LONGEST_S = 2.0

_AWAY = (
    OSError,
    answers.ConnectionError,
    answers.TimeoutError,
    answers.ReadOnlyError,
    answers.OutOfMemoryError,
    answers.ClusterDownError,
    answers.TryAgainError,
)
# Answers of a server that is starting, failing over or cannot persist; redis-py has no class for them.
_AWAY_ANSWERS = ("LOADING", "MISCONF", "NOREPLICAS", "MASTERDOWN", "UNBLOCKED", "BUSY ", "READONLY", "OOM")


def is_outage(error: BaseException) -> bool:
    """Whether the same command may succeed later: the server is away, full, loading or failing over."""
    if isinstance(error, _AWAY):
        return True
    return isinstance(error, answers.ResponseError) and str(error).startswith(_AWAY_ANSWERS)


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
