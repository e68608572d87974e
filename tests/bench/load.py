"""Asks a server over HTTP from a process of its own, as many connections at a time as it is told.

    python -m bench.load < PLAN

With a rate the load is open: every request has a moment at which it is meant to be sent, and its latency
counts from then, whether or not a connection was free and the server kept up (no coordinated omission).
Without a rate each connection asks again as soon as it has its answer.
"""

import asyncio
import gc
import select
import selectors
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

CONNECT_AT_ONCE = 50
DRAIN_S = 10.0
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "
_CACHED = b'"cached":true'
_TAIL = 400
"""The end of an answer says whether it was cached."""


@dataclass(frozen=True, slots=True)
class Plan:
    host: str
    port: int
    connections: int
    rate: float | None
    """Requests a second; None for as many as there can be."""
    seconds: float
    warm_s: float
    """Not counted; part of `seconds`."""
    head: str
    """Header lines of every request, each ended by CR LF."""
    targets: list[str]
    before: int
    """So many of the targets are asked once before the clock runs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Latencies in milliseconds, of what was sent after warming."""

    answered: int
    per_second: float
    p50: float
    p95: float
    p99: float
    late_p95: float
    """How long after the intended moment a request was sent: what the generator itself adds at most."""
    own_late_p95: float
    """How late the generator itself was at the intended moment, whether or not a connection was free."""
    busy: float
    """Share of one processor that the generator used."""
    unanswered: int
    cached: int
    statuses: dict[str, int]
    body_bytes: float
    """On the average, as they came over the wire."""


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._received = bytearray()
        self._whole = 0
        self._transport: Any = None
        self.intended = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, request: bytes, intended: float) -> None:
        self.intended = intended
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """As a rule an answer comes in one piece, of which nothing is copied."""
        if self._received or (whole := _size(data)) is None or len(data) < whole:
            self._received += data
            if not self._whole:
                self._whole = _size(self._received) or 0
            if not self._whole or len(self._received) < self._whole:
                return
            data, self._received, self._whole = bytes(self._received), bytearray(), 0
        self._run.answered(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost(exc)


def _size(received: bytes | bytearray) -> int | None:
    """Of the whole answer, as soon as its head is here; servers that are asked here write names small."""
    end = received.find(_END)
    if end < 0:
        return None
    at = received.find(_LENGTH, 0, end + 2)
    assert at >= 0, "an answer that does not say how long it is"
    return end + len(_END) + int(received[at + len(_LENGTH) : received.find(b"\r", at + len(_LENGTH))])


@dataclass(slots=True)
class Run:
    plan: Plan
    loop: asyncio.AbstractEventLoop
    requests: list[bytes]
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    free: deque[Connection] = field(default_factory=deque)
    waiting: deque[float] = field(default_factory=deque)
    """Intended moments of requests that no connection was free for."""
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    own_lateness: list[float] = field(default_factory=list)
    statuses: Counter[bytes] = field(default_factory=Counter)
    began: float = float("inf")
    spent: float = 0.0
    """Processor time, first when the clock began to run."""
    sent: int = 0
    due: int = 0
    in_flight: int = 0
    cached: int = 0
    received: int = 0
    over: bool = False
    """Nothing more is to be sent."""
    ended: bool = False

    async def measure(self) -> Outcome:
        for _ in range(0, self.plan.connections, CONNECT_AT_ONCE):
            await asyncio.gather(*(self._connect() for _ in range(min(CONNECT_AT_ONCE, self._missing()))))
        if self.plan.before:
            self._all_at_once()
            await self.drained.wait()
        gc.freeze()
        gc.disable()
        self.sent = 0
        self.began = self.loop.time() + 0.1
        self.spent = time.process_time()
        self.loop.call_at(self.began, self._tick if self.plan.rate else self._all_at_once)
        await asyncio.sleep(self.plan.seconds + 0.1)
        self.spent = time.process_time() - self.spent
        self.over = True
        self.drained.clear()
        if self.in_flight or self.waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.drained.wait(), DRAIN_S)
        return self._outcome()

    def _missing(self) -> int:
        return self.plan.connections - len(self.free)

    async def _connect(self) -> None:
        _, connection = await self.loop.create_connection(
            lambda: Connection(self), self.plan.host, self.plan.port
        )
        self.free.append(connection)

    def _tick(self) -> None:
        """Send what is due; connections take turns."""
        assert self.plan.rate
        now = self.loop.time()
        while not self.over and (intended := self.began + self.due / self.plan.rate) <= now:
            self.due += 1
            self.waiting.append(intended)
            if self._counts(intended):
                self.own_lateness.append(now - intended)
        while self.waiting and self.free:
            self._send(self.free.popleft(), self.waiting.popleft())
        if not self.over:
            self.loop.call_at(self.began + self.due / self.plan.rate, self._tick)

    def _all_at_once(self) -> None:
        while self.free and self._goes_on():
            self._send(self.free.popleft(), self.loop.time())

    def _send(self, connection: Connection, intended: float) -> None:
        connection.ask(self.requests[self.sent % len(self.requests)], intended)
        self.sent += 1
        self.in_flight += 1
        if self._counts(intended):
            self.lateness.append(self.loop.time() - intended)

    def _goes_on(self) -> bool:
        """Whether who has an answer asks again at once."""
        if self.began == float("inf"):
            return self.sent < self.plan.before
        return not self.plan.rate and not self.over

    def _counts(self, intended: float) -> bool:
        return self.began + self.plan.warm_s <= intended < self.began + self.plan.seconds

    def answered(self, connection: Connection, answer: bytes) -> None:
        now = self.loop.time()
        self.in_flight -= 1
        if self._counts(connection.intended):
            self.latencies.append(now - connection.intended)
            self.statuses[answer[9:12]] += 1
            self.cached += answer.find(_CACHED, max(0, len(answer) - _TAIL)) >= 0
            self.received += len(answer)
        if self.waiting:
            self._send(connection, self.waiting.popleft())
        elif self._goes_on():
            self._send(connection, now)
        else:
            self.free.append(connection)
            if not self.in_flight:
                self.drained.set()

    def lost(self, reason: Exception | None) -> None:
        if not self.ended:
            print(f"a connection was closed by the server: {reason!r}", file=sys.stderr)
            sys.exit(1)

    def _outcome(self) -> Outcome:
        self.ended = True
        measured_s = self.plan.seconds - self.plan.warm_s
        ms = np.array(self.latencies) * 1_000
        p50, p95, p99 = np.percentile(ms, (50, 95, 99)).tolist() if len(ms) else (float("nan"),) * 3
        return Outcome(
            answered=len(ms),
            per_second=len(ms) / measured_s,
            p50=p50,
            p95=p95,
            p99=p99,
            late_p95=_p95_ms(self.lateness),
            own_late_p95=_p95_ms(self.own_lateness),
            busy=self.spent / self.plan.seconds,
            unanswered=self.in_flight + len(self.waiting),
            cached=self.cached,
            statuses={status.decode(): count for status, count in self.statuses.items()},
            body_bytes=self.received / max(1, len(ms)),
        )


def _p95_ms(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 95)) * 1_000 if seconds else 0.0


class Punctual(selectors.DefaultSelector):
    """epoll waits in whole milliseconds, which would be added to every latency; select does not."""

    def select(self, timeout: float | None = None) -> Any:
        if timeout and timeout > 0 and hasattr(self, "fileno"):
            if not select.select([self.fileno()], [], [], timeout)[0]:
                return []
            timeout = 0
        return super().select(timeout)


def main() -> None:
    plan = Plan(**orjson.loads(sys.stdin.buffer.read()))
    requests = [
        f"GET {target} HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\n{plan.head}\r\n".encode()
        for target in plan.targets
    ]
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Punctual())) as runner:
        outcome = runner.run(Run(plan, runner.get_loop(), requests).measure())
    sys.stdout.buffer.write(orjson.dumps(outcome))


if __name__ == "__main__":
    main()
