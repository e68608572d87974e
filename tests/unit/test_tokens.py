"""Tokens of another login: only those that are signed as the settings say, for us, and now."""

import asyncio
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from api_gateway import tokens
from api_gateway.callers import Caller
from api_gateway.problems import Problem
from rollotape.errors import Refused
from rollotape.settings import Settings

SECRET = "x" * 32
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
SHORT_KEY = rsa.generate_private_key(65537, 1024)


def _settings(**more: Any) -> Settings:
    said = {"jwt_issuer": "https://login.example.org", "jwt_audience": "rollo"} | more
    return Settings(redis_url="redis://x", database_url="postgresql://x", **said)


def _tokens(**more: Any) -> tokens.Tokens:
    rules = tokens.rules(_settings(**more))
    assert rules
    return tokens.Tokens(rules)


def _claims(**changes: Any) -> dict[str, Any]:
    said = {
        "iss": "https://login.example.org",
        "aud": "rollo",
        "sub": "ada",
        "scope": "openid read",
        "exp": int(time.time()) + 600,
    }
    return {name: value for name, value in (said | changes).items() if value is not None}


def _signed(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **changes: Any) -> str:
    return jwt.encode(_claims(**changes), key, algorithm, {"kid": kid} if kid else None)


def _public(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    said: dict[str, Any] = json.loads(kind.to_jwk(key.public_key()))
    return said | {"kid": kid} | more


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [_public(RSA_KEY, "r"), _public(EC_KEY, "e", alg="ES256")]}))
    return file


async def _read(judge: tokens.Tokens) -> None:
    assert judge.keys
    await judge.keys._fetch()


@pytest.mark.parametrize(
    ("scope", "means"),
    [("read", "read"), ("openid write read", "write"), (["admin"], "admin"), (["read", "write"], "write")],
)
def test_a_token_is_its_subject_with_the_greatest_scope_it_names(scope: Any, means: Any) -> None:
    assert _tokens(jwt_secret=SECRET).caller(_signed(scope=scope)) == Caller("jwt", "ada", means)


def test_scopes_may_have_other_names_and_be_deep_within() -> None:
    judge = _tokens(
        jwt_secret=SECRET, jwt_scope_claim="realm.roles", jwt_scopes="read=desk,write=desk-trader"
    )

    assert judge.caller(_signed(realm={"roles": ["desk-trader", "x"]})).scope == "write"
    with pytest.raises(Problem) as refused:
        judge.caller(_signed(realm={"roles": ["admin"]}))
    assert refused.value.kind.status == 403


def _none_signed() -> str:
    return jwt.encode(_claims(), "", "none")


BAD: dict[str, Callable[[], str]] = {
    "is over": lambda: _signed(exp=int(time.time()) - 60),
    "is not good yet": lambda: _signed(nbf=int(time.time()) + 60),
    "issued in the future": lambda: _signed(iat=int(time.time()) + 600),
    "for somebody else": lambda: _signed(aud="others"),
    "from somebody else": lambda: _signed(iss="https://evil.example"),
    "without an end": lambda: _signed(exp=None),
    "without a subject": lambda: _signed(sub=None),
    "without an audience": lambda: _signed(aud=None),
    "without an issuer": lambda: _signed(iss=None),
    "whose subject is no text": lambda: _signed(sub=""),
    "whose subject is blank": lambda: _signed(sub="  "),
    "whose subject breaks lines": lambda: _signed(sub="ada\r\nX-Evil: 1"),
    "whose subject is endless": lambda: _signed(sub="a" * 201),
    "signed with another secret": lambda: _signed("y" * 32),
    "signed by nobody": _none_signed,
    "signed longer than allowed": lambda: _signed("x" * 64, "HS512"),
    "tampered with": lambda: _tampered(_signed()),
    "that is no token": lambda: "a.b.c",
    "that is three dots": lambda: "..",
    "without a claim": lambda: jwt.api_jws.encode(b"[]", SECRET, "HS256"),
    "that is no JSON": lambda: jwt.api_jws.encode(b"\xff", SECRET, "HS256"),
    "whose end is a text": lambda: jwt.api_jws.encode(
        json.dumps(_claims() | {"exp": "never"}).encode(), SECRET, "HS256"
    ),
    "whose end is not finite": lambda: jwt.api_jws.encode(
        json.dumps(_claims() | {"exp": float("inf")}).encode(), SECRET, "HS256"
    ),
    "with a header we must understand": lambda: jwt.encode(
        _claims(), SECRET, "HS256", {"crit": ["b64x"], "b64x": True}
    ),
    "that is too long": lambda: _signed(padding="x" * 9_000),
}


def _tampered(token: str) -> str:
    head, _, signature = token.split(".")
    body = jwt.utils.base64url_encode(json.dumps(_claims(scope="admin")).encode()).decode()
    return f"{head}.{body}.{signature}"


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_no_other_token_is_taken(name: str) -> None:
    with pytest.raises(Problem) as refused:
        _tokens(jwt_secret=SECRET).caller(BAD[name]())

    assert refused.value.kind.status == 401
    assert 'error="invalid_token"' in refused.value.headers["WWW-Authenticate"]


def test_a_token_that_was_good_is_remembered_and_no_longer_than_it_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = _tokens(jwt_secret=SECRET, jwt_leeway_s=0)
    token = _signed(exp=int(time.time()) + 30)
    assert judge.caller(token).owner == "ada"
    assert judge.known(token) is not None
    later = time.time() + 31
    monkeypatch.setattr("api_gateway.tokens.time.time", lambda: later)

    assert judge.known(token) is None


async def test_keys_of_a_set_are_found_by_their_id(jwks: Path) -> None:
    judge = _tokens(jwt_jwks=str(jwks))
    await _read(judge)

    assert judge.caller(_signed(RSA_KEY, "RS256", "r")).owner == "ada"
    assert judge.caller(_signed(EC_KEY, "ES256", "e")).owner == "ada"
    for token in (
        _signed(EC_KEY, "ES256", "r"),
        _signed(RSA_KEY, "RS256", "e"),
        _signed(RSA_KEY, "RS256", "unknown"),
        _signed(RSA_KEY, "RS256"),
        _signed(RSA_KEY, "PS256", "r"),
        _signed(rsa.generate_private_key(65537, 2048), "RS256", "r"),
    ):
        with pytest.raises(Problem) as refused:
            judge.caller(token)
        assert refused.value.kind.status == 401


async def test_a_public_key_is_no_secret(jwks: Path) -> None:
    """The old trick: HS256 with the public key, which everybody has."""
    judge = _tokens(jwt_jwks=str(jwks))
    await _read(judge)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, form)
    for secret in (pem, json.dumps(_public(RSA_KEY, "r")).encode()):
        with pytest.raises(Problem) as refused:
            judge.caller(_by_hand(secret))
        assert refused.value.kind.status == 401


def _by_hand(secret: bytes) -> str:
    """Libraries refuse to sign with what looks like a public key; who means harm does not ask them."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "r"}, _claims())]
    signed = b".".join(jwt.utils.base64url_encode(part) for part in parts)
    mark = hmac.digest(secret, signed, "sha256")
    return (signed + b"." + jwt.utils.base64url_encode(mark)).decode()


async def test_what_does_not_sign_is_passed_over(tmp_path: Path) -> None:
    secret = {"kty": "oct", "k": "eHh4", "kid": "o", "alg": "HS256"}
    strange = [
        secret, {"kty": "XX", "kid": "x"}, 7, {"kty": "RSA", "n": "!", "e": "!"}, {"kid": ["r"], "kty": "EC"},
        _public(EC_KEY, "enc", use="enc"),
    ]  # fmt: skip
    found = tokens.read(json.dumps({"keys": [*strange, _public(RSA_KEY, "r", use="sig")]}).encode())

    assert list(found) == ["r"]
    for content in (b"", b"[]", b"{}", b'{"keys": {}}', b"nonsense"):
        with pytest.raises(ValueError):
            tokens.read(content)


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
async def test_a_key_that_is_too_short_signs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "k"
    file.write_text(json.dumps({"keys": [_public(SHORT_KEY, "s")]}))
    judge = _tokens(jwt_jwks=str(file))
    await _read(judge)

    with pytest.raises(Problem) as refused:
        judge.caller(_signed(SHORT_KEY, "RS256", "s"))
    assert refused.value.kind.status == 401


class _Issuer(BaseHTTPRequestHandler):
    """Serves what its server has."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked += 1
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(server.content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def _issuer(content: bytes, redirect: str | None = None) -> Iterator[tuple[str, Any]]:
    server: Any = HTTPServer(("127.0.0.1", 0), _Issuer)
    server.content, server.redirect, server.asked = content, redirect, 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys", server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_no_request_waits_for_the_issuer_and_a_new_key_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = json.dumps({"keys": [_public(RSA_KEY, "r")]}).encode()
    second = json.dumps({"keys": [_public(RSA_KEY, "r"), _public(EC_KEY, "e")]}).encode()
    with _issuer(first) as (url, server):
        judge = _tokens(jwt_jwks=url)
        assert judge.keys
        with pytest.raises(Problem) as refused:
            judge.caller(_signed(RSA_KEY, "RS256", "r"))
        assert (refused.value.kind.status, refused.value.headers["Retry-After"]) == (503, "2")
        assert judge.keys._fetching
        await judge.keys._fetching

        assert judge.caller(_signed(RSA_KEY, "RS256", "r")).owner == "ada"
        server.content = second
        token = _signed(EC_KEY, "ES256", "e")
        for _ in range(3):
            with pytest.raises(Problem) as refused:
                judge.caller(token)
            assert refused.value.kind.status == 401
        await asyncio.sleep(0)
        assert server.asked == 1  # whoever makes up key ids cannot have the issuer asked all the time
        monkeypatch.setattr(tokens, "SOON_S", 0.0)
        with pytest.raises(Problem):
            judge.caller(token)
        await judge.keys._fetching

        assert judge.caller(token).owner == "ada"
        await judge.keys.close()


async def test_a_withdrawn_key_ends_its_tokens_and_an_issuer_that_is_away_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = json.dumps({"keys": [_public(RSA_KEY, "r")]}).encode()
    with _issuer(content) as (url, server):
        judge = _tokens(jwt_jwks=url)
        await _read(judge)
        token = _signed(RSA_KEY, "RS256", "r")
        assert judge.caller(token).owner == "ada"
        server.content = b"no keys today"
        await _read(judge)
        assert judge.caller(token).owner == "ada"

        server.content = json.dumps({"keys": [_public(EC_KEY, "e")]}).encode()
        await _read(judge)

        with pytest.raises(Problem) as refused:
            judge.caller(token)
        assert refused.value.kind.status == 401
        monkeypatch.setattr(tokens, "KEPT_S", -1.0)
        with pytest.raises(Problem) as refused:
            judge.caller(_signed(EC_KEY, "ES256", "e"))
        assert refused.value.kind.status == 503
        assert judge.keys
        await judge.keys.close()


async def test_redirects_and_floods_are_not_followed() -> None:
    good = json.dumps({"keys": [_public(RSA_KEY, "r")]}).encode()
    with (
        _issuer(good) as (there, server),
        _issuer(b"", redirect=there) as (url, _),
        _issuer(b"x" * 300_000) as (flood, _),
    ):
        with pytest.raises(OSError):
            await asyncio.to_thread(tokens.fetch, url)
        with pytest.raises(ValueError):
            await asyncio.to_thread(tokens.fetch, flood)
        assert server.asked == 0


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"jwt_secret": SECRET, "jwt_jwks": "https://x"}, "both"),
        ({"jwt_secret": "short"}, "32 bytes"),
        ({"jwt_secret": SECRET, "jwt_algorithms": "HS256,HS512"}, "64 bytes"),
        ({"jwt_secret": SECRET, "jwt_algorithms": "RS256"}, "RS256"),
        ({"jwt_jwks": "https://x", "jwt_algorithms": "HS256"}, "HS256"),
        ({"jwt_jwks": "https://x", "jwt_algorithms": "none"}, "none"),
        ({"jwt_secret": SECRET, "jwt_algorithms": "none"}, "none"),
        ({"jwt_jwks": "http://login.example.org/keys"}, "https"),
        ({"jwt_jwks": "ftp://x/y"}, "https"),
        ({"jwt_jwks": "/no/such/file"}, "no file"),
        ({"jwt_secret": SECRET, "jwt_issuer": None}, "ROLLO_JWT_ISSUER"),
        ({"jwt_secret": SECRET, "jwt_audience": None}, "ROLLO_JWT_AUDIENCE"),
        ({"jwt_secret": SECRET, "jwt_scopes": "all=x"}, "all=x"),
        ({"jwt_secret": SECRET, "jwt_scopes": "read"}, "read"),
    ],
)
def test_settings_that_would_take_anything_are_refused(said: dict[str, Any], word: str) -> None:
    with pytest.raises(Refused, match=word):
        tokens.rules(_settings(**said))


def test_without_settings_no_token_is_taken() -> None:
    assert tokens.rules(Settings(redis_url="redis://x", database_url="postgresql://x")) is None
