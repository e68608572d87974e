"""When to try again, and when that would not help."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from rollotape.client.errors import ClientError, CutOff, Refusal, Unreachable

_WORTH_IT = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long one question is asked."""

    tries: int = 6
    most_s: float = 60.0
    """From the first try to the last."""
    first_s: float = 0.2
    """Before the second try; the next one waits twice as long."""
    longest_s: float = 10.0


class Attempts:
    """The tries of one question."""

    def __init__(
        self,
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._patience, self._clock, self._chance = patience, clock, chance
        self._over_at = clock() + patience.most_s
        self.failed = 0

    def wait_after(self, error: ClientError) -> float:
        """Seconds to wait before the next try, never less than the gateway asked for.

        Raises:
            ClientError: this one; another try would not help, or comes too late.
        """
        self.failed += 1
        wait_s = pause_s(error, self.failed, self._patience, self._chance)
        if not is_worth_another(error) or self.failed >= self._patience.tries:
            raise error
        if self._clock() + wait_s > self._over_at:
            raise error
        return wait_s


def is_worth_another(error: ClientError) -> bool:
    """Whether the same question may be answered in a moment."""
    if isinstance(error, Refusal) and not isinstance(error, CutOff):
        return error.problem.status in _WORTH_IT
    return isinstance(error, CutOff | Unreachable)


def pause_s(error: ClientError, failed: int, patience: Patience, chance: Callable[[], float]) -> float:
    """Twice as long after each failure, and never quite the same, so that clients do not come all at once."""
    grown_s = min(patience.longest_s, patience.first_s * 2.0 ** min(failed - 1, 30))
    jitter_s = grown_s * (0.5 + chance() / 2)
    asked_s = error.retry_after_s if isinstance(error, Refusal) else None
    return jitter_s if asked_s is None else asked_s + jitter_s / 4
