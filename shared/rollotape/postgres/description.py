"""The schema as Markdown, as the database itself describes it: from its comments and its definitions."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rollotape.postgres.sql import queries

if TYPE_CHECKING:  # generic in the stubs only
    import asyncpg

    Connection = asyncpg.Connection[Any]

_HEAD = """
# Schema

<!-- Written by `make docs`: change the comments in `postgres/migrations/versions` instead. -->

Every table of the newest revision, from the comments in the database: `rollo migrate` brings one there. Who
writes which table, and why, is in [architecture.md](architecture.md). Times are in UTC; days of analytics are
those of New York.
""".strip()


async def describe(connection: "Connection") -> str:
    """Every table, view, sequence and function of a migrated database."""
    lines = [_HEAD]
    async for part in _relations(connection):
        lines += part
    lines += ["", "## Functions", *_table(await _functions(connection))]
    return "\n".join(lines) + "\n"


async def _relations(connection: "Connection") -> AsyncIterator[list[str]]:
    sql = queries("description")
    for oid, name, kind, said in await connection.fetch(sql["relations"]):
        lines = ["", f"## {name}", "", *([said] if said else [])]
        if kind == "v":
            lines.append("\nA view.")
        if kind == "S":
            yield [*lines, "\nA sequence."]
            continue
        columns = await connection.fetch(sql["columns"], oid)
        lines += _table(_columns(columns, nulls=kind == "r"))
        found = [f"- `{rule}`: {text}" for rule, text in await connection.fetch(sql["constraints"], oid)]
        for index, text in await connection.fetch(sql["indexes"], oid):
            found.append(f"- `{index}`: {_index(text)}")
        for trigger, function in await connection.fetch(sql["triggers"], oid):
            found.append(f"- trigger `{trigger}` runs `{function}`")
        yield [*lines, *([""] if found else []), *found]


def _columns(columns: Sequence[Any], *, nulls: bool) -> Iterator[Sequence[str]]:
    yield "column", "type", *(["null", "default"] if nulls else []), "meaning"
    for name, kind, nullable, given, said in columns:
        more = ["yes" if nullable else "", _given(given)] if nulls else []
        yield f"`{name}`", kind, *more, said or ""


def _given(given: str | None) -> str:
    if given is None or given in ("counted", "follows from others"):
        return given or ""
    return f"`{given}`"


async def _functions(connection: "Connection") -> Iterator[Sequence[str]]:
    found = await connection.fetch(queries("description")["functions"])
    rows = [(f"`{name}({arguments})`", returns, said or "") for name, arguments, returns, said in found]
    return iter([("function", "returns", "what for"), *rows])


def _index(text: str) -> str:
    return text.partition(" USING ")[2]


def _table(rows: Iterator[Sequence[str]]) -> list[str]:
    """A table whose first row names the columns."""
    header, *body = rows
    return ["", _row(header), "|" + "---|" * len(header), *map(_row, body)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
