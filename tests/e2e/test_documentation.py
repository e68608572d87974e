"""Every command that a document shows is run, its output is compared, and every link leads somewhere.

Commands stand in fences named `console`, behind `$ ` (and `> ` where they go on). All documents are read on
one stack, each by a reader in a folder of his own. ROLLO_TEST_DOCS=write puts what was printed into them; the
README then gets the real market data that it shows, where they are (`shared_data`).
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import redis
import typer

from rollotape import cli
from support import documents, folders, market_files
from support.documents import ROOT, Command
from support.reading import Reader
from support.stacks import Stack, running_stack

LANGUAGES = {"console", "redis", "python", "mermaid", "json", "csv", "text"}
"""`console` and `redis` are run here, `python` in tests/unit/test_definitions.py and, of client.md, in
tests/integration/test_client_page.py; others are no commands."""
_DEMO, _PACKAGING = "tests/e2e/test_demo.py", "tests/e2e/test_packaging.py"
_RIGHTS = "tests/e2e/test_rights.py"
_FEEDS = "tests/integration/test_feed_command.py"
ELSEWHERE = {
    "make demo": f"{_DEMO}::test_a_demonstration_has_leaders_patterns_and_events_soon",
    "rollo demo": f"{_DEMO}::test_a_demonstration_has_leaders_patterns_and_events_soon",
    "make test": "tests/e2e/test_documentation.py::test_what_is_not_run_here_is_run_elsewhere",
    "rollo up": "tests/e2e/test_documentation.py::test_a_document_does_what_it_says",
    "rollo feed alpaca": f"{_FEEDS}::test_minutes_of_alpaca_reach_the_streams_and_the_secret_nobody",
    "rollo feed yfinance": f"{_FEEDS}::test_days_of_yahoo_reach_the_streams_through_its_library",
    "rollo feed csv today.csv": f"{_FEEDS}::test_of_two_processes_one_sends_and_the_other_takes_over",
    "rollo contracts acl": f"{_RIGHTS}::test_everything_works_with_the_rights_that_are_documented",
    "valkey-cli ACL ": f"{_RIGHTS}::test_everything_works_with_the_rights_that_are_documented",
    "make bench": "tests/bench/test_bench.py::test_a_bench_replaces_its_own_figures_and_no_others",
    "docker compose ": "tests/e2e/test_compose.py::test_everything_runs_confined",
    "docker build ": "tests/e2e/test_compose.py::test_everything_runs_confined",
    "kubectl ": "tests/unit/test_kubernetes.py::test_what_the_operator_is_told_to_type_names_what_there_is",
    "(umask 022; mkdir": (
        "tests/unit/test_deployment.py::test_the_secrets_are_made_by_the_line_that_the_docs_have"
    ),
    'export PATH="$PWD/.venv/bin:$PATH"': f"{_PACKAGING}::test_the_installed_command_is_the_one_of_the_wheel",
    "pip install ": f"{_PACKAGING}::test_the_installed_command_is_the_one_of_the_wheel",
}
"""What a command begins with that cannot be run here, and the test that runs it."""
EXACT = {"tutorial.md"}
"""Their figures are those that are printed. Other documents show what larger data gave: only words count."""
_A_COMMAND = re.compile(r"(\$ |rollo |curl |make |docker |pip |XADD )")
NEEDED = {"api.md": "rollo import bars_daily_sp500.csv.gz --wait"}
"""What a document that begins with "once data are there" takes for granted."""
WRITE = os.environ.get("ROLLO_TEST_DOCS") == "write"
DOCUMENTS = documents.documents()
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
RUN = {"console", "redis"}
LONG = {"wyckoff.md"}
"""Whose commands compute for minutes."""
SHOWN = [path for path in DOCUMENTS if any(block.language in RUN for block in documents.blocks(path))]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The one that all documents are read on."""
    with folders.open_folder() as folder, running_stack(folder / ".rollo") as running:
        yield running


@pytest.fixture
def reader(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """Begins in an empty folder but for the files that documents name."""
    with folders.open_folder() as folder:
        market_files.write_all(folder)
        if WRITE and "README.md" in request.node.name:
            market_files.put_real(folder, request.getfixturevalue("shared_data"))
        yield Reader(folder, gateway=stack.found.gateway_url, data=stack.data)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.long] * (path.name in LONG), id=str(path.relative_to(ROOT)))
        for path in SHOWN
    ],
)
def test_a_document_does_what_it_says(path: Path, stack: Stack, reader: Reader) -> None:
    wrong, printed = [], []
    if path.name in NEEDED:
        reader.run(Command(0, NEEDED[path.name]))
    for block in documents.blocks(path):
        if block.language == "redis":
            _send(block.lines, stack.found.redis_url)
        for command in documents.commands(block) if block.language == "console" else ():
            if _elsewhere(command.text):
                continue
            try:
                said = reader.run(command)
            except AssertionError as error:
                raise AssertionError(f"{path.name}:{command.line}: {command.text}: {error}") from None
            printed.append((command, said))
            if command.shown and documents.differs(command.shown, said, exact=path.name in EXACT):
                wrong.append(f"{path.name}:{command.line}: {command.text}\n" + "\n".join(said))
    if WRITE:
        _write(path, printed)
    elif wrong:
        pytest.fail("Other output than shown (ROLLO_TEST_DOCS=write takes it over):\n" + "\n\n".join(wrong))


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_fence_says_what_is_in_it(path: Path) -> None:
    for block in documents.blocks(path):
        assert block.language in LANGUAGES, f"{path.name}:{block.line - 1}: no language, or an unknown one"
        if block.language not in RUN:
            said = [line for line in block.lines if _A_COMMAND.match(line)]
            assert not said, f"{path.name}:{block.line}: a command that nothing runs: {said[0]}"
    for line in documents.prose(path).splitlines():
        hidden = "<pre" in line or (line.startswith("    ") and _A_COMMAND.match(line.strip()))
        assert not hidden, f"{path.name}: a command outside of a fence: {line}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_commands_in_the_text_exist_with_their_options(path: Path) -> None:
    for code in documents.inline_code(path):
        if code.startswith("rollo "):
            for one in _alternatives(code.replace("\\|", "|")):
                _parsed(one, path.name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in documents.links(path):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("http", "https", "mailto"), link
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        assert target.exists(), f"{path.name}: {link}"
        if parts.fragment:
            assert parts.fragment in documents.anchors(target), f"{path.name}: {link}"


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_is_not_run_here_is_run_elsewhere(text: str) -> None:
    file, _, test = ELSEWHERE[text].partition("::")
    assert f"def {test}(" in (ROOT / file).read_text("utf-8")


def test_the_index_names_every_document() -> None:
    index = ROOT / "docs" / "README.md"
    named = {(index.parent / urlsplit(link).path).resolve() for link in documents.links(index)}
    assert named >= {path for path in (ROOT / "docs").rglob("*.md") if path != index}


def _elsewhere(text: str) -> bool:
    return any(text == known.strip() or text.startswith(f"{known.strip()} ") for known in ELSEWHERE)


def _send(lines: tuple[str, ...], url: str) -> None:
    with redis.Redis.from_url(url) as client:
        for line in filter(None, lines):
            client.execute_command(*shlex.split(line))


def _write(path: Path, printed: list[tuple[Command, list[str]]]) -> None:
    """Put what was printed in the place of what is shown, from the end on."""
    lines = path.read_text("utf-8").splitlines()
    for command, said in reversed(printed):
        if command.shown:
            start = command.shown_at - 1
            lines[start : start + len(command.shown)] = documents.shortened(command.shown, said)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _alternatives(code: str) -> list[str]:
    """`rollo dlq list|show` are two commands."""
    first, *others = code.split("|")
    kept = first.rsplit(" ", 1)[0]
    return [first, *(f"{kept} {other}" for other in others)]


def _parsed(text: str, where: str) -> None:
    words = shlex.split(re.sub(r"\.\.\.|…", "", text))[1:]
    command: Any = typer.main.get_command(cli.app)
    context = command.make_context("rollo", ["--help"], resilient_parsing=True)
    while words and hasattr(command, "resolve_command"):
        if words[0].startswith("-"):
            break
        _, found, words = command.resolve_command(context, words)
        assert found is not None, f"{where}: `{text}`: no such command"
        command = found
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known | {"--help"}, f"{where}: `{text}`: no option {word}"
