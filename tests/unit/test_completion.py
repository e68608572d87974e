"""What a shell is told when somebody presses the tab key, and what scripts may ask for."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from rollotape import cli

PROGRAM = [sys.executable, "-c", "from rollotape.cli import main; main()"]
WITHOUT_JSON = {
    ("demo",), ("up",), ("bridge",), ("feed",), ("export",), ("contracts",), ("cache",), ("analytics",),
    ("dlq",), ("key",),
}  # fmt: skip
"""Those that run until Ctrl-C, those that print a document anyway, and those whose parts are below."""
PARTS = [
    ("cache", "rebuild"),
    ("analytics", "rebuild"),
    *(("dlq", p) for p in ("list", "show", "requeue", "drop")),
]
PARTS += [("key", p) for p in ("create", "list", "revoke")]


def completed(words: str) -> list[str]:
    """What bash would offer for the last word."""
    asked = {"_ROLLO_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    return subprocess.check_output(PROGRAM, env={**os.environ, **asked}, text=True).split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("rollo rep", {"replay"}),
        ("rollo replay --sp", {"--speed"}),
        ("rollo dlq ", {"list", "show", "requeue", "drop"}),
        ("rollo dlq drop --a", {"--all"}),
        ("rollo export vsa", {"vsa_events"}),
    ],
)
def test_a_shell_completes_commands_options_and_values(words: str, offered: set[str]) -> None:
    assert set(completed(words)) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_every_shell(shell: str) -> None:
    """The shell is told, not looked for: under make it is one that nobody types into."""
    named = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    told = subprocess.check_output([*PROGRAM, "--show-completion", shell], text=True, env=named)
    assert "_ROLLO_COMPLETE" in told


@pytest.mark.parametrize("command", [*((name,) for name in cli.COMMANDS), *PARTS], ids=" ".join)
def test_what_a_script_may_read_is_there_as_json(command: tuple[str, ...]) -> None:
    if command in WITHOUT_JSON:
        return
    told = CliRunner().invoke(cli.app, [*command, "--help"], prog_name="rollo", env={"COLUMNS": "200"})
    assert "--json" in told.output
