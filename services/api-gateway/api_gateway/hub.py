"""One reader and one writer for all clients of the stream over WebSocket.

What `updates` says stands once in a ring of small batches. A client is a place in that ring and a number: it
is told what stands after its place whenever its connection has room, in messages that are made once for all
who subscribe to the same. Who is still behind when the ring comes round is too slow, and is told where to
resume. Bars and scores take no room in it: of them only the newest counts (`newest`), whatever came before.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import orjson
import structlog

from api_gateway.newest import Newest, Wants
from api_gateway.subscriptions import (
    BARS,
    EVERYTHING,
    LETTERS,
    NOTHING,
    PATTERNS,
    RS,
    SCANS,
    SYSTEM,
    VSA,
    WYCKOFF,
    Subscription,
    passes,
    union,
)
from api_gateway.tail import EVERY_S, GAP, START, Fact, Tail
from api_gateway.wire import Wire, frame
from rollotape.errors import Unavailable
from rollotape.metrics import FACT_CLIENT, WS_CLIENTS, WS_ENDED, WS_FRAMES
from rollotape.streams.position import order

HEARTBEAT_S = 10.0
FRAME_BYTES = 16 * 1_024
"""A message is closed when it is as large."""
_WRITE_BYTES = 32 * 1_024
"""Messages that wait are written together up to this: so much, or one message, who does not read holds up."""
MOST_BYTES = 16 * 1_024 * 1_024
"""Of payloads in the ring."""
PAGE = 100
"""Facts read at once for one who resumes."""
MOST_RESUMING = 16
"""Pages read at a time."""
_CLIENTS_AT_ONCE = 100
"""So many are written to before others have the loop."""
_TICK_S = 1.0
_CHANNELS = {"pattern": PATTERNS, "vsa": VSA, "wyckoff": WYCKOFF, "scan": SCANS, "system": SYSTEM}
_CLOSE = 4_000
"""Numbers of errors as close codes."""

log = structlog.get_logger()


class News:
    """A fact with what subscriptions look at: made when the first of them does, forgotten after a round."""

    __slots__ = ("_item", "_pattern", "channel", "fact")

    def __init__(self, fact: Fact, channel: str) -> None:
        self.fact, self.channel = fact, channel
        self._item: bytes | None = None
        self._pattern: dict[str, Any] | None = None

    @property
    def pattern(self) -> dict[str, Any]:
        if self._pattern is None:
            self._pattern = orjson.loads(self.fact.payload).get("pattern") or {}
        return self._pattern

    def forget(self) -> None:
        self._item = self._pattern = None

    def item(self, epoch: bytes) -> bytes:
        if self._item is None:
            fact = self.fact
            letter, symbol = LETTERS[self.channel].encode(), orjson.dumps(fact.symbol)
            place = epoch + b"-" + fact.id.encode()
            self._item = b'{"T":"%s","S":%s,"id":"%s","data":%s}' % (letter, symbol, place, fact.payload)
        return self._item


class Batch:
    """Facts that are told in one message, up to the place `last`; a gap has none."""

    __slots__ = ("bytes", "framed", "gap", "last", "news", "symbols")

    def __init__(self, last: str, news: list[News], size: int, *, gap: bool = False) -> None:
        self.last, self.news, self.bytes, self.gap = last, news, size, gap
        self.framed: dict[Shared, bytes | None] = {}
        self.symbols: dict[str, set[str]] = {}
        """By channel, whom it is about."""
        for one in news:
            self.symbols.setdefault(one.channel, set()).add(one.fact.symbol)

    def concerns(self, subscription: Subscription) -> bool:
        """Whether anything in it can be for those who subscribe so; seldom for those of a few symbols."""
        for channel, symbols in self.symbols.items():
            wanted = subscription.of(channel)
            if EVERYTHING in wanted or not wanted.isdisjoint(symbols):
                return True
        return False

    def forget(self) -> None:
        self.framed.clear()
        for news in self.news:
            news.forget()


class Shared:
    """A subscription, once for all clients that have it."""

    __slots__ = ("holders", "subscription")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.holders = 0


class Client:
    """One connection: what it wants, and how far it was told."""

    __slots__ = ("live", "next", "quiet_since", "resumed", "seen", "shared", "skip", "wire")

    def __init__(self, wire: Wire, shared: Shared) -> None:
        self.wire, self.shared = wire, shared
        self.live = False
        """Told from the ring; else by its own task, from what Redis keeps."""
        self.next = 0
        """Number of the batch that comes next."""
        self.skip: tuple[int, int] | None = None
        """Facts up to this place it has been told by itself."""
        self.resumed: str | None = None
        """While that is being done, how far it has come."""
        self.seen = 0
        """Values that changed later are news."""
        self.quiet_since = 0.0

    @property
    def subscription(self) -> Subscription:
        return self.shared.subscription


class Hub:
    """Tells clients; see above. Nothing runs while there are none."""

    def __init__(self, tail: Tail, newest: Newest, most_queued: int) -> None:
        self._tail, self._newest, self._most_queued = tail, newest, most_queued
        self.over = asyncio.Event()
        self._clients: dict[Client, None] = {}
        self._shared: dict[Subscription, Shared] = {}
        self._opening = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._wants: Wants | None = None
        self._resuming = asyncio.Semaphore(MOST_RESUMING)
        self._epoch = b""
        self._start = self._end = START
        """The ring holds everything after `start`, up to `end`."""
        self._ring: deque[Batch] = deque()
        self._first = 0
        """Number of its first batch."""
        self._timed = 0
        """Number of the batch that comes after those that everybody was told of."""
        self._facts = self._bytes = 0
        self._portions: dict[tuple[Shared, int], tuple[bytes | None, int]] = {}
        self._written: dict[tuple[Shared, int], tuple[bytes | None, int]] = {}
        self._made: set[Batch] = set()
        """Messages of values, what is written at once, and batches with messages: of this round alone."""
        self._frames = 0

    # ---- clients

    async def open(self, epoch: bytes) -> None:
        """Begin to listen, if nobody did.

        Raises:
            Unavailable: Redis is away.
        """
        async with self._opening:
            if self._writing is None:
                self._epoch = epoch
                try:
                    await self._tail.join(self)
                except BaseException:
                    self._tail.leave(self)
                    raise
                self._newest.follow(self._wanted, self._news.set)
                self._writing = asyncio.create_task(self._write())
        if epoch != self._epoch:  # a restore: what follows is another history
            self._epoch = epoch
            self.begin(self._end)

    def join(self, wire: Wire) -> Client:
        """A client that wants nothing yet."""
        client = Client(wire, self._share(NOTHING))
        client.quiet_since = asyncio.get_running_loop().time()
        self._clients[client] = None
        wire.on_drain = lambda: self._drained(client)
        wire.on_silence = lambda: self._cut_off(client, self.place(client))
        WS_CLIENTS.set(len(self._clients))
        return client

    async def leave(self, client: Client) -> None:
        """Forget it; with the last one, stop listening."""
        self._clients.pop(client, None)
        client.wire.on_drain = client.wire.on_silence = None
        self._release(client.shared)
        WS_CLIENTS.set(len(self._clients))
        if not self._clients:
            await self.close()

    async def stop(self) -> None:
        """For good, whoever is still there."""
        self.over.set()
        await self.close()

    async def close(self) -> None:
        """Stop listening; who comes later begins anew."""
        async with self._opening:
            if self._clients and not self.over.is_set():
                return
            self._tail.leave(self)
            writing, self._writing = self._writing, None
            if writing:
                writing.cancel()
                with suppress(asyncio.CancelledError):
                    await writing
            await self._newest.close()
            self._clear(START)

    def subscribe(self, client: Client, subscription: Subscription) -> None:
        """From now on it wants this. The newest of bars and scores comes first, whatever it had."""
        before, client.shared = client.shared, self._share(subscription)
        self._release(before)
        client.seen = 0

    def place(self, client: Client) -> str:
        """Up to where a client has been told everything."""
        at = client.next - self._first
        if client.resumed is not None:
            return self._named(client.resumed)
        if not client.live or at >= len(self._ring):
            return self._named(self._end)
        return self._named(self._ring[at - 1].last if at > 0 else self._start)

    def start(self, client: Client) -> None:
        """Tell it what is new, from now on; one that is told already goes on where it is."""
        if not client.live:
            client.next, client.skip, client.live = self._first + len(self._ring), None, True
        self._news.set()

    async def resume(self, client: Client, after: str) -> None:
        """Tell it everything after a place, then what is new; a gap where the place is gone."""
        client.live = False
        position = after
        while client.wire.is_open:
            client.resumed = position
            read = await self._page(client, position)
            if read is None:
                return
            if not read.found and position != read.last:
                position = read.last
                if not await self._say(client, [_gap(self._named(position))]):
                    return
                continue
            news = [n for fact in read.facts if (n := _news(fact)) and self._tells(client.shared, n)]
            for items in _portions(news, self._epoch):
                if not await self._say(client, items):
                    return
            if read.facts:
                position = read.facts[-1].id
            elif order(self._start) > order(position):
                await asyncio.sleep(EVERY_S)  # the tail is about to see that its Redis lost something
            if not read.more and order(self._start) <= order(position):
                client.next, client.skip, client.live = self._first, order(position), True
                client.resumed = None
                self._news.set()
                return

    async def _page(self, client: Client, position: str) -> Any:
        """None when the client has gone meanwhile; an outage of Redis is waited out."""
        while client.wire.is_open:
            try:
                async with self._resuming:
                    return await self._tail.read(position, PAGE)
            except Unavailable as error:
                log.warning("updates_away", error=str(error))
                await asyncio.sleep(1)  # between two attempts at a Redis that is away
        return None

    async def _say(self, client: Client, items: list[bytes]) -> bool:
        if not await client.wire.ready():
            return False
        self._hand(client, frame(b"[" + b",".join(items) + b"]"))
        return True

    @contextmanager
    def holding(self, subscription: Subscription) -> Iterator[None]:
        """As if somebody had it already: what it takes is read."""
        shared = self._share(subscription)
        try:
            yield
        finally:
            self._release(shared)

    def _share(self, subscription: Subscription) -> Shared:
        shared = self._shared.get(subscription)
        if shared is None:
            shared = self._shared[subscription] = Shared(subscription)
            self._wants = None
        shared.holders += 1
        return shared

    def _release(self, shared: Shared) -> None:
        shared.holders -= 1
        if not shared.holders:
            del self._shared[shared.subscription]
            self._wants = None

    def _wanted(self) -> Wants:
        """What of values anybody follows."""
        if self._wants is None:
            held = list(self._shared)
            self._wants = Wants(
                union(s.of(BARS) for s in held),
                union(s.of(RS) for s in held),
                any(s.needs_standing for s in held),
            )
        return self._wants

    # ---- what the tail tells

    def begin(self, position: str) -> None:
        """Everything after this will be heard; what was before it may be lost to those who listened."""
        self._clear(position)
        if any(client.live for client in self._clients):
            self._add(Batch(position, [], 0, gap=True))
            for client in self._clients:
                client.next, client.skip = self._first, None
        self._news.set()

    def hear(self, facts: list[Fact]) -> None:
        for fact in facts:
            if fact.type == GAP:
                self.begin(fact.id)
        for portion in _batches([n for fact in facts if (n := _news(fact))]):
            self._add(portion)
        if any(fact.type and fact.type.startswith("rs.") for fact in facts):
            self._newest.hint()
        self._end = facts[-1].id
        self._news.set()

    def _add(self, batch: Batch) -> None:
        self._ring.append(batch)
        self._facts += len(batch.news)
        self._bytes += batch.bytes
        while self._facts > self._most_queued or self._bytes > MOST_BYTES:
            self._drop_first()

    def _drop_first(self) -> None:
        """The oldest batch goes; who still has to be told of it is too slow."""
        batch = self._ring[0]
        for client in list(self._clients):
            if not client.live or client.next > self._first:
                continue
            self._tell(client)  # it may be we who were slow
            if client.next == self._first and self._framed(batch, client) is None:
                client.next += 1
            if client.next == self._first:
                self._cut_off(client, self._named(self._start))
        self._ring.popleft()
        self._first += 1
        self._start = batch.last
        self._facts -= len(batch.news)
        self._bytes -= batch.bytes

    def _cut_off(self, client: Client, place: str) -> None:
        client.live = False
        self.end(client.wire, 407, "slow client: resume from id", id=place)

    def _clear(self, position: str) -> None:
        self._first += len(self._ring)
        self._ring.clear()
        self._facts = self._bytes = 0
        self._start = self._end = position

    # ---- what clients are told

    async def _write(self) -> None:
        """Everybody gets what is new when there is something, and a sign of life when there is nothing."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._news.wait()
            self._news.clear()
            for n, client in enumerate(list(self._clients), 1):
                self._tell(client)
                if loop.time() - client.quiet_since >= HEARTBEAT_S and client.wire.is_ready and client.live:
                    self._hand(client, frame(_here(self.place(client))))
                if n % _CLIENTS_AT_ONCE == 0:
                    await asyncio.sleep(0)
            self._time_round()
            self._forget_round()

    def _time_round(self) -> None:
        """How old facts were when everybody whose connection had room had been handed them."""
        fresh, now_s = islice(self._ring, max(self._timed - self._first, 0), None), time.time()
        self._timed = self._first + len(self._ring)
        for batch in fresh:
            if not batch.gap:
                FACT_CLIENT.observe(max(0.0, now_s - order(batch.last)[0] / 1e3))

    def _forget_round(self) -> None:
        """What was made once for everybody; who is late has it made again."""
        for batch in self._made:
            batch.forget()
        self._made.clear()
        self._portions.clear()
        self._written.clear()
        WS_FRAMES.inc(self._frames)
        self._frames = 0

    def _drained(self, client: Client) -> None:
        """Its connection has room again."""
        if client.live:
            asyncio.get_running_loop().call_soon(self._tell, client)

    def _tell(self, client: Client) -> None:
        """As much as there is and its connection takes; nobody else suffers from what goes wrong with it."""
        try:
            self._tell_all(client)
        except Exception:
            log.exception("defect", task="stream")
            client.live = False
            self.end(client.wire, 500, "the gateway failed; this is a bug")

    def _tell_all(self, client: Client) -> None:
        end = self._first + len(self._ring)
        while client.live:
            if client.next < end:
                if not client.wire.is_ready:
                    return
                framed, client.next = self._facts_for(client)
            elif client.seen < self._newest.last and client.subscription.of_values:
                if not client.wire.is_ready:
                    return
                framed, client.seen = self._values(client)
            else:
                return
            if framed:
                self._hand(client, framed)

    def _hand(self, client: Client, framed: bytes) -> None:
        client.wire.write(framed)
        client.quiet_since = client.wire.loop.time()
        self._frames += 1

    def _facts_for(self, client: Client) -> tuple[bytes | None, int]:
        """What is written to a client next, and the batch after it; the same for all who are as far."""
        if client.skip is not None:
            return self._framed(self._ring[client.next - self._first], client), client.next + 1
        key = client.shared, client.next
        found = self._written.get(key)
        if found is None:
            found = self._written[key] = self._joined(client)
        return found

    def _joined(self, client: Client) -> tuple[bytes | None, int]:
        """Messages from its place on, as one write."""
        parts: list[bytes] = []
        size, after = 0, client.next
        for n in range(client.next - self._first, len(self._ring)):
            framed = self._framed(self._ring[n], client)
            if framed:
                if parts and size + len(framed) > _WRITE_BYTES:
                    break
                parts.append(framed)
                size += len(framed)
            after += 1
        if not parts:
            return None, after
        return parts[0] if len(parts) == 1 else b"".join(parts), after

    def _framed(self, batch: Batch, client: Client) -> bytes | None:
        """The message of a batch to a client; None where nothing in it is for it."""
        if client.skip is not None:
            if order(batch.last) <= client.skip:
                return None
            skip, client.skip = client.skip, None
            return self._encoded(batch, client.shared, skip)
        if client.shared not in batch.framed:
            batch.framed[client.shared] = self._encoded(batch, client.shared, (0, 0))
        return batch.framed[client.shared]

    def _encoded(self, batch: Batch, shared: Shared, skip: tuple[int, int]) -> bytes | None:
        if batch.gap:
            told = frame(b"[" + _gap(self._named(batch.last)) + b"]")
            return told if shared.subscription.of_facts else None
        self._made.add(batch)
        if not batch.concerns(shared.subscription):
            return None
        items = [
            news.item(self._epoch)
            for news in batch.news
            if self._tells(shared, news) and (skip == (0, 0) or order(news.fact.id) > skip)
        ]
        return frame(b"[" + b",".join(items) + b"]") if items else None

    def _tells(self, shared: Shared, news: News) -> bool:
        """Whether a fact is for those with this subscription."""
        subscription, fact = shared.subscription, news.fact
        if fact.owner is not None and fact.owner != subscription.owner:
            return False
        if not subscription.has(news.channel, fact.symbol):
            return False
        if subscription.filters is None:
            return True
        if not subscription.passes(news.channel, fact.timeframe):
            return False
        if news.channel != PATTERNS:
            return True
        standing = self._newest.standing(fact.symbol)
        return passes(subscription.filters, fact.type or "", news.pattern, standing)

    def _values(self, client: Client) -> tuple[bytes | None, int]:
        """A message of values that changed, and up to where it tells them."""
        key = client.shared, client.seen
        if key not in self._portions:
            self._portions[key] = self._portion(*key)
        return self._portions[key]

    def _portion(self, shared: Shared, seen: int) -> tuple[bytes | None, int]:
        place = self._named(self._end).encode()
        items, size = [], 0
        for value in self._newest.after(seen, shared.subscription):
            items.append(value.at(place))
            size += len(items[-1])
            seen = value.seq
            if size >= FRAME_BYTES:
                break
        else:
            seen = self._newest.last
        return (frame(b"[" + b",".join(items) + b"]") if items else None), seen

    def _named(self, position: str) -> str:
        return f"{self._epoch.decode()}-{position}"

    def end(self, wire: Wire, number: int, message: str, **more: Any) -> None:
        """An error that ends the connection."""
        if wire.is_open:
            WS_ENDED.labels(str(number)).inc()
            wire.end(frame(error(number, message, **more)), _CLOSE + number, message)


def error(number: int, message: str, **more: Any) -> bytes:
    return orjson.dumps([{"T": "error", "code": number, "msg": message, **more}])


def _gap(place: str) -> bytes:
    return orjson.dumps({"T": "gap", "id": place})


def _here(place: str) -> bytes:
    return orjson.dumps([{"T": "here", "id": place}])


def _news(fact: Fact) -> News | None:
    """A fact that somebody can subscribe to."""
    channel = _CHANNELS.get((fact.type or "").partition(".")[0])
    return News(fact, channel) if channel else None


def _batches(news: list[News]) -> Iterator[Batch]:
    begun: list[News] = []
    size = 0
    for n, one in enumerate(news, 1):
        begun.append(one)
        size += len(one.fact.payload)
        if size >= FRAME_BYTES or n == len(news):
            yield Batch(one.fact.id, begun, size)
            begun, size = [], 0


def _portions(news: Iterable[News], epoch: bytes) -> Iterator[list[bytes]]:
    """Items of one message each."""
    for batch in _batches(list(news)):
        yield [one.item(epoch) for one in batch.news]
