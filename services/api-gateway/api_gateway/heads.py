"""What headers mean, found out once for all requests of a connection that send the same ones."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.types import Scope

REMEMBERED = "rollo.remembered"
"""In the scope: what readings made of these very headers before, where the connection remembers it."""

T = TypeVar("T")
Headers = Sequence[tuple[bytes, bytes]]


def read(scope: Scope, reading: Callable[[Headers], T]) -> T:
    """What `reading` makes of the headers; it looks at nothing else. What it refuses it refuses anew."""
    known: dict[Any, Any] | None = scope.get(REMEMBERED)
    if known is None:
        return reading(scope["headers"])
    if (found := known.get(reading)) is None:
        found = known[reading] = reading(scope["headers"])
    made: T = found
    return made
