"""What is read from the tape: Wyckoff facts, own patterns, paper trades, and the marks that make them due."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import asyncpg
import numpy as np
import orjson

from rollotape import calendars, facts, tracing
from rollotape.domain.analysis import Key
from rollotape.domain.bars import BAR, Rows
from rollotape.domain.reading import (
    AHEAD_BARS,
    CONTEXT_BARS,
    PATTERN_BARS,
    SOURCE,
    Derived,
    OwnPattern,
    PaperTrade,
    Stored,
)
from rollotape.domain.wyckoff.facts import Event, Range, Status
from rollotape.domain.wyckoff.fold import Checkpoint
from rollotape.domain.wyckoff.rules import CURRENT, Rules
from rollotape.facts import Message
from rollotape.postgres import outbox, patterns
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.pool import POSTGRES_EPOCH_US
from rollotape.postgres.sql import queries
from rollotape.postgres.versions import Version

FIRST_US = -62_135_596_800_000_000
"""The year 1: before every bar."""
LAST_US = 253_402_300_800_000_000
"""The year 10000: after every bar."""
_POSTGRES_EPOCH_DAYS = 10_957
_TIMES = ("ts", "end_ts")
_NUMBERS = ("open", "high", "low", "close", "volume")


def _upsert(table: str, columns: Sequence[str]) -> str:
    places = ", ".join(f"${i + 1}" for i in range(len(columns)))
    changed = ", ".join(f"{c} = EXCLUDED.{c}" for c in columns[1:])
    named = f"{table} ({', '.join(columns)})"
    return f"INSERT INTO {named} VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {changed}"  # noqa: S608 - names of our own columns only


_STORE_PATTERN = _upsert("patterns", (*OwnPattern._fields, "source", "hash"))
_STORE_TRADE = _upsert("signals", (*PaperTrade._fields, "origin", "source", "sessions_held"))


class Mark(NamedTuple):
    """Bars of one key that changed, from the first to the last one."""

    key: Key
    first_ts: int
    last_ts: int


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that is needed to read one key again."""

    mark: Mark
    bars: Rows
    stored: Stored
    whole: bool
    """The bars go to the end of the history."""
    outdated: bool
    """Something of another rule set is stored."""


class Wyckoff:
    """Needs a pool opened with `raw_times`: times are integer microseconds."""

    def __init__(self, pool: "asyncpg.Pool[Any]", rules: Rules = CURRENT) -> None:
        self._pool = pool
        self._rules = rules
        self._sql = dict(queries("wyckoff"))
        names = {"patterns": OwnPattern._fields, "trades": PaperTrade._fields}
        for query, columns in names.items():
            listed = ", ".join(f"{query[0]}.{column}" for column in columns)
            self._sql[query] = self._sql[query].format(**{query: listed})

    async def mark_outdated(self) -> None:
        """Have everything read again that another rule set has read."""
        await self._pool.execute(self._sql["mark_outdated"], self._rules.name)

    async def newer_rules(self) -> list[str]:
        """Later versions of our rule set by which something here has been read."""
        found = [name for [name] in await self._pool.fetch(self._sql["rule_sets"])]
        return sorted(name for name in found if _is_newer(name, self._rules.name))

    async def unread(self, *, without: Collection[str] = ()) -> bool:
        """Whether there is any mark, but for those of these symbols."""
        return bool(await self._pool.fetchval(self._sql["unread"], list(without)))

    async def backlog(self) -> int:
        """Keys with marks."""
        return int(await self._pool.fetchval(self._sql["backlog"]))

    @asynccontextmanager
    async def due(
        self, symbols: int, quiet_s: float, patience_s: float, *, without: Collection[str] = ()
    ) -> "AsyncIterator[Block | None]":
        """A transaction on some due symbols that nobody else works on, marks taken away; None without any."""
        async with self._pool.acquire() as connection, connection.transaction():
            locked = await connection.fetch(
                self._sql["lock_due"], symbols, quiet_s, patience_s, list(without)
            )
            versions = {symbol: (counter, nonce) for symbol, counter, nonce in locked}
            marks = []
            if versions:
                taken = await connection.fetch(self._sql["take_marks"], list(versions))
                marks = [Mark((symbol, timeframe), *ends) for symbol, timeframe, *ends in taken]
            yield Block(connection, self._sql, self._rules, versions, marks) if marks else None


class Block:
    """Symbols locked by a transaction that is still open; gather from it, then write to it."""

    def __init__(
        self,
        connection: Any,
        sql: Mapping[str, str],
        rules: Rules,
        versions: Mapping[str, Version],
        marks: Sequence[Mark],
    ) -> None:
        self._connection = connection
        self._sql = sql
        self.rules = rules
        self._versions = versions
        """Of the symbols: a changed bar makes them greater, and what follows from it newer."""
        self.marks = marks

    @property
    def symbols(self) -> list[str]:
        return sorted({mark.key[0] for mark in self.marks})

    @property
    def traces(self) -> list[str]:
        """Of the newest commits to these symbols: what is found follows from bars up to them."""
        return sorted({tracing.of(nonce) for _, nonce in self._versions.values() if nonce})

    async def gather(self, marks: Sequence[Mark], ahead_bars: int = AHEAD_BARS) -> list[Gathered]:
        """What is stored of these keys, with so many bars after the last changed one."""
        symbols, timeframes = [m.key[0] for m in marks], [m.key[1] for m in marks]
        bounds = await self._connection.fetch(
            self._sql["bounds"], symbols, timeframes,
            [max(m.first_ts, FIRST_US) for m in marks], [min(m.last_ts, LAST_US) for m in marks],
            self.rules.name, CONTEXT_BARS, PATTERN_BARS, ahead_bars,
        )  # fmt: skip
        since = [_or(b["since"], FIRST_US) for b in bounds]
        until = [_or(b["until_ts"], LAST_US) for b in bounds]
        started = [_or(b["from_ts"], FIRST_US) for b in bounds]
        packed = await self._connection.fetch(self._sql["bars"], symbols, timeframes, started, until)
        stored = [Stored() for _ in marks]
        known = [i for i, b in enumerate(bounds) if b["known"]]
        if known:
            await self._stored(
                [stored[i] for i in known],
                [symbols[i] for i in known],
                [timeframes[i] for i in known],
                [since[i] for i in known],
                [until[i] for i in known],
                [_or(bounds[i]["patterns_from"], FIRST_US) for i in known],
            )
        return [
            Gathered(mark, _rows(columns), own, bound["until_ts"] is None, bound["outdated"])
            for mark, columns, own, bound in zip(marks, packed, stored, bounds, strict=True)
        ]

    async def _stored(
        self,
        stored: Sequence[Stored],
        symbols: Sequence[str],
        timeframes: Sequence[str],
        since: Sequence[int],
        until: Sequence[int],
        patterns_from: Sequence[int],
    ) -> None:
        async def rows(query: str, *more: Any) -> "Iterable[tuple[int, Any]]":
            found = await self._connection.fetch(self._sql[query], symbols, timeframes, *more)
            return ((n - 1, rest) for n, *rest in found)

        for i, (ts, state) in await rows("states", since, self.rules.name):
            if ts == since[i]:
                stored[i].before = Checkpoint(ts, state)
            else:
                stored[i].states[ts] = state
        for i, (*plain, terms) in await rows("events", since, until):
            stored[i].events.append(Event._make([*plain, tuple(sorted(orjson.loads(terms).items()))]))
        for i, row in await rows("statuses", since):
            stored[i].statuses.append(Status(*row))
        for i, row in await rows("ranges", since, until):
            stored[i].ranges.append(_range(row))
        for i, row in await rows("patterns", patterns_from):
            stored[i].patterns.append(OwnPattern(*row))
        for i, row in await rows("trades", patterns_from):
            stored[i].trades.append(PaperTrade(*row))

    async def write(self, gathered: Sequence[Gathered], derived: Derived) -> Unsaid | None:
        """Write what changed and leave what there is to say in the outbox, all in this transaction."""
        outdated = [g.mark.key for g in gathered if g.outdated]
        if outdated:
            names = zip(*outdated, strict=True)
            await self._connection.execute(self._sql["forget_outdated"], *names, self.rules.name)
        if derived.changes:
            await self._write_facts(derived)
            await self._write_states(derived)
        gone = await self._write_patterns(derived)
        first_changes = {
            g.mark.key: FIRST_US if g.outdated else max(g.mark.first_ts, FIRST_US) for g in gathered
        }
        recounted = await self._recount(derived, first_changes)
        messages = [
            *self._told(derived),
            *await self._told_of_ranges(derived),
            *(self._pattern_gone(row) for row in gone),
            *await self._told_of_patterns(derived, recounted),
            *self._told_of_trades(derived),
        ]
        return await outbox.add(self._connection, messages)

    async def _write_facts(self, derived: Derived) -> None:
        by = ("symbol", "timeframe", "confirmed_ts", "rule_set", "side", "range_id", "kind", "event_ts")
        await self._delete("retract_events", derived.events_gone, by)
        await self._delete("retract_statuses", derived.statuses_gone, (*by, "status"))
        await self._delete("retract_ranges", derived.ranges_gone, ("range_id", "confirmed_ts"))
        events = [(*e[:-1], orjson.dumps(dict(e.terms)).decode()) for e in derived.events]
        await self._copy("wyckoff_events", Event._fields, events)
        await self._copy("wyckoff_statuses", Status._fields, derived.statuses)
        at = Range._fields.index("phases")
        ranges = [(*r[:at], orjson.dumps(r[at]).decode(), *r[at + 1 :]) for r in derived.ranges]
        await self._copy("wyckoff_ranges", Range._fields, ranges)

    async def _write_states(self, derived: Derived) -> None:
        if derived.states_gone:
            gone = [(*key, ts) for key, ts in derived.states_gone]
            columns = zip(*gone, strict=True)
            await self._connection.execute(self._sql["forget_states"], *columns, self.rules.name)
        states = [(*key, self.rules.name, c.ts, c.state) for key, c in derived.states]
        await self._copy("wyckoff_states", ("symbol", "timeframe", "rule_set", "ts", "state"), states)

    async def _write_patterns(self, derived: Derived) -> list[Any]:
        """Returns the rows of patterns that are gone."""
        gone = []
        if derived.trades_gone:
            ids = [t.id for t in derived.trades_gone]
            await self._connection.execute(self._sql["retract_trades"], ids)
        if derived.patterns_gone:
            ids = [p.id for p in derived.patterns_gone]
            gone = await self._connection.fetch(self._sql["retract_patterns"], ids)
        if derived.patterns:
            rows = [(*p, SOURCE, 0) for p in sorted(derived.patterns)]
            await self._connection.executemany(_STORE_PATTERN, rows)
        if derived.trades:
            trades = [(*t, "paper", SOURCE, _held(t)) for t in sorted(derived.trades, key=attrgetter("id"))]
            await self._connection.executemany(_STORE_TRADE, trades)
        return list(gone)

    async def _recount(self, derived: Derived, first_changes: Mapping[Key, int]) -> set[Any]:
        ids = [p.id for p in derived.patterns]
        found = await patterns.recount(self._connection, ids=ids, first_changes=first_changes, own=True)
        preliminary = await patterns.recount_preliminary(self._connection, first_changes)
        return {*found, *preliminary}

    def _told(self, derived: Derived) -> Iterable[Message]:
        stays = {e.key for e in derived.events}
        versions = self._versions
        for event in derived.events_gone:
            if event.key not in stays:
                yield facts.wyckoff_event(event, versions[event.symbol], retracted=True)
        for event in derived.events:
            yield facts.wyckoff_event(event, versions[event.symbol])
        kept = {(s.key, s.range_id, s.status) for s in derived.statuses}
        for status in derived.statuses_gone:
            if (status.key, status.range_id, status.status) not in kept:
                yield facts.wyckoff_status(status, versions[status.symbol], retracted=True)
        for status in derived.statuses:
            yield facts.wyckoff_status(status, versions[status.symbol])

    async def _told_of_ranges(self, derived: Derived) -> list[Message]:
        """Each range once, as it stands now."""
        gone = {r.range_id: r for r in derived.ranges_gone}
        touched = {r.range_id: r for r in derived.ranges}
        if gone:
            found = await self._connection.fetch(self._sql["remaining_ranges"], list(gone))
            touched |= {r.range_id: r for r in map(_range, found)}
        lost = [r for range_id, r in gone.items() if range_id not in touched]
        versions = self._versions
        return [
            *(facts.wyckoff_range(r, versions[r.symbol], retracted=True) for r in lost),
            *(facts.wyckoff_range(r, versions[r.symbol]) for r in touched.values()),
        ]

    async def _told_of_patterns(self, derived: Derived, recounted: Collection[Any]) -> list[Message]:
        new = {p.id for p in derived.patterns} - derived.patterns_known
        ids = {p.id for p in derived.patterns} | set(recounted)
        return await patterns.updates(self._connection, sorted(ids), ids - new, self._versions)

    def _pattern_gone(self, row: Any) -> Message:
        version = self._versions[row["symbol"]]
        return facts.pattern_update(dict(row), known=True, version=version, retracted=True)

    def _told_of_trades(self, derived: Derived) -> Iterable[Message]:
        for trade in derived.trades_gone:
            yield facts.paper_update(trade, True, self._versions[trade.symbol], retracted=True)
        for trade in derived.trades:
            yield facts.paper_update(trade, trade.id in derived.trades_known, self._versions[trade.symbol])

    async def _delete(self, query: str, rows: Sequence[Any], columns: Sequence[str]) -> None:
        if rows:
            values = ([getattr(row, column) for row in rows] for column in columns)
            await self._connection.execute(self._sql[query], *values)

    async def _copy(self, table: str, columns: Sequence[str], rows: Sequence[Any]) -> None:
        """Under the lock nobody else can have stored these rows."""
        if rows:
            await self._connection.copy_records_to_table(table, records=rows, columns=columns)


def _is_newer(rule_set: str, than: str) -> bool:
    """A later version of the same rules: the name ends in it."""
    stem, _, number = rule_set.rpartition("-")
    own_stem, _, own_number = than.rpartition("-")
    return (
        stem == own_stem and number.isdecimal() and own_number.isdecimal() and int(number) > int(own_number)
    )


def _held(trade: PaperTrade) -> int | None:
    if trade.entry_session is None or trade.exit_session is None:
        return None
    return calendars.sessions_held(trade.entry_session, trade.exit_session)


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _range(row: Sequence[Any]) -> Range:
    *head, phases, support, resistance, unit = row
    reached = tuple((letter, ts) for letter, ts in orjson.loads(phases))
    return Range._make([*head, reached, support, resistance, unit])


def _rows(columns: Mapping[str, bytes | None]) -> Rows:
    """Analysed bars of one key as the domain reads them, without what it does not look at."""
    ts = columns["ts"] or b""
    rows = np.zeros(len(ts) // 8, BAR)
    if not len(rows):
        return rows
    for name in _TIMES:
        rows[name] = np.frombuffer(columns[name] or b"", ">i8")
        rows[name] += POSTGRES_EPOCH_US
    for name in _NUMBERS:
        rows[name] = np.frombuffer(columns[name] or b"", ">f8")
    rows["session"] = np.frombuffer(columns["session"] or b"", ">i4")
    rows["session"] += _POSTGRES_EPOCH_DAYS
    rows["regular"] = True
    return rows
