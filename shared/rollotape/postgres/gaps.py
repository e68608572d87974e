"""Runs of missing bars, how far they have been looked for, and who was asked for them."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from rollotape.domain.gaps import Gap, Kind
from rollotape.postgres.dead_letters import Database
from rollotape.postgres.pool import unavailable
from rollotape.postgres.sql import queries

if TYPE_CHECKING:
    import asyncpg

Key = tuple[str, str]
"""(symbol, timeframe)"""

ALWAYS, NEVER = -5_364_662_400_000_000, 10_413_792_000_000_000
"""The years 1800 and 2300: no bar is older or younger."""
MOST_ASKS = 8
AGAIN_S, LONGEST_S = 30.0, 3_600.0
"""Pauses between questions double from the first to the longest."""
PUT_OFF_S = 300.0
RECENT_S = 7 * 86_400.0

_SQL = queries("gaps")


@dataclass(frozen=True, slots=True)
class Serves:
    """Of which bars a producer may be asked."""

    symbols: frozenset[str] | None
    """None: of any symbol."""
    timeframes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Request:
    """Bars that are missing: from the start of the first to the start of the last, both included."""

    symbol: str
    timeframe: str
    first_us: int
    last_us: int
    bars: int


class Mark(NamedTuple):
    """Bars of a series came or changed between these starts."""

    symbol: str
    timeframe: str
    first: int
    last: int


class Looked(NamedTuple):
    """What was found in a span of a series: runs that start after `after`, up to `last`."""

    symbol: str
    timeframe: str
    after: int
    last: int
    gaps: Sequence[Gap]


@dataclass(frozen=True, slots=True)
class Listed:
    """A gap as people see it."""

    symbol: str
    timeframe: str
    first_ts: datetime
    last_ts: datetime
    bars: int
    kind: Kind
    found_at: datetime
    asks: int
    asked_at: datetime | None
    asked_of: str | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How much is missing, of how many symbols and timeframes; of some, bars that came are not looked at."""

    series: int
    waiting: int
    gaps: int
    bars: int


class Count(NamedTuple):
    timeframe: str
    state: str
    gaps: int
    bars: int


# ---- the auditor; connections have raw times


async def only_auditor(connection: Any) -> bool:
    """Whether nobody else looks, until the end of this transaction."""
    return bool(await connection.fetchval(_SQL["only_auditor"]))


async def compact(pool: "asyncpg.Pool[Any]", most: int) -> None:
    """Have one mark for each series that has more than `most`."""
    await pool.execute(_SQL["compact"], most)


async def newest_mark(pool: "asyncpg.Pool[Any]") -> int:
    return int(await pool.fetchval(_SQL["newest_mark"]))


async def fronts(pool: "asyncpg.Pool[Any]") -> dict[str, int]:
    """By timeframe the end of its newest bar."""
    return dict(await pool.fetch(_SQL["newest"]))


async def take_marks(connection: Any, count: int, newest: int) -> list[Mark]:
    rows = await connection.fetch(_SQL["take_marks"], count, newest)
    return [Mark(s, t, max(first, ALWAYS), min(last, NEVER)) for s, t, first, last in rows]


async def mark(connection: Any, marks: Sequence[Mark]) -> None:
    if marks:
        await connection.execute(_SQL["mark"], *zip(*marks, strict=True))


async def mark_all(database: Database) -> None:
    """Have everything looked at again."""
    await database.execute(_SQL["mark_all"])


async def due(connection: Any, timeframe: str, until: int, count: int) -> list[Key]:
    return [(row[0], row[1]) for row in await connection.fetch(_SQL["due"], timeframe, until, count)]


async def audited(connection: Any, keys: Sequence[Key]) -> dict[Key, int]:
    """Up to when each was looked at, of those that were."""
    if not keys:
        return {}
    return {(s, t): until for s, t, until in await connection.fetch(_SQL["until"], *zip(*keys, strict=True))}


async def edges(connection: Any, spans: Sequence[Mark]) -> list[tuple[int | None, int | None]]:
    """Of each span the last stored bar before and the first one after it."""
    rows = await connection.fetch(_SQL["edges"], *zip(*spans, strict=True))
    found = {i: (before, after) for i, before, after in rows}
    return [found[n] for n in range(1, len(spans) + 1)]


async def stored(connection: Any, spans: Sequence[Mark], most: int) -> list[list[int]]:
    """The starts of the bars of each span, of the one before it and of the first one at or after its end."""
    if not spans:
        return []
    rows = await connection.fetch(_SQL["stored"], *zip(*spans, strict=True), most)
    found: dict[int, list[int]] = dict(rows)
    return [found.get(n, []) for n in range(1, len(spans) + 1)]


async def replace(connection: Any, looked: Sequence[Looked], settle_s: float) -> None:
    """Store what was found; requests may be taken after `settle_s`, when bars on their way have come."""
    if not looked:
        return
    found = {(x.symbol, x.timeframe, gap.first): gap for x in looked for gap in x.gaps}  # spans may overlap
    rows = [(symbol, timeframe, *astuple(gap)) for (symbol, timeframe, _), gap in found.items()]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(6)]
    spans = [list(column) for column in zip(*(x[:4] for x in looked), strict=True)]
    await connection.execute(_SQL["forget"], *spans, *columns[:3])
    if rows:
        await connection.execute(_SQL["store"], *columns, settle_s)


async def looked_at(connection: Any, series: Mapping[Key, tuple[int, bool]]) -> None:
    """Up to when each was looked at now, and whether it is followed."""
    if series:
        rows = [(*key, *series[key]) for key in sorted(series)]
        await connection.execute(_SQL["looked"], *zip(*rows, strict=True))


# ---- producers; connections of any kind


async def take(
    pool: "asyncpg.Pool[Any]", name: str, serves: Serves, count: int, lease_s: float
) -> list[Request]:
    """Requests for bars that this producer may have; nobody else is given them for `lease_s`.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    symbols = None if serves.symbols is None else sorted(serves.symbols)
    with unavailable("postgres"):
        rows = await pool.fetch(
            _SQL["take"], symbols, sorted(serves.timeframes), name, count, lease_s, MOST_ASKS
        )
    return [Request(**row) for row in rows]


async def answer(pool: "asyncpg.Pool[Any]", request: Request, sent: int | None) -> None:
    """So many bars were sent; none, because nothing traded then; None: cannot tell.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    said = "unknown" if sent is None else "sent" if sent else "nothing"
    with unavailable("postgres"):
        await pool.execute(
            _SQL["answer"], request.symbol, request.timeframe, request.first_us, request.last_us, said,
            AGAIN_S, LONGEST_S,
        )  # fmt: skip


async def put_off(pool: "asyncpg.Pool[Any]", request: Request) -> None:
    """Whoever was asked cannot tell now.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    with unavailable("postgres"):
        await pool.execute(_SQL["put_off"], request.symbol, request.timeframe, request.first_us, PUT_OFF_S)


# ---- people


@dataclass(frozen=True, slots=True)
class Choice:
    """Which gaps are meant; without anything, all that are missing and not explained."""

    symbols: list[str] | None = None
    timeframes: list[str] | None = None
    since: datetime | None = None
    before: datetime | None = None
    everything: bool = False
    """Also pauses, and what a producer says was never there."""

    @property
    def span(self) -> tuple[Any, ...]:
        return self.symbols, self.timeframes, self.since, self.before


MISSING, ALL = Choice(), Choice(everything=True)


async def listed(database: Database, choice: Choice = MISSING, limit: int = 1_000) -> list[Listed]:
    """The newest first."""
    rows = await database.fetch(_SQL["listed"], *choice.span, choice.everything, limit)
    return [Listed(**row) for row in rows]


async def standing(database: Database, choice: Choice = MISSING) -> Standing:
    row = await database.fetchrow(_SQL["standing"], *choice.span, choice.everything)
    assert row is not None
    return Standing(**row)


async def ask_again(database: Database, choice: Choice) -> int:
    """Have them asked for at once, however often that was in vain; how many."""
    return len(await database.fetch(_SQL["ask_again"], *choice.span))


async def counted(database: Database) -> list[Count]:
    """By timeframe and state: recent, old, nothing (was to be had), pause."""
    return [Count(*row) for row in await database.fetch(_SQL["counted"], RECENT_S)]
