"""Processes of this machine, as their command lines name them."""

import subprocess
from pathlib import Path


def mentioning(text: object) -> dict[int, str]:
    """Process numbers and command lines that contain the text; ended processes have none."""
    return {pid: command for pid, command in _commands().items() if str(text) in command}


def _commands() -> dict[int, str]:
    if Path("/proc/self/cmdline").exists():
        return {int(p.name): _read(p / "cmdline") for p in Path("/proc").iterdir() if p.name.isdecimal()}
    listed = subprocess.check_output(["ps", "-axo", "pid=,command="], text=True)
    pairs = (line.split(None, 1) for line in listed.splitlines())
    return {int(pid): command for pid, command in pairs}


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:  # ended meanwhile
        return ""
