"""Who may ask: a key in a header, looked up by its id, compared in constant time, remembered for seconds."""

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway import problems
from api_gateway.backends import Backends
from api_gateway.paths import is_open
from api_gateway.problems import FORBIDDEN, UNAUTHORIZED, FieldError, Problem
from rollotape import keys
from rollotape.postgres import keys as stored

FRESH_S = 3.0
"""A key that was revoked is refused after this long."""
AWAY_S = 60.0
"""While PostgreSQL is away, keys that it knew go on being known for this long."""
MOST_KEPT = 1_000

_READING = frozenset({"GET", "HEAD", "OPTIONS"})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Known:
    """What was found of a key id; `row` is None where there is no such key, or no more."""

    row: Any
    at: float


class Doorman:
    """Plain ASGI, so that nobody reaches a route without a key, whatever else is wrong with the request."""

    def __init__(self, app: ASGIApp, servers: Backends) -> None:
        self._app = app
        self._keys = Keys(servers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            await self._admit(scope)
        except Problem as problem:
            await problems.answer(Request(scope), problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        row = await self._keys.recognise(presented(scope["headers"]))
        needed: keys.Scope = "read" if scope["method"] in _READING else "write"
        if not keys.allows(row["scope"], needed):
            reason = f"This key may {row['scope']}; this request takes one that may {needed}."
            said = {"WWW-Authenticate": f'Bearer realm="rollo", error="insufficient_scope", scope="{needed}"'}
            raise Problem(FORBIDDEN, reason, headers=said)
        scope["state"]["key_id"] = row["id"]


class Keys:
    """Keys that were asked for lately."""

    def __init__(self, servers: Backends) -> None:
        self._servers = servers
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._unknown: OrderedDict[str, Known] = OrderedDict()
        """Apart, so that guessing does not push out those who know."""

    async def recognise(self, text: str) -> Any:
        """The row of a key.

        Raises:
            Problem: 401, it is none, or no more; 503, nobody can tell now.
        """
        key_id = keys.id_of(text)
        row = None if key_id is None else await self._find(key_id)
        if row is None or not keys.same(text, row["hash"]) or _is_over(row):
            raise _unauthorized("this key is unknown, expired or revoked", ', error="invalid_token"')
        return row

    async def _find(self, key_id: str) -> Any:
        now = time.monotonic()
        known = self._known.get(key_id) or self._unknown.get(key_id)
        if known and now - known.at < FRESH_S:
            return known.row
        try:
            row = await self._servers.postgres.run(lambda c: stored.find(c, key_id))
        except Problem:
            if known and known.row and now - known.at < AWAY_S:
                return known.row
            raise
        self._keep(key_id, Known(row, now))
        return row

    def _keep(self, key_id: str, known: Known) -> None:
        kept, other = (self._known, self._unknown) if known.row else (self._unknown, self._known)
        other.pop(key_id, None)
        kept[key_id] = known
        if len(kept) > MOST_KEPT:
            kept.popitem(last=False)


def _is_over(row: Any) -> bool:
    return row["expires_at"] is not None and row["expires_at"].timestamp() <= time.time()


def presented(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key that a request carries."""
    offered = set()
    for name, value in headers:
        if name == b"x-api-key":
            offered.add(value.decode("latin-1").strip())
        elif name == b"authorization":
            scheme, _, key = value.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer":
                raise _unauthorized("authorization: must be of the form Bearer KEY")
            offered.add(key.strip())
    if len(offered) != 1:
        reason = "send one key, not several" if offered else "send a key as Authorization: Bearer KEY"
        raise _unauthorized(reason)
    return offered.pop()


def _unauthorized(reason: str, more: str = "") -> Problem:
    said = {"WWW-Authenticate": f'Bearer realm="rollo"{more}'}
    errors = [FieldError("header", "authorization", reason)]
    return Problem(UNAUTHORIZED, f"{reason[0].upper()}{reason[1:]}.", errors=errors, headers=said)
