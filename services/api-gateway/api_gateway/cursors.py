"""Page tokens: where the last page ended, bound to the question that it belongs to."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any, NoReturn, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from api_gateway.problems import BAD_CURSOR, FieldError, Problem

_TAG_BYTES = 12
T = TypeVar("T")


def seal(question: Any, position: Any) -> str:
    """A token that leads back to `position`, and only under the same `question`.

    The tag is a plain hash: it catches mistakes, and a forged position leads nowhere a filter would not.
    """
    where = orjson.dumps(position)
    return urlsafe_b64encode(_tag(question, where) + where).decode().rstrip("=")


def unseal(question: Any, token: str, shape: TypeAdapter[T]) -> T:
    """The position in a token.

    Raises:
        Problem: 400, the token is damaged or was given for another question.
    """
    try:
        sealed = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except (ValueError, binascii.Error):
        refuse()
    tag, where = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:]
    # Base64 has several spellings of the same bytes; only the one that we gave out counts.
    if tag != _tag(question, where) or urlsafe_b64encode(sealed).decode().rstrip("=") != token:
        refuse()
    try:
        return shape.validate_json(where)
    except ValidationError:
        refuse()


def _tag(question: Any, where: bytes) -> bytes:
    asked = orjson.dumps(question, option=orjson.OPT_SORT_KEYS)
    return blake2b(asked + b"\0" + where, digest_size=_TAG_BYTES, person=b"rollo-page-token").digest()


def refuse() -> NoReturn:
    """400: the token does not lead anywhere here."""
    reason = "is damaged, or was given for another query; ask for the first page again"
    error = FieldError("query", "page_token", reason)
    raise Problem(BAD_CURSOR, f"page_token: {reason}", errors=[error])
