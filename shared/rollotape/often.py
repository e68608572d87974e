"""A log line that is written for every request: the same as structlog would write, at a tenth of its cost."""

import asyncio
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from rollotape import logs

_SOON_S = 0.005
_FORM = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class Often:
    """Lines of one event, at level info, written by one loop.

    Those of some milliseconds are written together: a write, and a turn of the loop, cost more than a line.
    """

    def __init__(self, event: str, logger: str) -> None:
        self._logger = logging.getLogger(logger)
        self._name = logger
        self._event = event
        self._bound: dict[str, Any] | None = None
        self._lines: list[bytes] = []

    def say(self, **fields: Any) -> None:
        if not self._logger.isEnabledFor(logging.INFO):
            return
        if self._bound is None:
            said = {"event": self._event, "logger": self._name, "level": "info"}
            self._bound = logs.about() | said
        fields |= self._bound
        fields["time"] = datetime.now(UTC)
        self._lines.append(orjson.dumps(fields, option=_FORM))
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(_SOON_S, self._write)

    def _write(self) -> None:
        said = b"".join(self._lines)
        self._lines.clear()
        sys.stderr.write(said.decode())
