"""How PostgreSQL would do what a repository really asks of it."""

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from asyncpg.connection import LoggedQuery

Ask = Callable[[Any], Awaitable[object]]
"""A call of a repository, given a connection."""


class Plans:
    """Of the statements of one call: those that read or write rows, in their order."""

    def __init__(self, asked: list[LoggedQuery], trees: list[dict[str, Any]]) -> None:
        self.asked = asked
        self._trees = trees

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self._nodes() if "Index Name" in node}

    @property
    def read_whole(self) -> set[str]:
        """Tables of which every row would be looked at."""
        return {node["Relation Name"] for node in self._nodes() if node["Node Type"] == "Seq Scan"}

    def __str__(self) -> str:
        return "\n\n".join(
            f"{query.query}\n{list(query.args)}\n{json.dumps(tree, indent=1)}"
            for query, tree in zip(self.asked, self._trees, strict=True)
        )

    def _nodes(self) -> Iterator[dict[str, Any]]:
        waiting = list(self._trees)
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", ())


async def plans_of(connection: Any, ask: Ask) -> Plans:
    """Ask for real, then have every statement explained with the arguments it had; nothing is kept."""
    heard: list[LoggedQuery] = []
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        with connection.query_logger(heard.append):
            await ask(connection)
    finally:
        await transaction.rollback()
    asked = [query for query in heard if _has_plan(query.query)]
    assert asked, "nothing was asked"
    trees = [
        json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query.query}", *query.args))[0]["Plan"]
        for query in asked
    ]
    return Plans(asked, trees)


def _has_plan(query: str) -> bool:
    lines = (line.strip() for line in query.splitlines())
    first = next(line for line in lines if line and not line.startswith("--"))
    return first.split()[0].upper().strip("(") in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
