"""What readers ask across symbols: strength, lists of symbols, single patterns. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.reading import paper_id
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from asyncpg import Record

    from rollotape.postgres.market import Connection

_SQL = queries("symbols")

StrengthPosition = tuple[float | None, str]
"""(what the page is sorted by, symbol) of the last row of a page."""

LeaderPosition = tuple[str, int, str]
"""(sector, rank, symbol) of the last row of a page."""


@dataclass(frozen=True, slots=True)
class Section:
    """A question for the cross-section of the newest date with scores up to `as_of` (None: of all)."""

    as_of: date | None
    symbols: Sequence[str] | None
    sectors: Sequence[str] | None
    sort_by: str
    weakest_first: bool
    after: StrengthPosition | None = None


@dataclass(frozen=True, slots=True)
class Leaders:
    """A question for the leaders of that cross-section, by sector and rank."""

    as_of: date | None
    sectors: Sequence[str] | None
    after: LeaderPosition | None = None
    symbols: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class History:
    """A question for the scores of one stock on dates that begin within [first, last]."""

    symbol: str
    first: datetime
    last: datetime
    newest_first: bool
    after: date | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A question for symbols whose code or name contains `search`, by code."""

    search: str | None
    sectors: Sequence[str] | None
    kind: str | None
    active: bool | None
    after: str | None = None
    only: str | None = None
    markets: Sequence[str] | None = None
    """Exchanges as they were told."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Rows of scores; `date` is that of the cross-section, `due` that some are being computed anew."""

    rows: "list[Record]"
    date: date | None
    known_at: datetime | None
    due: bool


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything that is known about one symbol at a glance."""

    listed: "Record"
    scores: "Record | None"
    bars: dict[str, int]
    events: dict[str, int]
    patterns: "Record"
    due: bool


@dataclass(frozen=True, slots=True)
class PatternDetail:
    """One pattern with the volume-spread events that its counts are made of.

    Of our own patterns, what was read in the tape up to them, their range and the paper trade on them.
    """

    pattern: "Record"
    events: "list[Record]"
    tape: "list[Record] | None"
    range: "Record | None"
    trade: "Record | None"


async def strength(connection: "Connection", asked: Section, limit: int) -> Scores:
    """At most `limit` rows of a cross-section."""
    key, symbol = asked.after or (None, None)
    sign = -1.0 if asked.weakest_first else 1.0
    wanted = (sign, asked.sort_by, asked.symbols, asked.sectors, symbol, key, limit)
    return await _section(connection, asked.as_of, "strength", wanted)


async def leaders(connection: "Connection", asked: Leaders, limit: int) -> Scores:
    """At most `limit` leaders."""
    wanted = (asked.sectors, *(asked.after or (None, None, None)), limit, asked.symbols)
    return await _section(connection, asked.as_of, "leaders", wanted)


async def _section(
    connection: "Connection", as_of: date | None, query: str, wanted: tuple[object, ...]
) -> Scores:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found: date | None = await connection.fetchval(_SQL["scored_date"], as_of)
        if found is None:
            due = await connection.fetchval(_SQL["due"], as_of or date.min, as_of or date.max)
            return Scores([], None, None, due)
        rows = await connection.fetch(_SQL["standing"] + "\n" + _SQL[query], found, *wanted)
        return await _scores(connection, list(rows), found)


async def history(connection: "Connection", asked: History, limit: int) -> Scores | None:
    """At most `limit` rows of one stock; None for a symbol that nobody knows."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        query = _SQL["history_newest_first" if asked.newest_first else "history_oldest_first"]
        rows = await connection.fetch(query, asked.symbol, asked.first, asked.last, asked.after, limit)
        if not rows and not await connection.fetchval(_SQL["knows"], asked.symbol):
            return None
        return await _scores(connection, list(rows), None)


async def _scores(connection: "Connection", rows: "list[Record]", section: date | None) -> Scores:
    dates = [row["as_of"] for row in rows]
    days = [section] if section else dates
    known_at = await connection.fetchval(_SQL["known_at"], [row["symbol"] for row in rows], dates)
    due = await connection.fetchval(
        _SQL["due"], min(days, default=date.min), max(days, default=date.max)
    )
    return Scores(rows, section, known_at, due)


async def listed(connection: "Connection", asked: Listed, limit: int) -> "list[Record]":
    """At most `limit` symbols."""
    since = await connection.fetchval(_SQL["active_since"])
    return list(
        await connection.fetch(
            _SQL["symbols"], asked.after, asked.search, asked.sectors, asked.kind, asked.active,
            list(TIMEFRAMES), since, limit, asked.only, asked.markets,
        )
    )  # fmt: skip


async def profile(connection: "Connection", symbol: str) -> Profile | None:
    """None for a symbol that nobody knows."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = await listed(connection, Listed(None, None, None, None, only=symbol), 1)
        if not found:
            return None
        scores = await connection.fetchrow(_SQL["newest_scores"], symbol)
        bars = await connection.fetch(_SQL["bar_counts"], symbol)
        events = await connection.fetch(_SQL["event_counts"], symbol)
        patterns = await connection.fetchrow(_SQL["pattern_counts"], symbol)
        day = scores["as_of"] if scores else None
        due = await connection.fetchval(_SQL["due"], day or date.min, day or date.max)
    assert patterns is not None, "an aggregate without GROUP BY has one row"
    return Profile(
        found[0], scores, {b["timeframe"]: b["count"] for b in bars},
        {e["rule_set"]: e["count"] for e in events}, patterns, due,
    )  # fmt: skip


async def pattern(connection: "Connection", pattern_id: UUID) -> PatternDetail | None:
    """None for an id that nobody knows."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = await connection.fetchrow(_SQL["pattern"], pattern_id)
        if found is None:
            return None
        key = (found["symbol"], found["timeframe"], found["detected_at"])
        events = await connection.fetch(_SQL["pattern_events"], *key)
        if not found["own"]:
            return PatternDetail(found, events, None, None, None)
        tape = await connection.fetch(_SQL["pattern_tape"], pattern_id)
        range_ = await connection.fetchrow(_SQL["pattern_range"], found["range_id"])
        trade = await connection.fetchrow(_SQL["paper_trade"], paper_id(pattern_id))
        return PatternDetail(found, events, tape, range_, trade)
