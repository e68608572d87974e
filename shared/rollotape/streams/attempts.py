"""What becomes of a batch: done, tried again, split, or buried."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import asyncpg
import redis.exceptions
import structlog

from rollotape import metrics
from rollotape.errors import Unavailable
from rollotape.redis.outages import AWAY
from rollotape.streams.backoff import Backoff
from rollotape.streams.entries import Entry

TRIES_ALONE = 5
REMIND_S = 30.0

_TIMEOUTS = (
    TimeoutError,
    redis.exceptions.TimeoutError,
    asyncpg.QueryCanceledError,  # statement_timeout
    asyncpg.AdminShutdownError,  # the watchdog ends transactions that take too long in this way
    asyncpg.IdleInTransactionSessionTimeoutError,
)

_AWAY: tuple[type[Exception], ...] = (
    Unavailable,
    # Handlers translate outages themselves. Should one forget to, an outage must not fill the dead letters.
    ConnectionError,
    TimeoutError,
    *AWAY,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)

log = structlog.get_logger()


class GivenBack(Exception):
    """The partition is being given up while a batch waits for its next try: its entries stay pending."""


class _Verdict(Enum):
    DONE = auto()
    SPLIT = auto()
    STUCK = auto()


def is_timeout(error: BaseException | None) -> bool:
    """Whether a shorter batch may succeed where this one took too long."""
    while error is not None:
        if isinstance(error, _TIMEOUTS):
            return True
        error = error.__cause__
    return False


@dataclass(frozen=True, slots=True)
class Attempts:
    """Brings the batches of one stream to their end, whatever happens on the way.

    `pause(seconds)` sleeps, or raises `GivenBack` when there is to be no next try.
    """

    stream: str
    apply: Callable[[Sequence[Entry]], Awaitable[None]]
    bury: Callable[[Entry, Exception], Awaitable[None]]
    acknowledge: Callable[[Sequence[Entry]], Awaitable[None]]
    pause: Callable[[float], Awaitable[None]]

    async def finish(self, entries: Sequence[Entry]) -> None:
        """Return when every entry is done, buried, or (a bug in burying) left pending for a later claim."""
        match await self._try(entries):
            case _Verdict.DONE:
                await self.acknowledge(entries)
            case _Verdict.SPLIT:
                middle = len(entries) // 2
                await self.finish(entries[:middle])
                await self.finish(entries[middle:])

    async def _try(self, entries: Sequence[Entry]) -> _Verdict:
        outage, alone, tries = _Outage(self.stream), Backoff(0.02, 0.2), 0
        while True:
            try:
                await self.apply(entries)
            except _AWAY as error:
                self._count("unavailable")
                await self.pause(outage.delay_s(error))
                if len(entries) > 1 and is_timeout(error):
                    return self._split("timeout")
            except Exception as error:
                self._count("failed")
                if len(entries) > 1:
                    return self._split("failed")
                tries += 1
                if tries == TRIES_ALONE:
                    return await self._bury(entries[0], error)
                await self.pause(alone.delay_s())
            else:
                self._count("done")
                return _Verdict.DONE

    async def _bury(self, entry: Entry, error: Exception) -> _Verdict:
        """Never gives up on an outage; gives up on a bug, because one entry must not block its partition."""
        log.error("entry_buried", stream=entry.stream, entry=entry.id, reason=repr(error), exc_info=error)
        outage, alone, tries = _Outage(self.stream), Backoff(0.02, 0.2), 0
        while tries < TRIES_ALONE:
            try:
                await self.bury(entry, error)
            except _AWAY as away:
                await self.pause(outage.delay_s(away))
            except Exception as second:
                tries += 1
                log.error("bury_failed", stream=entry.stream, entry=entry.id, exc_info=second)
                await self.pause(alone.delay_s())
            else:
                metrics.DELIVERY_BURIED.labels(self.stream).inc()
                return _Verdict.DONE
        metrics.DELIVERY_STUCK.labels(self.stream).inc()
        return _Verdict.STUCK

    def _split(self, cause: str) -> _Verdict:
        metrics.DELIVERY_SPLITS.labels(self.stream, cause).inc()
        return _Verdict.SPLIT

    def _count(self, outcome: str) -> None:
        metrics.DELIVERY_BATCHES.labels(self.stream, outcome).inc()


class _Outage:
    """Back-off of one batch, which speaks at the first failure and then every half minute."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._backoff = Backoff()
        self._speak_at = 0.0

    def delay_s(self, error: Exception) -> float:
        now = time.monotonic()
        if now >= self._speak_at:
            self._speak_at = now + REMIND_S
            log.warning("batch_unavailable", stream=self._stream, reason=str(error) or repr(error))
        return self._backoff.delay_s()
