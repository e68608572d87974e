"""Errors are named by their consequence.

RolloError
├── Unprocessable   park it: the input can never be applied, it becomes a dead letter
├── Unavailable     try again: Redis or PostgreSQL is away, busy or slow
└── Refused         do not start: the configuration is wrong, and the message says how
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One reason why one field of an input was refused, in words for its sender."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


def short(value: Any) -> str:
    """A value as text for a reason, cut where a sender might be hostile."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}... ({len(text)} characters)"


def told(error: BaseException) -> str:
    """Its kind and its words for a log; what libraries make of `repr` may lack either."""
    return f"{type(error).__name__}: {error}"


class RolloError(Exception):
    """Base of every error that Rollo Tape raises on purpose."""


class Unprocessable(RolloError):
    """The input can never be applied; `faults` names every field and reason."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


class Unavailable(RolloError):
    """Something we depend on is away, locked or slow; the same call may succeed later."""


class Refused(RolloError):
    """The process must not start like this; the message names the setting and what to do."""
