"""One undisturbed run: everything applied once, by one process, without streams or caches in between."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detector.handlers import ApplyBars
from detector.memory import Memory
from detector.patterns import ApplyPatterns
from detector.signals import ApplySignals
from detector.wyckoff import Read
from rollotape import calendars
from rollotape.domain.sectors import Listing
from rollotape.events import FIELD
from rollotape.postgres import export, sectors
from rollotape.postgres.patterns import Patterns
from rollotape.postgres.pool import open_pool
from rollotape.postgres.signals import Signals
from rollotape.postgres.strength import Strength
from rollotape.postgres.tape import Tape
from rollotape.postgres.wyckoff import Wyckoff
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.entries import Entry, Handler
from rollotape.streams.outbox import Outbox
from rollotape.streams.producer import Producer
from rs_worker.handlers import Score
from support import scans
from support.feeds import Message
from support.scans import Item

TABLES = ("rs_scores", "sector_mapping", "wyckoff_events", "patterns", "signals")
"""What is taken from here. Bars and events of the same feed are known without any database."""
ENTRIES_AT_ONCE = 4_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exports by table, and what a scan shows at that time."""

    exports: Mapping[str, str]
    scan: Sequence[Item]


async def one_at_a_time(database_url: str, messages: Sequence[Message]) -> None:
    """Commit and read each bar alone, in this order; the database is empty and nobody else's."""
    settings = Settings(redis_url="redis://127.0.0.1:1", database_url=database_url)
    async with await open_pool(settings, service="calm", raw_times=True) as pool:
        outbox = _silent(pool, settings)
        handler = ApplyBars(Tape(pool), Memory(settings.window_bars), outbox, calendars.sessions)
        read = Read(Wyckoff(pool), outbox, quiet_s=-1.0)
        for message in messages:
            await _apply(handler, "bars.", [message])
            await read.once()


class _Silent(Producer):
    """Whoever would hear it has another database."""

    async def send_many(self, messages: Sequence[tuple[str, bytes]]) -> list[str]:
        return ["0-1"] * len(messages)


def _silent(pool: Any, settings: Settings) -> Outbox:
    return Outbox(pool, _Silent(open_client(settings.redis_url)))


async def outcome(
    database_url: str, messages: Sequence[Message], listings: Sequence[Listing] = ()
) -> Outcome:
    """What must come of these messages and these sectors; the database is empty and nobody else's."""
    settings = Settings(redis_url="redis://127.0.0.1:1", database_url=database_url)
    async with await open_pool(settings, service="calm", raw_times=True) as pool:
        outbox = _silent(pool, settings)
        await sectors.store(pool, listings)
        memory = Memory(settings.window_bars)
        await _apply(ApplyBars(Tape(pool), memory, outbox, calendars.sessions), "bars.", messages)
        await _apply(ApplyPatterns(Patterns(pool), outbox), "patterns.", messages)
        await _apply(ApplySignals(Signals(pool), outbox), "signals.", messages)
        await Read(Wyckoff(pool), outbox, quiet_s=-1.0).once()
        score = Score(Strength(pool), outbox)
        while await score.once():
            pass
    return Outcome(await exports(database_url, TABLES), await scans.stored(database_url))


async def _apply(handler: Handler, kind: str, messages: Sequence[Message]) -> None:
    now_ms = time.time_ns() // 1_000_000
    entries = [
        Entry(stream, f"{now_ms}-{n}", {FIELD: payload})
        for n, (stream, payload) in enumerate(messages)
        if stream.startswith(kind)
    ]
    for i in range(0, len(entries), ENTRIES_AT_ONCE):
        await handler.apply(entries[i : i + ENTRIES_AT_ONCE])


async def exports(database_url: str, tables: Sequence[str]) -> dict[str, str]:
    """Tables as `rollo export` writes them."""
    found = {}
    async with export.connection(database_url) as connection:
        for table in tables:
            parts: list[bytes] = []
            await export.export(connection, table, parts.append, lambda _: None)
            found[table] = b"".join(parts).decode()
    return found
