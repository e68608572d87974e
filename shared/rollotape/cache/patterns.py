"""Builds the read model of active patterns: always from PostgreSQL, whatever it was told.

A hint names patterns; what they are now is read again under the lock of the model, and one script changes
everything that follows. So hints may be repeated, late, out of order or lost, several builders may work at
once, and one that was stopped between reading and writing changes nothing when it wakes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rollotape import metrics
from rollotape.cache import scripts
from rollotape.cache.items import Item, item
from rollotape.errors import Unavailable
from rollotape.postgres.active import AT_ONCE, ActivePatterns, PatternRow, StrengthOf, Turn, strength_of
from rollotape.postgres.pool import unavailable

STAGED_S = 600
"""What a builder that died has staged goes away by itself."""
ALIVE_S = 10
TRIES = 5
_LONG_AGO_US = -62_135_596_800_000_000
"""Before every bar: the year 1."""

log = structlog.get_logger()


class Standing(NamedTuple):
    """How the model in Redis is; `wanted` is why a reader asked for another one."""

    state: str
    wanted: str | None
    epoch: str
    version: int
    entries: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A model that was built anew."""

    version: int
    entries: int


class Superseded(Exception):
    """Somebody had a later turn: our lock was lost while we slept, or the database was restored."""

    def __init__(self, turn: int) -> None:
        super().__init__(f"turn {turn} was before ours")
        self.turn = turn


class Broken(Exception):
    """The model is missing or broken: a change cannot be applied to it."""


class PatternModel:
    """The writing side. Raises `Unavailable` while Redis or PostgreSQL is away; call again then."""

    def __init__(self, active: ActivePatterns, redis: Redis) -> None:
        self._active = active
        self._redis = redis
        self._apply = redis.register_script(scripts.APPLY)
        self._swap = redis.register_script(scripts.SWAP)
        self._inspect = redis.register_script(scripts.INSPECT)
        self._strength: dict[str, StrengthOf] = {}
        """By symbol what all of its items were made of; a symbol that is in doubt is not in it."""
        self._newest: dict[str, int] = {}
        """By timeframe the newest bar that we have heard of: what it has outlived is out of the model."""
        self._turn = 0
        """The last one that we took. If the model has had another one since, our memory is of no use."""

    async def refresh(self, ids: Collection[str]) -> int:
        """Have these patterns as PostgreSQL has them now; how many entries changed."""
        named, changed = sorted(set(ids)), 0
        with unavailable("read model"):
            for start in range(0, len(named), AT_ONCE):
                try:
                    changed += await self._refresh(named[start : start + AT_ONCE])
                except Broken:
                    await self._build("a change met a model that is broken or missing")
                    return changed  # read after the hints came, so it has them all
        return changed

    async def refresh_strength(self) -> int:
        """Have the strength of every symbol as PostgreSQL has it now; only what moved is written."""
        with unavailable("read model"):
            try:
                await self._refresh([])  # whoever else has read what is old by now can no longer write it
            except Broken:
                await self._build("strength moved beside a model that is broken or missing")
                return 0
            strength = await self._active.strength()
            moved = [s for s, now in strength.items() if self._strength.get(s) != now]
            ids = await self._active.ids_of(moved) if moved else []
        self._strength = strength
        try:
            return await self.refresh(ids)
        except BaseException:
            self._strength = {}  # everything is looked at again
            raise

    async def refresh_detected(self, first: str, last: str) -> int:
        """Have the patterns anew that were detected about these dates, whose strength has changed."""
        with unavailable("read model"):
            ids = await self._active.ids_detected(first, last)
        return await self.refresh(ids) if ids else 0

    async def expire(self) -> int:
        """Remove what has expired, by the clock of the database or, if it is our own, by that of the bars.

        And say that somebody is at work.
        """
        with unavailable("read model"):
            now_us, epoch = await self._active.now()
            if await self._redis.hget(scripts.MANIFEST, "epoch") not in (None, epoch.encode()):
                await self._build("the database is another one now")
            over: Any = await self._redis.zrangebyscore(scripts.BY_EXPIRY, 0, now_us, start=0, num=AT_ONCE)
            await self._redis.set(scripts.ALIVE, 1, ex=ALIVE_S)
            newest = await self._active.newest_bars()
            moved = [(t, self._newest.get(t, _LONG_AGO_US), to) for t, to in newest.items()]
            moved = [span for span in moved if span[1] != span[2]]
            outlived = await self._active.outlived(moved) if moved else []
        ids = [*(i.decode() for i in over), *outlived]
        changed = await self.refresh(ids) if ids else 0
        self._newest = newest  # only now: after an error everything is looked at again
        return changed

    async def tend(self) -> Rebuilt | None:
        """Build the model anew if it is missing or broken, or if somebody asked for it."""
        with unavailable("read model"):
            standing = await self.standing()
            if standing.state == "sound" and standing.wanted is None:
                return None
            return await self._build(standing.wanted or standing.state)

    async def reconcile(self) -> int:
        """Compare every item with PostgreSQL and put right what differs; how many did."""
        with unavailable("read model"):
            held: Any = await self._redis.hkeys(scripts.ITEMS)
            ids = {i.decode() for i in held} | set(await self._active.ids())
        changed = await self.refresh(ids)
        metrics.MODEL_REPAIRED.inc(changed)
        return changed

    async def rebuild(self) -> Rebuilt:
        """Build the model anew, whatever state it is in."""
        with unavailable("read model"):
            built = await self._build("by hand", even_if_sound=True)
        assert built
        return built

    async def standing(self) -> Standing:
        """How the model is now."""
        try:
            answer: Any = await self._inspect(keys=scripts.ALL)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return Standing("broken", None, "", 0, 0)
        state, wanted, epoch, version, count = answer
        metrics.MODEL_ENTRIES.set(count)
        return Standing(state.decode(), wanted and wanted.decode(), epoch.decode(), version, count)

    async def count_events(self, events: int, last_ms: int) -> None:
        """Statistics only."""
        with unavailable("read model"):
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.hincrby(scripts.STATS, "events", events)
            pipeline.hset(scripts.STATS, "last_event_ms", last_ms)
            await pipeline.execute()

    async def _refresh(self, ids: Sequence[str]) -> int:
        ahead = 0
        for _ in range(TRIES):
            async with self._active.turn() as turn:
                if ahead:
                    await turn.exceed(ahead)
                    ahead = 0
                    continue
                rows = await turn.items(ids)
                items = [item(row) for row in rows]
                gone = set(ids).difference(i.id for i in items)
                try:
                    await self._forget_if_others_were_at_work()
                    changed = await self._change(turn, items, gone)
                except Superseded as by:
                    ahead = by.turn
                else:
                    self._written(turn, rows)
                    return changed
        raise Unavailable("read model: somebody else changed it at every try")

    async def _forget_if_others_were_at_work(self) -> None:
        """They may have written a strength that has gone back to what we remember."""
        last: Any = await self._redis.hget(scripts.MANIFEST, "turn")
        if last is None or int(last) != self._turn:
            self._strength = {}

    def _written(self, turn: Turn, rows: Sequence[PatternRow]) -> None:
        """What was read with a pattern may be newer or older than what was read of its symbol."""
        self._turn = turn.version
        for row in rows:
            if self._strength.get(row["symbol"]) != strength_of(row):
                self._strength.pop(row["symbol"], None)

    async def _change(self, turn: Turn, items: Sequence[Item], gone: Collection[str]) -> int:
        told: list[Any] = [turn.epoch, turn.version, turn.now_us, scripts.CHANGES_KEPT, len(items)]
        told += chain.from_iterable(_told(i) for i in items)
        return _applied(await self._apply(keys=scripts.ALL, args=[*told, *sorted(gone)]))

    async def _build(self, reason: str, *, even_if_sound: bool = False) -> Rebuilt | None:
        """None when it was sound, and nobody asked, by the time it was our turn."""
        ahead = 0
        for _ in range(TRIES):
            async with self._active.turn() as turn:
                if ahead:
                    await turn.exceed(ahead)
                    ahead = 0
                    continue
                now = await self.standing()
                if now == ("sound", None, turn.epoch, now.version, now.entries) and not even_if_sound:
                    return None
                self._strength = {}
                try:
                    count = await self._replace(turn)
                except Superseded as by:
                    ahead = by.turn
                    continue
                self._turn = turn.version
                await self._let_go_of_earlier_names()
                metrics.MODEL_REBUILDS.inc()
                if not even_if_sound:  # a command says it in its own words
                    log.info("model_rebuilt", reason=reason, version=turn.version, entries=count)
                return Rebuilt(turn.version, count)
        raise Unavailable("read model: somebody else changed it at every try")

    async def _replace(self, turn: Turn) -> int:
        """Stage everything beside the old model, then swap: nobody ever sees a part of it."""
        keys, count = scripts.staged(turn.version), 0
        try:
            async for rows in turn.all_items():
                await self._stage(keys, [item(row) for row in rows])
                count += len(rows)
            told: list[Any] = [turn.epoch, turn.version, turn.now_us, count]
            return _applied(await self._swap(keys=[*scripts.ALL, *keys], args=told))
        except Broken:  # Redis lost what was staged
            raise Unavailable("read model: what was staged is gone") from None
        finally:
            await self._redis.unlink(*keys)

    async def _let_go_of_earlier_names(self) -> None:
        """Builders of an earlier version make theirs anew while they are there, side by side with ours."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in scripts.BEFORE:
            pipeline.expire(key, scripts.BEFORE_S)
        await pipeline.execute()

    async def _stage(self, keys: Sequence[str], items: Sequence[Item]) -> None:
        shown, *indexes = keys
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hset(shown, mapping={i.id: i.json for i in items})
        for key, members in zip(indexes, _indexed(items), strict=True):
            pipeline.zadd(key, members)
        for key in keys:
            pipeline.expire(key, STAGED_S)
        await pipeline.execute()


def _indexed(items: Sequence[Item]) -> list[dict[Any, Any]]:
    """Members and scores, in the order of `scripts.INDEXES`."""
    return [
        {i.id: i.confidence for i in items},
        {i.id: i.detected_at for i in items},
        {i.id: i.expires_at for i in items},
        {f"{i.symbol}{scripts.SEPARATOR}{i.id}": 0 for i in items},
        {f"{i.pattern_type}{scripts.SEPARATOR}{i.id}": 0 for i in items},
    ]


def _told(i: Item) -> tuple[Any, ...]:
    """An item as the script takes it."""
    return i.id, i.json, i.confidence, i.detected_at, i.expires_at, i.symbol, i.pattern_type


def _applied(answer: Sequence[Any]) -> int:
    outcome, number = answer
    if outcome == b"superseded":
        raise Superseded(number)
    if outcome != b"applied":
        raise Broken(outcome.decode())
    return int(number)
