"""Universes: named sets of symbols. Lists are an input; sectors, leaders and exchanges follow from others."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import asyncpg

from rollotape.domain import sectors
from rollotape.errors import Refused
from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    from rollotape.postgres.market import Connection

LEADERS = "leaders"
LIST_KEY = r"[a-z0-9][a-z0-9_-]{0,39}"
"""Of lists; those that follow from others have a colon, or are called leaders."""
KEY = r"[a-z0-9][a-z0-9_:-]{0,79}"
_SQL = queries("universes")

Category = Literal["index", "sector", "leaders", "exchange"]


@dataclass(frozen=True, slots=True)
class Universe:
    """One of them; two of the same version have the same members."""

    key: str
    description: str
    category: Category
    symbols: tuple[str, ...]
    """In alphabetical order."""
    version: str
    changed_at: datetime | None = None
    """Of a list, when its members last changed; None where nobody knows."""


class Stored(NamedTuple):
    """What an import changed."""

    added: int
    removed: int


async def store(
    pool: "asyncpg.Pool[Any]", key: str, symbols: Iterable[str], description: str | None = None
) -> Stored:
    """Give a list just these members.

    Raises:
        Refused: this is no key of a list.
    """
    must_be_key(key)
    new = sorted(set(symbols))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SQL["lock"])
        old = set(await connection.fetchval(_SQL["members"], key) or ())
        await connection.execute(_SQL["store"], key, description, new)
    return Stored(len(set(new) - old), len(old.difference(new)))


async def store_exchanges(pool: "asyncpg.Pool[Any]", exchanges: Mapping[str, str]) -> int:
    """Keep where these symbols are listed; how many are new or elsewhere now."""
    if not exchanges:
        return 0
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SQL["lock"])
        names = sorted(exchanges)
        changed = await connection.fetchval(_SQL["store_exchanges"], names, [exchanges[n] for n in names])
    return int(changed)


def must_be_key(key: str) -> None:
    """
    Raises:
        Refused: this is no key of a list.
    """
    if not re.fullmatch(LIST_KEY, key) or key == LEADERS:
        raise Refused(
            f"{key!r} is no key of a list: 1 to 40 characters a-z 0-9 - _, beginning with a letter or digit;"
            f" {LEADERS} follows from the scores"
        )


async def load(connection: "Connection") -> list[Universe]:
    """Every universe with its members, by category and key."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        lists = await connection.fetch(_SQL["lists"])
        by_sector: Any = await connection.fetch(_SQL["sectors"])
        leaders = await connection.fetchrow(_SQL["leaders"])
        by_exchange: Any = await connection.fetch(_SQL["exchanges"])
    assert leaders is not None, "an aggregate without GROUP BY has one row"
    members = dict(by_sector)
    found = [
        *(_made(r["key"], r["description"], "index", r["symbols"], r["changed_at"]) for r in lists),
        _made(LEADERS, "The strongest fifth of every sector", "leaders", leaders["symbols"]),
        *(
            _made(f"sector:{_slug(name)}", name, "sector", members.get(name, ()))
            for name in dict.fromkeys((*sectors.SECTORS, *members))
        ),
        *(
            _made(f"exchange:{_slug(name)}", f"Listed on {name}", "exchange", symbols)
            for name, symbols in dict(by_exchange).items()
        ),
    ]
    return sorted(found, key=lambda universe: (_CATEGORIES.index(universe.category), universe.key))


_CATEGORIES: tuple[Category, ...] = ("index", "leaders", "sector", "exchange")


def _made(
    key: str, description: str, category: Category, symbols: Sequence[str], changed_at: datetime | None = None
) -> Universe:
    version = blake2b("\n".join((key, *symbols)).encode(), digest_size=8).hexdigest()
    return Universe(key, description, category, tuple(symbols), version, changed_at)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
