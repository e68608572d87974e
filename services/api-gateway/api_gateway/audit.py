"""Who wrote what: a line in the log at once, a row in `audit_log` a moment later."""

import asyncio
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog
from starlette.types import Message, Scope, Send

from api_gateway.callers import Caller
from rollotape.errors import Unavailable
from rollotape.postgres import audit

EVERY_S = 0.5
AGAIN_S = 5.0
CUT_EVERY_S = 3_600.0
MOST_WAITING = 10_000
_AT_ONCE = 1_000
_LONGEST_PATH = 500
_CLOSE_S = 2.0
READING = frozenset({"GET", "HEAD", "OPTIONS"})

log = structlog.get_logger()


class Written(NamedTuple):
    """A row of `audit_log`."""

    at: datetime
    request_id: str
    key_id: str
    owner: str
    address: str | None
    method: str
    path: str
    status: int


class Audit:
    """Rows that wait to be stored. While PostgreSQL is away the newest are kept; the log has them all."""

    def __init__(self, postgres: Any, days: int) -> None:
        self._postgres, self._days = postgres, days
        self._waiting: deque[Written] = deque()
        self._storing: asyncio.Task[None] | None = None
        self._cut_at = 0.0

    def note(self, row: Written) -> None:
        """Remember a write; its row is stored by a task of its own."""
        log.info("write", **{**row._asdict(), "at": row.at.isoformat()})
        if len(self._waiting) == MOST_WAITING:
            self._waiting.popleft()
            log.warning("audit_row_lost", reason="PostgreSQL is away; the log has it")
        self._waiting.append(row)
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_all())

    async def _store_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(EVERY_S)  # rows of the same moment are one statement
            try:
                await self._store()
                await self._cut()
            except Unavailable as error:
                log.warning("audit_away", error=str(error), waiting=len(self._waiting))
                await asyncio.sleep(AGAIN_S)
            except Exception:
                log.exception("defect", task="audit", waiting=len(self._waiting))
                await asyncio.sleep(AGAIN_S)

    async def _store(self) -> None:
        while self._waiting:
            rows = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            try:
                await self._postgres.attempt(lambda c, rows=rows: audit.store(c, rows))
            except BaseException:
                self._waiting.extendleft(reversed(rows))
                raise

    async def _cut(self) -> None:
        if time.monotonic() < self._cut_at:
            return
        before = datetime.now(UTC) - timedelta(days=self._days)
        cut = await self._postgres.attempt(lambda c: audit.cut(c, before))
        self._cut_at = time.monotonic() + (0.0 if cut == audit.MOST_CUT else CUT_EVERY_S)

    async def close(self) -> None:
        """Store what waits, if that can be done now."""
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.wait([self._storing])
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._store()
        except Exception as error:  # whatever it is, it must not hold up the stop
            log.warning("audit_away", error=str(error), waiting=len(self._waiting))


def watched(send: Send, scope: Scope, caller: Caller, audit_log: Audit) -> tuple[Send, Any]:
    """`send` that sees the status of the answer, and what to call when the request is over."""
    at, status = datetime.now(UTC), 0

    async def seen(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    def over() -> None:
        client = scope.get("client")
        audit_log.note(
            Written(
                at,
                scope["state"]["request_id"],
                caller.key_id,
                caller.owner,
                client[0] if client else None,
                scope["method"][:20],
                printable(scope["path"]),
                status,
            )
        )

    return seen, over


def printable(path: str) -> str:
    """A path that a table can keep: no NUL, no half of a character, an end."""
    text = path if path.isprintable() else ascii(path)[1:-1]
    return text[:_LONGEST_PATH]
