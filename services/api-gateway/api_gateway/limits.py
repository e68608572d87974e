"""How often a key may ask: windows are counted in Redis, and tokens leased from there in blocks.

Most requests take a token that is here already, without a word to Redis. While Redis is away each gateway
counts a window of its own, so nobody is without a limit and nobody is refused for it.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api_gateway.problems import TOO_MANY_REQUESTS, Problem

KEY = "rollo:rate:"
BLOCKS = 50
"""A window is leased in so many blocks: what a gateway does not use of its last one is lost to the others."""
PATIENCE_S = 0.25
AWAY_S = 1.0
MOST_BUCKETS = 10_000
_MOST_AT_ONCE = 16
_SURELY_S = 0.05
"""As long before its end a window is as good as over for who may not be told so a moment later."""

_LEASE = """
-- Of the window of a key: takes up to ARGV[2] of ARGV[1] requests. It begins with the first and lasts
-- ARGV[3] ms. Returns what was taken, what is left after that, and the ms until it ends.
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
local lasts = redis.call('PTTL', KEYS[1])
if lasts <= 0 then
    used, lasts = 0, tonumber(ARGV[3])
end
local taken = math.max(0, math.min(tonumber(ARGV[2]), tonumber(ARGV[1]) - used))
redis.call('SET', KEYS[1], used + taken, 'PX', lasts)
return {taken, math.max(0, tonumber(ARGV[1]) - used - taken), lasts}
"""

Headers = list[tuple[bytes, bytes]]
log = structlog.get_logger()


class Bucket:
    """What one key may still ask in this window, as far as this gateway knows."""

    __slots__ = ("asking", "beyond", "ends_at", "name", "quota", "spent", "tokens")

    def __init__(self, name: str, quota: int) -> None:
        self.name, self.quota = name, quota
        self.tokens = 0
        """Leased, and not yet spent."""
        self.beyond = 0
        """What Redis had left at the last lease."""
        self.spent = 0
        """By this gateway, in this window."""
        self.ends_at = 0.0
        self.asking: asyncio.Task[None] | None = None

    @property
    def block(self) -> int:
        return max(1, self.quota // BLOCKS)


class Limits:
    """Windows of every key that asked lately."""

    def __init__(self, redis: Redis, window_s: int, now: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._window_s, self._now = redis, window_s, now
        self._script = redis.register_script(_LEASE)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._at_once = asyncio.Semaphore(_MOST_AT_ONCE)
        self._away_until = 0.0

    def spend(self, name: str, quota: int) -> Headers | None:
        """One request of `name`, if that can be told at once: what its answer says. None: ask `charge`.

        Raises:
            Problem: 429, the window is used up.
        """
        bucket, now = self._bucket(name, quota), self._now()
        if now >= bucket.ends_at:
            return None
        if bucket.tokens == 0:
            if bucket.beyond:
                return None
            raise self._refused(bucket, now)
        bucket.tokens -= 1
        bucket.spent += 1
        if bucket.beyond and bucket.tokens <= bucket.block // 2:
            self._ask(bucket)  # meanwhile there are enough
        return self._said(bucket, now)

    async def charge(self, name: str, quota: int) -> Headers:
        """The same where Redis may have to be asked first.

        Raises:
            Problem: 429, the window is used up.
        """
        while (said := self.spend(name, quota)) is None:
            await asyncio.shield(self._ask(self._bucket(name, quota)))
        return said

    def has(self, name: str, quota: int) -> bool:
        """Whether `spend` will take one, also a moment from now."""
        bucket = self._buckets.get(name)
        if bucket is None or bucket.quota != quota:
            return False
        return bucket.tokens > 0 and self._now() < bucket.ends_at - _SURELY_S

    def is_used_up(self, name: str) -> bool:
        """Whether `charge` would refuse, as far as is known here."""
        bucket = self._buckets.get(name)
        return bucket is not None and self._now() < bucket.ends_at and not bucket.tokens + bucket.beyond

    def _bucket(self, name: str, quota: int) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None or bucket.quota != quota:
            bucket = self._buckets[name] = Bucket(name, quota)
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        return bucket

    def _ask(self, bucket: Bucket) -> "asyncio.Task[None]":
        """One question at a time, whoever waits for it."""
        if bucket.asking is None or bucket.asking.done():
            bucket.asking = asyncio.create_task(self._lease(bucket))
        return bucket.asking

    async def _lease(self, bucket: Bucket) -> None:
        began = self._now()
        if began < self._away_until:
            self._go_on_alone(bucket, began)
            return
        wanted = min(bucket.block, bucket.quota)
        try:
            async with self._at_once, asyncio.timeout(PATIENCE_S):
                taken, beyond, lasts_ms = await self._script(
                    [KEY + bucket.name], [bucket.quota, wanted, self._window_s * 1_000]
                )
        except (RedisError, OSError, TimeoutError) as error:
            now = self._now()
            if now >= self._away_until:
                log.warning("limits_away", error=str(error))
            self._away_until = now + AWAY_S
            self._go_on_alone(bucket, now)
            return
        if began >= bucket.ends_at:
            bucket.tokens = bucket.spent = 0
        bucket.tokens += taken
        bucket.beyond = beyond
        bucket.ends_at = began + lasts_ms / 1_000

    def _go_on_alone(self, bucket: Bucket, now: float) -> None:
        """What this gateway has not spent itself; it asks again when the window is over."""
        if now >= bucket.ends_at:
            bucket.spent, bucket.ends_at = 0, now + self._window_s
        bucket.tokens, bucket.beyond = max(0, bucket.quota - bucket.spent), 0

    def _said(self, bucket: Bucket, now: float) -> Headers:
        left = b"%d" % (bucket.tokens + bucket.beyond)
        seconds = b"%d" % math.ceil(bucket.ends_at - now)
        return [
            *_policy(bucket.quota, self._window_s),
            (b"ratelimit", b'"key";r=%b;t=%b' % (left, seconds)),
            (b"x-ratelimit-remaining", left),
            (b"x-ratelimit-reset", seconds),
        ]

    def _refused(self, bucket: Bucket, now: float) -> Problem:
        seconds = max(1, math.ceil(bucket.ends_at - now))
        detail = f"At most {bucket.quota:,} requests in {self._window_s} s; go on in {seconds} s."
        said = {name.decode(): value.decode() for name, value in self._said(bucket, now)}
        return Problem(TOO_MANY_REQUESTS, detail, headers=said | {"retry-after": str(seconds)})

    async def close(self) -> None:
        asking = [b.asking for b in self._buckets.values() if b.asking and not b.asking.done()]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._redis.aclose()


@lru_cache(1_024)
def _policy(quota: int, window_s: int) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"ratelimit-policy", b'"key";q=%d;w=%d' % (quota, window_s)),
        (b"x-ratelimit-limit", b"%d" % quota),
    )
