"""Starts a detector."""

import asyncio

from detector.handlers import SERVICE, ApplyBars
from detector.memory import Memory
from detector.patterns import ApplyPatterns
from detector.signals import ApplySignals
from detector.wyckoff import Read, work
from rollotape import calendars, metrics, service
from rollotape.postgres.patterns import Patterns
from rollotape.postgres.signals import Signals
from rollotape.postgres.tape import Tape
from rollotape.postgres.wyckoff import Wyckoff
from rollotape.streams.entries import Entry
from rollotape.streams.outbox import Outbox

SWEEP_EVERY_S = 2.0
UNSAID_S = 5.0
"""What was committed and is still unsaid after this long was left by a crash."""
COMPACT_EVERY_S = 60.0
FRAME_BYTES, BAR_BYTES = 100, 37
"""The least that a frame takes, and each bar in it: `"A","2020-01-02T00:00:00Z",1,1,1,1,1,`."""


def weigh(entry: Entry) -> int:
    """Bars in an entry, at most: reading a frame only to count its rows would cost as much as applying it."""
    return max(1, (len(entry.payload or b"") - FRAME_BYTES) // BAR_BYTES)


async def start(worker: service.Service) -> None:
    calendars.sessions()  # takes a second: better now than within the first batch
    tape = Tape(worker.pool)
    outbox = Outbox(worker.pool, worker.producer)
    memory = Memory(worker.settings.window_bars)
    metrics.WINDOW_BARS.set_function(memory.__len__)
    unread = asyncio.Event()
    apply_bars = ApplyBars(tape, memory, outbox, calendars.sessions, on_commit=unread.set)
    bars = worker.deliver("bars", apply_bars, weigh=weigh)
    worker.deliver("patterns", ApplyPatterns(Patterns(worker.pool), outbox))
    worker.deliver("signals", ApplySignals(Signals(worker.pool), outbox))

    async def sweep() -> None:
        await outbox.sweep(older_than_s=UNSAID_S)

    read = Read(Wyckoff(worker.pool), outbox, pouring=bars.behind)

    async def reading() -> None:
        await work(read, unread)

    if worker.settings.wyckoff == "on":
        worker.every(0.0, reading)
    worker.every(SWEEP_EVERY_S, sweep)
    worker.every(COMPACT_EVERY_S, tape.compact_marks)


def run() -> None:
    """Entry point of the console script `detector`."""
    service.run(SERVICE, start)
