"""What a producer asks of the database: where to send, and whether what it sent has been applied and said."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from rollotape.errors import Refused
from rollotape.postgres.dead_letters import Database
from rollotape.postgres.sql import queries

ALL = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Due:
    """What of relative strength is still to be done, and whether anybody is there to do it."""

    marks: int
    dates: int
    newest_mark: int
    newest_date: int
    is_attended: bool


@dataclass(frozen=True, slots=True)
class Unread:
    """How many keys have bars still to be read, as of when, and whether anybody is there to do it."""

    keys: int
    now: datetime
    is_attended: bool


async def partitions(database: Database) -> int:
    """P of this installation.

    Raises:
        Refused: the database has not been set up.
    """
    found = await database.fetchval(queries("arrivals")["partitions"])
    if found is None:
        raise Refused("the database has no installation yet: run `rollo migrate`")
    return int(found)


async def newest_unsaid(database: Database) -> int | None:
    """The newest outbox row, None when all is said."""
    newest: int | None = await database.fetchval(queries("arrivals")["newest_unsaid"])
    return newest


async def unsaid(database: Database, newest: int) -> bool:
    """Whether an outbox row up to this one is still there."""
    return bool(await database.fetchval(queries("arrivals")["unsaid"], newest))


async def events(database: Database, symbols: Sequence[str]) -> int:
    """How many volume-spread events these symbols have."""
    return int(await database.fetchval(queries("arrivals")["events"], list(symbols)))


async def due(database: Database, marks: int | None = None, dates: int | None = None) -> Due:
    """Of the marks and dates up to these ids, or of all."""
    row = await database.fetchrow(
        queries("arrivals")["due"], ALL if marks is None else marks, ALL if dates is None else dates
    )
    assert row is not None
    return Due(**row)


async def unread(database: Database, until: datetime | None = None) -> Unread:
    """Of the marks made up to a time, or of all."""
    row = await database.fetchrow(queries("arrivals")["unread"], until)
    assert row is not None
    return Unread(**row)


async def wyckoff_events(database: Database, symbols: Sequence[str]) -> int:
    """How many Wyckoff events these symbols have."""
    return int(await database.fetchval(queries("arrivals")["wyckoff_events"], list(symbols)))


async def scored_dates(database: Database, first: date, last: date) -> int:
    """How many dates of a span have scores."""
    return int(await database.fetchval(queries("arrivals")["scored_dates"], first, last))


async def sample(database: Database, count: int) -> list[str]:
    """So many symbols by chance, fewer where there are fewer."""
    return [row["symbol"] for row in await database.fetch(queries("arrivals")["sample"], count)]


async def has_bars(database: Database) -> bool:
    """Whether anything was ever stored."""
    return bool(await database.fetchval(queries("arrivals")["has_bars"]))


async def held(database: Database, keys: Sequence[tuple[str, str, int, int]]) -> list[set[int]]:
    """The starts of stored bars of each (symbol, timeframe, from, to); times are raw microseconds."""
    found: list[set[int]] = [set() for _ in keys]
    columns = [list(column) for column in zip(*keys, strict=True)]
    for i, ts in await database.fetch(queries("arrivals")["held"], *columns):
        found[i - 1].add(ts)
    return found


async def counts(database: Database, keys: Sequence[tuple[str, str, int, int]]) -> list[int]:
    """How many bars of each (symbol, timeframe, from, to) are stored; in microseconds since 1970."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    rows = await database.fetch(queries("arrivals")["counts"], *columns)
    found = {row["i"]: row["bars"] for row in rows}
    return [found.get(n, 0) for n in range(1, len(keys) + 1)]
