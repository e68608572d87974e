"""Clients of the stream over WebSocket, in a process of their own: they say when they heard what.

    python -m bench.watchers < PLAN

`ready` is printed when all are told; after a line with the number of facts and the file of commit times on
standard input they wait until they have heard so many, and print what became of all of them.
"""

import asyncio
import gc
import re
import sys
from array import array
from base64 import b64encode
from dataclasses import asdict, dataclass
from os import urandom
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

CONNECT_AT_ONCE = 50
LAST_S = 60.0
_VERSION = re.compile(rb'"fact_version":(\d+)')
_END = b"\r\n\r\n"
_ACKNOWLEDGED = b'"T":"subscription"'
_ERROR = b'"T":"error"'
_NAMED = 90
"""Bytes at the beginning of a message, the id of its first fact among them."""


@dataclass(frozen=True, slots=True)
class Plan:
    host: str
    port: int
    key: str
    subscriptions: list[str]
    """One client for each: the message with which it subscribes."""
    whole: int
    """So many of the first ones are told everything, and must have heard each fact once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Latencies in milliseconds from the commit of a fact to a client, over all facts and clients."""

    heard: int
    p50: float
    p99: float
    most: float
    incomplete: int
    """Clients that were to be told everything, and were not, or twice."""
    ended: int
    messages: int


class Watcher(asyncio.Protocol):
    """One client; it keeps nothing but which message it heard, and when.

    Clients with one subscription are sent the same bytes, so what is in them is looked up only once.
    """

    def __init__(self, run: "Run", subscription: str, *, whole: bool) -> None:
        self._run, self._subscription, self._whole = run, subscription, whole
        self._received = b""
        self._open = False
        self._transport: Any = None
        self._known = run.known.setdefault(subscription, {})
        self.heard = 0
        self.total = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        plan = self._run.plan
        lines = (
            "GET /api/stream HTTP/1.1", f"Host: {plan.host}:{plan.port}", "Connection: Upgrade",
            "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {b64encode(urandom(16)).decode()}", f"X-API-Key: {plan.key}", "", "",
        )  # fmt: skip
        transport.write("\r\n".join(lines).encode())

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        if not self._open:
            head, end, rest = received.partition(_END)
            if not end:
                self._received = received
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._run.fail(head.decode("latin-1"))
                return
            self._open, received = True, rest
            self._transport.write(masked(self._subscription.encode()))
        self._received = received[self._take_frames(received) :]

    def _take_frames(self, received: bytes) -> int:
        """Where the first frame begins that is not whole."""
        start = 0
        while len(received) - start >= 2:
            size, at = received[start + 1], start + 2
            if size == 126:
                size, at = int.from_bytes(received[at : at + 2], "big"), at + 2
            elif size == 127:
                size, at = int.from_bytes(received[at : at + 8], "big"), at + 8
            if len(received) < at + size:
                break
            opcode = received[start] & 15
            if opcode == 1:
                self._take(received, at, size)
            elif opcode == 9:
                self._transport.write(masked(received[at : at + size], 0x8A))
            start = at + size
        return start

    def _take(self, received: bytes, at: int, size: int) -> None:
        name = received[at : at + min(size, _NAMED)], size
        known = self._known.get(name)
        if known is None:
            text = received[at : at + size]
            known = self._known[name] = self._run.found([int(n) for n in _VERSION.findall(text)])
            if not known.facts:
                self._hear(text)
        if known.facts:
            self._run.took(known)
            before, self.heard = self.heard, self.heard + known.facts
            self.total += known.total
            if self._whole and before < self._run.until <= self.heard:
                self._run.one_is_done()

    def _hear(self, text: bytes) -> None:
        del self._known[text[:_NAMED], len(text)]
        if _ACKNOWLEDGED in text:
            self._run.one_is_told()
        elif _ERROR in text:
            print(text.decode(), file=sys.stderr)

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.ended += 1


class Known(NamedTuple):
    """A message that was seen before: where its facts stand among all that were seen."""

    place: int
    facts: int
    total: int


class Run:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = asyncio.get_running_loop()
        self.known: dict[str, dict[tuple[bytes, int], Known]] = {}
        """By subscription, its messages by how they begin and how long they are."""
        self._facts: list[list[int]] = []
        self._places, self._times = array("i"), array("d")
        self.ended = self._told = self._done = 0
        self.until = sys.maxsize
        self._all_told, self._all_done = asyncio.Event(), asyncio.Event()
        self.watchers: list[Watcher] = []

    async def watch(self) -> Outcome:
        subscriptions = self.plan.subscriptions
        for first in range(0, len(subscriptions), CONNECT_AT_ONCE):
            some = range(first, min(first + CONNECT_AT_ONCE, len(subscriptions)))
            await asyncio.gather(*(self._connect(n) for n in some))
        await asyncio.wait_for(self._all_told.wait(), LAST_S)
        gc.freeze()
        print("ready", flush=True)
        line = await self.loop.run_in_executor(None, sys.stdin.readline)
        said = orjson.loads(line)
        self.until = said["facts"]
        self._done = sum(w.heard >= self.until for w in self.watchers[: self.plan.whole])
        if self._done < self.plan.whole:
            await asyncio.wait_for(self._all_done.wait(), LAST_S)
        await asyncio.sleep(0.5)  # for those who are told of some facts only
        return self._outcome(np.load(Path(said["commits"])))

    async def _connect(self, n: int) -> None:
        subscription, whole = self.plan.subscriptions[n], n < self.plan.whole
        made = Watcher(self, subscription, whole=whole)
        self.watchers.append(made)
        await self.loop.create_connection(lambda: made, self.plan.host, self.plan.port)

    def found(self, numbers: list[int]) -> Known:
        self._facts.append(numbers)
        return Known(len(self._facts) - 1, len(numbers), sum(numbers))

    def took(self, known: Known) -> None:
        self._places.append(known.place)
        self._times.append(self.loop.time())

    def one_is_told(self) -> None:
        self._told += 1
        if self._told == len(self.plan.subscriptions):
            self._all_told.set()

    def one_is_done(self) -> None:
        self._done += 1
        if self._done >= self.plan.whole:
            self._all_done.set()

    def fail(self, reason: str) -> None:
        print(f"a client was refused: {reason}", file=sys.stderr)
        sys.exit(1)

    def _outcome(self, commits: Any) -> Outcome:
        counts = np.array([len(numbers) for numbers in self._facts])
        starts = np.cumsum(counts) - counts
        all_numbers = np.array([n for numbers in self._facts for n in numbers])
        places = np.array(self._places)
        times = np.repeat(np.array(self._times), counts[places])
        within = np.arange(len(times)) - np.repeat(np.cumsum(counts[places]) - counts[places], counts[places])
        numbers = all_numbers[np.repeat(starts[places], counts[places]) + within]
        ms = (times - commits[numbers]) * 1_000
        p50, p99 = np.percentile(ms, (50, 99)).tolist()
        count, total = len(commits), len(commits) * (len(commits) - 1) // 2
        whole = self.watchers[: self.plan.whole]
        incomplete = sum((w.heard, w.total) != (count, total) for w in whole)
        return Outcome(len(ms), p50, p99, float(ms.max()), incomplete, self.ended, len(places))


def masked(data: bytes, first: int = 0x81) -> bytes:
    """A frame as a client sends it; a mask of zeros leaves the bytes as they are."""
    size = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes((first,)) + size + bytes(4) + data


def main() -> None:
    plan = Plan(**orjson.loads(sys.stdin.readline()))

    async def run() -> Outcome:
        return await Run(plan).watch()

    print(orjson.dumps(asdict(asyncio.run(run()))).decode(), flush=True)


if __name__ == "__main__":
    main()
