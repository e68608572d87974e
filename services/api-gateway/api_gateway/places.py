"""How many streams a key has open, at all gateways together: each says its own number in Redis, for a while.

What a gateway said ends by itself when it does not say it again, so nobody waits for connections of one that
is gone. While Redis is away every gateway counts its own alone: nobody is locked out for that, and nobody is
without a limit.
"""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

KEY = "rollo:streams:"
LASTS_S = 15.0
RENEW_S = 5.0
PATIENCE_S = 0.25
AWAY_S = 1.0
_SOON_S = 0.05
"""Those who leave together are told of together."""

_SAY = """
-- Streams of a key by gateway, each as "number:until". ARGV: this gateway, its number, how many there may be
-- in all, and for how many ms it is said. Returns whether they fit; where they do not, nothing is changed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number = tonumber(ARGV[2])
local all = number
local said = redis.call('HGETALL', KEYS[1])
for i = 1, #said, 2 do
    if said[i] ~= ARGV[1] then
        local theirs, ends = string.match(said[i + 1], '^(%d+):(%d+)$')
        if ends and tonumber(ends) > now then
            all = all + tonumber(theirs)
        else
            redis.call('HDEL', KEYS[1], said[i])
        end
    end
end
if all > tonumber(ARGV[3]) then
    return 0
end
if number > 0 then
    redis.call('HSET', KEYS[1], ARGV[1], string.format('%d:%.0f', number, now + tonumber(ARGV[4])))
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
else
    redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
"""
_ANY = 2**31

log = structlog.get_logger()


class Places:
    """One per process."""

    def __init__(self, redis: Redis, most: int) -> None:
        self.most = most
        """Streams that a key may have open."""
        self._say = redis.register_script(_SAY)
        self._gateway = uuid4().hex
        self._held: Counter[str] = Counter()
        self._changed: set[str] = set()
        self._asking = asyncio.Lock()
        self._away_until = 0.0
        self._keeping: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def take(self, name: str) -> bool:
        """Whether there is room for one more of `name`, who has it until `leave`."""
        async with self._asking:  # one after the other: what is told is never older than what was told
            number = self._held[name] + 1
            if number > self.most:
                return False
            try:
                fits = await self._fits(name, number)
            except BaseException:  # nobody has it, whatever Redis heard
                self._changed.add(name)
                raise
            if fits:
                self._held[name] += 1
                self._keep()
            return fits

    def leave(self, name: str) -> None:
        self._held[name] -= 1
        if self._held[name] <= 0:
            del self._held[name]
        self._changed.add(name)
        self._news.set()

    async def close(self) -> None:
        """Give back everything, if Redis is there to be told."""
        if self._keeping:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
            self._changed |= self._held.keys()
            self._held.clear()
            await self._tell()

    async def _fits(self, name: str, number: int) -> bool:
        if time.monotonic() < self._away_until:
            return True
        try:
            async with asyncio.timeout(PATIENCE_S):
                return bool(await self._say([KEY + name], self._words(number, self.most)))
        except (RedisError, OSError, TimeoutError) as error:
            self._is_away(error)
            return True

    def _words(self, number: int, most: int) -> list[str | int]:
        return [self._gateway, number, most, int(LASTS_S * 1_000)]

    def _is_away(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._away_until:
            log.warning("places_away", error=str(error))
        self._away_until = now + AWAY_S

    def _keep(self) -> None:
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        """Say again what is so, and soon what has changed, as long as there is anything to say."""
        due = time.monotonic() + RENEW_S
        while self._held or self._changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._news.wait()
                    await asyncio.sleep(_SOON_S)
            self._news.clear()
            if time.monotonic() >= due:
                due = time.monotonic() + RENEW_S
                self._changed |= self._held.keys()
            await self._tell()

    async def _tell(self) -> None:
        """What Redis does not hear now it hears at the next renewal, or forgets by itself."""
        changed, self._changed = self._changed, set()
        for name in changed:
            try:
                async with self._asking, asyncio.timeout(PATIENCE_S):
                    await self._say([KEY + name], self._words(self._held[name], _ANY))
            except (RedisError, OSError, TimeoutError) as error:
                self._is_away(error)
                return
