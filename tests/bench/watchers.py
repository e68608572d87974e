"""Clients of the stream over WebSocket, in a process of their own: they say when they heard what.

    python -m bench.watchers < PLAN

`ready` is printed when all are told; after a line with the number of facts and the file of commit times on
standard input they wait until they have heard so many, and print what became of all of them.

One loop reads all sockets into one buffer: who hears 20,000 messages a second beside the gateway that sends
them must not be what takes its processor. What it adds itself is measured by the kernel's clock: of some
connections it says when the bytes came, and so how long they lay before they were read.
"""

import gc
import os
import re
import select
import socket
import struct
import sys
import time
from array import array
from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

CONNECT_AT_ONCE = 50
LAST_S = 60.0
_LATER_S = 0.5
"""Those who are told of some facts only get so long to hear the last of them."""
_TIMED = 10
"""Of every so many connections one is timed by the kernel."""
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_ROOM = 256 * 1_024
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
    late_p50: float
    late_p99: float
    """From the last bytes being there to our reading them: what we ourselves add."""
    incomplete: int
    """Clients that were to be told everything, and were not, or twice."""
    ended: int
    messages: int
    cpu: float
    """Of a core, by ourselves, from `ready` on."""


class Watcher:
    """One client; it keeps nothing but which message it heard, and when.

    Clients with one subscription are sent the same bytes, so what is in them is looked up only once.
    """

    __slots__ = ("_is_open", "_known", "_rest", "_run", "_subscription", "_whole", "heard", "socket", "total")

    def __init__(self, run: "Run", subscription: str, *, whole: bool) -> None:
        self._run, self._subscription, self._whole = run, subscription, whole
        self._rest = b""
        self._is_open = False
        self._known = run.known.setdefault(subscription, {})
        self.heard = self.total = 0
        plan = run.plan
        self.socket = socket.create_connection((plan.host, plan.port), LAST_S)
        self.socket.setblocking(False)
        self.socket.send(upgrade(plan.host, plan.port, plan.key))

    def take(self, received: bytearray, size: int) -> None:
        """What came, at the beginning of a buffer that is used again afterwards."""
        if self._rest or not self._is_open:
            received = bytearray(self._rest) + received[:size]
            size, self._rest = len(received), b""
        start = 0 if self._is_open else self._take_head(received)
        if self._is_open:
            start = self._take_frames(received, start, size)
        if start < size:
            self._rest = bytes(received[start:size])

    def _take_head(self, received: bytearray) -> int:
        head, end, _ = received.partition(_END)
        if not end:
            return 0
        if not head.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"a client was refused: {head.decode('latin-1')}")
        self._is_open = True
        self.socket.send(masked(self._subscription.encode()))
        return len(head) + len(end)

    def _take_frames(self, received: bytearray, start: int, end: int) -> int:
        """Where the first frame begins that is not whole."""
        while end - start >= 2:
            size, at = received[start + 1], start + 2
            if size == 126:
                size, at = int.from_bytes(received[at : at + 2], "big"), at + 2
            elif size == 127:
                size, at = int.from_bytes(received[at : at + 8], "big"), at + 8
            if end < at + size:
                break
            opcode = received[start] & 15
            if opcode == 1:
                self._take(received, at, size)
            elif opcode == 9:
                self.socket.send(masked(bytes(received[at : at + size]), 0x8A))
            start = at + size
        return start

    def _take(self, received: bytearray, at: int, size: int) -> None:
        name = bytes(received[at : at + min(size, _NAMED)]), size
        known = self._known.get(name)
        if known is None:
            text = bytes(received[at : at + size])
            known = self._run.found([int(n) for n in _VERSION.findall(text)])
            if not known.facts:
                self._hear(text)
                return
            self._known[name] = known
        self._run.took(known)
        before, self.heard = self.heard, self.heard + known.facts
        self.total += known.total
        if self._whole and before < self._run.until <= self.heard:
            self._run.done += 1

    def _hear(self, text: bytes) -> None:
        if _ACKNOWLEDGED in text:
            self._run.told += 1
        elif _ERROR in text:
            print(text.decode(), file=sys.stderr)


class Known(NamedTuple):
    """A message that was seen before: where its facts stand among all that were seen."""

    place: int
    facts: int
    total: int


class Run:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.known: dict[str, dict[tuple[bytes, int], Known]] = {}
        """By subscription, its messages by how they begin and how long they are."""
        self._facts: list[list[int]] = []
        self._places, self._times, self._late = array("i"), array("d"), array("d")
        self.ended = self.told = self.done = 0
        self.until = sys.maxsize
        self.watchers: list[Watcher] = []
        self._by_fd: dict[int, Watcher] = {}
        self._timed: set[int] = set()
        self._poll = select.epoll()
        self._buffer = bytearray(_ROOM)

    def watch(self) -> Outcome:
        subscriptions = self.plan.subscriptions
        for n, subscription in enumerate(subscriptions):
            self._connect(n, subscription)
            if (n + 1) % CONNECT_AT_ONCE == 0:
                self._turn_until(lambda: self.told >= len(self.watchers), LAST_S)
        self._turn_until(lambda: self.told == len(subscriptions), LAST_S)
        gc.collect()
        gc.freeze()
        gc.disable()
        self._late = array("d")
        began, used = time.monotonic(), time.process_time()
        print("ready", flush=True)
        said = orjson.loads(self._line())
        cpu = (time.process_time() - used) / (time.monotonic() - began)
        self.until = said["facts"]
        self.done = sum(w.heard >= self.until for w in self.watchers[: self.plan.whole])
        self._turn_until(lambda: self.done >= self.plan.whole, LAST_S)
        last = time.monotonic() + _LATER_S
        self._turn_until(lambda: time.monotonic() >= last, LAST_S)
        return self._outcome(np.load(Path(said["commits"])), cpu)

    def _connect(self, n: int, subscription: str) -> None:
        watcher = Watcher(self, subscription, whole=n < self.plan.whole)
        number = watcher.socket.fileno()
        if n % _TIMED == 0:
            watcher.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._timed.add(number)
        self.watchers.append(watcher)
        self._by_fd[number] = watcher
        self._poll.register(number, select.EPOLLIN)

    def _line(self) -> bytes:
        """The next one on standard input; till it is there, everybody is read."""
        own = sys.stdin.fileno()
        self._poll.register(own, select.EPOLLIN)
        line = b""
        while not line.endswith(b"\n"):
            if own in self._turn():
                if not (part := os.read(own, 65_536)):
                    raise SystemExit("nobody waits for us any more")
                line += part
        self._poll.unregister(own)
        return line

    def _turn_until(self, condition: Callable[[], bool], within_s: float) -> None:
        """It is not raised when it does not come: what is missing is then counted as such."""
        ends_at = time.monotonic() + within_s
        while not condition() and time.monotonic() < ends_at:
            self._turn()

    def _turn(self) -> list[int]:
        """Read from everybody who has something; whoever else has is returned."""
        others = []
        for number, _ in self._poll.poll(0.1):
            watcher = self._by_fd.get(number)
            if watcher is None:
                others.append(number)
                continue
            try:
                size = self._read_timed(watcher) if number in self._timed else self._read(watcher)
            except BlockingIOError:
                continue
            except ConnectionError:
                size = 0
            if size:
                watcher.take(self._buffer, size)
            else:
                self.ended += 1
                self._poll.unregister(number)
        return others

    def _read(self, watcher: Watcher) -> int:
        return watcher.socket.recv_into(self._buffer)

    def _read_timed(self, watcher: Watcher) -> int:
        size, about, *_ = watcher.socket.recvmsg_into([self._buffer], 64)
        for _level, kind, data in about:
            if kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(data)
                self._late.append(time.time() - seconds - nanoseconds / 1e9)
        return size

    def found(self, numbers: list[int]) -> Known:
        self._facts.append(numbers)
        return Known(len(self._facts) - 1, len(numbers), sum(numbers))

    def took(self, known: Known) -> None:
        self._places.append(known.place)
        self._times.append(time.monotonic())

    def _outcome(self, commits: Any, cpu: float) -> Outcome:
        counts = np.array([len(numbers) for numbers in self._facts])
        starts = np.cumsum(counts) - counts
        all_numbers = np.array([n for numbers in self._facts for n in numbers])
        places = np.array(self._places)
        times = np.repeat(np.array(self._times), counts[places])
        within = np.arange(len(times)) - np.repeat(np.cumsum(counts[places]) - counts[places], counts[places])
        numbers = all_numbers[np.repeat(starts[places], counts[places]) + within]
        ms = (times - commits[numbers]) * 1_000
        p50, p99 = np.percentile(ms, (50, 99)).tolist()
        late_p50, late_p99 = (np.percentile(self._late, (50, 99)) * 1_000).tolist()
        count, total = len(commits), len(commits) * (len(commits) - 1) // 2
        whole = self.watchers[: self.plan.whole]
        incomplete = sum((w.heard, w.total) != (count, total) for w in whole)
        return Outcome(
            len(ms), p50, p99, float(ms.max()), late_p50, late_p99, incomplete, self.ended, len(places), cpu
        )


def upgrade(host: str, port: int, key: str) -> bytes:
    """The request of a client that wants to talk."""
    lines = (
        "GET /api/stream HTTP/1.1", f"Host: {host}:{port}", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {b64encode(os.urandom(16)).decode()}",
        f"X-API-Key: {key}", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


def masked(data: bytes, first: int = 0x81) -> bytes:
    """A frame as a client sends it; a mask of zeros leaves the bytes as they are."""
    size = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes((first,)) + size + bytes(4) + data


def main() -> None:
    plan = Plan(**orjson.loads(sys.stdin.buffer.readline()))
    print(orjson.dumps(asdict(Run(plan).watch())).decode(), flush=True)


if __name__ == "__main__":
    main()
