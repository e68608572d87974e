"""Bars, the events that follow from them, and the versions under which both change: what detector writes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import asyncpg
import numpy as np

from rollotape.domain.analysis import Analysis, Key, Span, VsaEvent, Window
from rollotape.domain.bars import BAR, Rows
from rollotape.domain.vsa.rules import REACH
from rollotape.facts import Message
from rollotape.postgres import copying, gaps, outbox, patterns, versions
from rollotape.postgres import dead_letters as graveyard
from rollotape.postgres.dead_letters import DeadLetter
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.sql import queries
from rollotape.postgres.versions import Version, draw

UNAUDITED = 20
"""So many marks of a series wait for the auditor, who comes every few minutes, before they become one."""
_EVALUABLE = (False, True, None)
"""By the code kept in arrays: 0, 1, and -1, which Python reads as the last."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction writes: an analysis, the versions it was made from, and what came with it."""

    analysis: Analysis | None
    versions: Mapping[str, Version]
    refused: Sequence[DeadLetter]
    messages: Sequence[Message]
    nonce: int = field(default_factory=draw)
    """The number of the commit; the messages name the trace that follows from it."""


@dataclass(frozen=True, slots=True)
class Committed:
    """Versions of the symbols that were changed, and what waits to be said."""

    versions: dict[str, Version]
    unsaid: Unsaid | None


NOTHING = Committed({}, None)


class Tape:
    """Needs a pool opened with `raw_times`: times are integer microseconds."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._sql = queries("tape")

    async def versions(self, symbols: Collection[str]) -> dict[str, Version]:
        return await versions.current(self._pool, symbols)

    async def windows(self, asked: Sequence[tuple[Key, int, int]]) -> dict[Key, Window]:
        """For each (key, first, last) every bar that bears on the bars between or is reached by them."""
        if not asked:
            return {}
        symbols, timeframes = zip(*(key for key, _, _ in asked), strict=True)
        firsts, lasts = [a[1] for a in asked], [a[2] for a in asked]
        records = await self._pool.fetch(self._sql["windows"], symbols, timeframes, firsts, lasts, REACH)
        return {
            asked[n - 1][0]: _window([tuple(r)[1:] for r in group])
            for n, group in groupby(records, key=itemgetter(0))
        }

    async def events(self, spans: Sequence[Span]) -> list[VsaEvent]:
        if not spans:
            return []
        columns = zip(*spans, strict=True)
        return [VsaEvent(*r) for r in await self._pool.fetch(self._sql["events"], *columns)]

    async def commit(self, changes: Changes) -> Committed:
        """Write everything in one short transaction.

        Raises:
            Moved: a symbol's version is no longer the one that the analysis was made from.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            moved: dict[str, Version] = {}
            messages = list(changes.messages)
            if changes.analysis is not None and changes.analysis.changes:
                first_changes = {key: first for key, (first, _) in changes.analysis.extents("ts").items()}
                symbols = {symbol for symbol, _ in first_changes}
                moved = await versions.lock(connection, symbols, changes.versions, changes.nonce)
                await self._write(connection, changes.analysis, first_changes)
                recounted = await patterns.recount(connection, first_changes=first_changes)
                messages += await patterns.updates(connection, recounted, recounted, moved)
            if changes.refused:
                await graveyard.store(connection, changes.refused)
            return Committed(moved, await outbox.add(connection, messages))

    async def compact_marks(self) -> None:
        for name in ("compact_marks", "compact_unread", "compact_newest"):
            await self._pool.execute(self._sql[name])
        await gaps.compact(self._pool, UNAUDITED)

    async def _write(
        self, connection: Any, analysis: Analysis, first_changes: Mapping[Key, int]
    ) -> None:
        """New bars may be copied: under the lock, at this version, nobody else can have stored their keys."""
        keys = analysis.keys
        index, rows = analysis.inserted
        if len(rows):
            source = copying.pack(keys, index, rows)
            await connection.copy_to_table("bars", source=source, columns=copying.COLUMNS, format="binary")
        index, rows = analysis.replaced
        if len(rows):
            await connection.execute(self._sql["replace_bars"], *_columns(keys, index, rows))
        index, rows = analysis.judged_anew
        if len(rows):
            symbol, timeframe, ts, *_, evaluable = _columns(keys, index, rows)
            await connection.execute(self._sql["judge_bars_anew"], symbol, timeframe, ts, evaluable)
        if analysis.vanished:
            gone = zip(*(e.key for e in analysis.vanished), strict=True)
            await connection.execute(self._sql["retract_events"], *gone)
        if analysis.appeared:
            await connection.execute(self._sql["store_events"], *zip(*analysis.appeared, strict=True))
        ends = analysis.extents("end_ts")
        marks = [(*key, *extent, ends[key][1]) for key, extent in sorted(analysis.extents("ts").items())]
        await connection.execute(self._sql["mark"], *zip(*marks, strict=True))


def _columns(keys: Sequence[Key], index: Any, rows: Rows) -> list[list[Any]]:
    owners = index.tolist()
    symbols, timeframes = [k[0] for k in keys], [k[1] for k in keys]
    numbers = ("open", "high", "low", "close", "volume", "revision", "synthetic", "hash")
    return [
        [symbols[i] for i in owners],
        [timeframes[i] for i in owners],
        *(rows[name].tolist() for name in ("ts", *numbers, "end_ts", "session")),
        ["regular" if regular else "extended" for regular in rows["regular"].tolist()],
        rows["arrived"].tolist(),
        [_EVALUABLE[code] for code in rows["evaluable"].tolist()],
    ]


def _window(records: list[tuple[Any, ...]]) -> Window:
    since, until, *_ = records[0]
    found = [(*r[2:-1], -1 if r[-1] is None else r[-1]) for r in records if r[2] is not None]
    return Window(np.array(found, BAR), since, until)
