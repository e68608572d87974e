"""A reader who types what a document says, on a stack that runs beside."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from support.documents import Command

ADDRESS = "http://127.0.0.1:8080"
"""Of the gateway, as documents write it; the test's own is elsewhere."""
WITHIN_S = 420.0
"""Real market data on a busy machine."""
ENDLESS = re.compile(r"curl -N |--watch|^rollo top$|^rollo bridge$")
"""They go on until Ctrl-C; it is pressed after so many seconds."""
LOOKED_AT_S = 4.0
ENDINGS: dict[str, set[int]] = {
    "rollo doctor": {0, 1},  # 1: refused rows of other documents are dead letters
    "rollo doctor --json": {0, 1},
}
"""Exit codes other than 0 that are no failure."""
PROGRESS = re.compile(r"^[\w.-]+: (\d+%, |[\d,]+ of [\d,]+( |$)|[\d,]+ \w+ left$)")
"""Lines that come only when a command takes long."""
LISTED = {
    "rollo key rotate ID --grace 1d": "rollo key list",
    "rollo key revoke ID": "rollo key list",
    "rollo dlq show ID": "rollo dlq list",
    "rollo backtest --show ID": "rollo backtest --list",
    "rollo backtest --show ID --cells": "rollo backtest --list",
}
"""ID stands for the first one of this list, as it was last asked for: a reader means what he sees."""


class Reader:
    """One shell: variables and the current folder stay from command to command."""

    def __init__(self, folder: Path, *, gateway: str, data: Path) -> None:
        tools = folder / ".tools"
        tools.mkdir(parents=True)
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        _write_curl(tools / "curl", gateway)
        found = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        self._kept = tools / "environment"
        self._folder = str(folder)
        self._asked = {listing: listing for listing in LISTED.values()}
        self._variables = {n: v for n, v in os.environ.items() if not n.startswith("ROLLO_")} | {
            "PATH": os.pathsep.join(found), "ROLLO_DATA": str(data),
            "COLUMNS": "120", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip

    def run(self, command: Command) -> list[str]:
        """What it prints, errors included.

        Raises:
            AssertionError: it failed.
        """
        if ENDLESS.search(command.text):
            return self._glance(command.text)
        text = command.text
        if text in LISTED:
            text = text.replace("ID", self._first_id(f"{self._asked[LISTED[text]]} --json"))
        for listing in self._asked:
            if text.startswith(listing) and "|" not in text:
                self._asked[listing] = text.removesuffix(" --json")
        script = f'set -a\n{text}\ncode=$?\nenv -0 > "{self._kept}"\nexit $code'
        done = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, env=self._variables, timeout=WITHIN_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        code = done.returncode
        assert code in ENDINGS.get(command.text, {0}), f"exit code {code}: {done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        self._remember()
        return [line for line in done.stdout.splitlines() if not PROGRESS.match(line)]

    def _first_id(self, listing: str) -> str:
        listed = json.loads(subprocess.check_output(["bash", "-c", listing], env=self._variables))
        rows = listed if isinstance(listed, list) else next(v for v in listed.values() if isinstance(v, list))
        return str(rows[0]["id"])

    def _remember(self) -> None:
        pairs = (p.partition("=") for p in self._kept.read_text("utf-8").split("\0") if p)
        self._variables = {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "code")}
        self._folder = self._variables.get("PWD", self._folder)

    def _glance(self, text: str) -> list[str]:
        process = subprocess.Popen(
            ["bash", "-c", text], cwd=self._folder, env=self._variables, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=LOOKED_AT_S)
            raise AssertionError(f"ended by itself with {process.returncode}: {said}")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
        try:
            said, _ = process.communicate(timeout=20)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert "Traceback" not in said, said
        return said.splitlines()


def _write_curl(path: Path, gateway: str) -> None:
    """Asks this gateway, says nothing of its progress, and fails where the answer is an error."""
    real = next(p for d in os.environ["PATH"].split(os.pathsep) if (p := Path(d) / "curl").exists())
    words = '"${@//' + ADDRESS.replace("/", r"\/") + "/" + gateway + '}"'
    options = "-sS --fail-with-body --noproxy '*'"
    path.write_text(f"#!/bin/bash\nexec {shlex.quote(str(real))} {options} {words}\n")
    path.chmod(0o755)
