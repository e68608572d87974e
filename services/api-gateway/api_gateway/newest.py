"""The newest bar and score of every symbol that somebody follows, in the order in which they changed.

Only what is stored is shown: the streams that bars come in on are offers, not facts, and `updates` says that
scores of a date changed, not which. So both are hints, after which PostgreSQL is read, of all followers once.
"""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog
from redis.asyncio import Redis

from api_gateway import responses, strengths
from api_gateway.subscriptions import BARS, LETTERS, RS, UNKNOWN, Standing, Subscription
from rollotape.domain.bars import TIMEFRAMES
from rollotape.errors import Unavailable
from rollotape.events import FIELD
from rollotape.postgres import newest as stored
from rollotape.postgres import symbols
from rollotape.postgres.pool import unavailable

if TYPE_CHECKING:  # it has a `Newest`
    from api_gateway.backends import Postgres

STREAM = "sessions"
EVERY_S = 0.25
LOOK_S = 30.0
"""A hint that was lost costs at most so much time."""
_AT_ONCE = 1_000
_ALL_SCORES = 1_000_000

log = structlog.get_logger()


class Wants(NamedTuple):
    """What anybody follows; None stands for every symbol."""

    bars: frozenset[str] | None = frozenset()
    scores: frozenset[str] | None = frozenset()
    standing: bool = False

    @property
    def nothing(self) -> bool:
        return self == Wants()


class Value:
    """One bar or score as it is sent, around the id of the place that it is sent at."""

    __slots__ = ("channel", "head", "key", "seq", "symbol", "tail", "timeframe")

    def __init__(self, channel: str, symbol: str, timeframe: str, data: bytes) -> None:
        self.channel, self.symbol, self.timeframe = channel, symbol, timeframe
        self.key = channel, symbol, timeframe
        self.head = b'{"T":"%s","S":%s,"id":"' % (LETTERS[channel].encode(), orjson.dumps(symbol))
        self.tail = b'","data":%s}' % data
        self.seq = 0

    def at(self, position: bytes) -> bytes:
        return self.head + position + self.tail


class Newest:
    """Reads while there are followers; each of them needs to remember one number only."""

    def __init__(self, postgres: "Postgres", redis: Redis) -> None:
        self._postgres, self._redis = postgres, redis
        self._wanted: Callable[[], Wants] = Wants
        self._changed: Callable[[], None] = lambda: None
        self._wants = Wants()
        self._held: dict[tuple[str, str, str], Value] = {}
        self._log: list[Value] = []
        """By `seq`; what was replaced since stands in it until it is cleared away."""
        self.last = 0
        self._standings: dict[str, Standing] | None = None
        self._timeframes: set[str] = set()
        self._scores_due = self._standing_due = True
        self._heard_to: str | None = None
        self._looked = float("-inf")
        self._stood = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def follow(self, wanted: Callable[[], Wants], changed: Callable[[], None]) -> None:
        """Begin to read what `wanted` says, and tell of every change by `changed`."""
        self._wanted, self._changed = wanted, changed
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._adopt(Wants())

    def hint(self) -> None:
        """Scores or sectors changed."""
        self._scores_due = self._standing_due = True

    def standing(self, symbol: str) -> Standing:
        return (self._standings or {}).get(symbol, UNKNOWN)

    async def stand(self, within_s: float) -> None:
        """Return when it is known where symbols stand.

        Raises:
            TimeoutError: PostgreSQL did not say so in time.
        """
        await asyncio.wait_for(self._stood.wait(), within_s)

    def after(self, seq: int, subscription: Subscription) -> Iterator[Value]:
        """What changed after `seq`, as far as a subscription wants it, the oldest change first."""
        start = bisect_right(self._log, seq, key=attrgetter("seq"))
        for value in islice(self._log, start, None):
            wanted = subscription.has(value.channel, value.symbol)
            if wanted and self._held.get(value.key) is value and subscription.passes(*value.key[::2]):
                yield value

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self._look()
            except Unavailable as error:
                log.warning("newest_away", error=str(error))
                await asyncio.sleep(1)  # between two attempts at a server that is away
            except Exception:
                log.exception("defect", task="newest")
                await asyncio.sleep(1)  # a bug that lasts must not fill the log

    async def _look(self) -> None:
        self._adopt(self._wanted())
        if self._wants.nothing:
            return
        if time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
            self._timeframes, self._scores_due = set(TIMEFRAMES), True
        before = self.last
        if self._wants.bars != frozenset():
            await self._read_bars()
        if self._wants.scores != frozenset() and self._scores_due:
            await self._read_scores()
        if self._wants.standing and self._standing_due:
            await self._read_standing()
        if self.last != before:
            self._changed()

    def _adopt(self, wants: Wants) -> None:
        """Look at everything when more is wanted; forget what nobody wants, for nobody keeps it up."""
        if wants == self._wants:
            return
        self._wants = wants
        self._looked, self._heard_to = float("-inf"), None
        self.hint()
        followed = {BARS: wants.bars, RS: wants.scores}
        kept = {
            value.key: value
            for value in self._held.values()
            if (among := followed[value.channel]) is None or value.symbol in among
        }
        if len(kept) != len(self._held):
            self._held = kept
            self._log = [value for value in self._log if self._held.get(value.key) is value]
        if not wants.standing:
            self._standings = None
            self._stood.clear()

    async def _read_bars(self) -> None:
        self._timeframes |= await self._heard()
        if not self._timeframes:
            return
        looked_at, wanted = self._timeframes, self._wants.bars
        self._timeframes = set()
        try:
            rows = await self._postgres.attempt(lambda c: stored.bars(c, wanted, looked_at))
        except BaseException:
            self._timeframes |= looked_at
            raise
        self._take(await asyncio.to_thread(lambda: [_bar(row) for row in rows]))

    async def _heard(self) -> set[str]:
        """Timeframes of which bars were committed since it was last asked."""
        with unavailable("sessions"):
            if self._heard_to is None:
                newest: Any = await self._redis.xrevrange(STREAM, count=1)
                self._heard_to = newest[0][0].decode() if newest else "0-0"
                return set(TIMEFRAMES)
            answer: Any = await self._redis.xread({STREAM: self._heard_to}, count=_AT_ONCE)
        entries = answer[0][1] if answer else []
        if entries:
            self._heard_to = entries[-1][0].decode()
        return {timeframe for _, fields in entries for timeframe in _named(fields)}

    async def _read_scores(self) -> None:
        wanted = None if self._wants.scores is None else sorted(self._wants.scores)
        asked = symbols.Section(None, wanted, None, "rs_score", False)
        self._scores_due = False
        try:
            found = await self._postgres.attempt(lambda c: symbols.strength(c, asked, _ALL_SCORES))
        except BaseException:
            self._scores_due = True
            raise
        self._take(await asyncio.to_thread(lambda: [_score(row) for row in found.rows]))

    async def _read_standing(self) -> None:
        self._standing_due = False
        try:
            rows = await self._postgres.attempt(stored.standing)
        except BaseException:
            self._standing_due = True
            raise
        self._standings = {symbol: Standing(*rest) for symbol, *rest in rows}
        self._stood.set()

    def _take(self, values: list[Value]) -> None:
        for value in values:
            held = self._held.get(value.key)
            if held is None or held.tail != value.tail:
                self.last += 1
                value.seq = self.last
                self._held[value.key] = value
                self._log.append(value)
        if len(self._log) > 2 * len(self._held) + _AT_ONCE:
            self._log = [value for value in self._log if self._held[value.key] is value]


def _named(fields: dict[bytes, bytes]) -> set[str]:
    """The timeframe that a wake-up names; all of them where it cannot be read."""
    try:
        return {orjson.loads(fields[FIELD])["timeframe"]} & TIMEFRAMES.keys()
    except (KeyError, TypeError, orjson.JSONDecodeError):
        return set(TIMEFRAMES)


def _bar(row: Any) -> Value:
    said = dict(row)
    symbol, timeframe = said.pop("symbol"), said["timeframe"]
    return Value(BARS, symbol, timeframe, responses.dumps(said))


def _score(row: Any) -> Value:
    return Value(RS, row["symbol"], "", responses.dumps(strengths.item(row)))
