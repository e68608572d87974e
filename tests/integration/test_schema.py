"""docs/schema.md is what the database says of itself; ROLLO_TEST_DOCS=write has it written (`make docs`)."""

import os
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from rollotape.postgres.description import describe
from support.documents import ROOT

PAGE = ROOT / "docs" / "schema.md"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    opened = await asyncpg.connect(database_url)
    try:
        yield opened
    finally:
        await opened.close()


async def test_the_page_is_what_make_docs_writes(connection: "asyncpg.Connection[Any]") -> None:
    made = await describe(connection)
    if os.environ.get("ROLLO_TEST_DOCS") == "write":
        PAGE.write_text(made, "utf-8")
    assert PAGE.read_text("utf-8") == made, "run `make docs`"


async def test_every_column_key_index_and_function_is_on_it(connection: "asyncpg.Connection[Any]") -> None:
    await connection.execute(
        """
        CREATE TABLE zoo (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            kind text NOT NULL DEFAULT 'a|b' CHECK (kind <> ''),
            twice bigint GENERATED ALWAYS AS (id * 2) STORED
        );
        COMMENT ON TABLE zoo IS 'Animals.';
        COMMENT ON COLUMN zoo.kind IS 'Of an animal.';
        CREATE INDEX idx_zoo_kind ON zoo (kind) WHERE id > 7;
        CREATE FUNCTION feed(animal bigint) RETURNS text LANGUAGE sql RETURN 'hay';
        COMMENT ON FUNCTION feed IS 'What it eats.';
        """
    )
    said = await describe(connection)
    part = said.partition("\n## zoo\n")[2].partition("\n## ")[0].split("\n")
    assert part[1] == "Animals."
    assert [line for line in part if line.startswith(("| `", "- "))] == [
        "| `id` | bigint |  | counted |  |",
        r"| `kind` | text |  | `'a\|b'::text` | Of an animal. |",
        "| `twice` | bigint | yes | follows from others |  |",
        "- `zoo_pkey`: PRIMARY KEY (id)",
        "- `zoo_kind_check`: CHECK ((kind <> ''::text))",
        "- `idx_zoo_kind`: btree (kind) WHERE (id > 7)",
    ]
    assert "| `feed(animal bigint)` | text | What it eats. |" in said


async def test_every_table_says_what_it_is_for(connection: "asyncpg.Connection[Any]") -> None:
    silent = await connection.fetch(
        """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
          AND relname <> 'alembic_version' AND obj_description(oid, 'pg_class') IS NULL
        """
    )
    assert {name for [name] in silent} == set()
