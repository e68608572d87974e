"""A producer of bars that keeps what it sent until it is stored, and can be asked for what is missing.

What Redis loses, as a primary that dies may, becomes late: every message is in the journal first, and is
looked for in PostgreSQL by the keys of its bars once everything of its stream that came before it was read.
What is not there then was lost, and is sent again. PostgreSQL also keeps what the auditor found missing; a
producer that can be asked again (`Source`) takes these requests from there, where no outage of Redis reaches
them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from redis.asyncio import Redis

from rollotape import intake
from rollotape.domain.sessions import Sessions
from rollotape.errors import Unavailable
from rollotape.events import STREAMS
from rollotape.postgres import arrivals, survey
from rollotape.postgres import gaps as stored_gaps
from rollotape.postgres.gaps import Request, Serves
from rollotape.postgres.pool import unavailable
from rollotape.producers.frames import Bars, Framer, Message
from rollotape.producers.journal import Journal, Written
from rollotape.streams import standing
from rollotape.streams.backoff import is_outage
from rollotape.streams.position import order
from rollotape.streams.producer import Producer

if TYPE_CHECKING:
    import asyncpg

__all__ = ["Keeper", "Request", "Serves", "Source"]

BARS = {"bars": STREAMS["bars"]}
GROUP = "detector"
LOOK_EVERY_S = 1.0
SETTLE_MS = 2_000
"""So long ago a message was sent at least before it is looked for."""
APART_MS = 60_000
"""Clocks of producers and of Redis may differ by so much."""
TRIES = 6
"""A message that was read so many times and is not stored was refused there: it is a dead letter."""
RESTING_S = 5.0
"""A file that is written for so long is looked at; more is added to another one."""
LONGEST_S = 60.0
MESSAGES_AT_ONCE = 500
"""Looked for together; one by one only where one of them is not stored."""
ROWS_AT_ONCE = 5_000
ASK_EVERY_S = 10.0
REQUESTS_AT_ONCE = 20
LEASE_S = 300.0
"""A request that nobody has answered after so long was taken by somebody who died."""

log = structlog.get_logger()


class Source(Protocol):
    """What a producer can be asked for again."""

    @property
    def name(self) -> str:
        """As `rollo gaps` shows who was asked."""
        ...

    def serves(self) -> Serves:
        """Of which symbols and timeframes it may know; asked each time."""
        ...

    async def again(self, request: Request) -> Bars | None:
        """What there is of a span of missing bars.

        Without rows: nothing traded then, which closes the gap. None: it cannot tell, and is asked again
        later, as is whoever else serves this symbol.

        Raises:
            Unavailable: not now.
        """
        ...


@dataclass(slots=True)
class _Waiting:
    """What of a file of the journal is not known to be stored."""

    left: set[int] | None = None
    """Places of its messages; None: nobody has looked yet."""
    tries: dict[int, int] = field(default_factory=dict)
    sent_ms: dict[int, int] = field(default_factory=dict)
    """When a message was sent again."""
    pause_s: float = 0.0
    due: float = 0.0


class Keeper:
    """Sends through a journal. `run` has to run beside it, or nothing that was lost is sent again.

    The pool may have any codec of times. One keeper per journal.
    """

    def __init__(
        self,
        producer: Producer,
        pool: "asyncpg.Pool[Any]",
        redis: Redis,
        journal: Journal,
        sessions: Callable[[], Sessions],
        *,
        source: Source | None = None,
        log: Any = log,
        now_ms: Callable[[], int] = lambda: time_ns() // 1_000_000,
    ) -> None:
        self._producer, self._pool, self._redis = producer, pool, redis
        self._journal, self._sessions, self._source = journal, sessions, source
        self._log, self._now_ms = log, now_ms
        self._files: dict[Path, _Waiting] = {}
        self._sending, self._room = asyncio.Lock(), asyncio.Event()
        self._looking = asyncio.Lock()
        """Two who look at the same file would send what was lost twice."""
        self._began = monotonic()
        self._asked = -ASK_EVERY_S
        self._partitions: int | None = None
        self.sent_again = 0
        """Messages that had been lost."""
        self.given_up = 0
        """Messages that were read again and again and never stored."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Write them down and send them; `Producer` says how long Redis is waited for.

        Returns when Redis has them, or has been away for so long that `run` will send them. Waits while the
        journal is full.
        """
        if not self._journal.has_room:
            self._room.clear()
            await self._room.wait()
        async with self._sending:
            self._journal.append(messages)
            try:
                await self._producer.send_many(messages)
            except Unavailable as error:
                self._log.warning("sent_later", messages=len(messages), reason=str(error))

    async def run(self) -> None:
        """Look, send again, answer; for ever. An outage only makes it later."""
        while True:
            try:
                await self.turn()
                if self._source is not None and monotonic() - self._asked >= ASK_EVERY_S:
                    self._asked = monotonic()
                    await self.answer()
            except Exception as error:
                if not (isinstance(error, Unavailable) or is_outage(error)):
                    raise
                self._log.info("keeping_later", reason=str(error))
            await asyncio.sleep(LOOK_EVERY_S)

    async def settle(self, within_s: float) -> bool:
        """Whether everything that was sent is known to be stored, after so long at most."""
        deadline = monotonic() + within_s
        while True:
            try:
                async with self._sending:
                    self._journal.roll()
                for waiting in self._files.values():
                    waiting.due = 0.0
                await self.turn()
            except Exception as error:
                if not (isinstance(error, Unavailable) or is_outage(error)):
                    raise
            if not self._journal.size or monotonic() >= deadline:
                return not self._journal.size
            await asyncio.sleep(min(LOOK_EVERY_S, within_s))

    async def turn(self) -> int:
        """Look once at what may be stored by now; how many messages were sent again.

        Raises:
            Unavailable: Redis or PostgreSQL is away.
        """
        async with self._looking:
            return await self._turn()

    async def _turn(self) -> int:
        async with self._sending:
            await asyncio.to_thread(self._journal.sync)
            if monotonic() - self._began >= RESTING_S:
                self._journal.roll()
                self._began = monotonic()
        due = [path for path in self._journal.files() if self._of(path).due <= monotonic()]
        if not due:
            return 0
        read = await self._read()
        again = sum([await self._look(path, read) for path in due])
        if self._journal.has_room:
            self._room.set()
        return again

    async def answer(self) -> int:
        """Take requests for missing bars that the source may have, and answer them; how many were taken.

        Raises:
            Unavailable: Redis or PostgreSQL is away.
        """
        assert self._source is not None
        name = self._source.name
        requests = await stored_gaps.take(self._pool, name, self._source.serves(), REQUESTS_AT_ONCE, LEASE_S)
        for request in requests:
            try:
                bars = await self._source.again(request)
            except Unavailable as error:
                self._log.info(
                    "asked_later", symbol=request.symbol, timeframe=request.timeframe, reason=str(error)
                )
                await stored_gaps.put_off(self._pool, request)
                continue
            if bars is not None and len(bars):
                framer = Framer(await self._p())
                await self.send([*framer.add(bars), *framer.flush()])
            await stored_gaps.answer(self._pool, request, None if bars is None else len(bars))
            self._log.info(
                "asked_again", symbol=request.symbol, timeframe=request.timeframe,
                missing=request.bars, sent=None if bars is None else len(bars),
            )  # fmt: skip
        return len(requests)

    async def _p(self) -> int:
        if self._partitions is None:
            with unavailable("postgres"):
                self._partitions = await arrivals.partitions(self._pool)
        return self._partitions

    def _of(self, path: Path) -> _Waiting:
        return self._files.setdefault(path, _Waiting())

    async def _read(self) -> Mapping[str, int | None]:
        """By stream up to which time, in ms, everything has been read and acknowledged; None: all of it."""
        found: dict[str, int | None] = {}
        now_ms = self._now_ms()
        with unavailable("redis"):
            streams = await standing.look(self._redis, await self._p(), BARS)
        for stream in streams:
            group = stream.groups.get(GROUP)
            if group is None:
                found[stream.name] = 0
            elif group.pending:
                oldest_ms = now_ms - (group.oldest_pending_ms or 0) - 1
                found[stream.name] = min(oldest_ms, order(group.delivered)[0])
            else:
                is_all = order(group.delivered) >= order(stream.last_id)
                found[stream.name] = None if is_all else order(group.delivered)[0]
        return found

    async def _look(self, path: Path, read: Mapping[str, int | None]) -> int:
        waiting = self._of(path)
        written = await asyncio.to_thread(lambda: list(self._journal.read(path)))
        left = set(range(len(written))) if waiting.left is None else waiting.left
        now_ms = self._now_ms()
        due = [i for i in sorted(left) if _is_read(written[i], waiting.sent_ms.get(i), read, now_ms)]
        lost = await self._lost(due, written)
        waiting.left = left - (set(due) - lost)
        again = await self._again(waiting, [(i, written[i]) for i in sorted(lost)], now_ms)
        if not waiting.left:
            self._journal.forget(path)
            del self._files[path]
            return again
        waiting.pause_s = min(LONGEST_S, max(LOOK_EVERY_S, waiting.pause_s * 2)) if not due else LOOK_EVERY_S
        waiting.due = monotonic() + waiting.pause_s
        return again

    async def _again(self, waiting: _Waiting, lost: Sequence[tuple[int, Written]], now_ms: int) -> int:
        """Send what was lost; what was read many times and is still not stored was refused."""
        hopeless = [i for i, _ in lost if waiting.tries.get(i, 0) >= TRIES]
        if hopeless:
            self.given_up += len(hopeless)
            self._log.error("never_stored", messages=len(hopeless), stream=dict(lost)[hopeless[0]].stream)
            assert waiting.left is not None
            waiting.left -= set(hopeless)
        again = [(i, message) for i, message in lost if i not in set(hopeless)]
        if again:
            await self._producer.send_many([(message.stream, message.payload) for _, message in again])
            self._log.warning("sent_again", messages=len(again))
            self.sent_again += len(again)
        for i, _ in again:
            waiting.tries[i] = waiting.tries.get(i, 0) + 1
            waiting.sent_ms[i] = now_ms
        return len(again)

    async def _lost(self, due: Sequence[int], written: Sequence[Written]) -> set[int]:
        """Messages of which a bar is not stored, in this version or a greater one."""
        lost: set[int] = set()
        for start in range(0, len(due), MESSAGES_AT_ONCE):
            part = due[start : start + MESSAGES_AT_ONCE]
            if not await self._are_stored([written[i].payload for i in part]):
                lost |= {i for i in part if not await self._are_stored([written[i].payload])}
        return lost

    async def _are_stored(self, payloads: Sequence[bytes]) -> bool:
        now_ms = self._now_ms()
        messages = [intake.Message(payload, now_ms) for payload in payloads]
        read = await asyncio.to_thread(intake.read, messages, self._sessions)
        for start in range(0, len(read.rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            keys, rows = [read.keys[k] for k in read.key[part].tolist()], read.rows[part]
            symbols, timeframes = [symbol for symbol, _ in keys], [timeframe for _, timeframe in keys]
            with unavailable("postgres"):
                held = await survey.bars(self._pool, symbols, timeframes, rows["ts"].tolist())
            said = zip(*(rows[name].tolist() for name in ("revision", "synthetic", "hash")), strict=True)
            if any(i not in held or _rank(*held[i]) < _rank(*bar) for i, bar in enumerate(said)):
                return False
        return True


def _is_read(written: Written, sent_ms: int | None, read: Mapping[str, int | None], now_ms: int) -> bool:
    """Whether everything that its stream had when it was sent has been read since, or is gone."""
    when = max(written.sent_ms, sent_ms or 0)
    until = read.get(written.stream)  # a stream that is not there any more has lost everything
    return now_ms - when >= SETTLE_MS and (until is None or until >= when + APART_MS)


def _rank(revision: int, synthetic: bool, content: int) -> tuple[int, bool, int]:
    """As `rollotape.domain.bars.precedence` has it: a real bar is greater than a synthetic one."""
    return revision, not synthetic, content
