"""What the figures were measured on, and what a process of ours has used."""

import os
import platform
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def facts() -> str:
    """Processor, cores, load, Python, in one line."""
    load = ", ".join(f"{x:.2f}" for x in os.getloadavg())
    return (
        f"{os.cpu_count()} cores ({_processor()}), load {load} when it began, {platform.system()}"
        f" {platform.machine()}, Python {platform.python_version()}"
    )


def cpu_s(pid: int, *, ended: bool = False) -> float | None:
    """Processor seconds that a process has used so far, and those of its children that have `ended`.

    None where the system does not tell.
    """
    try:
        words = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, words[11 : 15 if ended else 13])) / _TICKS_PER_S


def peak_bytes(pid: int) -> int | None:
    """The most memory that a process has held; None where the system does not tell."""
    return next((int(words[0]) * 1024 for words in _lines(f"/proc/{pid}/status", "VmHWM")), None)


def held_bytes(pid: int) -> int | None:
    """The memory that a process holds now; None where the system does not tell."""
    return next((int(words[0]) * 1024 for words in _lines(f"/proc/{pid}/status", "VmRSS")), None)


def _processor() -> str:
    names = (" ".join(words) for words in _lines("/proc/cpuinfo", "model name"))
    return next(names, platform.processor() or "unknown")


def _lines(path: str, key: str) -> list[list[str]]:
    """The words after the colon of every line that begins with a key."""
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].split() for line in lines if line.startswith(key)]
