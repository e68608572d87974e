"""Answers that are there already: given in the step that has read the request, before a task is made of it.

A layer of the application has an `at_once` beside its `__call__`. It gives the whole answer, or None: then
nothing has happened, and the request goes the usual way, which finds out what is missing or wrong. So this
way knows only what is right, and need not say why anything else is not.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from starlette.types import Scope

Headers = list[tuple[bytes, bytes]]


class Given(NamedTuple):
    """An answer as it goes out."""

    status: int
    headers: Headers
    body: bytes

    def saying(self, more: Iterable[tuple[bytes, bytes]]) -> "Given":
        """With further headers."""
        return Given(self.status, [*self.headers, *more], self.body)


AtOnce = Callable[[Scope], Given | None]


def never(_: Scope) -> None:
    """Of an application that answers the usual way alone."""
    return


def of(app: Any) -> AtOnce:
    """How an application answers at once, if it can."""
    found: AtOnce = getattr(app, "at_once", never)
    return found
