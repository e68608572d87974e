"""Universes with their members in memory: read again every few seconds while somebody asks for them."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple

import structlog
from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from api_gateway import problems
from api_gateway.problems import FieldError
from rollotape.errors import Unavailable
from rollotape.postgres.universes import KEY, Universe

FRESH_S = 2.0
OLD_S = 60.0
"""Older members are read again before they are used; younger ones while they are."""
PATIENCE_S = 2.0

log = structlog.get_logger()


def _key(text: str) -> str:
    if not re.fullmatch(KEY, text.lower()):
        raise PydanticCustomError("universe", "must be a key of /api/users/universe, such as sp500")
    return text.lower()


UniverseKey = Annotated[
    str,
    AfterValidator(_key),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_:-]{0,79}$"}),
]
assert KEY == r"[a-z0-9][a-z0-9_:-]{0,79}"


class Held(NamedTuple):
    by_key: dict[str, Universe]
    stale: bool
    """PostgreSQL did not answer when they were to be read again."""


class Universes:
    """One per process. A scan takes what is in memory; only the first one, or one after a pause, waits."""

    def __init__(
        self, load: Callable[[], Awaitable[list[Universe]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._held: Held | None = None
        self._read_at = 0.0
        self._tried_at = -FRESH_S
        self._reading: asyncio.Task[None] | None = None

    async def all(self) -> Held:
        """
        Raises:
            Problem: 503, they were never read, and PostgreSQL is away.
        """
        now = self._clock()
        if self._reading is None and now - self._tried_at >= FRESH_S:
            self._tried_at = now
            self._reading = asyncio.create_task(self._read())
        if self._reading is not None and self._must_wait(now):
            await asyncio.shield(self._reading)  # who asked first may go away
        if self._held is None:
            raise problems.unavailable("PostgreSQL, which has the members of universes")
        return self._held

    async def members(self, key: str) -> Universe:
        """Of one that a query names.

        Raises:
            Problem: 422, there is no such universe; 503, nobody can tell.
        """
        by_key = (await self.all()).by_key
        if key not in by_key:
            reason = f"is none; /api/users/universe lists those that there are, got {problems.short(key)}"
            raise problems.invalid([FieldError("query", "universe", reason)])
        return by_key[key]

    def at_hand(self, key: str) -> Universe | None:
        """One whose members need not be read before they are used, nor meanwhile."""
        if self._held is None or self._clock() - self._tried_at >= FRESH_S or self._must_wait(self._clock()):
            return None
        return self._held.by_key.get(key)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._reading = None

    def _must_wait(self, now: float) -> bool:
        """Once PostgreSQL has not answered, what there is has to do: nobody waits for it again."""
        if self._held is None:
            return True
        return not self._held.stale and now - self._read_at >= OLD_S

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await self._load()
            self._held, self._read_at = Held({u.key: u for u in found}, stale=False), self._clock()
        except (Unavailable, TimeoutError) as error:
            log.warning("universes_away", error=str(error) or "no answer in time")
            if self._held is not None:
                self._held = self._held._replace(stale=True)
        finally:
            self._reading = None
