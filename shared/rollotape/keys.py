"""API keys: how they are made and recognised. Only hashes are ever stored."""

import secrets
from hashlib import sha256
from hmac import compare_digest
from typing import Literal, NamedTuple

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""Each includes those before it."""
_PREFIX = "rollo"


class NewKey(NamedTuple):
    """Shown once; of the text only the hash is kept."""

    id: str
    text: str

    @property
    def hash(self) -> bytes:
        return digest(self.text)


def make() -> NewKey:
    """A new key with 256 random bits."""
    key_id = secrets.token_hex(6)
    return NewKey(key_id, f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(32)}")


def id_of(text: str) -> str | None:
    """The id within a key; None when this is no key of ours.

    >>> id_of("rollo_0123456789ab_secret")
    '0123456789ab'
    """
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    known = prefix == _PREFIX and len(key_id) == 12 and secret and text.isascii() and text.isprintable()
    return key_id if known else None


def digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def same(text: str, stored: bytes) -> bool:
    """Whether a key has this hash, in a time that says nothing about how much of it is right."""
    return compare_digest(digest(text), stored)


def allows(has: Scope, needed: Scope) -> bool:
    return SCOPES.index(has) >= SCOPES.index(needed)
