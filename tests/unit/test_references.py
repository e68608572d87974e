"""What the pages of docs/ must name (streams, tables, checks, sentences), and references as they are made."""

import ast
import csv
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from rollotape import reference
from rollotape.cli import COMMANDS
from rollotape.events import STREAMS
from rollotape.producers.companies import STOCKS
from support import documents
from support.documents import ROOT

ARCHITECTURE = ROOT / "docs" / "architecture.md"
TROUBLES = ROOT / "docs" / "troubleshooting.md"
MIGRATIONS = ROOT / "shared" / "rollotape" / "postgres" / "migrations" / "versions"
DIAGNOSIS = ROOT / "shared" / "rollotape" / "diagnosis.py"
SOURCES = [*(ROOT / "shared" / "rollotape").rglob("*.py"), *(ROOT / "services").rglob("*.py")]
_TABLE = re.compile(r"CREATE (?:TABLE|SEQUENCE) (\w+)")

FINDINGS = ("warning", "broken", "kind", "_away")
_NAME = r"\w+"
_NODE = rf'{_NAME}(?:\["[^"]+"\]|\[\("[^"]+"\)\])'
_EDGE = rf'({_NAME}) (?:-->|-- "[^"]+" -->) ({_NAME})'


def diagram() -> list[str]:
    [drawn] = [block for block in documents.blocks(ARCHITECTURE) if block.language == "mermaid"]
    return [line.strip() for line in drawn.lines if line.strip()]


def tables() -> set[str]:
    return {
        name
        for path in MIGRATIONS.glob("*.sql")
        if not path.name.endswith(".down.sql")
        for name in _TABLE.findall(path.read_text("utf-8"))
    }


def test_the_diagram_is_one_that_mermaid_reads() -> None:
    """Of its grammar we use nodes in quotes, arrows between nodes that there are, and closed subgraphs."""
    first, *lines = diagram()
    assert first == "flowchart LR"
    nodes, used, depth = set[str](), set[str](), 0
    for line in lines:
        if re.fullmatch(rf'subgraph {_NAME} \["[^"]+"\]', line):
            depth += 1
        elif line == "end":
            depth -= 1
        elif re.fullmatch(_NODE, line):
            nodes.add(line.split("[")[0])
        else:
            edge = re.fullmatch(_EDGE, line)
            assert edge, f"not of the part of the grammar that we use: {line}"
            used |= {edge[1], edge[2]}
        assert depth in (0, 1)
    assert depth == 0
    assert used == nodes


def test_the_diagram_names_every_stream_and_every_table() -> None:
    words = set(re.findall(r"[a-z_]+", "\n".join(line for line in diagram() if "[" in line)))
    assert STREAMS.keys() <= words
    assert tables() <= words


def test_it_is_told_who_writes_each_table() -> None:
    named = {name for row in rows(ARCHITECTURE) for name in re.findall(r"`(\w+)`", row[0])}
    assert tables() <= named


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("events.md", reference.streams),
        ("configuration.md", reference.settings),
        ("monitoring.md", reference.metrics),
    ],
)
def test_a_reference_is_what_make_docs_writes(name: str, made: Callable[[], str]) -> None:
    assert (ROOT / "docs" / name).read_text("utf-8") == made(), "run `make docs`"


def test_every_check_of_the_doctor_is_explained() -> None:
    explained = {row[0].strip("`") for row in rows(TROUBLES)}
    assert checks() <= explained


SAID = [code for row in documents.tables(TROUBLES) for code in documents.codes(row[-2])]


@pytest.mark.parametrize("said", SAID)
def test_a_sentence_that_is_explained_is_said(said: str) -> None:
    parts = [part.strip() for part in said.split("…")]
    assert any(all(part in text for part in parts) for text in sentences()), said


def rows(path: Path) -> Iterator[list[str]]:
    return iter(documents.tables(path))


def checks() -> set[str]:
    """Names of findings that are warnings or worse."""
    found = set[str]()
    for function in ast.walk(ast.parse(DIAGNOSIS.read_text("utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in FINDINGS:
                if isinstance(node.args[0], ast.Constant):
                    found.add(str(node.args[0].value))
            elif isinstance(node, ast.Assign):
                found |= set(_named_check(node))
    return found


def _named_check(node: ast.Assign) -> Iterator[str]:
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        target, value = target.elts[0], value.elts[0]
    if isinstance(target, ast.Name) and target.id == "check" and isinstance(value, ast.Constant):
        yield str(value.value)


@cache
def sentences() -> list[str]:
    """Every text of the code, with `…` where something is filled in."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(map(str, parts)))
    return found


def test_every_command_is_explained() -> None:
    shown = documents.inline_code(ROOT / "docs" / "commands.md")
    for name in COMMANDS:
        assert any(code.split()[:2] == ["rollo", name] for code in shown), f"not in commands.md: rollo {name}"


def test_counts_in_the_text_are_those_of_the_code() -> None:
    readme, strength = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/strength.md"))
    assert f"The {len(STOCKS)} companies do not exist" in readme
    with (ROOT / "shared" / "rollotape" / "seed" / "sectors.csv").open(encoding="utf-8") as file:
        stocks = [row for row in csv.DictReader(file) if row["kind"] == "stock"]
    assert f"{len(stocks)} stocks, the benchmarks" in strength
