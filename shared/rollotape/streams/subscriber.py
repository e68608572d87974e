"""The delivery of one partition: own pending entries first, then stale ones, then new ones.

A subclass of FastStream's batch subscriber that replaces its loop, because the stock one never sees
entries older than its group, never delivers a pending entry again, and stops for good when the group is
lost. It leans on FastStream's internals, so the version is pinned and tests/contracts guards what is used.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, cast

import anyio
import structlog
from faststream._internal.broker.registrator import Registrator
from faststream._internal.endpoint.subscriber.call_item import CallsCollection
from faststream.message import StreamMessage
from faststream.middlewares import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.message import BatchStreamMessage, UnifyRedisDict
from faststream.redis.subscriber.config import RedisSubscriberConfig, RedisSubscriberSpecificationConfig
from faststream.redis.subscriber.specification import StreamSubscriberSpecification
from faststream.redis.subscriber.usecases import StreamBatchSubscriber
from faststream.redis.subscriber.usecases.basic import LogicSubscriber
from redis.exceptions import ResponseError

from rollotape import metrics
from rollotape.errors import told
from rollotape.events import STREAMS
from rollotape.outcomes import telling
from rollotape.streams.attempts import Attempts, GivenBack
from rollotape.streams.backoff import Backoff, is_outage
from rollotape.streams.entries import Entry, Handler, Weigh, pieces

BLOCK_MS = 500
"""A read for new entries waits this long at the server. A stop waits for the read, so this is short."""

Raw = list[tuple[bytes | None, dict[bytes, bytes]]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Plan:
    """What the partitions of one group have in common."""

    kind: str
    group: str
    handler: Handler
    slots: asyncio.Semaphore
    weigh: Weigh | None
    batch_entries: int
    batch_bars: int
    claim_ms: int
    grace_s: float
    alive_s: float


class EntryBatch(BatchStreamMessage):
    """FastStream's raw message, with the entries as our handlers take them."""

    entries: Sequence[Entry]


class PartitionSubscriber(StreamBatchSubscriber):
    """Delivers one partition. The consumer is named after it, so a successor finds what was left pending."""

    def __init__(
        self,
        config: RedisSubscriberConfig,
        specification: StreamSubscriberSpecification,
        calls: "CallsCollection[Any]",
        plan: Plan,
    ) -> None:
        super().__init__(config, specification, calls)
        self._parser = self._parse
        self._decoder = self._decode
        self._plan = plan
        self._stream: str = self.stream_sub.name  # the property makes a deep copy at every use
        self._attempts = Attempts(
            self._stream, self._apply, plan.handler.bury, self._done_with, self._pause
        )
        self._forget()

    def _forget(self) -> None:
        self._leaving = asyncio.Event()
        self._unacknowledged: list[str | bytes] = []
        self._group_ensured = False
        self._own_after: bytes | None = b"0-0"
        self._claim_cursor = b"0-0"
        self._claim_at = 0.0
        self._beat = time.monotonic()
        self._queueing = False
        self._applied = False
        self.behind = False
        """The last answer was as much as can be asked for, or more than one batch: there may be more."""
        self.failure: str | None = None

    # ---- FastStream's lifecycle

    async def start(self) -> None:
        """Start the loop. Redis may be away: the loop waits for it."""
        if self.running:
            return
        self._forget()
        self.parser._setup(cast("Any", self._client), self._plan.group)
        # Not super().start(): the stock one creates the group at the end of the stream, and fails
        # when Redis is away.
        await LogicSubscriber.start(self)

    async def stop(self) -> None:
        """Let a running batch finish, for `grace_s` at most. What is not finished stays pending."""
        self.running = False
        self._leaving.set()
        loops = [task for task in self.tasks if not task.done()]
        try:
            if loops:
                await asyncio.wait(loops, timeout=self._plan.grace_s)
        finally:
            await self._cut_off(loops)
        await super().stop()

    async def _cut_off(self, loops: list[asyncio.Task[Any]]) -> None:
        """The transaction of a batch that is cut off is rolled back, and its entries stay pending."""
        late = [task for task in loops if not task.done()]
        for task in late:
            log.warning("batch_cut_off", stream=self._stream, grace_s=self._plan.grace_s)
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    def alive(self) -> bool:
        """Whether the loop has turned lately, waits in line to apply a batch, or was told to stop."""
        if not self.running:
            return True
        if any(task.done() for task in self.tasks):
            return False
        return self._queueing or time.monotonic() - self._beat < self._plan.alive_s

    # ---- the loop

    async def _consume(self, *args: Any, start_signal: anyio.Event) -> None:
        start_signal.set()
        backoff = Backoff()
        while self.running:
            self._beat = time.monotonic()
            try:
                await self._get_msgs(*args)
            except GivenBack:
                break
            except Exception as error:
                self._failed(error)
                await self._sleep(backoff.delay_s())
            else:
                backoff.reset()
                self._recovered()
        with suppress(Exception):  # acknowledged again by the successor otherwise
            await self._acknowledge()

    async def _get_msgs(self, *_: Any) -> None:
        await self._acknowledge()
        if not self._group_ensured:
            await self._ensure_group()
        if self._own_after is not None:
            await self._own_pending()
        elif time.monotonic() >= self._claim_at:
            await self._stale()
        else:
            await self._new()

    async def _own_pending(self) -> None:
        assert self._own_after is not None
        raw = await self._read(self._own_after, block_ms=None)
        self._own_after = raw[-1][0] if raw else None
        await self._handle(raw, "own")

    async def _stale(self) -> None:
        """Claim what has been pending for too long, under our own name too.

        There it is what another owner of this partition, or an answer lost on its way, left behind.
        """
        cursor, raw, *deleted = await self._client.xautoclaim(
            self._stream, self._plan.group, self._stream,
            min_idle_time=self._plan.claim_ms, start_id=self._claim_cursor, count=self._plan.batch_entries,
        )  # fmt: skip
        self._claim_cursor = cursor
        if cursor == b"0-0":
            self._claim_at = time.monotonic() + self._plan.claim_ms / 2_000
        if deleted and deleted[0]:
            metrics.DELIVERY_GONE.labels(self._stream).inc(len(deleted[0]))
        await self._handle(raw, "claimed")

    async def _new(self) -> None:
        raw = await self._read(b">", block_ms=BLOCK_MS)
        self.behind = len(raw) >= self._plan.batch_entries
        await self._handle(raw, "new")

    async def _read(self, after: bytes, *, block_ms: int | None) -> Raw:
        answer: Any = await self._client.xreadgroup(
            self._plan.group, self._stream, {self._stream: after},
            count=self._plan.batch_entries, block=block_ms,
        )  # fmt: skip
        return answer[0][1] if answer else []

    async def _ensure_group(self) -> None:
        """Created at 0, not at the end: entries that were there before the first worker count, too."""
        try:
            await self._client.xgroup_create(self._stream, self._plan.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._group_ensured = True

    def _failed(self, error: Exception) -> None:
        """Start over: the group may be lost, and an answer that got lost on its way is ours and pending."""
        metrics.DELIVERY_FAILURES.labels(self._stream).inc()
        if self.failure is None:
            known = is_outage(error) or "NOGROUP" in str(error)
            log.warning(
                "delivery_failed", stream=self._stream, reason=told(error), exc_info=None if known else error
            )
        self.failure = told(error)
        self._group_ensured = False
        self._own_after = b"0-0"
        self._claim_cursor = b"0-0"

    def _recovered(self) -> None:
        if self.failure is not None:
            log.info("delivery_recovered", stream=self._stream)
            self.failure = None

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)

    async def _pause(self, seconds: float) -> None:
        self._beat = time.monotonic()
        await self._sleep(seconds)
        if not self.running:
            raise GivenBack

    # ---- a batch

    async def _handle(self, raw: Raw, source: str) -> None:
        """Bring an answer to its end, also while stopping: what was read is not dropped."""
        if not raw:
            return
        metrics.DELIVERY_ENTRIES.labels(self._stream, source).inc(len(raw))
        stream = self._stream
        entries = [Entry(stream, name.decode(), fields) for name, fields in raw if fields and name]
        if len(entries) < len(raw):
            self._drop_gone(raw)
        for number, batch in enumerate(pieces(entries, self._plan.weigh, self._plan.batch_bars)):
            self.behind = self.behind or number > 0
            await self._attempts.finish(batch)

    def _drop_gone(self, raw: Raw) -> None:
        """What was deleted or trimmed while it was pending has no content; it is acknowledged and counted."""
        gone = [name for name, fields in raw if name and not fields]
        self._unacknowledged += gone
        metrics.DELIVERY_GONE.labels(self._stream).inc(len(gone))

    async def _done_with(self, entries: Sequence[Entry]) -> None:
        self._unacknowledged += [entry.id for entry in entries]
        await self._acknowledge()

    async def _acknowledge(self) -> None:
        """What could not be acknowledged is remembered and goes first at the next turn."""
        if self._unacknowledged:
            await self._client.xack(self._stream, self._plan.group, *self._unacknowledged)
            self._unacknowledged.clear()

    async def _apply(self, entries: Sequence[Entry]) -> None:
        """One attempt through FastStream's whole stack, in a slot shared with the other partitions."""
        self._queueing = True
        try:
            await self._plan.slots.acquire()
        finally:
            self._queueing = False
        self._beat = time.monotonic()
        metrics.DELIVERY_SIZE.labels(self._plan.group).observe(len(entries))
        try:
            with metrics.DELIVERY_SECONDS.labels(self._plan.group).time(), self._telling(entries):
                await self._through_the_stack(entries)
        finally:
            self._beat = time.monotonic()
            self._plan.slots.release()

    def _telling(self, entries: Sequence[Entry]) -> AbstractContextManager[object]:
        return telling(
            "batch", group=self._plan.group, stream=self._stream,
            first=entries[0].id, last=entries[-1].id, entries=len(entries),
        )  # fmt: skip

    async def _through_the_stack(self, entries: Sequence[Entry]) -> None:
        self._applied = False
        message = EntryBatch(
            type="bstream",
            channel=self._stream,
            data=[entry.fields for entry in entries],
            message_ids=[entry.id.encode() for entry in entries],
            entries=entries,
        )
        try:
            await self.process_message(cast("UnifyRedisDict", message))
        except Exception:
            if not self._applied:
                raise
            log.exception("middleware_failed", stream=self._stream)  # after the commit: nothing to repeat
        if not self._applied:  # a middleware that swallows errors must not have us acknowledge
            raise RuntimeError(f"{self._stream}: a middleware swallowed the batch or its error")

    async def call(self, entries: Any) -> None:
        """What FastStream calls at the end of its stack."""
        await self._plan.handler.apply(entries)
        self._applied = True

    async def _parse(self, message: EntryBatch) -> "StreamMessage[Any]":
        return self.parser._build_message(raw_message=message, body=message["entries"])

    async def _decode(self, message: "StreamMessage[Any]") -> Any:
        """The handler parses, once: a JSON round trip here would cost more than its work."""
        return message.body


class PartitionSpecification(StreamSubscriberSpecification):
    """What AsyncAPI says about a partition: the contracts of its kind."""

    def __init__(self, *args: Any, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kind = kind

    def get_payloads(self) -> list[tuple[dict[str, Any], str]]:
        return [(message.model_json_schema(), message.__name__) for message in STREAMS[self._kind].messages]


def register(broker: RedisBroker, stream: str, plan: Plan) -> PartitionSubscriber:
    """A subscriber that the broker knows (middlewares, AsyncAPI, stop) and whose owner starts it."""
    source = StreamSub(stream, group=plan.group, consumer=stream, batch=True, polling_interval=BLOCK_MS)
    config = RedisSubscriberConfig(
        stream_sub=source,
        no_reply=True,
        _outer_config=cast("Any", broker.config),
        _ack_policy=AckPolicy.MANUAL,  # one XACK per finished batch, sent by us
    )
    calls: CallsCollection[Any] = CallsCollection()
    described = RedisSubscriberSpecificationConfig(
        title_=f"{stream}:{plan.group}", description_=STREAMS[plan.kind].summary, include_in_schema=True
    )
    specification = PartitionSpecification(
        cast("Any", broker.config), described, calls, stream_sub=source, kind=plan.kind
    )
    subscriber = PartitionSubscriber(config, specification, calls, plan)
    Registrator.subscriber(broker, subscriber, persistent=False)
    subscriber.add_call(parser_=None, decoder_=None, dependencies_=())
    subscriber(subscriber.call)
    return subscriber


def unregister(broker: RedisBroker, subscriber: PartitionSubscriber) -> None:
    """Let go of a stopped subscriber, so that the broker neither starts nor stops it again."""
    broker._subscribers.discard(subscriber)
