"""Has a few symbols verified again and again while everything runs, and counts what differs.

In a process of its own, with a low priority: recomputing is work of seconds, and nobody waits for it.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import orjson
import structlog

from rollotape import metrics

PATIENCE_S = 900.0
CHECKED = ("symbols", "bars", "events", "patterns", "wyckoff", "scores", "rollups")
_AT_LEISURE = "import os, sys; os.nice(10); sys.argv[0] = 'rollo'; from rollotape.cli import main; main()"
_DIFFERS = 1
"""Exit code of `rollo verify`, as of much else that goes wrong: the report tells them apart."""

log = structlog.get_logger()


class Sampling:
    """Runs `rollo verify --sample`, which knows the database by the same environment as we do."""

    def __init__(self, symbols: int) -> None:
        self._command = [
            sys.executable, "-c", _AT_LEISURE, "verify", "--sample", str(symbols), "--json",
        ]  # fmt: skip
        for outcome in ("done", "failed"):
            metrics.VERIFY_RUNS.labels(outcome)
        for what in CHECKED:
            metrics.VERIFY_CHECKED.labels(what)

    async def turn(self) -> None:
        """Verify once. What goes wrong with verifying is counted, and no difference."""
        code, said, complaint = await _run(self._command)
        report = _report(said) if code in (0, _DIFFERS) else None
        if report is None:
            metrics.VERIFY_RUNS.labels("failed").inc()
            log.warning("verify_failed", code=code, reason=complaint[-500:])
            return
        metrics.VERIFY_RUNS.labels("done").inc()
        for what in CHECKED:
            metrics.VERIFY_CHECKED.labels(what).inc(report[f"{what}_checked"])
        differences = report["differences"]
        metrics.VERIFY_DIFFERING.inc(len(differences))
        if differences:
            log.error("verify_differs", rows=len(differences), first=differences[0])


async def _run(command: Sequence[str]) -> tuple[int | None, bytes, str]:
    """Exit code and what was said; the process does not outlive us, nor its time."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            said, complaint = await process.communicate()
    except TimeoutError:
        return None, b"", f"no answer within {PATIENCE_S:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said, complaint.decode(errors="replace")


def _report(said: bytes) -> dict[str, Any] | None:
    try:
        report = orjson.loads(said)
    except orjson.JSONDecodeError:
        return None
    return report if isinstance(report, dict) and "differences" in report else None
