"""Imports point inward, the domain is pure, and what must be listed is listed.

From the inside out: errors; domain; contracts and settings; streams, postgres, cache, embedded servers; what
is built on them; the command line and the services.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from rollotape.settings import Settings

ROOT = Path(__file__).parents[1]
SERVICES = {path.name: path for path in sorted(ROOT.glob("services/*/*")) if (path / "__init__.py").exists()}
PACKAGES = {"rollotape": ROOT / "shared" / "rollotape"} | SERVICES

PURE = {
    "abc", "bisect", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools",
    "hashlib", "heapq", "itertools", "math", "numpy", "operator", "orjson", "re", "struct", "types", "typing",
    "uuid",
}  # fmt: skip
"""What the domain may use: of `datetime`, what reads no clock; of orjson, how numbers are spelled."""
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "perf_counter", "uuid1", "uuid4"}


@cache
def modules() -> dict[str, ast.Module]:
    """Syntax trees by module name."""
    trees = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join([package, *(p for p in parts if p != "__init__")])
            trees[name] = ast.parse(path.read_text("utf-8"), str(path))
    return trees


def imports(name: str, *, for_types: bool = False) -> set[str]:
    """Modules that a module imports, those inside functions too, those for type checkers only if asked."""
    found = set()
    for node in walk(modules()[name], for_types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively"
            base = node.module or ""
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in modules() else base for a in node.names}
    return found


def walk(tree: ast.AST, for_types: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not for_types:
            continue
        yield node
        yield from walk(node, for_types)


def at_import(name: str) -> set[str]:
    """Our own modules that are imported when this one is, not later inside a function."""
    tree = modules()[name]
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(node)
    }
    found = set()
    for node in walk(tree, for_types=False):
        if id(node) in later:
            continue
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in modules() else base for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules().keys()


def names_of(package: str) -> list[str]:
    return [name for name in modules() if name == package or name.startswith(package + ".")]


def test_the_trees_were_found() -> None:
    assert len(modules()) > 30
    assert {"rollotape.errors", "rollotape.domain.bars", "detector.main"} <= modules().keys()


@pytest.mark.parametrize("name", names_of("rollotape.domain"))
def test_the_domain_imports_nothing_that_could_look_outside(name: str) -> None:
    for used in imports(name):
        ours = used == "rollotape.errors" or used.startswith("rollotape.domain")
        assert ours or used.partition(".")[0] in PURE, f"{name} imports {used}"


@pytest.mark.parametrize("name", names_of("rollotape.domain"))
def test_the_domain_has_no_clock_and_no_chance(name: str) -> None:
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("np", "random"), where(name, node)
            reads = node.value.id in {"datetime", "date", "time", "uuid"} and node.attr in CLOCKS
            assert not reads, where(name, node)


@pytest.mark.parametrize("name", names_of("rollotape.domain"))
def test_the_domain_sums_exactly(name: str) -> None:
    """The builtin `sum` of floats differs between Python 3.11 and 3.12: `math.fsum`, or integers in numpy."""
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "sum", where(name, node)


@pytest.mark.parametrize("name", names_of("rollotape.domain"))
def test_the_domain_neither_reads_nor_prints(name: str) -> None:
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval"}, where(name, node)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("rollotape.errors", set()),
        ("rollotape.events", set()),
        ("rollotape.wording", {"rollotape.errors"}),
        ("rollotape.redis.addresses", set()),
        ("rollotape.settings", {"rollotape.errors", "rollotape.redis.addresses", "rollotape.wording"}),
    ],
)
def test_contracts_errors_and_settings_depend_on_nothing_above_them(name: str, allowed: set[str]) -> None:
    assert {i for i in imports(name) if i.partition(".")[0] in PACKAGES} <= allowed


@pytest.mark.parametrize("name", names_of("rollotape"))
def test_the_library_does_not_import_the_services_built_on_it(name: str) -> None:
    assert not {used for used in imports(name, for_types=True) if used.partition(".")[0] in SERVICES}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_does_not_import_another(service: str) -> None:
    for name in names_of(service):
        assert not {u for u in imports(name) if u.partition(".")[0] in SERVICES.keys() - {service}}


@pytest.mark.parametrize(
    "part", ["redis", "streams", "postgres", "cache", "embedded", "producers", "domain", "simulation"]
)
def test_only_the_edge_knows_the_command_line(part: str) -> None:
    for name in names_of(f"rollotape.{part}"):
        assert not {u for u in imports(name) if u.startswith("rollotape.cli") or u in {"typer", "rich"}}, name


def test_embedded_servers_know_nothing_of_what_runs_on_them() -> None:
    for name in names_of("rollotape.embedded"):
        ours = {u for u in imports(name) if u.startswith("rollotape.")}
        assert all(u == "rollotape.errors" or u.startswith("rollotape.embedded") for u in ours), name


def test_the_client_knows_the_gateway_by_its_words_alone() -> None:
    """It shares contracts and errors with it, and neither servers nor settings."""
    for name in names_of("rollotape.client"):
        ours = {u for u in imports(name, for_types=True) if u.startswith("rollotape.")}
        allowed = {"rollotape.errors", "rollotape.events"}
        shared = ("rollotape.client", "rollotape.answers")
        assert all(u in allowed or u.startswith(shared) for u in ours), name


def test_shapes_of_answers_know_nothing_but_each_other() -> None:
    for name in names_of("rollotape.answers"):
        ours = {u for u in imports(name, for_types=True) if u.partition(".")[0] in PACKAGES}
        assert all(u.startswith("rollotape.answers") for u in ours), name


def test_the_extra_of_the_client_is_needed_by_nothing_else() -> None:
    for name in modules():
        assert name.startswith("rollotape.client") or "httpx" not in imports(name), name


def test_the_guardian_needs_nothing_but_the_standard_library() -> None:
    """It runs without site-packages, so that it starts at once."""
    used = {u.partition(".")[0] for u in imports("rollotape.embedded.children")}
    assert used <= sys.stdlib_module_names


def test_the_simulated_market_does_not_know_what_is_looked_for() -> None:
    for part in ("simulator", "telling", "laying", "feed"):
        name = f"rollotape.producers.{part}"
        looked_for = ("rollotape.domain.vsa", "rollotape.domain.wyckoff", "rollotape.domain.analysis")
        assert not {u for u in imports(name) if u.startswith(looked_for)}


@pytest.mark.parametrize("name", names_of("rollotape.simulation"))
def test_the_simulation_does_not_know_how_a_detector_decides(name: str) -> None:
    """Or a score would only say that two copies of a rule agree."""
    ours = {u for u in imports(name, for_types=True) if u.startswith("rollotape.")}
    allowed = {"rollotape.domain", "rollotape.domain.bars", "rollotape.domain.sessions", "rollotape.errors"}
    assert all(u in allowed or u.startswith("rollotape.simulation") for u in ours), name


@pytest.mark.parametrize(
    "name", [name for name in names_of("rollotape.simulation") if name != "rollotape.simulation.files"]
)
def test_the_simulation_is_pure_but_for_its_files(name: str) -> None:
    for used in imports(name):
        assert used.partition(".")[0] in PURE | {"random", "rollotape", "statistics"}, used
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("np", "random"), where(name, node)


def test_no_module_imports_itself_in_a_circle() -> None:
    try:
        TopologicalSorter({name: at_import(name) - {name} for name in modules()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_module_opens_with_a_sentence() -> None:
    for name, tree in modules().items():
        if tree.body:
            said = ast.get_docstring(tree)
            assert said, f"{name} opens with code"
            assert said.split("\n\n")[0].rstrip().endswith((".", ":")), f"{name} opens with {said!r}"


def test_every_setting_has_a_local_value_and_a_sentence() -> None:
    text = (ROOT / "deploy" / "local.env").read_text("utf-8")
    listed = re.findall(r"^# \S.*\n#? ?(ROLLO_[A-Z_]+)=", text, re.MULTILINE)
    assert sorted(listed) == sorted(f"ROLLO_{name.upper()}" for name in Settings.model_fields)


def test_the_lock_pins_everything_by_hash_and_names_no_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    entries = re.findall(r"^([a-z0-9][^\s;=]*)==\S+ (?:; .+ )?\\\n    --hash=sha256:", lock, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE)) > 50
    assert "://" not in lock
    assert not re.search(r"index|find-links", lock)


def where(name: str, node: ast.expr) -> str:
    return f"{name}, line {node.lineno}: {ast.unparse(node)}"
