"""Facts that webhooks want are queued, and what is due is sent; nothing waits for those who are told."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import orjson
import structlog

from rollotape import metrics, tracing
from rollotape.errors import Fault
from rollotape.facts import instant
from rollotape.postgres import dead_letters as graveyard
from rollotape.postgres import webhooks
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.pool import unavailable
from rollotape.postgres.webhooks import Sending
from rollotape.streams.entries import Entry
from rollotape.webhooks.facts import read
from rollotape.webhooks.sending import WITHIN_S, Outcome, Sender

GROUP = "webhooks"
"""Of readers of `updates`: it has read an entry when what follows from it is queued, whoever is away then."""
AT_ONCE = 32
OF_ONE = 4
"""Attempts at one time, of all and of one webhook: who is slow does not hold up the others."""
LEASE_S = 3 * WITHIN_S
FIRST_S, LONGEST_S = 2.0, 3_600.0
"""Pauses between attempts double from the first to the longest, and are chosen by chance up to that."""
GIVE_UP_S = 86_400.0
KEPT_S = 7 * 86_400.0
DAY_S = 86_400.0

log = structlog.get_logger()


class QueueFacts:
    """Applies entries of `updates` for webhooks; the delivery acknowledges what this returns from."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def apply(self, entries: Sequence[Entry]) -> None:
        found = (read(entry.payload, instant(entry.arrived_ms * 1_000)) for entry in entries)
        facts = [fact for fact in found if fact is not None]
        if not facts:
            return
        with unavailable(GROUP):
            dropped = await webhooks.queue(self._pool, facts)
        metrics.WEBHOOKS_DROPPED.inc(dropped)

    async def bury(self, entry: Entry, error: Exception) -> None:
        """Keep a fact that we fail on: a bug must not hold up the others."""
        letter = DeadLetter(
            stream=entry.stream,
            entry_id=entry.id,
            row=0,
            service=GROUP,
            faults=[Fault("defect", repr(error))],
            payload=entry.payload or b"",
            arrived_us=entry.arrived_ms * 1_000,
        )
        with unavailable(GROUP):
            async with self._pool.acquire() as connection:
                await graveyard.store(connection, [letter])


class Send:
    """Sends what is due; any number of them may do so."""

    def __init__(self, pool: "asyncpg.Pool[Any]", sender: Sender, patience_days: int) -> None:
        self._pool, self._sender, self._patience_s = pool, sender, patience_days * DAY_S
        self._sending: set[asyncio.Task[None]] = set()

    async def turn(self) -> None:
        """Begin as many attempts as there is room for."""
        room = AT_ONCE - len(self._sending)
        if room <= 0:
            return
        with unavailable(GROUP):
            due = await webhooks.lease(self._pool, room, OF_ONE, LEASE_S)
        for sending in due:
            task = asyncio.create_task(self._attempt(sending))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def tidy(self) -> None:
        """Disable what fails for too long, and forget what is over."""
        with unavailable(GROUP):
            for webhook_id in await webhooks.disable(self._pool, self._patience_s):
                log.warning("webhook_disabled", webhook=str(webhook_id))
            await webhooks.cut(self._pool, KEPT_S)
            standing = await webhooks.standing(self._pool)
        metrics.WEBHOOKS_WAITING.set(standing.waiting)
        metrics.WEBHOOKS_OLDEST.set(standing.oldest_s)
        metrics.WEBHOOKS_DISABLED.set(standing.disabled)

    async def close(self) -> None:
        """Attempts that go on are cut off; they are due again when their leases are over."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def settled(self) -> None:
        """When every attempt that was begun is over."""
        await asyncio.gather(*self._sending)

    async def _attempt(self, sending: Sending) -> None:
        try:
            named = [
                ("Rollo-Webhook", str(sending.webhook_id)),
                ("Rollo-Delivery", str(sending.id)),
                ("Rollo-Event", sending.type),
            ]
            outcome = await self._sender.send(sending.url, sending.secret, sending.body, named)
            with unavailable(GROUP):
                await self._note(sending, outcome)
        except Exception as error:  # its lease ends by itself, and it is sent again
            log.warning("webhook_not_noted", webhook=str(sending.webhook_id), reason=repr(error))

    async def _note(self, sending: Sending, outcome: Outcome) -> None:
        log.info(
            "webhook_attempt",
            webhook=str(sending.webhook_id),
            delivery=sending.id,
            type=sending.type,
            attempt=sending.attempts,
            status=outcome.status,
            reason=outcome.error,
            trace_id=tracing.told(orjson.loads(sending.body)),
        )
        if outcome.went_well:
            metrics.WEBHOOKS_ATTEMPTS.labels("delivered").inc()
            await webhooks.delivered(self._pool, sending.id, outcome.status or 0)
            return
        metrics.WEBHOOKS_ATTEMPTS.labels("answered" if outcome.status else "unreachable").inc()
        error = outcome.error or ""
        again_s = pause_s(sending.attempts, random.random)
        await webhooks.not_delivered(self._pool, sending.id, outcome.status, error, again_s, GIVE_UP_S)


def pause_s(attempts: int, chance: Callable[[], float]) -> float:
    """Before the next attempt, after so many; never less than half of the longest that it may be."""
    longest = min(LONGEST_S, FIRST_S * 2.0 ** min(attempts - 1, 30))
    return longest * (0.5 + 0.5 * chance())
