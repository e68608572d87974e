"""What a producer asks of the database: where to send, and whether what it sent has been applied and said."""

from collections.abc import Sequence

from rollotape.errors import Refused
from rollotape.postgres.dead_letters import Database
from rollotape.postgres.sql import queries


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


async def sample(database: Database, count: int) -> list[str]:
    """So many symbols by chance, fewer where there are fewer."""
    return [row["symbol"] for row in await database.fetch(queries("arrivals")["sample"], count)]
