"""Who may ask: a key or a token in a header, how often, and what is remembered of those who write."""

import asyncio
import ipaddress
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway import at_once, audit, heads, problems
from api_gateway.at_once import Given
from api_gateway.callers import LOCAL, Caller
from api_gateway.limits import Headers, Limits
from api_gateway.paths import is_open
from api_gateway.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHORIZED, Problem
from api_gateway.refusals import forbidden, unauthorized
from api_gateway.tokens import Rules, Tokens
from rollotape import keys
from rollotape.postgres import keys as stored
from rollotape.settings import Settings

if TYPE_CHECKING:  # it has an `Access`
    from api_gateway.backends import Postgres

FRESH_S = 3.0
"""A key that was revoked is refused after this long."""
AWAY_S = 60.0
"""While PostgreSQL is away, keys that it knew go on being known for this long."""
MOST_KEPT = 1_000
_PATIENCE_S = 0.25
_AGAIN_S = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Known:
    """What was found of a key id; `row` is None where there is no such key, or no more."""

    row: Any
    at: float


class Doorman:
    """Plain ASGI, so that nobody reaches a route without a key, whatever else is wrong with the request."""

    def __init__(self, app: ASGIApp, access: "Access", audit_log: audit.Audit) -> None:
        self._app = app
        self._at_once = at_once.of(app)
        self._access = access
        self._audit = audit_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        writes = scope["method"] not in audit.READING
        try:
            caller = await self._access.admit(scope, "write" if writes else "read")
        except Problem as problem:
            await problems.answer(Request(scope), problem)(scope, receive, send)
            return
        scope["state"]["caller"] = caller
        if not writes:
            await self._app(scope, receive, send)
            return
        seen, over = audit.watched(send, scope, caller, self._audit)
        try:
            await self._app(scope, receive, seen)
        finally:
            over()

    def at_once(self, scope: Scope) -> Given | None:
        """The token of the window is spent last: nothing else can go wrong then."""
        caller = self._access.at_hand(scope)
        given = self._at_once(scope) if caller else None
        if caller is None or given is None or (said := self._access.spend(caller)) is None:
            return None
        return given.saying(said)


class Access:
    """Who is let in, and how often."""

    def __init__(
        self, settings: Settings, postgres: "Postgres", limits: Limits, rules: Rules | None = None
    ) -> None:
        self._asks = settings.auth == "on"
        self._rate, self._rate_of_strangers = settings.rate_requests, settings.rate_strangers
        self._keys = Keys(postgres)
        self._limits = limits
        self.tokens = Tokens(rules) if rules else None

    async def admit(self, scope: Scope, needed: keys.Scope) -> Caller:
        """Who sent a request, which costs a token of the window.

        Raises:
            Problem: 401, nobody; 403, somebody who may not; 429, too often; 503, nobody can tell now.
        """
        if not self._asks:
            return LOCAL
        caller = await self.enter(scope)
        if not keys.allows(caller.scope, needed):
            raise forbidden(f"This key may {caller.scope}; this request takes one that may {needed}.", needed)
        return caller

    def at_hand(self, scope: Scope) -> Caller | None:
        """Who sent a request that reads, if that is known without a question, and may ask once more.

        Raises:
            Problem: 401, it carries no key, or several.
        """
        if not self._asks:
            return LOCAL
        shown = heads.read(scope, _shown)
        row = self._keys.at_hand(shown)
        if row is None or self._limits.is_used_up(stranger(scope)):
            return None
        caller = _caller(row["id"], row["owner"], row["scope"], row["rate"])
        has_one = self._limits.has(caller.counted_as, self._quota(caller))
        return caller if has_one and keys.allows(caller.scope, "read") else None

    def spend(self, caller: Caller) -> Headers | None:
        """A token of somebody who has one: what the answer says of it."""
        return self._limits.spend(caller.counted_as, self._quota(caller)) if self._asks else []

    async def enter(self, scope: Scope, text: str | None = None) -> Caller:
        """Who shows a key, in a header unless `text` is it; `scope` has what is left of the window then.

        Raises:
            Problem: as `admit`, but for the scope.
        """
        try:
            shown = heads.read(scope, _shown) if text is None else Shown.of(text)
            caller = await self._recognise(shown, scope)
        except Problem as problem:
            if problem.kind in (UNAUTHORIZED, FORBIDDEN):
                await self._charge(scope, stranger(scope), self._rate_of_strangers)
            raise
        await self._charge(scope, caller.counted_as, self._quota(caller))
        return caller

    async def recognise(self, text: str, scope: Scope | None = None) -> Caller:
        """Whose key or token this is.

        Raises:
            Problem: 401, nobody's; 403, a token that may nothing; 429, an address that guesses; 503, nobody
                can tell now.
        """
        return await self._recognise(Shown.of(text), scope)

    async def _recognise(self, shown: "Shown", scope: Scope | None) -> Caller:
        text, key_id, _ = shown
        if self._is_guessing(scope, text):
            raise await self._too_many(scope)
        if key_id is None and self.tokens is not None and text.count(".") == 2:
            return self.tokens.caller(text)
        row = await self._keys.recognise(shown)
        return _caller(row["id"], row["owner"], row["scope"], row["rate"])

    def _is_guessing(self, scope: Scope | None, text: str) -> bool:
        """Whether an address has had its share of wrong keys; keys that were good lately are no guesses."""
        if scope is None or not self._limits.is_used_up(stranger(scope)):
            return False
        return not (self._keys.was_good(text) or (self.tokens and self.tokens.known(text)))

    async def _too_many(self, scope: Scope | None) -> Problem:
        assert scope is not None
        try:
            await self._charge(scope, stranger(scope), self._rate_of_strangers)
        except Problem as problem:
            return problem
        return Problem(TOO_MANY_REQUESTS, "Too many wrong keys.", headers={"Retry-After": "1"})

    async def _charge(self, scope: Scope, name: str, quota: int) -> None:
        said = self._limits.spend(name, quota)
        if said is None:
            said = await self._limits.charge(name, quota)
        scope.setdefault("state", {}).setdefault("headers", []).extend(said)

    def _quota(self, caller: Caller) -> int:
        return caller.rate or self._rate

    async def keep(self) -> None:
        """What has to be done now and then, until cancelled."""
        if self.tokens and self.tokens.keys:
            await self.tokens.keys.keep()

    async def close(self) -> None:
        await self._keys.close()
        if self.tokens and self.tokens.keys:
            await self.tokens.keys.close()
        await self._limits.close()


class Keys:
    """Keys that were asked for lately. One that is in use is looked up again before it has to be."""

    def __init__(self, postgres: "Postgres") -> None:
        self._postgres = postgres
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._unknown: OrderedDict[str, Known] = OrderedDict()
        """Apart, so that guessing does not push out those who know."""
        self._asking: dict[str, asyncio.Task[Any]] = {}
        self._away_until = 0.0

    async def recognise(self, shown: "Shown") -> Any:
        """The row of a key, by the id within it.

        Raises:
            Problem: 401, it is none, or no more; 503, nobody can tell now.
        """
        row = None if shown.key_id is None else await self._find(shown.key_id)
        if row is None or not _opens(row, shown):
            raise unauthorized("this key is unknown, expired or revoked", ', error="invalid_token"')
        return row

    def at_hand(self, shown: "Shown") -> Any:
        """The row of a key that is good, and was looked up a moment ago; else None."""
        known = self._known.get(shown.key_id) if shown.key_id else None
        if known is None or not _opens(known.row, shown):
            return None
        return known.row if self._is_fresh(known, time.monotonic()) else None

    def was_good(self, text: str) -> bool:
        """Whether this key was good when it was last looked up."""
        known = self._known.get(keys.id_of(text) or "")
        return known is not None and keys.same(text, known.row["hash"])

    async def _find(self, key_id: str) -> Any:
        now = time.monotonic()
        known = self._known.get(key_id) or self._unknown.get(key_id)
        if known is None:
            return await asyncio.shield(self._ask(key_id))
        if self._is_fresh(known, now):
            return known.row
        if not known.row or now - known.at >= AWAY_S:
            return await asyncio.shield(self._ask(key_id))
        return await self._again(key_id, known, now)

    def _is_fresh(self, known: Known, now: float) -> bool:
        """One that is about to be old is looked up again meanwhile."""
        age = now - known.at
        if known.row and FRESH_S / 2 < age < FRESH_S and now >= self._away_until:
            self._ask(known.row["id"])
        return age < FRESH_S

    async def _again(self, key_id: str, known: Known, now: float) -> Any:
        """Of a key that was good; while PostgreSQL is away nobody waits for it."""
        asking = self._ask(key_id)
        if now >= self._away_until:
            await asyncio.wait([asking], timeout=_PATIENCE_S)
        if not asking.done() or isinstance(asking.exception(), Problem):
            self._away_until = max(self._away_until, now + _AGAIN_S)
            return known.row
        return asking.result()

    def _ask(self, key_id: str) -> "asyncio.Task[Any]":
        """One question at a time, whoever waits for it."""
        asking = self._asking.get(key_id)
        if asking is None:
            asking = self._asking[key_id] = asyncio.create_task(self._look_up(key_id))
            asking.add_done_callback(lambda task: self._answered(key_id, task))
        return asking

    def _answered(self, key_id: str, task: "asyncio.Task[Any]") -> None:
        del self._asking[key_id]
        if not task.cancelled() and task.exception() is not None:
            self._away_until = time.monotonic() + _AGAIN_S

    async def _look_up(self, key_id: str) -> Any:
        now = time.monotonic()
        row = await self._postgres.run(lambda c: stored.find(c, key_id))
        self._keep(key_id, Known(row, now))
        return row

    def _keep(self, key_id: str, known: Known) -> None:
        kept, other = (self._known, self._unknown) if known.row else (self._unknown, self._known)
        other.pop(key_id, None)
        kept[key_id] = known
        if len(kept) > MOST_KEPT:
            kept.popitem(last=False)

    async def close(self) -> None:
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


def _opens(row: Any, shown: "Shown") -> bool:
    """Whether it is the key that it says it is, and still good."""
    over = row["expires_at"] is not None and row["expires_at"].timestamp() <= time.time()
    return compare_digest(shown.digest, row["hash"]) and not over


class Shown(NamedTuple):
    """What somebody shows to be let in."""

    text: str
    key_id: str | None
    """Where it looks like a key; else nothing is compared with its digest."""
    digest: bytes

    @classmethod
    def of(cls, text: str) -> "Shown":
        key_id = keys.id_of(text)
        return cls(text, key_id, keys.digest(text) if key_id else b"")


def _shown(headers: heads.Headers) -> Shown:
    return Shown.of(presented(headers))


_caller = lru_cache(MOST_KEPT)(Caller)


def presented(headers: heads.Headers) -> str:
    """The key or token that a request carries.

    Raises:
        Problem: 401, it carries none, or several.
    """
    offered = None
    for name, value in headers:
        if name == b"x-api-key":
            key = value.decode("latin-1").strip()
        elif name == b"authorization":
            scheme, _, key = value.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer":
                raise unauthorized("authorization: must be of the form Bearer KEY")
            key = key.strip()
        else:
            continue
        if offered not in (None, key):
            raise unauthorized("send one key, not several")
        offered = key
    if offered is None:
        raise unauthorized("send a key as Authorization: Bearer KEY")
    return offered


def stranger(scope: Scope) -> str:
    """Under what name somebody without a good key is counted: the address, of IPv6 its /64."""
    client = scope.get("client")
    return _named(client[0] if client else "")


@lru_cache(4_096)
def _named(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "from:elsewhere"
    if address.version == 6:
        return f"from:{ipaddress.ip_network((address, 64), strict=False).network_address}"
    return f"from:{address}"
