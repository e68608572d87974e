"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    condition: Callable[[], Awaitable[T]], *, within_s: float = 60.0, what: str = "the condition"
) -> T:
    """The first true answer of `condition`, or an AssertionError with the last one."""
    deadline = time.monotonic() + within_s
    while not (answer := await condition()):
        assert time.monotonic() < deadline, f"{what} did not hold within {within_s} s: {answer!r}"
        await asyncio.sleep(0.02)
    return answer


def eventually_sync(condition: Callable[[], T], *, within_s: float = 60.0, what: str = "the condition") -> T:
    """The same where there is no event loop."""
    deadline = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not hold within {within_s} s: {answer!r}"
        time.sleep(0.02)
    return answer
