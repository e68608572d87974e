"""Tokens of somebody else's login (JWT): who signed them, for whom, until when, and what they may.

The keys of the issuer are fetched by a task of its own and kept: no request waits for another server, and a
key that nobody here has heard of makes the task look again.
"""

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import jwt
import orjson
import structlog

from api_gateway import problems
from api_gateway.callers import Caller
from api_gateway.refusals import forbidden, unauthorized
from rollotape.errors import Refused
from rollotape.keys import SCOPES, Scope
from rollotape.settings import Settings

PUBLIC = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
SHARED = {"HS256": 32, "HS384": 48, "HS512": 64}
"""With the bytes that a secret must have at least (RFC 7518, 3.2)."""
AGAIN_S = 300.0
SOON_S = 10.0
"""Not sooner again, whatever is asked for."""
KEPT_S = 86_400.0
"""Keys that could not be fetched anew for this long are not trusted any more."""
VERIFIED_S = 60.0
LONGEST = 8_192
MOST_VERIFIED = 1_000
MOST_BYTES = 256 * 1024
_FETCH_S = 5.0
_LONGEST_SUB = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token must be."""

    algorithms: tuple[str, ...]
    issuer: str
    audience: str
    leeway_s: int
    claim: str
    scopes: tuple[tuple[str, Scope], ...]
    """What the claim calls our scopes, the greatest first."""
    secret: str | None
    jwks: str | None


def rules(settings: Settings) -> Rules | None:
    """What the settings say of tokens; None where they are not taken.

    Raises:
        Refused: the settings would take tokens that they should not, or none at all.
    """
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
    if secret is None and settings.jwt_jwks is None:
        return None
    if secret is not None and settings.jwt_jwks is not None:
        raise Refused("ROLLO_JWT_JWKS and ROLLO_JWT_SECRET are both set: keep one")
    if not settings.jwt_issuer or not settings.jwt_audience:
        raise Refused(
            "tokens are taken from one issuer, for one audience: set ROLLO_JWT_ISSUER, ROLLO_JWT_AUDIENCE"
        )
    if settings.jwt_jwks is not None:
        _must_be_safe(settings.jwt_jwks)
    return Rules(
        _algorithms(settings.jwt_algorithms, secret),
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_leeway_s,
        settings.jwt_scope_claim,
        _scopes(settings.jwt_scopes),
        secret,
        settings.jwt_jwks,
    )


def _algorithms(said: str, secret: str | None) -> tuple[str, ...]:
    known = PUBLIC if secret is None else SHARED.keys()
    wanted = _names(said) or (["RS256", "ES256"] if secret is None else ["HS256"])
    if wrong := [name for name in wanted if name not in known]:
        means = "ROLLO_JWT_JWKS" if secret is None else "ROLLO_JWT_SECRET"
        raise Refused(
            f"ROLLO_JWT_ALGORITHMS: {wrong[0]!r} will not do with {means};"
            f" of these: {', '.join(sorted(known))}"
        )
    least = max((SHARED[name] for name in wanted), default=0) if secret is not None else 0
    if secret is not None and len(secret.encode()) < least:
        raise Refused(f"ROLLO_JWT_SECRET must have at least {least} bytes for {', '.join(wanted)}")
    return tuple(wanted)


def _scopes(said: str) -> tuple[tuple[str, Scope], ...]:
    found: dict[str, str] = {}
    for part in _names(said):
        ours, equals, theirs = part.partition("=")
        if ours not in SCOPES or not equals or not theirs:
            raise Refused(
                f"ROLLO_JWT_SCOPES: {part!r} is not like read=name, with one of {', '.join(SCOPES)}"
            )
        found[ours] = theirs
    return tuple((found[scope], scope) for scope in reversed(SCOPES) if scope in found)


def _names(said: str) -> list[str]:
    return [name.strip() for name in said.split(",") if name.strip()]


def _must_be_safe(source: str) -> None:
    parts = urlsplit(source)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    if parts.scheme in ("", "file") and Path(parts.path).is_file():
        return
    if parts.scheme in ("", "file"):
        raise Refused(f"ROLLO_JWT_JWKS: there is no file {parts.path}")
    raise Refused(
        "ROLLO_JWT_JWKS must be https://..., http:// on this machine, or a file: who can put other keys in"
        " the place of these can sign anything"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Key(NamedTuple):
    """One key of an issuer; `algorithm` where it says what it is for."""

    key: Any
    algorithm: str | None
    content: dict[str, Any]


class KeySet:
    """The keys of an issuer, by their id."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: dict[str | None, Key] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self.generation = 0
        """Grows whenever the keys change."""

    async def keep(self) -> None:
        """Fetch them again and again, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(AGAIN_S)

    def look(self) -> None:
        """Have the keys fetched, unless that was tried a moment ago."""
        now = time.monotonic()
        if (self._fetching and not self._fetching.done()) or now - self._tried_at < SOON_S:
            return
        self._tried_at = now
        self._fetching = asyncio.create_task(self._fetch())

    def find(self, key_id: str | None) -> Key | None:
        """The key with this id; without an id the only one that there is. None: there is none.

        Raises:
            Problem: 503, they are not here yet, or not any more.
        """
        if time.monotonic() - self._fetched_at > KEPT_S:
            self.look()
            raise problems.unavailable("The keys of who signs tokens")
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        if key_id not in self._keys:
            self.look()
        return self._keys.get(key_id)

    async def _fetch(self) -> None:
        try:
            found = read(await asyncio.to_thread(fetch, self._source))
        except (OSError, HTTPException, ValueError, jwt.PyJWTError) as error:
            log.warning("jwks_away", error=str(error)[:300])
            return
        self._fetched_at = time.monotonic()
        if {i: key.content for i, key in found.items()} != {i: key.content for i, key in self._keys.items()}:
            self._keys = found
            self.generation += 1
            log.info("jwks_read", keys=len(found))

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)


def read(content: bytes) -> dict[str | None, Key]:
    """Keys of a JWK set that sign and that we can use; the others are passed over.

    Raises:
        ValueError: it is no JWK set.
    """
    said = orjson.loads(content)
    if not isinstance(said, dict) or not isinstance(said.get("keys"), list):
        raise ValueError("no JWK set: an object with `keys` is needed")
    found: dict[str | None, Key] = {}
    for data in said["keys"]:
        if not isinstance(data, dict) or data.get("use", "sig") != "sig" or data.get("kty") == "oct":
            continue
        try:
            key = jwt.PyJWK(data).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        key_id, algorithm = data.get("kid"), data.get("alg")
        found[key_id if isinstance(key_id, str) else None] = Key(key, algorithm, data)
    return found


class _NoRedirects(HTTPRedirectHandler):
    """Another address would not have been looked at."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(source: str) -> bytes:
    """The bytes of a JWK set. Blocks.

    Raises:
        OSError: it cannot be had.
        ValueError: there is too much of it.
    """
    parts = urlsplit(source)
    if parts.scheme in ("", "file"):
        with Path(parts.path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    else:
        handlers: list[Any] = [_NoRedirects()]
        if parts.scheme == "http":
            handlers.append(ProxyHandler({}))  # it is this machine
        said = {"Accept": "application/json", "User-Agent": "rollotape"}
        request = Request(source, headers=said)  # noqa: S310, `rules` has seen the scheme
        try:
            with build_opener(*handlers).open(request, timeout=_FETCH_S) as answer:
                content = answer.read(MOST_BYTES + 1)
        except URLError as error:
            raise OSError(f"{source}: {error}") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"{source}: more than {MOST_BYTES:,} bytes")
    return bytes(content)


class Tokens:
    """Judges tokens; remembers for a minute those that are good."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.keys = KeySet(rules.jwks) if rules.jwks else None
        self._verified: OrderedDict[bytes, tuple[Caller, float, int]] = OrderedDict()

    def known(self, text: str) -> Caller | None:
        """Whose token this is, if it was good a moment ago and is not over."""
        digest = sha256(text.encode()).digest()
        if (found := self._verified.get(digest)) is None:
            return None
        caller, until, generation = found
        if time.time() < until and generation == self._generation:
            return caller
        del self._verified[digest]
        return None

    def caller(self, text: str) -> Caller:
        """Whose token this is.

        Raises:
            Problem: 401, it is no good; 403, it may do nothing here; 503, nobody can tell yet.
        """
        if (found := self.known(text)) is not None:
            return found
        claims = self._verify(text)
        caller = Caller("jwt", _subject(claims), self._scope(claims))
        until = min(float(claims["exp"]) + self._rules.leeway_s, time.time() + VERIFIED_S)
        self._verified[sha256(text.encode()).digest()] = caller, until, self._generation
        if len(self._verified) > MOST_VERIFIED:
            self._verified.popitem(last=False)
        return caller

    @property
    def _generation(self) -> int:
        return self.keys.generation if self.keys else 0

    def _verify(self, text: str) -> dict[str, Any]:
        if len(text) > LONGEST:
            raise _bad("is too long")
        try:
            head = jwt.get_unverified_header(text)
            algorithm = head.get("alg")
            if algorithm not in self._rules.algorithms:
                raise _bad("is signed in a way that is not taken here")
            claims: dict[str, Any] = jwt.decode(
                text,
                self._key(head.get("kid"), algorithm),
                algorithms=[algorithm],
                issuer=self._rules.issuer,
                audience=self._rules.audience,
                leeway=self._rules.leeway_s,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.PyJWTError as error:
            raise _bad(_why(error)) from None
        except (ValueError, TypeError, OverflowError, RecursionError):  # claims of the wrong kind
            raise _bad("cannot be read") from None
        return claims

    def _key(self, key_id: Any, algorithm: str) -> Any:
        if self.keys is None:
            return self._rules.secret
        if key_id is not None and not isinstance(key_id, str):
            raise _bad("cannot be read")
        found = self.keys.find(key_id)
        if found is None:
            raise _bad("is signed with a key that its issuer does not have")
        if found.algorithm is not None and found.algorithm != algorithm:
            raise _bad("is signed in another way than its key is for")
        return found.key

    def _scope(self, claims: dict[str, Any]) -> Scope:
        granted = _granted(claims, self._rules.claim)
        for theirs, ours in self._rules.scopes:
            if theirs in granted:
                return ours
        raise forbidden(
            f"This token may nothing here: its {self._rules.claim} names no scope of ours.", "read"
        )


def _subject(claims: dict[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not subject.strip() or not subject.isprintable():
        raise _bad("does not say whose it is")
    if len(subject) > _LONGEST_SUB:
        raise _bad("names an owner that is too long")
    return subject


def _granted(claims: dict[str, Any], name: str) -> Sequence[Any]:
    """Words of a claim; a text is taken apart at blanks."""
    value: Any = claims.get(name)
    if value is None and "." in name:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, str):
        return value.split()
    return value if isinstance(value, list) else ()


_WHY: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "is over"),
    (jwt.ImmatureSignatureError, "is not good yet"),
    (jwt.InvalidAudienceError, "is for somebody else"),
    (jwt.InvalidIssuerError, "is from somebody else"),
    (jwt.MissingRequiredClaimError, "lacks one of exp, iss, aud, sub"),
    (jwt.InvalidSignatureError, "has a signature that does not fit"),
)


def _why(error: Exception) -> str:
    return next((words for kind, words in _WHY if isinstance(error, kind)), "cannot be read")


def _bad(what: str) -> problems.Problem:
    return unauthorized(f"this token {what}", ', error="invalid_token"')
