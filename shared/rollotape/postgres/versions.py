"""The version of each symbol: what memory is valid for, and the lock under which it changes."""

import secrets
from collections.abc import Collection, Mapping
from typing import Any

from rollotape import tracing
from rollotape.postgres.sql import queries

Version = tuple[int, int]
"""(counter, nonce); a symbol never stored has (0, 0)."""
UNKNOWN: Version = (0, 0)

_SQL = "versions"


class Moved(Exception):
    """A symbol changed between gather and apply; nothing was written, gather again."""


async def current(pool: Any, symbols: Collection[str]) -> dict[str, Version]:
    """Versions of those symbols that were ever stored."""
    found = await pool.fetch(queries(_SQL)["versions"], list(symbols))
    return {symbol: (version, nonce) for symbol, version, nonce in found}


def draw() -> int:
    """A number for a commit: no other has the same."""
    return secrets.randbits(63) or 1


async def lock(
    connection: Any, symbols: Collection[str], expected: Mapping[str, Version], nonce: int | None = None
) -> dict[str, Version]:
    """Lock symbols until the transaction ends, in one order for all, and move them to their next versions.

    They share the number of the commit, `nonce` or a new one, by which its trace is known.

    Raises:
        Moved: one of them is no longer at the version that was expected.
    """
    sql, ordered = queries(_SQL), sorted(symbols)
    if any(symbol not in expected for symbol in ordered):
        await connection.execute(sql["add_symbols"], ordered)
    locked = await connection.fetch(sql["lock_symbols"], ordered)
    if any((counter, nonce) != expected.get(symbol, UNKNOWN) for symbol, counter, nonce in locked):
        raise Moved
    nonce = nonce or draw()
    moved = {symbol: (counter + 1, nonce) for symbol, counter, _ in locked}
    await connection.execute(sql["move_symbols"], list(moved), nonce)
    tracing.note(trace_id=tracing.of(nonce))
    return moved


async def level(connection: Any, locked: Mapping[str, Version]) -> dict[str, Version]:
    """Bring symbols that are locked and moved to one counter, the greatest of them."""
    most = max(counter for counter, _ in locked.values())
    await connection.execute(queries(_SQL)["level_symbols"], list(locked), most)
    return {symbol: (most, nonce) for symbol, (_, nonce) in locked.items()}
