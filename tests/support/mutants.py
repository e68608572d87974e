"""Workers with something changed, as functions for a forked process: bugs, and conditions.

The bugs are those that a reader would not see: each leaves every ordinary run right, and the chaos tests
must notice it. The conditions are no bugs: whatever holds for a worker must hold under them, too.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import cache_builder.main
import detector.main
import rs_worker.main
from detector.handlers import ApplyBars
from rollotape import calendars, facts, service
from rollotape.domain import bars as domain
from rollotape.domain.bars import Rows
from rollotape.domain.patterns import Stored
from rollotape.postgres import outbox, versions
from rollotape.postgres.leases import Leases
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.sql import queries
from rollotape.postgres.states import States
from rollotape.postgres.strength import Block, Strength
from rollotape.postgres.tape import Tape
from rollotape.postgres.versions import Version
from rollotape.streams import leases
from rollotape.streams.attempts import Attempts
from rollotape.streams.entries import Entry
from rollotape.streams.subscriber import PartitionSubscriber
from rs_worker import handlers as scoring

calendars.sessions()  # this module is preloaded by the process that forks: a second spared in every fork


SERVICES = {
    "detector": detector.main.run,
    "rs-worker": rs_worker.main.run,
    "cache-builder": cache_builder.main.run,
}


def run(service: str, changes: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Be a worker with these changes until told to stop, or until the tests have gone."""
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(environment)
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for change in changes:
        {**BUGS, **CONDITIONS}[change]()
    del sys.argv[1:]  # those of the tests
    SERVICES[service]()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent
    wait([parent.sentinel])
    os._exit(1)


# ---- bugs


def ack_before_commit() -> None:
    """What is acknowledged first is lost when the commit does not follow."""
    finish = Attempts.finish

    async def hasty(self: Attempts, entries: Sequence[Entry]) -> None:
        await self.acknowledge(entries)
        await finish(self, entries)

    Attempts.finish = hasty  # type: ignore[method-assign]


def ack_before_model() -> None:
    """Hints are acknowledged before the read model has followed them."""
    ack_before_commit()  # for workers that commit nothing but the model


def dates_gone_first() -> None:
    """The dates that are due are taken away in a transaction of their own, before they are scored."""
    due = Strength.due

    @asynccontextmanager
    async def hasty(
        self: Strength, rows: int, *, without: Collection[int] = ()
    ) -> AsyncIterator[Block | None]:
        async with due(self, rows, without=without) as block:
            days = block.days if block else []
        async with self._pool.acquire() as connection, connection.transaction():
            yield Block(connection, self._sql, days) if days else None

    Strength.due = hasty  # type: ignore[method-assign]


def no_version_check() -> None:
    """A view that has become stale is written all the same."""
    lock = versions.lock

    async def trusting(
        connection: Any, symbols: Collection[str], expected: Mapping[str, Version], nonce: int | None = None
    ) -> dict[str, Version]:
        sql, ordered = queries("versions"), sorted(symbols)
        await connection.execute(sql["add_symbols"], ordered)
        locked = await connection.fetch(sql["lock_symbols"], ordered)
        return await lock(connection, ordered, {symbol: (v, n) for symbol, v, n in locked}, nonce)

    versions.lock = trusting


def no_revision_guard() -> None:
    """The bar that came last wins, in memory and in the database."""
    init = Tape.__init__

    def last_writer(bars: Rows) -> Any:
        return (bars["arrived"],)

    def unguarded(self: Tape, pool: Any) -> None:
        init(self, pool)
        upsert, _, guard = self._sql["replace_bars"].partition("WHERE")
        assert "revision" in guard
        self._sql = self._sql | {"replace_bars": upsert}

    domain.precedence = last_writer
    Tape.__init__ = unguarded  # type: ignore[method-assign]


def last_event_wins() -> None:
    """The event about a pattern or a trade that came last is its state."""
    init, stored = States.__init__, States.stored

    def unguarded(self: States, pool: Any, table: str, columns: Sequence[str], guard: str) -> None:
        init(self, pool, table, columns, "true")

    async def unranked(self: States, ids: Collection[UUID]) -> dict[UUID, Stored]:
        found = await stored(self, ids)
        return {i: known._replace(rank=(False, -1, 0)) for i, known in found.items()}

    States.__init__, States.stored = unguarded, unranked  # type: ignore[method-assign]


def no_outbox() -> None:
    """What is to be said is said after the commit, and kept nowhere before."""

    async def add(connection: Any, messages: Sequence[facts.Message]) -> Unsaid | None:
        return Unsaid(0, messages) if messages else None

    outbox.add = add


def group_at_end() -> None:
    """As FastStream does it: what was sent before the group was created is never seen."""

    async def at_end(self: PartitionSubscriber) -> None:
        try:
            await self._client.xgroup_create(self._stream, self._plan.group, id="$", mkstream=True)
        except Exception as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._group_ensured = True

    PartitionSubscriber._ensure_group = at_end  # type: ignore[method-assign]


# ---- conditions


def everyone_owns() -> None:
    """Every replica believes that it owns every partition: that may cost speed and nothing else."""

    async def grab_all(self: Leases, partitions: int, most: int) -> set[int]:
        return set(range(partitions))

    Leases.grab = grab_all  # type: ignore[method-assign]
    leases.fair_share = lambda replica, live, partitions: partitions


def eager_sweep() -> None:
    """The sweep looks often and early, so that a run need not wait for it."""
    detector.main.SWEEP_EVERY_S = rs_worker.main.SWEEP_EVERY_S = 0.3
    detector.main.UNSAID_S = rs_worker.main.UNSAID_S = 1.0


def small_blocks() -> None:
    """Strength is worked off in small steps that begin at once: more moments to be hit at."""
    scoring.ROWS_AT_ONCE = 1_000
    scoring.QUIET_S = 0.05


def fails_on_thirteen() -> None:
    """A bug that one bar meets: it is buried with the reason `defect`, and its neighbours are applied."""
    apply = ApplyBars.apply

    async def superstitious(self: ApplyBars, entries: Sequence[Entry]) -> None:
        if any(b"THIRTEEN" in (e.payload or b"") for e in entries):
            raise ZeroDivisionError("thirteen")
        await apply(self, entries)

    ApplyBars.apply = superstitious  # type: ignore[method-assign]


def talkative() -> None:
    """Its log tells every few seconds what each task waits for: to find out where a run hangs."""
    main = service._main

    async def talking(*arguments: Any) -> None:
        told = asyncio.create_task(_tell_tasks())
        await main(*arguments)
        told.cancel()

    service._main = talking  # type: ignore[assignment]


async def _tell_tasks() -> None:
    while True:
        await asyncio.sleep(10)
        for task in asyncio.all_tasks():
            print(task.get_name(), " > ".join(_waits(task.get_coro())), file=sys.stderr, flush=True)


def _waits(awaited: Any) -> Iterator[str]:
    while awaited is not None:
        frame = next((f for n in ("cr", "gi", "ag") if (f := getattr(awaited, f"{n}_frame", None))), None)
        yield f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else repr(awaited)[:200]
        awaited = next(
            (a for n in ("cr_await", "gi_yieldfrom", "ag_await") if (a := getattr(awaited, n, None))), None
        )


BUGS: Mapping[str, Callable[[], None]] = {
    f.__name__: f
    for f in (
        ack_before_commit, no_version_check, no_revision_guard, last_event_wins, no_outbox, group_at_end,
        ack_before_model, dates_gone_first,
    )
}  # fmt: skip
CONDITIONS: Mapping[str, Callable[[], None]] = {
    f.__name__: f for f in (everyone_owns, eager_sweep, small_blocks, fails_on_thirteen, talkative)
}
